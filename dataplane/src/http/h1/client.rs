//! One connection to an HTTP/1.1 server: requests into it, one at a time, and their responses out of it.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode};

use super::chunked::Step;
use super::content::{Content, NO_CONTENT, Writing};
use super::handle::{Exchanges, Handle};
use super::head::Scan;
use super::request::{self, Asked};
use super::response;
use super::socket::{Socket, closed, gone};
use crate::error::{Error, Reason};
use crate::http::body::{Body, Frame, Head, StreamError};
use crate::http::check::Malformed;
use crate::http::upgrade::websocket_accept;
use crate::net::Io;

/// Interim responses to one request. Servers send one or two.
const MAX_INTERIM: u32 = 32;

/// A connection that carries one request at a time. Dropping it closes the connection.
#[derive(Debug)]
pub struct Client {
    wire: Rc<RefCell<Wire>>,
}

/// What the handles of one upstream connection share.
struct Wire {
    socket: Socket,
    exchange: u64,
    /// Of the response.
    content: Content,
    /// Of the request.
    writing: Writing,
    asked: Asked,
    /// The response's head has not come yet.
    awaits_head: bool,
    scan: Scan,
    interim: u32,
    /// The server has sent something since the request.
    heard: bool,
    /// The server takes no more bytes; it may have said why.
    deaf: bool,
    /// Carry another request after this one.
    persistent: bool,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the buffers: they hold what people send.
        f.debug_struct("Wire")
            .field("exchange", &self.exchange)
            .field("writing", &self.writing)
            .finish_non_exhaustive()
    }
}

impl Exchanges for Wire {
    fn exchange(&self) -> u64 {
        self.exchange
    }
}

impl Client {
    /// Speaks HTTP/1.1 on `io`.
    pub fn new(io: Io) -> Self {
        Client {
            wire: Rc::new(RefCell::new(Wire {
                socket: Socket::new(io),
                exchange: 0,
                content: NO_CONTENT,
                writing: Writing::Done,
                asked: Asked::default(),
                awaits_head: false,
                scan: Scan::lenient(),
                interim: 0,
                heard: false,
                deaf: false,
                persistent: true,
            })),
        }
    }

    /// True when a request may be sent now: the one before is over, its response read to the end, and the server has
    /// neither closed nor said anything unasked.
    pub fn is_ready(&self) -> bool {
        let mut wire = self.wire.borrow_mut();
        if !(wire.is_resting() && wire.socket.input.is_empty()) {
            return false;
        }
        let unasked = wire.socket.poll_read_head(&mut Context::from_waker(Waker::noop()));
        wire.socket.rest();
        unasked.is_pending()
    }

    /// Writes the head of a request. Its URI is in the form in which requests come out of the server codecs; with `end` it
    /// has no content. The bytes leave when the response is polled for, or the content is flushed.
    ///
    /// Dropping the [`ResponseHead`] before the response closes the connection.
    pub fn send(&mut self, head: &Request<()>, end: bool) -> Result<(ResponseHead, Outgoing), Error> {
        let mut wire = self.wire.borrow_mut();
        let (asked, writing) = request::write(&mut wire.socket.output.tail, head, end)
            .map_err(|malformed| Error::unprocessed(Reason::Internal).because(malformed.0))?;
        wire.exchange += 1;
        (wire.asked, wire.writing) = (asked, writing);
        wire.awaits_head = true;
        wire.heard = false;
        wire.interim = 0;
        wire.content = NO_CONTENT;
        let handle = || Handle::new(&self.wire, wire.exchange);
        Ok((ResponseHead(handle()), Outgoing(handle())))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.wire.borrow_mut().socket.take_io());
    }
}

impl Wire {
    /// True between two exchanges, if another may follow.
    fn is_resting(&self) -> bool {
        let is_answered = !self.awaits_head && self.content.is_end();
        let is_sent = self.writing.is_whole() && self.socket.output.is_empty();
        is_answered && is_sent && self.persistent && !self.deaf && self.socket.is_open()
    }

