//! Connections to one endpoint, kept for the next request.

mod connect;
mod h1;
mod h2;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};

pub use connect::{Sessions, Transport};

use crate::breaker::Gauge;
use crate::clock::Instant;
use crate::cluster::{Cluster, Counts, Endpoint};
use crate::error::{Error, Reason};
use crate::http::body::{Body, Head, Sink};
use crate::http::{h1 as codec1, h2 as codec2, pump};
use crate::net::Io;
use crate::snapshot::model::{self, EndpointLimits, Protocol};
use crate::tls::term::{Term, Verified};

/// How long an unused connection is kept. Shorter than the keep-alive of common servers (nginx 75 s, Node 5 s excepted),
/// so that we close first.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// What the cluster that a connection is for allows.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections, all workers together; a worker always gets one.
    pub max_connections: u32,
    /// Requests that wait for a connection, each no longer than a connect may take (as HAProxy's `timeout queue`).
    pub max_pending: u32,
    /// The same for each endpoint.
    pub per_endpoint: EndpointLimits,
}

impl Limits {
    /// Those of a cluster.
    pub fn of(config: &model::Cluster) -> Self {
        let model::Cluster { max_connections, max_pending, per_endpoint, .. } = *config;
        Limits { max_connections, max_pending, per_endpoint }
    }
}

/// The connections of one worker to one endpoint.
#[derive(Debug)]
pub enum Pool {
    /// One request at a time on each.
    H1(Rc<h1::Pool>),
    /// Many streams on each.
    H2(Rc<h2::Pool>),
}

impl Pool {
    /// An empty pool.
    pub fn new(endpoint: &Endpoint, cluster: &Cluster, transport: Rc<Transport>) -> Self {
        let target = Target::new(endpoint, cluster, transport);
        match target.transport.protocol {
            // Requests are not sent to endpoints that take bytes: the snapshot's check sees to it.
            Protocol::Http1 | Protocol::Tcp => Pool::H1(Rc::new(h1::Pool::new(target))),
            Protocol::Http2 => Pool::H2(Rc::new(h2::Pool::new(target))),
        }
    }

    /// A connection with room, if there is one without waiting.
    pub fn ready(&self) -> Option<Lease> {
        match self {
            Pool::H1(pool) => pool.ready().map(Lease::H1),
            Pool::H2(pool) => pool.ready().map(Lease::H2),
        }
    }

    /// Waits for a connection with room, opening one within the limits.
    pub async fn checkout(&self, cluster: &Cluster, limits: Limits) -> Result<Lease, Error> {
        match self {
            Pool::H1(pool) => pool.checkout(cluster, limits).await.map(Lease::H1),
            Pool::H2(pool) => pool.checkout(cluster, limits).await.map(Lease::H2),
        }
    }

    /// Closes what nobody has used for a while.
    pub fn sweep(&self, now: Instant) {
        match self {
            Pool::H1(pool) => pool.sweep(now),
            Pool::H2(pool) => pool.sweep(now),
        }
    }

    /// True when no connection is open.
    pub fn is_empty(&self) -> bool {
        match self {
            Pool::H1(pool) => pool.is_empty(),
            Pool::H2(pool) => pool.is_empty(),
        }
    }

    /// True when its connections show an identity, or trust roots, that have been replaced.
    pub fn is_outdated(&self) -> bool {
        let target = match self {
            Pool::H1(pool) => pool.target(),
            Pool::H2(pool) => pool.target(),
        };
        target.transport.is_outdated()
    }

    /// Lets connections end after the requests on them; later ones get new connections.
    pub fn retire(&self) {
        match self {
            Pool::H1(pool) => pool.retire(),
            Pool::H2(pool) => pool.retire(),
        }
    }
}

/// Where a pool connects, and what it counts there.
#[derive(Debug)]
pub struct Target {
    address: std::net::SocketAddr,
    transport: Rc<Transport>,
    sessions: Sessions,
    connections: Arc<Gauge>,
    counts: Arc<Counts>,
}

/// One open connection in the gauges; they go down when it is dropped.
#[derive(Debug)]
pub struct Counted {
    connections: Arc<Gauge>,
    counts: Arc<Counts>,
}

/// A connection that carries no requests.
#[derive(Debug)]
pub struct Connection {
    /// The bytes.
    pub io: Io,
    /// The verified identity of the endpoint; `None` without TLS.
    pub peer: Option<Arc<str>>,
    /// How long it may live.
    pub term: Option<Term>,
    _counted: Counted,
}

impl Target {
    /// Where `endpoint` of `cluster` is reached.
    pub fn new(endpoint: &Endpoint, cluster: &Cluster, transport: Rc<Transport>) -> Self {
        Target {
            address: endpoint.address,
            transport,
            sessions: Sessions::default(),
            connections: Arc::clone(&cluster.connections),
            counts: Arc::clone(&endpoint.counts),
        }
    }

    /// A new connection, and the verified identity at its other end.
    async fn connect(&self) -> Result<(Io, Option<Verified>), Error> {
        self.transport.connect(self.address, &self.sessions).await
    }

    /// Opens a connection for bytes that are passed on as they are, unless as many are open as may be.
    pub async fn dial(&self, limits: Limits) -> Result<Connection, Error> {
        let full = || Error::new(Reason::Overflow).because(self.full(limits));
        let counted = self.count(limits, false).ok_or_else(full)?;
        let (io, peer) = self.connect().await?;
        let (peer, term) = peer.map(|peer| (peer.uri, peer.term)).unzip();
        Ok(Connection { io, peer, term, _counted: counted })
    }

