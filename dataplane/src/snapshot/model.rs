//! What a snapshot is once it is checked: no dangling name, no default left to decide, ready to be read per request.

mod access_log;
mod admission;
mod authentication;
mod balance;
mod check;
mod coding;
mod direct;
mod headers;
mod matcher;
mod mirror;
mod rewrite;
mod shape;
mod sources;
mod template;
mod tracing;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

pub use access_log::{AccessLog, Field, Line, Logged, Only, Piece};
pub use admission::{Admission, BucketRate, MAX_QUOTAS, Quota, Rate, RateKey, RateLimit, WindowRate};
pub use authentication::{Access, AccessRule, Algorithm, Authentication, Carrier, Jwt, Method};
pub use balance::{Balance, BalancePolicy, Cookie, HashKey, Hashing, KeySource};
pub use check::{HealthCheck, Question};
pub use coding::{Coding, Compress, Decompress};
pub use direct::{Direct, ErrorPage, Front, HttpsRedirect, NewPath, Redirect, Respond};
pub use headers::HeaderChange;
pub use matcher::{HeaderMatch, HostMatch, Matcher, NamedMatch, Network, Parameter, PathMatch, PathPart, ValueMatch};
pub use mirror::Mirror;
pub use rewrite::{HostChange, Part, PathChange, Rewrite};
pub use shape::{ContentType, Shape};
pub use sources::{Listed, Networks, Sources};
pub use template::{Change, Fact, NamedChange, Part as TemplatePart, Template, Value};
pub use tracing::{Format, MeshTrace, Propagation, Telemetry};

use super::authorization::Authorization;
use super::index::RouteList;
use crate::verdict::Judge;

/// One compiled configuration; shared by all workers.
#[derive(Debug)]
pub struct Snapshot {
    /// Number of the compile.
    pub version: u64,
    /// By name, unique.
    pub listeners: Vec<Arc<Listener>>,
    /// By name.
    pub route_tables: HashMap<Arc<str>, Routes>,
    /// By name, unique.
    pub clusters: HashMap<Arc<str>, Arc<Cluster>>,
    /// Tracing and logging.
    pub telemetry: Telemetry,
}

/// Where a person wrote the thing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// "services/orders.yaml:12:3", or a KV key.
    pub place: Box<str>,
    /// The KV key's index; 0 for a file.
    pub index: u64,
}

/// Which way a listener's traffic goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// From the mesh to the local app.
    Inbound,
    /// From the local app to the mesh.
    Outbound,
    /// From outside to the mesh.
    Edge,
}

impl Direction {
    /// Its name in metrics, logs and spans.
    pub fn name(self) -> &'static str {
        match self {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
            Direction::Edge => "edge",
        }
    }
}

/// What the connections of a listener carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// HTTP.
    Http,
    /// HTTP, and CONNECT opens tunnels.
    Proxy,
    /// Any bytes.
    Tcp,
    /// HTTP with clients that ask for it by ALPN, any bytes with all others.
    ByAlpn,
}

/// A socket to accept on.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Unique.
    pub name: Arc<str>,
    /// Port 0 takes a free one.
    pub address: SocketAddr,
    /// Which way.
    pub direction: Direction,
    /// What it takes.
    pub mode: Mode,
    /// Key of `Snapshot::route_tables`.
    pub route_table: Arc<str>,
    /// None: cleartext.
    pub tls: Option<ServerTls>,
    /// None: whoever has come in may call.
    pub authorization: Option<Arc<Authorization>>,
    /// None: whatever comes is taken.
    pub admission: Option<Arc<Admission>>,
    /// None: whoever it is.
    pub sources: Option<Arc<Sources>>,
    /// None: nothing is answered before a route is found.
    pub front: Option<Arc<Front>>,
    /// Networks of those that say before each connection whose it is, and who alone may come; None: nobody says.
    pub balancers: Option<Arc<[Network]>>,
    /// Where balancers ask how we are; None: nowhere.
    pub health_path: Option<Arc<str>>,
    /// Bounds.
    pub limits: ListenerLimits,
    /// Who is believed.
    pub forwarding: Arc<Forwarding>,
    /// Where it was written.
    pub origin: Origin,
}

