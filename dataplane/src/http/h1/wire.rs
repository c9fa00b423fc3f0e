//! What the handles of one downstream connection share: the socket, and how far the exchange is.

use std::task::{Context, Poll, ready};

use http::HeaderValue;

use super::chunked::{Decoder, Step};
use super::content::{Content, NO_CONTENT, Writing};
use super::handle::Exchanges;
use super::head::{Framing, Head, HeadLimits};
use super::socket::{HEAD_READ, Socket, closed, gone};
use crate::http::body::{Frame, StreamError};
use crate::http::upgrade::Upgrade;
use crate::net::Io;

/// Bytes of later requests that are read while a client's disconnect is watched for.
const READ_AHEAD: usize = HEAD_READ;

/// One connection.
pub(super) struct Wire {
    pub(super) socket: Socket,
    /// The number of the current exchange; a handle of an earlier one finds nothing here.
    pub(super) exchange: u64,
    pub(super) content: Content,
    pub(super) reply: Writing,
    /// Serve another request after this one.
    pub(super) persistent: bool,
    /// The client takes trailers.
    pub(super) takes_trailers: bool,
    /// The client waits for 100 before it sends content.
    pub(super) expects_continue: bool,
    /// The request was HEAD.
    pub(super) is_head: bool,
    /// The client speaks HTTP/1.1, so it knows the chunked coding and interim responses.
    pub(super) knows_chunked: bool,
    /// The client asks to go on in another protocol.
    pub(super) upgrade: Option<Upgrade>,
    /// What a WebSocket client wants proven.
    pub(super) websocket_key: Option<HeaderValue>,
    /// Another protocol has taken over.
    pub(super) is_tunnel: bool,
    /// The client sends no more.
    is_half_closed: bool,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the buffers: they hold what people send.
        f.debug_struct("Wire")
            .field("exchange", &self.exchange)
            .field("reply", &self.reply)
            .finish_non_exhaustive()
    }
}

impl Exchanges for Wire {
    fn exchange(&self) -> u64 {
        self.exchange
    }
}

impl Wire {
    pub(super) fn new(io: Io) -> Self {
        Wire {
            socket: Socket::new(io),
            exchange: 0,
            content: NO_CONTENT,
            reply: Writing::Done,
            persistent: true,
            takes_trailers: false,
            expects_continue: false,
            is_head: false,
            knows_chunked: true,
            upgrade: None,
            websocket_key: None,
            is_tunnel: false,
            is_half_closed: false,
        }
    }

    /// Starts the exchange of a request.
    pub(super) fn begin(&mut self, head: &Head, limits: HeadLimits) {
        self.exchange += 1;
        self.content = match head.framing {
            Framing::Nothing => NO_CONTENT,
            Framing::Length(length) => Content::Length(length),
            Framing::Chunked => Content::Chunked(Decoder::new(limits)),
            Framing::Upgrade => Content::Upgrading,
        };
        self.reply = Writing::Waiting;
        self.persistent &= head.persistent;
        self.takes_trailers = head.takes_trailers;
        self.expects_continue = head.expects_continue;
        self.is_head = head.request.method() == http::Method::HEAD;
        self.knows_chunked = head.request.version() == http::Version::HTTP_11;
        self.upgrade = head.request.extensions().get().cloned();
        self.websocket_key = match self.upgrade {
            Some(_) => head.request.headers().get(http::header::SEC_WEBSOCKET_KEY).cloned(),
            None => None,
        };
    }

    /// The next frame of the current request's content.
    pub(super) fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        loop {
            match self.content.take(&mut self.socket.input) {
                Ok(Step::Data(data)) => return Poll::Ready(Some(Ok(Frame::Data(data)))),
                Ok(Step::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::Trailers(trailers)))),
                Ok(Step::End) => return Poll::Ready(None),
                // The answer decides; whoever gives it asks again.
                Ok(Step::More) if matches!(self.content, Content::Upgrading) => return Poll::Pending,
                Ok(Step::More) => {}
                Err(error) => return Poll::Ready(Some(Err(self.fail(error)))),
            }
            self.poll_interim(cx);
            match ready!(self.socket.poll_read_content(cx, self.content.expected())) {
                Ok(0) if self.is_tunnel => self.content = NO_CONTENT,
                Ok(0) => {
                    let error = StreamError::Closed("the client disconnected inside its request".into());
                    return Poll::Ready(Some(Err(self.fail(error))));
                }
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(self.fail(closed(&error))))),
            }
        }
    }

    fn fail(&mut self, error: StreamError) -> StreamError {
        self.persistent = false;
        self.content.fail(error)
    }

    /// Moves interim responses towards the client. An error shows again at the next read.
    fn poll_interim(&mut self, cx: &mut Context<'_>) {
        if self.reply == Writing::Waiting && !self.socket.output.is_empty() {
            let _ = self.socket.poll_flush(cx);
        }
    }

    /// Ready when the client has gone. One that has closed only its sending half waits for its answer, as with HAProxy;
    /// one that has closed both looks the same over TCP until bytes are sent, and then resets the connection.
    ///
    /// Watched for once the request is read whole: before, whoever reads the content finds out. In a tunnel a closed half
    /// is no more than that.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        if !self.socket.is_open() {
            return Poll::Ready(gone());
        }
        if self.is_tunnel {
            return Poll::Pending;
        }
        self.poll_interim(cx);
        if self.is_half_closed {
            return self.socket.poll_broken(cx).map(|()| gone());
        }
        while (self.content.is_end() || matches!(self.content, Content::Upgrading))
            && self.socket.input.len() < READ_AHEAD
        {
            match ready!(self.socket.poll_read_head(cx)) {
                Ok(0) => {
                    self.is_half_closed = true;
                    return self.socket.poll_broken(cx).map(|()| gone());
                }
                Ok(_) => {}
                Err(error) => {
                    self.persistent = false;
                    return Poll::Ready(closed(&error));
                }
            }
        }
        Poll::Pending
    }

    /// Closes at once with RST, so that the client cannot take what it got for a complete message.
    pub(super) fn abort(&mut self) {
        self.persistent = false;
        self.socket.abort();
    }
}
