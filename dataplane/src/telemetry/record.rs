//! The outcome record of one exchange: a value that must be consumed. Dropping it records an exchange that was broken off.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, REFERER, USER_AGENT};
use http::uri::Authority;
use http::{Response, StatusCode, Uri, request, response};

use super::finished::{Agent, Attempt, Candidates, Consumer, Finished, RequestId};
use super::grpc_status::GrpcStatus;
use super::metrics::{EndpointMetrics, ListenerLabel, RouteMetrics};
use super::observer::Observer;
use super::trace::span_id;
use crate::clock::{self, Instant};
use crate::error::{Error, Reason};
use crate::random;
use crate::snapshot::model::{Cluster, Direction, Origin, Route};
use crate::verdict::Call;

mod mesh;

/// Names one exchange between hops.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// One exchange in progress. Its methods are called in the order of a request's life; `finish` ends it.
#[must_use = "an exchange that nobody finishes counts as broken off"]
#[derive(Debug)]
pub struct Record {
    observer: Rc<Observer>,
    started: Instant,
    exchange: Finished,
    metrics: Option<Arc<RouteMetrics>>,
    /// Index of the route's destination that was picked.
    destination: Option<usize>,
    /// The status of the call is content, which nobody reads here: gRPC-Web that passes as it is.
    status_is_content: bool,
    consumed: bool,
}

impl Record {
    /// When the head of a request is complete. `peer` is the caller's verified identity. A request id is kept from a
    /// verified peer, from the local app, and at the edge, where `filter` leaves none but a trusted proxy's; else made.
    pub fn start(
        observer: &Rc<Observer>,
        listener: &Arc<ListenerLabel>,
        parts: &request::Parts,
        peer: Option<Arc<str>>,
        client: SocketAddr,
    ) -> Record {
        observer.counts.started();
        let started = clock::now();
        let started_unix_nanos = observer.unix_nanos(started);
        let headers = &parts.headers;
        let trusted = peer.is_some() || listener.direction != Direction::Inbound;
        let given = if trusted {
            headers.get(X_REQUEST_ID).and_then(RequestId::given)
        } else {
            None
        };
        let tracing = observer.tracing.get();
        let context = tracing.context(headers);
        let sampled = context.as_ref().is_some_and(|context| context.sampled);
        let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        let is_kind = |name: &[u8]| kind.starts_with(name);
        let needs_agent = observer.logged.get().is_some_and(|logged| logged.needs_agent);
        let agent = (sampled || needs_agent).then(|| {
            let referer = needs_agent.then(|| headers.get(REFERER).cloned()).flatten();
            Box::new(Agent { name: headers.get(USER_AGENT).cloned(), referer })
        });
        let exchange = Finished {
            peer,
            started_unix_nanos,
            request_id: given.unwrap_or_else(|| RequestId::make(started_unix_nanos, (random::u64(), random::u64()))),
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            host: if parts.uri.authority().is_none() {
                headers.get(HOST).cloned()
            } else {
                None
            },
            agent,
            version: parts.version,
            grpc: is_kind(b"application/grpc"),
            touched: tracing.touched(context.as_ref()),
            context,
            ..Finished::blank(listener, client)
        };
        Record {
            observer: Rc::clone(observer),
            started,
            exchange,
            metrics: None,
            destination: None,
            status_is_content: is_kind(b"application/grpc-web"),
            consumed: false,
        }
    }

    /// When a connection begins whose bytes are passed on as they are; `asked` is whom CONNECT named.
    pub fn connection(
        observer: &Rc<Observer>,
        listener: &Arc<ListenerLabel>,
        asked: Option<&Authority>,
        peer: Option<Arc<str>>,
        client: SocketAddr,
    ) -> Record {
        observer.counts.started();
        let started = clock::now();
        let started_unix_nanos = observer.unix_nanos(started);
        let tracing = observer.tracing.get();
        // Nothing that is passed on names a trace: it begins here.
        let context = tracing.root();
        let exchange = Finished {
            tcp: true,
            peer,
            started_unix_nanos,
            request_id: RequestId::make(started_unix_nanos, (random::u64(), random::u64())),
            uri: asked.cloned().map(Uri::from).unwrap_or_default(),
            touched: tracing.touched(context.as_ref()),
            context,
            ..Finished::blank(listener, client)
        };
        Record {
            observer: Rc::clone(observer),
            started,
            exchange,
            metrics: None,
            destination: None,
            status_is_content: false,
            consumed: false,
        }
    }

    /// Names the exchange in replies and towards the upstream (`x-request-id`).
    pub fn request_id(&self) -> &RequestId {
        &self.exchange.request_id
    }

