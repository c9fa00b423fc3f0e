//! From a listening socket to requests: accept, TLS, which HTTP, and an exchange for each request.

mod balancer;
mod tunnel;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use tokio::net::{TcpListener, TcpStream};

use crate::clock::{self, Instant, Sleep};
use crate::connect;
use crate::drain::Drain;
use crate::error::{Error, Reason};
use crate::exchange::exchange;
use crate::filter::forwarded;
use crate::http::sniff;
use crate::http::{h1, h2};
use crate::l4::tcp;
use crate::net::{self, Io};
use crate::pressure::{self, Step};
use crate::random;
use crate::scope::{Caller, Hop, Scope};
use crate::snapshot::model::{ListenerLimits, Mode, Protocol};
use crate::telemetry::excess::Excess;
use crate::telemetry::metrics::OpenConnection;
use crate::telemetry::observer::Refused;
use crate::tls;
use crate::tls::server::{Accepted, Terms, fingerprint};
use crate::tls::term::{Term, Trust, Verified};

/// How long accepting pauses when the process has no descriptor or too little memory left; connections in
/// flight go on.
const PAUSE: Duration = Duration::from_millis(50);
/// What a connection gets to say goodbye once nothing may be on it any more.
const FAREWELL: Duration = Duration::from_secs(1);

/// One listener of one worker. What changes with a snapshot is swapped in here; connections look at it anew for each
/// request.
#[derive(Debug)]
pub struct Listening {
    /// Routes and records.
    pub scope: RefCell<Rc<Scope>>,
    /// How to speak TLS; `None`: cleartext.
    pub tls: RefCell<Option<Arc<Terms>>>,
    /// Whose connections end when a root is distrusted.
    pub trust: Rc<Trust>,
    /// Bounds of new connections.
    pub limits: Cell<ListenerLimits>,
    /// Begins when clients are to go elsewhere; who comes is served all the same.
    pub leaving: Rc<Drain>,
    /// Counts connections; begins when the listener is to end.
    pub connections: Rc<Drain>,
}

impl Listening {
    /// Takes no more connections, and lets those there are end with what is on them.
    pub fn end(&self) {
        self.leaving.begin();
        self.connections.begin();
    }

    /// Records a client that was turned away before there was a request. One that only connects and closes, as checks
    /// of a port do, was not.
    fn refused(&self, caller: &Caller, error: &Error, status: Option<StatusCode>) {
        if error.reason != Reason::DownstreamReset {
            let scope = self.scope.borrow();
            let (address, peer) = (caller.address, caller.peer.clone());
            let refused = Refused { error, status, asked: caller.tunnel.clone() };
            scope.observer.refused(&scope.listener, (address, peer), refused);
        }
    }

    /// Counts and records a client that was sent away for what it did on its connection. One that only fell silent has
    /// no more than gone.
    fn exceeded(&self, caller: &Caller, excess: Excess) {
        self.scope.borrow().observer.exceeded(excess);
        let reason = match excess {
            Excess::Unanswered => return,
            Excess::Protocol => Reason::BadRequest,
            _ => Reason::ClientFlood,
        };
        let error = Error::new(reason).because(format_args!("HTTP/2: {}.", excess.name()));
        self.refused(caller, &error, None);
    }

    /// What the application is told of a verified peer.
    fn client_cert(&self, accepted: &Accepted) -> Option<HeaderValue> {
        let scope = self.scope.borrow();
        let by = scope.forwarding.client_cert_by.as_deref()?;
        forwarded::client_cert(by, &fingerprint(accepted.chain.first()?), &accepted.peer.as_ref()?.uri)
    }

    /// Counts one more connection; `None`, with a record of it, when there are as many as may be.
    fn admit(&self, caller: &Caller, is_of_reserve: bool) -> Option<OpenConnection> {
        let open = self.scope.borrow().listener.connection();
        let most = self.limits.get().max_connections;
        let error = Error::new(Reason::ConnectionLimit);
        let error = match is_of_reserve {
            false if open.number() <= u64::from(most) => return Some(open),
            false => error.because(format_args!("max_connections: {most}.")),
            true => error.because("The process has few descriptors left: raise its limit of open files."),
        };
        self.refused(caller, &error, None);
        None
    }
}