    /// Writes what waits. A server that takes no more may have answered all the same: its words matter more than this.
    fn flush(&mut self, cx: &mut Context<'_>) {
        if !self.deaf && !self.socket.output.is_empty() && matches!(self.socket.poll_flush(cx), Poll::Ready(Err(_))) {
            self.deaf = true;
        }
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<response::Parsed, Error>> {
        self.flush(cx);
        loop {
            let malformed = |cause: &'static str| Error::new(Reason::UpstreamProtocol).because(cause);
            let end = self
                .scan
                .section_end(&self.socket.input)
                .map_err(|error| malformed(error.0))?;
            if end.unwrap_or(self.socket.input.len()) > response::MAX_BYTES {
                return Poll::Ready(Err(malformed("the response head has more bytes than allowed")));
            }
            // Told at once: what speaks another protocol may never send an empty line.
            if !self.socket.input.iter().zip(b"HTTP/1.").all(|(came, due)| came == due) {
                return Poll::Ready(Err(malformed("the answer does not begin with HTTP/1.")));
            }
            if let Some(end) = end {
                self.scan = Scan::lenient();
                let section = self.socket.input.split_to(end).freeze();
                let parsed = response::parse(section, &self.asked).map_err(|error| malformed(error.0))?;
                self.interim += u32::from(parsed.is_interim());
                if self.interim > MAX_INTERIM {
                    return Poll::Ready(Err(malformed("there are more interim responses than allowed")));
                }
                return Poll::Ready(Ok(parsed));
            }
            match ready!(self.socket.poll_read_head(cx)) {
                Ok(0) => return Poll::Ready(Err(self.unanswered(&"the endpoint closed the connection unanswered"))),
                Ok(_) => self.heard = true,
                Err(error) => return Poll::Ready(Err(self.unanswered(&error))),
            }
        }
    }

    /// A server may close a connection that it keeps just when we use it again. A request that may be repeated is then
    /// taken as not received (RFC 9110 section 9.2.2).
    fn unanswered(&self, cause: &dyn std::fmt::Display) -> Error {
        match self.exchange > 1 && !self.heard && self.asked.is_idempotent {
            true => Error::unprocessed(Reason::UpstreamReset).because(cause),
            false => Error::new(Reason::UpstreamReset).because(cause),
        }
    }

    /// The response itself begins.
    fn answered(&mut self, parsed: &mut response::Parsed) -> Result<(), Error> {
        self.awaits_head = false;
        self.persistent &= parsed.persistent;
        self.content = std::mem::replace(&mut parsed.content, NO_CONTENT);
        if parsed.head.status() == StatusCode::SWITCHING_PROTOCOLS {
            self.persistent = false;
            match self.writing {
                Writing::Done => self.socket.close_sending(),
                _ => self.writing = Writing::Tunnel,
            }
            return self.check_websocket(parsed.head.headers());
        }
        if self.writing == Writing::Waiting {
            self.writing = Writing::Done;
        }
        Ok(())
    }

    /// Where the key is ours, so is the check of the answer to it.
    fn check_websocket(&self, fields: &HeaderMap<HeaderValue>) -> Result<(), Error> {
        match &self.asked.our_key {
            Some(key) if fields.get(http::header::SEC_WEBSOCKET_ACCEPT) != Some(&websocket_accept(key)) => {
                Err(Error::new(Reason::UpstreamProtocol).because("Sec-WebSocket-Accept does not fit the key"))
            }
            _ => Ok(()),
        }
    }

    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        self.flush(cx);
        loop {
            match self.content.take(&mut self.socket.input) {
                Ok(Step::Data(data)) => return Poll::Ready(Some(Ok(Frame::Data(data)))),
                Ok(Step::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::Trailers(trailers)))),
                Ok(Step::End) => return Poll::Ready(None),
                Ok(Step::More) => {}
                Err(error) => return Poll::Ready(Some(Err(self.content.fail(error)))),
            }
            let expected = self.content.expected();
            match ready!(self.socket.poll_read_content(cx, expected)) {
                Ok(0) if matches!(self.content, Content::UntilClose) => self.content = NO_CONTENT,
                Ok(0) => {
                    let error = StreamError::Closed("the endpoint closed the connection inside its response".into());
                    return Poll::Ready(Some(Err(self.content.fail(error))));
                }
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(self.content.fail(closed(&error))))),
            }
        }
    }

    /// True when it makes no sense to send more of the request.
    fn wants_no_more(&self) -> bool {
        let is_over = !self.awaits_head && self.content.is_end() && !self.persistent;
        self.deaf || !self.socket.is_open() || is_over && self.writing != Writing::Tunnel
    }
}

/// The response to come.
#[derive(Debug)]
pub struct ResponseHead(Handle<Wire>);