/// Bounds of one listener's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Bytes of a request head. Default 60 KiB, as Envoy.
    pub max_header_bytes: u32,
    /// Bytes of method, target and version. Default 8 KiB, as nginx.
    pub max_request_line: u32,
    /// Fields of a request head. Default 100, as Envoy.
    pub max_headers: u32,
    /// Concurrent streams of one HTTP/2 connection. Default 256.
    pub max_streams: u32,
    /// From the first byte of a head to its last, and for a TLS handshake. Default 10 s.
    pub header_timeout: Duration,
    /// How long a request's content may stand still before its answer begins. Default 60 s, as nginx.
    pub body_timeout: Duration,
    /// How long a caller may take none of its response. Default 5 min, as Envoy.
    pub send_timeout: Duration,
    /// A connection without a request. Default 1 h, as Envoy.
    pub idle_timeout: Duration,
    /// A connection takes no request after this time, a tenth more or less, so that clients spread over new instances.
    /// Default 1 h.
    pub max_connection_age: Duration,
    /// Between two PINGs on an HTTP/2 connection. Default 60 s.
    pub keepalive_interval: Duration,
    /// For the answer to one; then the client is gone. Default 20 s, as gRPC.
    pub keepalive_timeout: Duration,
    /// Open connections, all workers together; later ones are closed at once. Default 16384.
    pub max_connections: u32,
}

/// What a listener believes of what requests say about the way they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwarding {
    /// Networks of the proxies in front.
    pub trusted: Vec<Network>,
    /// Number of proxies in front, whatever their addresses.
    pub hops: u32,
    /// Write `Forwarded` too.
    pub forwarded: bool,
    /// Our SPIFFE id, where the application is told of verified peers.
    pub client_cert_by: Option<Box<str>>,
}

/// How a listener speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// Names in the secrets; at least one, the first is the default.
    pub identities: Vec<Arc<str>>,
    /// Name in the secrets; None: client certificates are not asked for.
    pub trust_bundle: Option<Arc<str>>,
    /// Refuse connections without a verified client certificate.
    pub require_client_certificate: bool,
    /// The oldest version spoken.
    pub min_version: TlsVersion,
    /// A client may have any name that the bundle's roots vouch for; else a SPIFFE id of one of its trust domains.
    pub any_client_name: bool,
    /// Serve clients that do not begin with TLS in the clear, without a name.
    pub cleartext: bool,
    /// Offer HTTP's protocols (ALPN): the listener takes requests.
    pub offers_http: bool,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246.
    V12,
    /// RFC 8446.
    V13,
}

/// The routes of one table, in the order written.
#[derive(Debug, Default)]
pub struct Routes {
    /// Of requests; they lead to clusters that speak HTTP.
    pub http: RouteList,
    /// Of connections; they match by host alone, and lead to clusters of [`Protocol::Tcp`].
    pub tcp: RouteList,
}

/// One route; the first that matches wins.
#[derive(Debug)]
pub struct Route {
    /// In metrics, logs, explain.
    pub name: Arc<str>,
    /// When it applies.
    pub matcher: Matcher,
    /// At least one, but none of a route with `direct`; weights are positive.
    pub destinations: Vec<Destination>,
    /// Sum of the weights.
    pub total_weight: u32,
    /// Whole exchange; None: no limit.
    pub timeout: Option<Duration>,
    /// When it is tried again.
    pub retry: Retry,
    /// None: path and host stay.
    pub rewrite: Option<Box<Rewrite>>,
    /// Bytes of a request's content; `u64::MAX`: no limit.
    pub max_request_body: u64,
    /// None: nothing is done to its requests.
    pub fault: Option<Box<Fault>>,
    /// None: nobody is asked who it is.
    pub authentication: Option<Box<Authentication>>,
    /// None: whoever is known, or need not be, may use it.
    pub access: Option<Access>,
    /// None: whoever it is.
    pub sources: Option<Box<Sources>>,
    /// None: whatever it is.
    pub shape: Option<Box<Shape>>,
    /// Each must have room; at most [`MAX_QUOTAS`].
    pub quotas: Vec<Arc<Quota>>,
    /// None: answers go on as they are.
    pub compress: Option<Box<Compress>>,
    /// None: the content of requests goes on as it is.
    pub decompress: Option<Decompress>,
    /// None: nobody gets copies of them.
    pub mirror: Option<Mirror>,
    /// None: not our affair.
    pub cors: Option<Cors>,
    /// Its requests are answered here; None: its destinations answer them.
    pub direct: Option<Direct>,
    /// Before those of the listener.
    pub error_pages: Vec<ErrorPage>,
    /// Made in the query of its requests, in this order.
    pub query: Box<[NamedChange]>,
    /// Made in their cookies.
    pub cookies: Box<[NamedChange]>,
    /// How long a TCP connection may be still. Default 1 h, as Envoy's.
    pub idle_timeout: Duration,
    /// Where it was written.
    pub origin: Origin,
}