/// Accepts until the listener ends.
pub async fn accept(listening: Rc<Listening>, socket: TcpListener) {
    let mut ending = pin!(listening.connections.begun());
    loop {
        if pressure::step() == Step::Full {
            tokio::select! {
                biased;
                () = ending.as_mut() => return,
                () = clock::sleep(PAUSE) => continue,
            }
        }
        let accepted = std::future::poll_fn(|cx| {
            // Connections that the kernel has completed are taken before the end is looked at: closing the socket
            // would reset them.
            match socket.poll_accept(cx) {
                Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
                Poll::Pending => ending.as_mut().poll(cx).map(|()| None),
            }
        });
        match accepted.await {
            None => return,
            Some(Ok((stream, address))) => {
                let local_port = stream.local_addr().map_or(0, |local| local.port());
                let hop = Hop::new(address.ip(), local_port, false);
                let caller = Caller { peer: None, term: None, address, hop, tunnel: None };
                let is_of_reserve = net::is_of_reserve(&stream);
                // The kernel has completed it already: closing it is all the answer there is.
                if let Some(open) = listening.admit(&caller, is_of_reserve) {
                    tokio::task::spawn_local(connection(Rc::clone(&listening), open, stream, caller));
                } else if is_of_reserve {
                    clock::sleep(PAUSE).await;
                }
            }
            Some(Err(error)) if is_exhausted(&error) => clock::sleep(PAUSE).await,
            // The client gave up between its handshake and our accept.
            Some(Err(_)) => {}
        }
    }
}

/// EMFILE and ENFILE: accepting again at once would spin.
fn is_exhausted(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE))
}

async fn connection(listening: Rc<Listening>, _open: OpenConnection, mut stream: TcpStream, mut caller: Caller) {
    let _connection = listening.connections.guard();
    let limits = listening.limits.get();
    // Without it small responses wait for the client's delayed acknowledgement; a failure costs only that.
    let _unset = stream.set_nodelay(true);
    let balancers = listening.scope.borrow().balancers.clone();
    if let Some(trusted) = balancers {
        // Boxed: few listeners have it.
        let told = Box::pin(balancer::introduce(
            &trusted,
            &mut stream,
            &mut caller,
            limits.header_timeout,
        ))
        .await;
        if let Err(error) = told {
            return listening.refused(&caller, &error, None);
        }
    }
    let mut tls = listening.tls.borrow().clone();
    let takes_cleartext = listening.scope.borrow().takes_cleartext;
    if takes_cleartext && !tls::server::is_begun(&stream, limits.header_timeout).await {
        tls = None;
        listening.scope.borrow().listener.cleartext();
    }
    caller.hop.is_tls = tls.is_some();
    let mode = listening.scope.borrow().mode;
    let (io, protocol) = match tls {
        // Where the server may speak first, the client is not waited for.
        None if mode == Mode::Tcp => (Io::from(stream), Protocol::Tcp),
        None => {
            let mut io = Io::from(stream);
            let Some(protocol) = sniff::sniff(&mut io, limits.idle_timeout).await else {
                return;
            };
            (io, protocol)
        }
        Some(terms) => {
            let config = Arc::clone(&terms.config);
            let accepted = tls::server::accept(stream, config, limits.header_timeout).await;
            listening.scope.borrow().listener.handshake(accepted.is_ok());
            let accepted = match accepted {
                Ok(accepted) => accepted,
                Err(error) => return listening.refused(&caller, &error, None),
            };
            caller.hop.client_cert = listening.client_cert(&accepted);
            if let (Some(peer), Some(bundle)) = (accepted.peer, terms.bundle()) {
                let Verified { uri, term } = listening.trust.of_client(&peer, bundle, accepted.chain);
                (caller.peer, caller.term) = (Some(uri), Some(term));
            }
            let protocol = match (mode, accepted.alpn) {
                (Mode::Tcp, _) | (Mode::ByAlpn, None) => Protocol::Tcp,
                (_, asked) => asked.unwrap_or(Protocol::Http1),
            };
            (accepted.io, protocol)
        }
    };
    serve(&listening, Rc::new(caller), io, protocol, limits).await;
}

