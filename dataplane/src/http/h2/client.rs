//! Our HTTP/2 connection to a server.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use tokio::sync::Notify;

use super::cork::{Cork, Corked, corked};
use super::flow::{BUDGET, CONNECTION_WINDOW, FRAME_OVERHEAD, Flow, Ledger, STREAM_WINDOW};
use super::keepalive::Keepalive;
use super::{EARLY, Incoming, Outgoing, SEND_BUFFER, strip_connection_fields};
use crate::error::{Error, Reason};
use crate::http::body::{Body, Head, ResetCode};
use crate::http::grpc;
use crate::http::upgrade::{Upgrade, is_websocket_key};
use crate::net::Io;

/// Bytes of a response head.
const HEADER_LIST: u32 = 64 * 1024;
/// Bytes of one frame that we accept; larger frames mean fewer reads and headers for large bodies.
const FRAME_SIZE: u32 = 32 * 1024;
/// Concurrent streams we open on one connection before its SETTINGS arrive. RFC 9113 section 6.5.2 advises servers to
/// allow at least 100; one less shows whether SETTINGS have arrived, for nobody allows just that many.
const INITIAL_STREAMS: usize = 99;
/// Interim responses that are passed on for one request; servers send one or two.
const MAX_INTERIM: u32 = 32;
/// How long a request that depends on the server's SETTINGS waits for them. They are the first that it sends.
const SETTINGS_TIMEOUT: Duration = Duration::from_secs(2);

/// Between two PINGs, which are sent only while streams are open: gRPC servers take one in 5 minutes and close the
/// connection of whoever sends more (<https://github.com/grpc/grpc/blob/master/doc/keepalive.md>).
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(310);
/// For the answer to one; gRPC's default.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Our connection to a server: opens streams.
#[derive(Clone, Debug)]
pub struct Client {
    send: h2::client::SendRequest<Bytes>,
    shared: Rc<Shared>,
    ledger: Rc<Ledger>,
}

/// What a connection's driver and its streams tell each other.
#[derive(Debug, Default)]
struct Shared {
    /// The server's SETTINGS have arrived.
    is_settled: Cell<bool>,
    settled: Notify,
    streams: Cell<usize>,
}

/// An open stream.
#[derive(Debug)]
pub(super) struct Open(Rc<Shared>);

impl Open {
    fn new(shared: &Rc<Shared>) -> Self {
        shared.streams.set(shared.streams.get() + 1);
        Open(Rc::clone(shared))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
    }
}

/// Drives a client connection; must be polled as long as it lives.
pub struct Driver {
    connection: h2::client::Connection<Corked, Bytes>,
    cork: Cork,
    keepalive: Option<Keepalive>,
    flow: Flow,
    client: Client,
}

/// Exchanges the preface and SETTINGS with a server.
pub async fn handshake(io: Io) -> Result<(Client, Driver), Error> {
    let (cork, io) = corked(io, None);
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .data_frame_budget(FRAME_OVERHEAD)
        .initial_max_send_streams(INITIAL_STREAMS)
        .max_header_list_size(HEADER_LIST)
        .max_frame_size(FRAME_SIZE)
        .max_send_buffer_size(SEND_BUFFER)
        .enable_push(false);
    let (send, mut connection) = cork
        .during(builder.handshake(io))
        .await
        .map_err(|error| Error::unprocessed(Reason::ConnectFailure).because(error))?;
    let flow = Flow::new(&BUDGET, true);
    let client = Client { send, shared: Rc::default(), ledger: Rc::clone(&flow.ledger) };
    let keepalive = Keepalive::new(connection.ping_pong(), KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT);
    Ok((client.clone(), Driver { connection, cork, keepalive, flow, client }))
}

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Driver { connection, cork, keepalive, flow, client } = self.get_mut();
        let open = client.shared.streams.get();
        if let Some(keepalive) = keepalive
            && keepalive.poll(cx, open > 0).is_ready()
        {
            // The streams learn of it as the connection is dropped.
            return Poll::Ready(());
        }
        flow.poll(cx, connection, keepalive.as_mut(), open);
        // Each stream has its own error; the connection's is nobody's.
        let ended = match Pin::new(connection).poll(cx) {
            Poll::Pending if !matches!(cork.poll_flush(cx), Poll::Ready(Err(_))) => Poll::Pending,
            _ => Poll::Ready(()),
        };
        let shared = &client.shared;
        if !shared.is_settled.get() && (ended.is_ready() || client.send.current_max_send_streams() != INITIAL_STREAMS) {
            shared.is_settled.set(true);
            shared.settled.notify_waiters();
        }
        ended
    }
}

