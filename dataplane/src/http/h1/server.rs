//! One connection from an HTTP/1.1 client: requests out of it, one at a time, and the end of each.

use std::cell::RefCell;
use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BufMut};
use http::uri::Scheme;
use http::{HeaderValue, Request, Response, StatusCode, header};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

use super::handle::Handle;
use super::head::{self, Framing, HeadLimits, Scan};
use super::reply::write_head;
pub use super::reply::{Incoming, Outgoing, Responder};
use super::wire::Wire;
use crate::clock::{self, Instant, Sleep};
use crate::error::{Error, Reason};
use crate::http::body::{self, Body, Frame};
use crate::http::sniff::TLS_HANDSHAKE;
use crate::net::Io;
use crate::snapshot::model::ListenerLimits;

/// Bytes of a request that its exchange did not read and that are read after it to save the connection. A client that has
/// its answer, and has handed the rest of its request to its kernel, counts on the connection and sends the next request
/// on it: this is what the kernel takes at most (Linux's `tcp_wmem`).
const DRAINED: usize = 4 * 1024 * 1024;

/// How long a client gets to send them, and how long after its last response a connection stays open for the client to
/// read it (Apache httpd's SECONDS_TO_LINGER).
const LINGER: Duration = Duration::from_secs(2);

/// How long a client may leave a finished response in our buffer (nginx's send_timeout).
const FLUSH: Duration = Duration::from_secs(60);

/// A request that broke HTTP. The connection is closed.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// What was wrong.
    pub error: Error,
    /// What the client was told.
    pub status: StatusCode,
    /// False: the client was told nothing, for it does not speak HTTP/1.
    pub is_answered: bool,
}

impl Refusal {
    pub(super) fn new(reason: Reason, cause: &'static str) -> Self {
        let status = StatusCode::from_u16(reason.status()).unwrap_or(StatusCode::BAD_REQUEST);
        Refusal { error: Error::new(reason).because(cause), status, is_answered: true }
    }

    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }
}

/// A connection from a client.
///
/// The order is: [`next`](Self::next), the exchange, [`finish`](Self::finish), again until one of them ends it. All of it
/// happens in one task.
#[derive(Debug)]
pub struct Connection {
    wire: Rc<RefCell<Wire>>,
    scheme: Scheme,
    limits: HeadLimits,
    header_timeout: Duration,
    idle_timeout: Duration,
    scan: Scan,
    skipped_line: bool,
    deadline: Option<Deadline>,
    timer: Option<Pin<Box<Sleep>>>,
}

/// When waiting for a head ends.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    at: Instant,
    /// The head has begun.
    inside_head: bool,
}

impl Connection {
    /// Speaks HTTP/1.1 on `io`.
    pub fn new(io: Io, limits: &ListenerLimits) -> Self {
        let scheme = if io.is_tls() { Scheme::HTTPS } else { Scheme::HTTP };
        Connection {
            wire: Rc::new(RefCell::new(Wire::new(io))),
            scheme,
            limits: HeadLimits::from(limits),
            header_timeout: limits.header_timeout,
            idle_timeout: limits.idle_timeout,
            scan: Scan::default(),
            skipped_line: false,
            deadline: None,
            timer: None,
        }
    }

    /// The next request; `None` when the client is done or was idle too long.
    ///
    /// May be dropped and called again without losing bytes. A [`Refusal`] was already answered.
    pub async fn next(&mut self) -> Result<Option<(Request<()>, Body, body::Responder)>, Refusal> {
        match poll_fn(|cx| self.poll_head(cx)).await {
            Ok(Some(head)) => Ok(Some(self.begin(head))),
            Ok(None) => {
                self.close().await;
                Ok(None)
            }
            Err(refusal) => {
                self.refuse(&refusal).await;
                Err(refusal)
            }
        }
    }

    /// Makes the current exchange the last of the connection; the response says so if its head is not yet written.
    pub fn close_after_this(&self) {
        self.wire.borrow_mut().persistent = false;
    }