/// Speaks HTTP on a connection, or passes its bytes on.
pub async fn serve(listening: &Rc<Listening>, caller: Rc<Caller>, io: Io, protocol: Protocol, limits: ListenerLimits) {
    match protocol {
        Protocol::Http1 => serve_h1(listening, caller, io, limits).await,
        Protocol::Http2 => serve_h2(listening, caller, io, limits).await,
        Protocol::Tcp => serve_tcp(listening, &caller, io).await,
    }
}

/// Any bytes, to where the listener leads.
async fn serve_tcp(listening: &Listening, caller: &Caller, mut io: Io) {
    let scope = Rc::clone(&listening.scope.borrow());
    let Some(target) = scope.tcp.find_host("") else {
        io.abort_on_close();
        return listening.refused(caller, &Error::new(Reason::NoRoute), None);
    };
    match tcp::open(&scope, caller, target).await {
        Ok(relay) => relay.run(io).await,
        // The client must not take it for an answer that has no bytes.
        Err(_) => io.abort_on_close(),
    }
}

/// How old a connection may become: a tenth more or less than asked for, so that those that began together do not end
/// together.
fn age(limits: &ListenerLimits) -> Duration {
    let thousandths = 900 + random::below(201) as u32;
    limits.max_connection_age / 1000 * thousandths
}

/// When a connection should take no more requests: at its age, or before the client's certificate ends.
fn last_call(limits: &ListenerLimits, caller: &Caller) -> Instant {
    let aged = clock::now() + age(limits);
    caller.term.as_ref().map_or(aged, |term| term.last_call().min(aged))
}

/// True at a term's last call, and when it was cut.
fn has_lapsed((term, last_call): &mut (&Term, Pin<Box<Sleep>>), cx: &mut Context<'_>) -> bool {
    last_call.as_mut().poll(cx).is_ready() || term.poll_cut(cx).is_ready()
}

/// One request after the other.
async fn serve_h1(listening: &Rc<Listening>, caller: Rc<Caller>, io: Io, limits: ListenerLimits) {
    let mut connection = h1::server::Connection::new(io, &limits);
    let expiry = last_call(&limits, &caller);
    // With a request on it, it ends behind that one; without, at the certificate's last call.
    let mut lapse = caller
        .term
        .as_ref()
        .map(|term| (term, Box::pin(clock::sleep_until(term.last_call()))));
    let mut ending = pin!(listening.connections.begun());
    loop {
        let next = {
            let mut next = pin!(connection.next());
            std::future::poll_fn(|cx| match next.as_mut().poll(cx) {
                Poll::Ready(next) => Poll::Ready(Some(next)),
                Poll::Pending if lapse.as_mut().is_some_and(|lapse| has_lapsed(lapse, cx)) => Poll::Ready(None),
                Poll::Pending => ending.as_mut().poll(cx).map(|()| None),
            })
            .await
        };
        let (request, body, responder) = match next {
            Some(Ok(Some(call))) => call,
            Some(Err(refusal)) => {
                return listening.refused(&caller, &refusal.error, refusal.is_answered.then_some(refusal.status));
            }
            // The client is done, or waits while we end.
            Some(Ok(None)) | None => return,
        };
        let scope = Rc::clone(&listening.scope.borrow());
        if let Some(asked) = connect::asked(&scope, &caller, &request) {
            let (request, ()) = request.into_parts();
            let way = tunnel::Way::H1(connection, responder);
            return tunnel::serve_tunnel(Rc::clone(listening), (scope, caller), request, way, asked).await;
        }
        let step = pressure::step();
        let mut exchange = pin!(exchange(scope, Rc::clone(&caller), request, body, responder, step));
        let is_old = clock::now() >= expiry || caller.term.as_ref().is_some_and(Term::is_cut) || step >= Step::Brief;
        std::future::poll_fn(|cx| {
            // Looked at before the exchange, so that a response that begins while we end says `Connection: close`.
            if is_old || listening.leaving.has_begun() || ending.as_mut().poll(cx).is_ready() {
                connection.close_after_this();
            }
            exchange.as_mut().poll(cx)
        })
        .await;
        if !connection.finish().await {
            return;
        }
    }
}

