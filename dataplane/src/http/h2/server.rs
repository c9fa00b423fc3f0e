//! A client's HTTP/2 connection to us.

#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use http::{HeaderValue, Request, Response, StatusCode, header, uri::Scheme};

use super::cork::{Cork, Corked, corked};
use super::flow::{BUDGET, CONNECTION_WINDOW, FRAME_OVERHEAD, Flow, Ledger, STREAM_WINDOW};
use super::head::{Refusal, check_size, normalize};
use super::keepalive::Keepalive;
use super::scan::{self, Scanner};
use super::{Incoming, Outgoing, SEND_BUFFER, reset_error, stream_error, strip_connection_fields};
use crate::clock::{self, Sleep};
use crate::error::{Error, Reason};
use crate::http::body::{self, Body, ResetCode, StreamError};
use crate::http::upgrade::Upgrade;
use crate::net::Io;
use crate::snapshot::model::ListenerLimits;
use crate::telemetry::excess::Excess;

/// Bytes of one frame that we accept: what HTTP/2 starts with (RFC 9113 section 6.5.2). A client may not send more
/// before it has our SETTINGS, and most never do.
const FRAME_SIZE: u32 = 16 * 1024;

/// The crate answers a head beyond its own limit without a word to us; up to so many times the listener's limit it is
/// we who refuse it, with a record of it.
const HEAD_MARGIN: u32 = 2;

/// Frames of a header block beyond its first: what it may be in frames of full size, or the five that the crate takes
/// of any. The crate adds a quarter.
const LEAST_PIECES: u32 = 5;

/// How often the crate may have taken back a request that we have not seen yet, for each that the scanner lets pass in
/// a period: twice what it holds and what was earned may be in one read.
const UNSEEN_RESETS: u32 = 4;

/// Streams of ours that the crate remembers to have reset, at least, for a second: its own default.
const REMEMBERED: usize = 50;

/// What a client that is sent away gets to hear it: both ends of its socket, for so long.
const FAREWELL: Duration = Duration::from_secs(1);

/// A client's connection to us.
pub struct Server {
    connection: h2::server::Connection<Corked, Bytes>,
    cork: Cork,
    keepalive: Option<Keepalive>,
    flow: Flow,
    scheme: Scheme,
    limits: ListenerLimits,
    excess: Option<Excess>,
    farewell: Option<Farewell>,
}

/// The end of a connection that we end.
struct Farewell {
    timer: Pin<Box<Sleep>>,
    /// The crate has said what it has to say.
    is_said: bool,
}

impl Server {
    /// Exchanges the preface and SETTINGS.
    pub async fn handshake(io: Io, limits: &ListenerLimits) -> Result<Server, Error> {
        let scanner = Scanner::new(limits.max_streams, (max_head(limits) / FRAME_SIZE).max(LEAST_PIECES));
        Server::begin(io, limits, Some(scanner)).await
    }

    /// Without a scanner the client may send what it likes.
    async fn begin(io: Io, limits: &ListenerLimits, scanner: Option<Scanner>) -> Result<Server, Error> {
        let scheme = if io.is_tls() { Scheme::HTTPS } else { Scheme::HTTP };
        let (cork, io) = corked(io, scanner);
        let mut builder = h2::server::Builder::new();
        builder
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .data_frame_budget(FRAME_OVERHEAD)
            .max_concurrent_streams(limits.max_streams)
            .max_header_list_size(max_head(limits))
            .max_frame_size(FRAME_SIZE)
            // The scanner counts, and in time instead of over the connection's life.
            .max_local_error_reset_streams(None)
            .max_pending_accept_reset_streams((UNSEEN_RESETS * scan::max_resets(limits.max_streams)) as usize)
            // What a client still sends on a stream that we have reset is no mistake of its.
            .max_concurrent_reset_streams(REMEMBERED.max(limits.max_streams as usize))
            .max_send_buffer_size(SEND_BUFFER)
            .enable_connect_protocol();
        let mut connection = cork.during(builder.handshake(io)).await.map_err(|error| {
            let reason = match error.is_io() {
                true => Reason::DownstreamReset,
                false => Reason::BadRequest,
            };
            Error::new(reason).because(error)
        })?;
        let keepalive = Keepalive::new(
            connection.ping_pong(),
            limits.keepalive_interval,
            limits.keepalive_timeout,
        );
        let flow = Flow::new(&BUDGET, false);
        Ok(Server {
            connection,
            cork,
            keepalive,
            flow,
            scheme,
            limits: *limits,
            excess: None,
            farewell: None,
        })
    }