    /// A listener that was written there took it; asked for when it is refused.
    pub fn listened(&mut self, origin: &Arc<Origin>) {
        self.exchange.failure.get_or_insert_default().listener = Some(Arc::clone(origin));
    }

    /// The answer is one that a proxy of the mesh made, for this reason.
    pub fn told(&mut self, reason: Reason) {
        self.exchange.told = Some(reason);
    }

    /// A trusted proxy in front has told whose request it is.
    pub fn client(&mut self, told: Option<IpAddr>) {
        self.exchange.told_client = told;
    }

    /// Its credentials say who calls.
    pub fn consumer(&mut self, name: &Arc<str>) {
        self.exchange.consumer = Some(Box::new(Consumer(Arc::clone(name))));
    }

    /// The route was found; `metrics` are its cells in this listener's direction.
    pub fn routed(&mut self, route: &Arc<Route>, metrics: &Arc<RouteMetrics>) {
        self.exchange.route = Some(Arc::clone(route));
        self.metrics = Some(Arc::clone(metrics));
    }

    /// The route that was found.
    pub fn route(&self) -> Option<&Route> {
        self.exchange.route.as_deref()
    }

    /// A call by gRPC-Web goes on as gRPC: its status comes in trailers.
    pub fn translated(&mut self) {
        self.status_is_content = false;
    }

    /// A destination was picked: the route's `destination`-th, which is `cluster`.
    pub fn cluster(&mut self, cluster: &Arc<Cluster>, destination: usize) {
        self.exchange.cluster = Some(Arc::clone(cluster));
        self.destination = Some(destination);
    }

    /// What the pick could choose from.
    pub fn candidates(&mut self, candidates: Candidates) {
        self.exchange.candidates = candidates;
    }

    /// What the caller's certificate proves.
    pub fn peer(&self) -> Option<&str> {
        self.exchange.peer.as_deref()
    }

    /// Who made the request, as far as trusted proxies can tell.
    pub fn client_address(&self) -> IpAddr {
        self.exchange.client_address()
    }

    /// An endpoint was picked and is tried; an attempt that still goes on ends here.
    pub fn attempt_started(&mut self, endpoint: &Arc<EndpointMetrics>, address: SocketAddr) {
        let now = clock::now().duration_since(self.started);
        if let Some(open) = self.exchange.attempts.open() {
            open.ended = Some(now);
        }
        let span_id = if self.exchange.sampled().is_some() {
            span_id()
        } else {
            0
        };
        self.exchange.attempts.push(Attempt {
            endpoint: Arc::clone(endpoint),
            address,
            span_id,
            started: now,
            ended: None,
            why: None,
            peer: None,
            status: None,
            grpc_status: None,
            ejection: 0,
        });
    }

    /// Writes the trace context into the current attempt's request.
    pub fn inject(&self, headers: &mut HeaderMap) {
        if let Some(context) = &self.exchange.context {
            context.inject(
                self.exchange.attempts.last().map_or(0, |attempt| attempt.span_id),
                headers,
            );
        }
    }

    /// The current attempt has a connection; `peer` is the endpoint's verified SPIFFE id.
    pub fn attempt_connected(&mut self, peer: Option<Arc<str>>) {
        if let Some(open) = self.exchange.attempts.open() {
            open.peer = peer;
        }
    }

    /// The current attempt is over. One that succeeded (None) lasts as long as the exchange and shares its outcome, so
    /// that nobody need ask for the time.
    pub fn attempt_ended(&mut self, why: Option<Reason>) {
        if why.is_none() {
            return;
        }
        if let Some(open) = self.exchange.attempts.open() {
            open.why = why;
            open.ended = Some(clock::now().duration_since(self.started));
        }
    }

    /// The current attempt was answered, and the answer is not passed on: another try is made.
    pub fn attempt_answered(&mut self, head: &Response<()>, trailers: Option<&HeaderMap>) {
        let is_call = self.exchange.grpc;
        if let Some(open) = self.exchange.attempts.open() {
            open.status = Some(head.status());
            let status = trailers.unwrap_or(head.headers()).get(GRPC_STATUS).filter(|_| is_call);
            open.grpc_status = status.map(GrpcStatus::parse);
        }
    }

    /// True when the status of the call can be read.
    pub fn is_call(&self) -> bool {
        self.exchange.grpc && !self.status_is_content
    }

    /// The head of a response goes to the caller: the upstream's, or one that the proxy made. Informational heads
    /// (1xx) do not count.
    pub fn response_head(&mut self, head: &response::Parts) {
        if head.status.is_informational() {
            return;
        }
        self.exchange.status = Some(head.status);
        if let Some(open) = self.exchange.attempts.open() {
            open.status = Some(head.status);
        }
        self.trailers(&head.headers);
    }