impl Client {
    /// Concurrent streams to open: what the server allows, and what may stall at the same time.
    pub fn max_streams(&self) -> usize {
        self.send.current_max_send_streams().min(self.ledger.max_streams())
    }

    /// Concurrent streams that the server allows.
    pub fn allowed_streams(&self) -> usize {
        self.send.current_max_send_streams()
    }

    /// False once the server has said GOAWAY or the connection has failed.
    pub fn is_open(&mut self, cx: &mut Context<'_>) -> bool {
        !matches!(self.send.poll_ready(cx), Poll::Ready(Err(_)))
    }

    /// Why no stream can be opened any more; `None`: one can.
    pub fn failure(&mut self) -> Option<Error> {
        match self.send.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(error)) => Some(upstream_error(&error)),
            _ => None,
        }
    }

    /// Waits for the server's SETTINGS, which say whether it takes an extended CONNECT.
    pub async fn settled(&self) {
        let settled = async {
            loop {
                let changed = self.shared.settled.notified();
                if self.shared.is_settled.get() {
                    return;
                }
                changed.await;
            }
        };
        // Without them it is as if the server did not.
        let _late = tokio::time::timeout(SETTINGS_TIMEOUT, settled).await;
    }

    /// Opens a stream. The caller keeps within `max_streams`.
    pub fn send(&mut self, mut head: Request<()>, end: bool) -> Result<(ResponseHead, Outgoing), Error> {
        strip_connection_fields(head.headers_mut());
        let upgrade = head.extensions_mut().remove::<Upgrade>();
        let upgrades = upgrade.is_some();
        if let Some(upgrade) = upgrade {
            if !self.send.is_extended_connect_protocol_enabled() {
                return Err(Error::new(Reason::NotImplemented).because(format_args!(
                    "the endpoint speaks HTTP/2 and does not offer extended CONNECT, which {} needs",
                    upgrade.name()
                )));
            }
            let key = head.headers_mut().remove(header::SEC_WEBSOCKET_KEY);
            if upgrade.is_websocket() && !upgrade.has_no_key() && !key.as_ref().is_some_and(is_websocket_key) {
                // An endpoint of HTTP/1.1 would refuse it; this one never sees it.
                return Err(Error::new(Reason::BadRequest).because("Sec-WebSocket-Key is not 16 bytes in base64"));
            }
            *head.method_mut() = Method::CONNECT;
            head.extensions_mut().insert(h2::ext::Protocol::from(upgrade.name()));
        }
        match self.send.send_request(head, end) {
            Ok((response, stream)) => Ok((
                ResponseHead { response, upgrades, interim: 0, ledger: Rc::clone(&self.ledger) },
                Outgoing { stream, early: EARLY, _open: Some(Open::new(&self.shared)) },
            )),
            // Nothing was written: the connection is closed or going away.
            Err(error) => Err(Error::unprocessed(Reason::UpstreamReset).because(error)),
        }
    }
}

/// The head of the response to come.
#[derive(Debug)]
pub struct ResponseHead {
    response: h2::client::ResponseFuture,
    upgrades: bool,
    interim: u32,
    ledger: Rc<Ledger>,
}

impl ResponseHead {
    /// The next head, after the last interim one the response's own.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Error>> {
        while let Some(interim) = ready!(self.response.poll_informational(cx)) {
            // What went wrong shows again below.
            let Ok(interim) = interim else { break };
            self.interim += 1;
            if self.interim <= MAX_INTERIM {
                return Poll::Ready(Ok(Head::Interim(interim)));
            }
        }
        let response = match ready!(Pin::new(&mut self.response).poll(cx)) {
            Ok(response) => response,
            Err(error) => return Poll::Ready(Err(upstream_error(&error))),
        };
        let (mut parts, stream) = response.into_parts();
        if self.upgrades && parts.status.is_success() {
            parts.status = StatusCode::SWITCHING_PROTOCOLS;
        }
        let body = if stream.is_end_stream() {
            Body::Empty
        } else {
            Body::H2(Incoming::new(stream, &self.ledger, true))
        };
        Poll::Ready(Ok(Head::Final(Response::from_parts(parts, ()), body)))
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
        Some(code) if error.is_reset() => grpc::reset(ResetCode(code.into())).because(error),
        _ => Error::new(Reason::UpstreamReset).because(error),
    }
}
