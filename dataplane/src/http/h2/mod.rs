//! HTTP/2 on both sides: the `h2` crate behind the stream types of [`super::body`].

mod ahead;
mod client;
mod cork;
mod flow;
mod head;
mod keepalive;
mod scan;
mod server;

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderName, header};

pub use client::{Client, Driver, ResponseHead, handshake};
pub use server::{Responder, Server};

use ahead::Ahead;
use flow::{Account, Ledger};

use super::body::{Frame, ResetCode, StreamError};

/// Bytes of one stream that a peer has room for and that wait for its socket.
const SEND_BUFFER: usize = 64 * 1024;

/// Content of one stream, to read.
#[derive(Debug)]
pub struct Incoming {
    stream: RecvStream,
    is_response: bool,
    data_ended: bool,
    account: Account,
    ahead: Option<Box<Ahead>>,
}

impl Incoming {
    fn new(stream: RecvStream, ledger: &Rc<Ledger>, is_response: bool) -> Self {
        Incoming {
            stream,
            is_response,
            data_ended: false,
            account: Account::new(ledger),
            ahead: None,
        }
    }

    /// See [`super::body::Body::poll_frame`].
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        if let Some(ahead) = &mut self.ahead {
            match ahead.pop() {
                Some(data) => return Poll::Ready(Some(Ok(Frame::Data(data)))),
                None => self.ahead = None,
            }
        }
        while !self.data_ended {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    self.account.hold(&data);
                    return Poll::Ready(Some(Ok(Frame::Data(data))));
                }
                Some(Err(error)) => return Poll::Ready(self.ended_by(&error)),
                None => self.data_ended = true,
            }
        }
        Poll::Ready(match ready!(self.stream.poll_trailers(cx)) {
            Ok(Some(trailers)) => Some(Ok(Frame::Trailers(trailers))),
            Ok(None) => None,
            Err(error) => self.ended_by(&error),
        })
    }

    /// See [`super::body::Body::gather`].
    pub fn gather(&mut self, cx: &mut Context<'_>) {
        while !self.data_ended {
            match self.stream.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    self.account.hold(&data);
                    self.ahead.get_or_insert_default().push(data);
                }
                // It shows again behind what was gathered.
                Poll::Ready(Some(Err(_))) | Poll::Pending => return,
                Poll::Ready(None) => self.data_ended = true,
            }
        }
    }

    /// See [`super::body::Body::holds`].
    pub fn holds(&self) -> bool {
        self.ahead.as_ref().is_some_and(|ahead| !ahead.is_empty())
    }

    /// See [`super::body::Body::is_end`].
    pub fn is_end(&self) -> bool {
        self.ahead.as_ref().is_none_or(|ahead| ahead.is_empty()) && self.stream.is_end_stream()
    }

    /// See [`super::body::Body::release`].
    pub fn release(&mut self, n: usize) {
        // Fails only when more is released than was received, which `exchange` cannot: it releases what it was given.
        let released = self.stream.flow_control().release_capacity(n);
        debug_assert!(released.is_ok(), "released more than received");
        self.account.release(n as u32);
    }

    /// A server that has sent its complete response may reset the rest of the request with NO_ERROR
    /// (RFC 9113 section 8.1); that is the end of a response and no failure of it.
    fn ended_by(&self, error: &h2::Error) -> Option<Result<Frame, StreamError>> {
        match stream_error(error) {
            StreamError::Reset(ResetCode::NO_ERROR) if self.is_response => None,
            error => Some(Err(error)),
        }
    }
}

/// Bytes of a request's content that leave with its head, as most requests' do: the crate gives no room before it has
/// opened the stream, and to be woken then costs more than to hold so little.
const EARLY: usize = 16 * 1024;

/// Content of one stream, to write.
#[derive(Debug)]
pub struct Outgoing {
    stream: SendStream<Bytes>,
    /// Bytes that are taken at first whatever room there is.
    early: usize,
    /// Counts it, towards a server.
    _open: Option<client::Open>,
}

impl Outgoing {
    /// See [`super::body::Sink::poll_capacity`].
    pub fn poll_capacity(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Result<usize, StreamError>> {
        if self.stream.capacity() < wanted {
            self.stream.reserve_capacity(wanted);
        }
        let early = std::mem::take(&mut self.early);
        loop {
            let capacity = self.stream.capacity().max(early);
            if capacity > 0 {
                return Poll::Ready(Ok(capacity.min(wanted)));
            }
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(stream_error(&error))),
                None => return Poll::Ready(Err(StreamError::Reset(ResetCode::NO_ERROR))),
            }
        }
    }

    /// See [`super::body::Sink::send_data`].
    pub fn send_data(&mut self, data: Bytes, end: bool) -> Result<(), StreamError> {
        self.stream.send_data(data, end).map_err(|error| stream_error(&error))
    }

    /// See [`super::body::Sink::send_trailers`].
    pub fn send_trailers(&mut self, trailers: HeaderMap) -> Result<(), StreamError> {
        self.stream
            .send_trailers(trailers)
            .map_err(|error| stream_error(&error))
    }

    /// See [`super::body::Sink::reset`].
    pub fn reset(&mut self, code: ResetCode) {
        self.stream.send_reset(code.0.into());
    }

    /// See [`super::body::Sink::poll_reset`].
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        self.stream.poll_reset(cx).map(reset_error)
    }
}

/// Fields that speak of one HTTP/1.1 connection and make an HTTP/2 message malformed (RFC 9113 section 8.2.2).
fn strip_connection_fields(headers: &mut HeaderMap) {
    while let Some(name) = headers.keys().find(|name| is_of_connection(name)) {
        let name = name.clone();
        headers.remove(name);
    }
}

fn is_of_connection(name: &HeaderName) -> bool {
    match *name {
        header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE => true,
        _ => matches!(name.as_str(), "keep-alive" | "proxy-connection"),
    }
}

fn reset_error(outcome: Result<h2::Reason, h2::Error>) -> StreamError {
    match outcome {
        Ok(code) => StreamError::Reset(ResetCode(code.into())),
        Err(error) => stream_error(&error),
    }
}

fn stream_error(error: &h2::Error) -> StreamError {
    match error.reason() {
        Some(code) if error.is_reset() => StreamError::Reset(ResetCode(code.into())),
        Some(_) if error.is_library() => StreamError::Malformed(error.to_string().into_boxed_str()),
        _ => StreamError::Closed(error.to_string().into_boxed_str()),
    }
}
