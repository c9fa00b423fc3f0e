//! HTTP/2 on both sides: the `h2` crate behind the stream types of [`super::body`].

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response, header};

use super::body::{Body, Frame, ResetCode, StreamError};
use crate::error::{Error, Reason};
use crate::net::Io;
use crate::snapshot::model::ListenerLimits;

/// Window of one stream: a 256 KiB read-ahead keeps a 10 Gbit/s link of 200 µs busy, and bounds what a stalled reader
/// holds back.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Streams that a server may open to us by push: none, we disable push.
const UPSTREAM_HEADER_LIST: u32 = 64 * 1024;
/// Bytes of one frame that we accept; larger frames mean fewer reads and headers for large bodies.
const MAX_FRAME_SIZE: u32 = 32 * 1024;
/// Response bytes that one stream may hold before the peer's window opens.
const SEND_BUFFER: usize = 256 * 1024;
/// Concurrent streams we open on one upstream connection before its SETTINGS arrive (RFC 9113 section 6.5.2 advises
/// servers to allow at least 100).
const INITIAL_UPSTREAM_STREAMS: usize = 100;
/// Streams of one upstream connection whose windows the connection window covers.
const UPSTREAM_STREAMS: u32 = 128;

/// A client's connection to us.
pub struct Server {
    connection: h2::server::Connection<Io, Bytes>,
}

impl Server {
    /// Exchanges the preface and SETTINGS.
    pub async fn handshake(io: Io, limits: &ListenerLimits) -> Result<Server, Error> {
        let connection = h2::server::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            // All streams together never exceed the connection's window, so a stalled one cannot block the others.
            .initial_connection_window_size(STREAM_WINDOW.saturating_mul(limits.max_streams))
            .max_concurrent_streams(limits.max_streams)
            .max_header_list_size(limits.max_header_bytes)
            .max_frame_size(MAX_FRAME_SIZE)
            .max_send_buffer_size(SEND_BUFFER)
            .handshake(io)
            .await
            .map_err(|error| Error::new(Reason::BadRequest).because(error))?;
        Ok(Server { connection })
    }

    /// The next request. `None` when the connection has ended. Drives the whole connection, so it must be polled as long
    /// as any stream lives.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Incall, StreamError>>> {
        Poll::Ready(match ready!(self.connection.poll_accept(cx)) {
            None => None,
            Some(Err(error)) => Some(Err(stream_error(&error))),
            Some(Ok((request, respond))) => Some(Ok(incall(request, respond))),
        })
    }

    /// True while a stream is open.
    pub fn is_busy(&self) -> bool {
        self.connection.has_streams()
    }

    /// Sends GOAWAY in two phases: streams in flight are answered, later ones are refused.
    pub fn drain(&mut self) {
        self.connection.graceful_shutdown();
    }
}

/// One request as it came in.
pub type Incall = (Request<()>, Body, super::body::Responder);

fn incall(request: Request<RecvStream>, respond: h2::server::SendResponse<Bytes>) -> Incall {
    let (parts, stream) = request.into_parts();
    let body = if stream.is_end_stream() {
        Body::Empty
    } else {
        Body::H2(Incoming::request(stream))
    };
    let responder = super::body::Responder::H2(Responder { respond });
    (Request::from_parts(parts, ()), body, responder)
}

/// The right to answer one stream.
#[derive(Debug)]
pub struct Responder {
    respond: h2::server::SendResponse<Bytes>,
}

impl Responder {
    /// Sends the response head.
    pub fn respond(&mut self, mut head: Response<()>, end: bool) -> Result<Outgoing, StreamError> {
        strip_connection_fields(head.headers_mut());
        let stream = self
            .respond
            .send_response(head, end)
            .map_err(|error| stream_error(&error))?;
        Ok(Outgoing { stream })
    }

    /// Refuses the stream.
    pub fn reset(&mut self, code: ResetCode) {
        self.respond.send_reset(code.0.into());
    }

    /// Ready when the client reset the stream or its connection ended.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        self.respond.poll_reset(cx).map(reset_error)
    }
}

/// Our connection to a server: opens streams.
#[derive(Clone, Debug)]
pub struct Client {
    send: h2::client::SendRequest<Bytes>,
}

/// Drives a client connection; must be polled as long as it lives.
pub type Driver = h2::client::Connection<Io, Bytes>;