/// When and how often a request is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Tries, the first included. Default 3.
    pub attempts: u32,
    /// When the endpoint broke off before its answer began, or that was no valid HTTP.
    pub reset: bool,
    /// When it answered with one of these.
    pub statuses: Vec<RangeInclusive<u16>>,
    /// When it answered a call with one of these gRPC statuses: the bit of each.
    pub calls: u32,
    /// How long an endpoint may take to begin its answer.
    pub per_try_timeout: Option<Duration>,
    /// The longest wait before the first retry; it doubles with each. Default 25 ms, as Envoy.
    pub backoff: Duration,
    /// The longest wait before any. Default 250 ms, as Envoy.
    pub backoff_max: Duration,
    /// Thousandths of the cluster's requests that may be retries. Default 200, as Envoy and Linkerd.
    pub budget: u32,
}

/// What is done to requests on purpose. Shares are in millionths.
#[derive(Debug)]
pub struct Fault {
    /// Which of the route's requests.
    pub matcher: Matcher,
    /// How long, and how often.
    pub delay: (Duration, u32),
    /// The status of HTTP and of gRPC, and how often.
    pub abort: (u16, u8, u32),
    /// How often.
    pub reset: u32,
    /// Trusted callers may ask for one.
    pub by_header: bool,
}

impl Retry {
    /// Whether work that may have been done is done again: of a call, or of another request.
    pub fn repeats(&self, is_call: bool) -> bool {
        let is_named = self.reset || !self.statuses.is_empty() || self.per_try_timeout.is_some();
        self.attempts > 1 && (is_named || is_call && self.calls != 0)
    }
}

#[cfg(test)]
impl Retry {
    /// One try.
    pub fn once() -> Self {
        Retry {
            attempts: 1,
            reset: false,
            statuses: Vec::new(),
            calls: 0,
            per_try_timeout: None,
            backoff: Duration::ZERO,
            backoff_max: Duration::ZERO,
            budget: 0,
        }
    }
}

/// Which web pages may read answers, as the fields that say so.
#[derive(Debug)]
pub struct Cors {
    /// None: any page may.
    pub origins: Option<Vec<OriginMatch>>,
    /// `Access-Control-Allow-Methods`.
    pub methods: HeaderValue,
    /// `Access-Control-Allow-Headers`.
    pub headers: HeaderValue,
    /// `Access-Control-Expose-Headers`.
    pub exposed: HeaderValue,
    /// `Access-Control-Max-Age`.
    pub max_age: Option<HeaderValue>,
    /// `Access-Control-Allow-Credentials`.
    pub credentials: bool,
}

/// A condition on the origin of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginMatch {
    /// "https://shop.example.com".
    Exact(Box<str>),
    /// "https://" and ".example.com"; written "https://*.example.com".
    Label(Box<str>, Box<str>),
}

/// One target of a route.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Key of `Snapshot::clusters`.
    pub cluster: Arc<str>,
    /// Positive.
    pub weight: u32,
    /// Made in each request that goes here, in this order.
    pub request_headers: Box<[HeaderChange]>,
    /// Made in the head of each answer from there.
    pub response_headers: Box<[HeaderChange]>,
}