impl ResponseHead {
    /// The next head, after the last interim one the response's own.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Error>> {
        let over = || Poll::Ready(Err(Error::new(Reason::UpstreamReset).because(gone())));
        let parsed = self.0.with(over, |wire| {
            let mut parsed = ready!(wire.poll_head(cx))?;
            if !parsed.is_interim() {
                wire.answered(&mut parsed)?;
            }
            Poll::Ready(Ok((parsed.is_interim(), parsed.head, wire.content.is_end())))
        });
        let (is_interim, head, is_end) = ready!(parsed)?;
        Poll::Ready(Ok(match (is_interim, is_end) {
            (true, _) => Head::Interim(head),
            (false, true) => Head::Final(head, Body::Empty),
            (false, false) => Head::Final(head, Body::H1Response(Incoming(self.0.again()))),
        }))
    }
}

impl Drop for ResponseHead {
    fn drop(&mut self) {
        self.0.with(
            || (),
            |wire| {
                if wire.awaits_head {
                    drop(wire.socket.take_io());
                }
            },
        );
    }
}

/// The content of a response.
#[derive(Debug)]
pub struct Incoming(Handle<Wire>);

impl Incoming {
    /// The next frame; `None` after the last. A response that was cut is an error, never an end.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        self.0
            .with(|| Poll::Ready(Some(Err(gone()))), |wire| wire.poll_content(cx))
    }

    /// True when it is known, without reading, that nothing more comes.
    pub fn is_end(&self) -> bool {
        self.0.with(|| false, |wire| wire.content.is_end())
    }
}

/// The content of a request. Dropping it before the end closes the connection.
#[derive(Debug)]
pub struct Outgoing(Handle<Wire>);

fn not_wanted() -> StreamError {
    StreamError::Closed("the endpoint takes no more content".into())
}

impl Outgoing {
    /// Waits until the server has taken enough of what was sent before. All of `wanted` may then be sent: it is in memory
    /// already.
    pub fn poll_capacity(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Result<usize, StreamError>> {
        self.0.with(
            || Poll::Ready(Err(gone())),
            |wire| {
                if wire.wants_no_more() {
                    return Poll::Ready(Err(not_wanted()));
                }
                // Whether the endpoint goes on in the other protocol shows in its response.
                if wire.writing == Writing::Waiting {
                    return Poll::Pending;
                }
                wire.socket.poll_room(cx).map_ok(|()| wanted)
            },
        )
    }

    /// Takes content to send; `end` closes the message. `Content-Length` is kept to.
    pub fn send_data(&mut self, data: Bytes, end: bool) -> Result<(), StreamError> {
        self.end_with(|wire| {
            if wire.writing == Writing::Waiting && end {
                wire.writing = Writing::Done;
            }
            wire.writing.data(&mut wire.socket, data, end)
        })
    }

    /// Closes the message with trailers. A message with a length has no place for them: they are dropped.
    pub fn send_trailers(&mut self, trailers: &HeaderMap) -> Result<(), StreamError> {
        self.end_with(|wire| wire.writing.end(&mut wire.socket, Some(trailers)))
    }

    fn end_with(&mut self, act: impl FnOnce(&mut Wire) -> Result<(), Malformed>) -> Result<(), StreamError> {
        self.0.with(
            || Err(gone()),
            |wire| {
                if wire.wants_no_more() && !wire.writing.is_whole() {
                    return Err(not_wanted());
                }
                act(wire).map_err(|malformed| {
                    drop(wire.socket.take_io());
                    StreamError::Malformed(malformed.0.into())
                })
            },
        )
    }

    /// Writes what is held; `Ready` when nothing is left, or nothing more is taken.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.0.with(
            || Poll::Ready(Err(gone())),
            |wire| match wire.deaf {
                true => Poll::Ready(Err(not_wanted())),
                false => wire.socket.poll_flush(cx),
            },
        )
    }

    /// Closes the connection, so that the server cannot take the request for a complete one. In a tunnel it is RST that
    /// says so.
    pub fn reset(&mut self) {
        self.0.with(
            || (),
            |wire| match wire.writing {
                Writing::Tunnel => wire.socket.abort(),
                writing if !writing.is_whole() => drop(wire.socket.take_io()),
                _ => {}
            },
        );
    }

    /// Ready when the endpoint wants no more content: it answered early, or the connection is gone.
    pub fn poll_reset(&mut self, _cx: &mut Context<'_>) -> Poll<StreamError> {
        self.0.with(
            || Poll::Ready(gone()),
            |wire| match wire.wants_no_more() {
                true => Poll::Ready(not_wanted()),
                false => Poll::Pending,
            },
        )
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.reset();
    }
}