    /// The next request; one that is refused has been answered. `None` when the connection has ended. Drives the whole
    /// connection, so it must be polled as long as any stream lives.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Call, StreamError>>> {
        if self.farewell.is_some() {
            return self.poll_farewell(cx).map(|()| None);
        }
        if let Some(keepalive) = &mut self.keepalive {
            if keepalive.poll(cx, true).is_ready() {
                self.excess = Some(Excess::Unanswered);
                self.cork.abort_on_close();
                return Poll::Ready(None);
            }
            if keepalive.take_tick() && !self.connection.has_streams() {
                self.flow.rest(&mut self.connection);
            }
        }
        let ledger = Rc::clone(&self.flow.ledger);
        self.flow
            .poll(cx, &mut self.connection, self.keepalive.as_mut(), ledger.readers());
        let accepted = self.connection.poll_accept(cx);
        if let Some(excess) = self.cork.excess() {
            self.connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
            return self.send_away(cx, excess, false);
        }
        let Poll::Ready(accepted) = accepted else {
            return match self.cork.poll_flush(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Some(Err(StreamError::Closed(error.to_string().into())))),
                _ => Poll::Pending,
            };
        };
        match accepted {
            None => Poll::Ready(None),
            Some(Err(error)) => match excess(&error, self.cork.is_at_fields()) {
                Some(excess) => self.send_away(cx, excess, true),
                None => Poll::Ready(Some(Err(stream_error(&error)))),
            },
            Some(Ok((request, respond))) => {
                let call = call(request, respond, &self.scheme, &self.limits, &ledger);
                Poll::Ready(Some(Ok(call)))
            }
        }
    }

    /// Why the connection was ended, if it was for what the client did.
    pub fn excess(&self) -> Option<Excess> {
        self.excess
    }

    /// Ends the connection with GOAWAY, which may have been sent.
    fn send_away<T>(&mut self, cx: &mut Context<'_>, excess: Excess, is_said: bool) -> Poll<Option<T>> {
        self.excess = Some(excess);
        let timer = Box::pin(clock::sleep(FAREWELL));
        self.farewell = Some(Farewell { timer, is_said });
        self.poll_farewell(cx).map(|()| None)
    }

    /// Ready when the client can have heard GOAWAY, or was given the time to.
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(farewell) = &mut self.farewell else {
            return Poll::Ready(());
        };
        if farewell.timer.as_mut().poll(cx).is_ready() {
            self.cork.abort_on_close();
            return Poll::Ready(());
        }
        if !farewell.is_said {
            // Its end is what was asked for, clean or not.
            let said = self.connection.poll_closed(cx).map(|_ended| ());
            let _flushed = self.cork.poll_flush(cx);
            ready!(said);
            farewell.is_said = true;
        }
        self.cork.poll_discard(cx)
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

/// Bytes of a request's fields that the crate takes.
fn max_head(limits: &ListenerLimits) -> u32 {
    limits.max_header_bytes.saturating_mul(HEAD_MARGIN)
}

/// What the crate has ended a connection for, where that is the client's doing.
fn excess(error: &h2::Error, is_at_fields: bool) -> Option<Excess> {
    if !error.is_library() || !error.is_go_away() {
        return None;
    }
    Some(match error.reason() {
        // The crate does not say of what it was too much; other kinds do not come this far.
        Some(h2::Reason::ENHANCE_YOUR_CALM) if is_at_fields => Excess::HeaderList,
        Some(h2::Reason::ENHANCE_YOUR_CALM) => Excess::SmallData,
        _ => Excess::Protocol,
    })
}

/// One request as it came in, or why it was refused.
pub type Call = Result<(Request<()>, Body, body::Responder), Refusal>;

fn call(
    request: Request<RecvStream>,
    respond: h2::server::SendResponse<Bytes>,
    scheme: &Scheme,
    limits: &ListenerLimits,
    ledger: &Rc<Ledger>,
) -> Call {
    let (mut parts, stream) = request.into_parts();
    let judged = check_size(&parts, limits).and_then(|()| Ok(normalize(&mut parts, scheme)?));
    if let Err(refusal) = judged {
        refuse(respond, &refusal);
        return Err(refusal);
    }
    let body = if stream.is_end_stream() {
        Body::Empty
    } else {
        Body::H2(Incoming::new(stream, ledger, false))
    };
    let upgrades = parts.extensions.get::<Upgrade>().is_some();
    let responder = body::Responder::H2(Responder { respond, upgrades });
    Ok((Request::from_parts(parts, ()), body, responder))
}

/// Answers a malformed request (RFC 9113 section 8.1.1), or one that is too large, in words before its stream ends.
fn refuse(mut respond: h2::server::SendResponse<Bytes>, refusal: &Refusal) {
    let text = format!("{}\n", refusal.error);
    let mut head = Response::new(());
    *head.status_mut() = refusal.status;
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    head.headers_mut().insert(header::CONTENT_TYPE, content_type);
    head.headers_mut().insert(header::CONTENT_LENGTH, text.len().into());
    if let Ok(mut stream) = respond.send_response(head, false) {
        // A client that has gone meanwhile needs no answer.
        let _gone = stream.send_data(text.into(), true);
    }
}

/// The right to answer one stream.
#[derive(Debug)]
pub struct Responder {
    respond: h2::server::SendResponse<Bytes>,
    upgrades: bool,
}

impl Responder {
    /// Sends the response head.
    pub fn respond(&mut self, mut head: Response<()>, end: bool) -> Result<Outgoing, StreamError> {
        strip_connection_fields(head.headers_mut());
        if self.upgrades {
            answer_connect(&mut head);
        }
        let stream = self
            .respond
            .send_response(head, end)
            .map_err(|error| stream_error(&error))?;
        Ok(Outgoing { stream, early: 0, _open: None })
    }

    /// Sends an interim head.
    pub fn inform(&mut self, mut head: Response<()>) {
        strip_connection_fields(head.headers_mut());
        // A hint that does not arrive changes nothing; the response shows what became of the stream.
        let _unsent = self.respond.send_informational(head);
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

/// Extended CONNECT succeeds with 2xx (RFC 8441 section 5), where HTTP/1.1 says 101. An endpoint that answers the
/// request as any other has not agreed, and its 2xx must not look as if it had.
fn answer_connect(head: &mut Response<()>) {
    if head.status() == StatusCode::SWITCHING_PROTOCOLS {
        *head.status_mut() = StatusCode::OK;
        head.headers_mut().remove(header::SEC_WEBSOCKET_ACCEPT);
    } else if head.status().is_success() {
        *head.status_mut() = StatusCode::NOT_IMPLEMENTED;
    }
}