#[cfg(test)]
impl Destination {
    /// The cluster of this name, of weight 1.
    pub fn of(cluster: &str) -> Self {
        Destination {
            cluster: cluster.into(),
            weight: 1,
            request_headers: Box::default(),
            response_headers: Box::default(),
        }
    }
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, by prior knowledge or inside TLS.
    Http2,
    /// Any bytes, which are passed on as they are.
    Tcp,
}

/// A service, or a subset of one, to send to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// "orders", "orders/v1", "app".
    pub name: Arc<str>,
    /// The service's name.
    pub service: Arc<str>,
    /// The subset's name; empty: all of the service.
    pub subset: Arc<str>,
    /// What the endpoints speak.
    pub protocol: Protocol,
    /// They speak gRPC, and nothing but it.
    pub is_grpc: bool,
    /// Who gets a request.
    pub balance: Balance,
    /// None: cleartext.
    pub tls: Option<ClientTls>,
    /// TCP and TLS together. Default 5 s, as Envoy.
    pub connect_timeout: Duration,
    /// How long requests wait for the first endpoints. Default 5 s.
    pub warm_timeout: Duration,
    /// Connections, all workers together. Default 1024, as Envoy.
    pub max_connections: u32,
    /// Requests that wait for a connection. Default 1024, as Envoy.
    pub max_pending: u32,
    /// Requests in flight. Default 1024, as Envoy.
    pub max_requests: u32,
    /// Of each endpoint.
    pub per_endpoint: EndpointLimits,
    /// What the end of an attempt says about its endpoint.
    pub judge: Arc<Judge>,
    /// Retries in flight. Default 1024; the budget is what usually bounds them.
    pub max_retries: u32,
    /// None: nobody is ejected.
    pub outlier: Option<Outlier>,
    /// None: it is never opened.
    pub breaker: Option<ErrorRate>,
    /// None: nobody is asked.
    pub check: Option<Arc<HealthCheck>>,
    /// Where it was written.
    pub origin: Origin,
}

/// What one endpoint of a cluster may have, all workers together; `u32::MAX`: no limit of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointLimits {
    /// Connections; a worker always gets one.
    pub max_connections: u32,
    /// Requests that wait for a connection.
    pub max_pending: u32,
    /// Requests in flight.
    pub max_requests: u32,
    /// Requests in flight that came here after a failed attempt.
    pub max_retries: u32,
}

/// When an endpoint gets no requests for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlier {
    /// So many failures in a row; 0: any number. Default 5, as Envoy.
    pub consecutive_errors: u32,
    /// So many gateway errors in a row, which are failures too; 0: any number. Default 0, as Envoy enforces none.
    pub consecutive_gateway_errors: u32,
    /// Fewer thousandths of its requests in ten seconds succeeded; 0: none need. Default 500.
    pub success_rate: u32,
    /// Requests that must be for that. Default 20.
    pub min_requests: u32,
    /// For how long; it doubles each time. Default 30 s, as Envoy.
    pub ejection: Duration,
    /// The longest. Default 300 s, as Envoy.
    pub max_ejection: Duration,
    /// Thousandths of the endpoints that may be out, of two or more at least one. Default 500.
    pub max_ejected: u32,
}

/// When a cluster gets no requests for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorRate {
    /// More thousandths of its requests in ten seconds failed.
    pub failures: u32,
    /// Requests that must be for that. Default 20.
    pub min_requests: u32,
    /// For how long; it doubles each time, up to ten times this. Default 5 s.
    pub open: Duration,
}

/// How a cluster's connections speak TLS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientTls {
    /// Name in the secrets of the certificate to show; None: none.
    pub identity: Option<Arc<str>>,
    /// Name in the secrets.
    pub trust_bundle: Arc<str>,
    /// The peer's certificate must hold one of these URIs and no other.
    pub spiffe_ids: Vec<Arc<str>>,
    /// SNI.
    pub server_name: Box<str>,
}