    /// Counts a connection, unless the cluster or the endpoint has as many as it may. A worker without any gets its first
    /// in any case.
    fn count(&self, limits: Limits, has_none: bool) -> Option<Counted> {
        if has_none {
            self.connections.take();
            self.counts.connections.take();
        } else if !self.connections.try_take(limits.max_connections) {
            return None;
        } else if !self.counts.connections.try_take(limits.per_endpoint.max_connections) {
            self.connections.give();
            return None;
        }
        Some(Counted { connections: Arc::clone(&self.connections), counts: Arc::clone(&self.counts) })
    }

    /// Which limit allows no other connection.
    fn full(&self, limits: Limits) -> String {
        let own = limits.per_endpoint.max_connections;
        match self.counts.connections.held() >= own {
            true => format!("per_endpoint.max_connections: {own} are open to {}", self.address),
            false => format!("max_connections: {} are open", limits.max_connections),
        }
    }

    /// A request has waited for a connection as long as it may.
    fn crowded(&self, limits: Limits) -> Error {
        let (address, timeout) = (self.address, self.transport.timeout);
        Error::new(Reason::Overflow).because(format_args!(
            "{address}: no connection had room within {timeout:?} (connect_timeout), and no other is allowed: {}",
            self.full(limits)
        ))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.connections.give();
        self.counts.connections.give();
    }
}

/// A request that waits for a connection, in the gauges; they go down when it is dropped.
#[derive(Debug)]
struct Pending<'a> {
    cluster: &'a Cluster,
    counts: &'a Counts,
}

impl<'a> Pending<'a> {
    fn begin(cluster: &'a Cluster, target: &'a Target, limits: Limits) -> Result<Self, Error> {
        let full = |limit: &str, most: u32| {
            let cause = format_args!("{limit}: {most} requests wait for a connection");
            Err(Error::new(Reason::Overflow).because(cause))
        };
        if !cluster.pending.try_take(limits.max_pending) {
            return full("max_pending", limits.max_pending);
        }
        let own = limits.per_endpoint.max_pending;
        if !target.counts.pending.try_take(own) {
            cluster.pending.give();
            return full("per_endpoint.max_pending", own);
        }
        Ok(Pending { cluster, counts: &target.counts })
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.cluster.pending.give();
        self.counts.pending.give();
    }
}

/// The right to send one request on a connection.
#[derive(Debug)]
pub enum Lease {
    /// The whole connection.
    H1(h1::Lease),
    /// One stream of it.
    H2(h2::Lease),
}

impl Lease {
    /// Sends the head; with `end` the request has no content.
    pub fn send(&mut self, head: Request<()>, end: bool) -> Result<(ResponseHead, Sink), Error> {
        match self {
            Lease::H1(lease) => {
                let (response, outgoing) = lease.send(head, end)?;
                let sink = if end { Sink::Closed } else { Sink::H1Request(outgoing) };
                Ok((ResponseHead::H1(response), sink))
            }
            Lease::H2(lease) => {
                // The sink is kept when the request is complete too: dropping every handle of the stream cancels it.
                let (response, outgoing) = lease.send(head, end)?;
                Ok((ResponseHead::H2(response), Sink::H2(outgoing)))
            }
        }
    }

    /// The verified identity of the endpoint; `None` without TLS.
    pub fn peer(&self) -> Option<&Arc<str>> {
        match self {
            Lease::H1(lease) => lease.peer(),
            Lease::H2(lease) => lease.peer(),
        }
    }

    /// How long its connection may live; `None` without TLS.
    pub fn term(&self) -> Option<&Term> {
        match self {
            Lease::H1(lease) => lease.term(),
            Lease::H2(lease) => lease.term(),
        }
    }

    /// Waits until it is known what the endpoint can do beside plain requests.
    pub async fn settled(&self) {
        match self {
            Lease::H1(_) => {}
            Lease::H2(lease) => lease.settled().await,
        }
    }

    /// Says that the exchange ended cleanly, so that the connection can serve another.
    pub fn completed(&mut self) {
        if let Lease::H1(lease) = self {
            lease.completed();
        }
    }

    /// Sends a request whose content is there as a whole, and waits for the head of its answer; interim ones are nobody's.
    /// The sink must live as long as the answer is read: dropping it may cancel.
    pub async fn ask(&mut self, head: Request<()>, content: Bytes) -> Result<(Response<()>, Body, Sink), Error> {
        let (mut response, mut sink) = self.send(head, content.is_empty())?;
        if !content.is_empty() {
            // An endpoint may answer before it has all of it.
            let _answered = pump::send_whole(&mut sink, content).await;
        }
        loop {
            if let Head::Final(head, body) = poll_fn(|cx| response.poll(cx)).await? {
                return Ok((head, body, sink));
            }
        }
    }
}

/// The head of the response to come.
#[derive(Debug)]
pub enum ResponseHead {
    /// On HTTP/1.1.
    H1(codec1::client::ResponseHead),
    /// On HTTP/2.
    H2(codec2::ResponseHead),
}

impl ResponseHead {
    /// The next head, after the last interim one the response's own.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Error>> {
        match self {
            ResponseHead::H1(head) => head.poll(cx),
            ResponseHead::H2(head) => head.poll(cx),
        }
    }
}