    /// Agrees to CONNECT: from here on the connection's bytes are those of the tunnel. `None` when the client is gone.
    pub async fn into_tunnel(self) -> Option<Io> {
        {
            let mut wire = self.wire.borrow_mut();
            // Handles of the exchange find nothing here any more.
            wire.exchange += 1;
            // Without a word of its length: it has no content (RFC 9110 section 9.3.6).
            wire.socket.output.tail.put_slice(b"HTTP/1.1 200 OK\r\n\r\n");
        }
        let flushed = tokio::time::timeout(FLUSH, poll_fn(|cx| self.wire.borrow_mut().socket.poll_flush(cx))).await;
        let mut wire = self.wire.borrow_mut();
        let mut io = wire.socket.take_io().filter(|_| matches!(flushed, Ok(Ok(()))))?;
        // A client may have begun to speak before it had our word.
        io.unread(std::mem::take(&mut wire.socket.input).freeze());
        Some(io)
    }

    /// Ends the exchange: writes what is left of the response, reads what is left of a short request. True when another
    /// request may follow; otherwise the connection is closed.
    pub async fn finish(&mut self) -> bool {
        if !self.wire.borrow().reply.is_whole() {
            self.wire.borrow_mut().abort();
            return false;
        }
        let flushed = tokio::time::timeout(FLUSH, poll_fn(|cx| self.wire.borrow_mut().socket.poll_flush(cx))).await;
        if !matches!(flushed, Ok(Ok(()))) {
            self.wire.borrow_mut().abort();
            return false;
        }
        if self.wire.borrow().persistent && !self.wire.borrow().content.is_end() {
            let drained = tokio::time::timeout(LINGER, self.drain()).await;
            if drained != Ok(true) {
                self.wire.borrow_mut().persistent = false;
            }
        }
        // Handles that outlive their exchange must not reach the next one.
        self.wire.borrow_mut().exchange += 1;
        if !self.wire.borrow().persistent {
            self.close().await;
            return false;
        }
        true
    }

    /// Reads the rest of the current request if it is short.
    async fn drain(&self) -> bool {
        let mut drained = 0;
        while drained <= DRAINED {
            match poll_fn(|cx| self.wire.borrow_mut().poll_content(cx)).await {
                None => return true,
                Some(Ok(Frame::Data(data))) => drained += data.len(),
                Some(Ok(Frame::Trailers(_))) => {}
                Some(Err(_)) => return false,
            }
        }
        false
    }

    fn begin(&mut self, head: head::Head) -> (Request<()>, Body, body::Responder) {
        let mut wire = self.wire.borrow_mut();
        wire.begin(&head, self.limits);
        let handle = || Handle::new(&self.wire, wire.exchange);
        let body = match head.framing {
            Framing::Nothing => Body::Empty,
            _ => Body::H1Request(Incoming(handle())),
        };
        (head.request, body, body::Responder::H1(Responder(handle())))
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<head::Head>, Refusal>> {
        loop {
            if let Some(head) = self.take_head()? {
                return Poll::Ready(Ok(Some(head)));
            }
            let inside_head = !self.wire.borrow().socket.input.is_empty();
            let read = self.wire.borrow_mut().socket.poll_read_head(cx);
            match read {
                Poll::Ready(Ok(0)) if inside_head => {
                    return Poll::Ready(Err(Refusal::bad("the connection ended inside a request head")));
                }
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Ok(None)),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => {
                    self.wire.borrow_mut().socket.rest();
                    return self.poll_deadline(cx, inside_head).map(|()| match inside_head {
                        true => Err(Refusal::new(
                            Reason::RequestTimeout,
                            "the request head did not arrive in time",
                        )),
                        false => Ok(None),
                    });
                }
            }
        }
    }