/// Exchanges the preface and SETTINGS with a server.
pub async fn handshake(io: Io) -> Result<(Client, Driver), Error> {
    let (send, driver) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW * UPSTREAM_STREAMS)
        .initial_max_send_streams(INITIAL_UPSTREAM_STREAMS)
        .max_header_list_size(UPSTREAM_HEADER_LIST)
        .max_frame_size(MAX_FRAME_SIZE)
        .max_send_buffer_size(SEND_BUFFER)
        .enable_push(false)
        .handshake(io)
        .await
        .map_err(|error| Error::unprocessed(Reason::ConnectFailure).because(error))?;
    Ok((Client { send }, driver))
}

impl Client {
    /// Concurrent streams to open: what the server allows, and what the connection's window covers.
    pub fn max_streams(&self) -> usize {
        self.send.current_max_send_streams().min(UPSTREAM_STREAMS as usize)
    }

    /// False once the server has said GOAWAY or the connection has failed.
    pub fn is_open(&mut self, cx: &mut Context<'_>) -> bool {
        !matches!(self.send.poll_ready(cx), Poll::Ready(Err(_)))
    }

    /// Opens a stream. The caller keeps within `max_streams`.
    pub fn send(&mut self, mut head: Request<()>, end: bool) -> Result<(ResponseHead, Outgoing), Error> {
        strip_connection_fields(head.headers_mut());
        match self.send.send_request(head, end) {
            Ok((response, stream)) => Ok((ResponseHead { response }, Outgoing { stream })),
            // Nothing was written: the connection is closed or going away.
            Err(error) => Err(Error::unprocessed(Reason::UpstreamReset).because(error)),
        }
    }
}

/// Resolves to the head of the response.
#[derive(Debug)]
pub struct ResponseHead {
    response: h2::client::ResponseFuture,
}

impl Future for ResponseHead {
    type Output = Result<(Response<()>, Body), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = match ready!(Pin::new(&mut self.response).poll(cx)) {
            Ok(response) => response,
            Err(error) => return Poll::Ready(Err(upstream_error(&error))),
        };
        let (parts, stream) = response.into_parts();
        let body = if stream.is_end_stream() {
            Body::Empty
        } else {
            Body::H2(Incoming::response(stream))
        };
        Poll::Ready(Ok((Response::from_parts(parts, ()), body)))
    }
}

/// Content of one stream, to read.
#[derive(Debug)]
pub struct Incoming {
    stream: RecvStream,
    is_response: bool,
    data_ended: bool,
}

impl Incoming {
    fn request(stream: RecvStream) -> Self {
        Incoming { stream, is_response: false, data_ended: false }
    }

    fn response(stream: RecvStream) -> Self {
        Incoming { stream, is_response: true, data_ended: false }
    }

    /// See [`Body::poll_frame`].
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        while !self.data_ended {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => return Poll::Ready(Some(Ok(Frame::Data(data)))),
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

    /// See [`Body::is_end`].
    pub fn is_end(&self) -> bool {
        self.stream.is_end_stream()
    }

    /// See [`Body::release`].
    pub fn release(&mut self, n: usize) {
        // Fails only when more is released than was received, which `exchange` cannot: it releases what it was given.
        let released = self.stream.flow_control().release_capacity(n);
        debug_assert!(released.is_ok(), "released more than received");
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

/// Content of one stream, to write.
#[derive(Debug)]
pub struct Outgoing {
    stream: SendStream<Bytes>,
}

impl Outgoing {
    /// See [`super::body::Sink::poll_capacity`].
    pub fn poll_capacity(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Result<usize, StreamError>> {
        if self.stream.capacity() < wanted {
            self.stream.reserve_capacity(wanted);
        }
        loop {
            let capacity = self.stream.capacity();
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
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE] {
        if headers.contains_key(&name) {
            headers.remove(name);
        }
    }
    for name in ["keep-alive", "proxy-connection"] {
        if headers.contains_key(name) {
            headers.remove(name);
        }
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

/// A failure before the response's head: a refused stream, and one that a GOAWAY left out, were not processed
/// (RFC 9113 sections 6.8 and 8.7).
fn upstream_error(error: &h2::Error) -> Error {
    if error.is_library() {
        return Error::new(Reason::UpstreamProtocol).because(error);
    }
    if error.is_go_away() {
        return Error::unprocessed(Reason::RefusedStream).because(error);
    }
    match error.reason() {
        Some(h2::Reason::REFUSED_STREAM) => Error::unprocessed(Reason::RefusedStream).because(error),
        _ => Error::new(Reason::UpstreamReset).because(error),
    }
}