/// A task for each stream.
async fn serve_h2(listening: &Rc<Listening>, caller: Rc<Caller>, io: Io, limits: ListenerLimits) {
    let handshake = tokio::time::timeout(limits.header_timeout, h2::Server::handshake(io, &limits));
    let mut server = match handshake.await {
        Ok(Ok(server)) => server,
        Ok(Err(error)) => return listening.refused(&caller, &error, None),
        Err(_) => {
            let error = Error::new(Reason::RequestTimeout).because("The HTTP/2 handshake did not end in time.");
            return listening.refused(&caller, &error, None);
        }
    };
    // Whoever comes when others are already told to go stays until the end.
    let ending = match listening.leaving.has_begun() {
        true => &listening.connections,
        false => &listening.leaving,
    };
    let mut ending = pin!(ending.begun());
    let mut idle = pin!(clock::sleep(limits.idle_timeout));
    let mut expiry = pin!(clock::sleep_until(last_call(&limits, &caller)));
    let mut is_ending = false;
    loop {
        let call = std::future::poll_fn(|cx| {
            loop {
                if let Poll::Ready(call) = server.poll_accept(cx) {
                    return Poll::Ready(call);
                }
                if is_ending && let Some(term) = &caller.term {
                    // Everything on it has ended by then, and has had a moment to be told.
                    let over = term.end() + FAREWELL;
                    if clock::now() >= over {
                        return Poll::Ready(None);
                    }
                    if expiry.deadline() != over {
                        expiry.as_mut().reset(over);
                    }
                    if expiry.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(None);
                    }
                }
                let is_cut =
                    |cx: &mut Context<'_>| caller.term.as_ref().is_some_and(|term| term.poll_cut(cx).is_ready());
                if !is_ending
                    && (ending.as_mut().poll(cx).is_ready() || expiry.as_mut().poll(cx).is_ready() || is_cut(cx))
                {
                    is_ending = true;
                    server.drain();
                    continue;
                }
                if !is_ending && idle.as_mut().poll(cx).is_ready() {
                    if server.is_busy() {
                        idle.as_mut().reset(clock::now() + limits.idle_timeout);
                    } else {
                        is_ending = true;
                        server.drain();
                    }
                    continue;
                }
                return Poll::Pending;
            }
        });
        // The end of the connection, clean or not, is each stream's own affair.
        let Some(Ok(call)) = call.await else {
            if let Some(excess) = server.excess() {
                listening.exceeded(&caller, excess);
            }
            return;
        };
        let (request, body, responder) = match call {
            Ok(call) => call,
            Err(refusal) => {
                listening.refused(&caller, &refusal.error, Some(refusal.status));
                continue;
            }
        };
        let step = pressure::step();
        if !is_ending && step >= Step::Brief {
            is_ending = true;
            server.drain();
        }
        if !is_ending {
            idle.as_mut().reset(clock::now() + limits.idle_timeout);
        }
        let scope = Rc::clone(&listening.scope.borrow());
        if let Some(asked) = connect::asked(&scope, &caller, &request) {
            let (listening, asker) = (Rc::clone(listening), (scope, Rc::clone(&caller)));
            let ((request, ()), stream) = (request.into_parts(), (body, responder));
            tokio::task::spawn_local(tunnel::serve_stream(listening, asker, request, stream, asked));
            continue;
        }
        // Boxed, for a task's future is moved several times while the task is made and ended.
        let exchange = Box::pin(exchange(scope, Rc::clone(&caller), request, body, responder, step));
        tokio::task::spawn_local(exchange);
    }
}