    /// Takes a head from the front of the input if one is complete.
    fn take_head(&mut self) -> Result<Option<head::Head>, Refusal> {
        let mut wire = self.wire.borrow_mut();
        // One empty line before a request is tolerated (RFC 9112 section 2.2).
        if !self.skipped_line && wire.socket.input.starts_with(b"\r\n") {
            wire.socket.input.advance(2);
            self.skipped_line = true;
            self.scan = Scan::default();
        }
        if wire.socket.input.first() == Some(&TLS_HANDSHAKE) {
            return Err(Refusal::bad("the client speaks TLS, this port does not"));
        }
        let end = self.scan.section_end(&wire.socket.input)?;
        if end.unwrap_or(wire.socket.input.len()) > self.limits.bytes {
            return Err(match self.scan.is_in_first_line() {
                true => Refusal::line_too_long(),
                false => Refusal::too_large("the request head has more bytes than allowed"),
            });
        }
        let Some(end) = end else { return Ok(None) };
        let section = wire.socket.input.split_to(end).freeze();
        self.scan = Scan::default();
        self.skipped_line = false;
        self.deadline = None;
        head::parse(section, self.limits, self.scheme.clone()).map(Some)
    }

    /// Ready when the client took too long. The timer is set only when it must fire earlier than it would, so that a
    /// busy connection pays for it rarely.
    fn poll_deadline(&mut self, cx: &mut Context<'_>, inside_head: bool) -> Poll<()> {
        let at = match self.deadline {
            Some(deadline) if deadline.inside_head == inside_head => deadline.at,
            _ if inside_head => clock::now() + self.header_timeout,
            _ => clock::now() + self.idle_timeout,
        };
        self.deadline = Some(Deadline { at, inside_head });
        let timer = self.timer.get_or_insert_with(|| Box::pin(clock::sleep_until(at)));
        if timer.deadline() > at {
            timer.as_mut().reset(at);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= at {
                return Poll::Ready(());
            }
            timer.as_mut().reset(at);
        }
        Poll::Pending
    }

    /// Answers a request that broke HTTP, and closes.
    async fn refuse(&mut self, refusal: &Refusal) {
        if !refusal.is_answered {
            return self.close().await;
        }
        let text = format!("{}\n", refusal.error);
        let mut head = Response::new(());
        *head.status_mut() = refusal.status;
        let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
        head.headers_mut().insert(header::CONTENT_TYPE, content_type);
        {
            let mut wire = self.wire.borrow_mut();
            write_head(
                &mut wire.socket.output.tail,
                &head,
                Some(text.len() as u64),
                false,
                false,
            );
            wire.socket.output.tail.put_slice(text.as_bytes());
        }
        let flush = poll_fn(|cx| self.wire.borrow_mut().socket.poll_flush(cx));
        if let Ok(Ok(())) = tokio::time::timeout(LINGER, flush).await {
            self.close().await;
        }
        self.wire.borrow_mut().abort();
    }

    /// Closes in two steps (RFC 9112 section 9.6): bytes that arrive after a socket is closed make the kernel send RST,
    /// which can take from the client what it has not read yet.
    async fn close(&mut self) {
        let Some(mut io) = self.wire.borrow_mut().socket.take_io() else {
            return;
        };
        let lingering = async {
            if io.shutdown().await.is_ok() {
                poll_fn(|cx| poll_discard(&mut io, cx)).await;
            }
        };
        // Late or failed, it is closed all the same.
        let _ = tokio::time::timeout(LINGER, lingering).await;
    }
}

/// Reads until the end. The bytes go to the stack, not into the future.
fn poll_discard(io: &mut Io, cx: &mut Context<'_>) -> Poll<()> {
    loop {
        let mut space = [const { MaybeUninit::uninit() }; 4096];
        let mut read = ReadBuf::uninit(&mut space);
        match ready!(Pin::new(&mut *io).poll_read(cx, &mut read)) {
            Ok(()) if !read.filled().is_empty() => {}
            _ => return Poll::Ready(()),
        }
    }
}