    /// The trailers of the response go to the caller.
    pub fn trailers(&mut self, trailers: &HeaderMap) {
        if !self.exchange.grpc {
            return;
        }
        if let Some(status) = trailers.get(GRPC_STATUS).map(GrpcStatus::parse) {
            self.exchange.grpc_status = Some(status);
            if let Some(open) = self.exchange.attempts.open() {
                open.grpc_status = Some(status);
            }
        }
    }

    /// True when the call has ended with another status than OK.
    pub fn has_failed_call(&self) -> bool {
        self.exchange.grpc_status.is_some_and(GrpcStatus::is_error)
    }

    /// What is known of the call's status.
    pub fn call(&self) -> Call {
        match self.exchange.grpc_status {
            Some(status) => Call::Status(status.number()),
            None if self.exchange.grpc && !self.status_is_content => Call::Open,
            None => Call::No,
        }
    }

    /// The failure that ends the exchange. A reply that the proxy makes for it is reported by `response_head`, as any.
    pub fn failed(&mut self, error: &Error) {
        self.exchange.reason = Some(error.reason);
        if let Some(particulars) = error.particulars() {
            self.exchange.failure.get_or_insert_default().particulars = particulars.clone();
        }
    }

    /// Bytes of the request's content came from the caller.
    pub fn received(&mut self, bytes: u64) {
        self.exchange.received += bytes;
    }

    /// Bytes of the response's content went to the caller.
    pub fn sent(&mut self, bytes: u64) {
        self.exchange.sent += bytes;
    }

    /// The exchange is over.
    pub fn finish(mut self) {
        self.consume();
    }

    fn consume(&mut self) {
        self.consumed = true;
        self.close();
        self.observer.counts.ended();
        self.measure();
        let (sampled, logged) = (self.exchange.sampled().is_some(), self.observer.logs(&self.exchange));
        let kept = self.observer.hub.keeps(&self.exchange);
        if sampled || logged || kept.is_some() {
            let mut exchange = self.take();
            if kept.is_some() {
                exchange.settle();
            }
            self.observer.hub.push(Arc::new(exchange), logged, kept);
        }
    }

    /// Settles what is still open.
    fn close(&mut self) {
        let exchange = &mut self.exchange;
        exchange.duration = clock::now().duration_since(self.started);
        if exchange.grpc && exchange.grpc_status.is_none() {
            exchange.grpc_status = match (exchange.reason, exchange.status) {
                (Some(reason), _) => Some(GrpcStatus::new(reason.grpc_status())),
                (None, Some(StatusCode::OK)) if self.status_is_content => None,
                (None, Some(status)) => Some(GrpcStatus::from_http(status)),
                (None, None) => None,
            };
        }
        let (reason, duration) = (exchange.reason, exchange.duration);
        if let Some(open) = exchange.attempts.open() {
            open.why = reason;
            open.ended = Some(duration);
        }
    }

    fn measure(&self) {
        let exchange = &self.exchange;
        let destination = match (&self.metrics, self.destination) {
            (Some(metrics), Some(index)) => metrics.destinations.get(index),
            _ => None,
        };
        let durations = match (destination, &self.metrics) {
            (Some(destination), _) => &destination.durations,
            (None, Some(metrics)) => &metrics.durations,
            (None, None) => &self.observer.unrouted[exchange.listener.direction as usize],
        };
        durations.observe(
            exchange.duration,
            exchange.status,
            exchange.grpc_status,
            exchange.reason,
        );
        if let Some(destination) = destination {
            for attempt in exchange.attempts.iter() {
                destination.attempts.count(attempt.why);
                let (status, grpc_status) = (attempt.status, attempt.grpc_status);
                let attempts = &attempt.endpoint.attempts;
                attempts.observe(attempt.duration(), status, grpc_status, attempt.why);
            }
            if let Some(bytes) = &destination.bytes {
                bytes.count(exchange.received, exchange.sent);
            }
        }
    }

    /// Moves the exchange out and leaves a blank.
    fn take(&mut self) -> Finished {
        let blank = Finished::blank(&self.exchange.listener, self.exchange.client);
        std::mem::replace(&mut self.exchange, blank)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.consumed {
            return;
        }
        let reason = if std::thread::panicking() {
            Reason::Internal
        } else if self.observer.is_over.get() {
            Reason::Draining
        } else {
            Reason::DownstreamReset
        };
        self.exchange.reason.get_or_insert(reason);
        self.consume();
    }
}
