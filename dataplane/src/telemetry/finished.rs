//! What is known of one exchange when it is over: the value that spans, log lines and failures are made from, later and
//! on another thread.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderValue;
use http::{Method, StatusCode, Uri, Version};

use super::bounded::cut;
use super::grpc_status::GrpcStatus;
use super::hex;
use super::metrics::{EndpointMetrics, ListenerLabel};
use super::propagation::never_index;
use super::trace::TraceContext;
use crate::error::{Particulars, Reason, Setting};
use crate::snapshot::model::{Cluster, Origin, Route};

/// Bytes of a target, of a field and of an error's words that are kept for long.
const MAX_KEPT_URI: usize = 2048;
const MAX_KEPT_FIELD: usize = 256;
const MAX_KEPT_DETAIL: usize = 2048;

/// One exchange. Everything in it is a number or shared with what made it; nothing is formatted yet.
#[derive(Debug)]
pub struct Finished {
    /// Where it came in.
    pub listener: Arc<ListenerLabel>,
    /// The caller's socket.
    pub client: SocketAddr,
    /// Who it calls for, when it is a trusted proxy.
    pub told_client: Option<IpAddr>,
    /// The caller's verified identity.
    pub peer: Option<Arc<str>>,
    /// Wall-clock time of the request's head, or of the connection's start.
    pub started_unix_nanos: u64,
    /// To the end of the response.
    pub duration: Duration,
    /// Names the exchange in logs and replies.
    pub request_id: RequestId,
    /// Its place in a trace.
    pub context: Option<TraceContext>,
    /// As sent.
    pub method: Method,
    /// As sent.
    pub uri: Uri,
    /// The `Host` field, when the target has no authority.
    pub host: Option<HeaderValue>,
    /// Kept where spans or lines tell of it, and so it has a place of its own.
    pub agent: Option<Box<Agent>>,
    /// Of the downstream connection.
    pub version: Version,
    /// The request's content type is gRPC's.
    pub grpc: bool,
    /// It is a connection whose bytes were passed on as they are; method, path and status say nothing then.
    pub tcp: bool,
    /// None: no route was found.
    pub route: Option<Arc<Route>>,
    /// The consumer that calls; None: nobody asked, or it is none. Most have none, and so it has a place of its own.
    pub consumer: Option<Box<Consumer>>,
    /// None: no destination was picked.
    pub cluster: Option<Arc<Cluster>>,
    /// Tries, in order.
    pub attempts: Attempts,
    /// What the pick could choose from.
    pub candidates: Candidates,
    /// Of what happens to proxies, what touched it; told of a sampled exchange alone, and so it has a place of its own.
    pub touched: Option<Box<Touched>>,
    /// Of the response that the caller got; None: it got none.
    pub status: Option<StatusCode>,
    /// None: no gRPC.
    pub grpc_status: Option<GrpcStatus>,
    /// Why it failed; None: it did not.
    pub reason: Option<Reason>,
    /// What is known of the failure beside its reason.
    pub failure: Option<Box<Failure>>,
    /// Why a proxy of the mesh behind this one made the answer; None: it is the endpoint's own.
    pub told: Option<Reason>,
    /// Bytes of the request's content.
    pub received: u64,
    /// Bytes of the response's content.
    pub sent: u64,
}

/// The program at the client.
#[derive(Debug, Default)]
pub struct Agent {
    /// What it calls itself.
    pub name: Option<HeaderValue>,
    /// The page that it came from.
    pub referer: Option<HeaderValue>,
}

/// Apart, since most exchanges have none.
#[derive(Debug, Default)]
pub struct Failure {
    /// What the error told.
    pub particulars: Particulars,
    /// Where the listener was written; None: nothing was refused.
    pub listener: Option<Arc<Origin>>,
}

/// The name of a consumer.
#[derive(Debug)]
pub struct Consumer(pub Arc<str>);

impl Finished {
    /// One of which nothing is known but where it came from.
    pub fn blank(listener: &Arc<ListenerLabel>, client: SocketAddr) -> Self {
        Finished {
            listener: Arc::clone(listener),
            client,
            told_client: None,
            peer: None,
            started_unix_nanos: 0,
            duration: Duration::ZERO,
            request_id: RequestId::Made(0),
            context: None,
            method: Method::GET,
            uri: Uri::default(),
            host: None,
            agent: None,
            version: Version::HTTP_11,
            grpc: false,
            tcp: false,
            route: None,
            consumer: None,
            cluster: None,
            attempts: Attempts::default(),
            candidates: Candidates::default(),
            touched: None,
            status: None,
            grpc_status: None,
            reason: None,
            failure: None,
            told: None,
            received: 0,
            sent: 0,
        }
    }

    /// Who made the request, as far as trusted proxies can tell.
    pub fn client_address(&self) -> IpAddr {
        self.told_client.unwrap_or(self.client.ip())
    }

    /// Whom the caller asked for, as sent.
    pub fn authority(&self) -> Cow<'_, str> {
        match (self.uri.authority(), &self.host) {
            (Some(authority), _) => Cow::Borrowed(authority.as_str()),
            (None, Some(host)) => String::from_utf8_lossy(host.as_bytes()),
            (None, None) => Cow::Borrowed(""),
        }
    }

    /// "pkg.Service/Method"; None: no gRPC.
    pub fn rpc_method(&self) -> Option<&str> {
        self.grpc.then(|| self.uri.path().trim_start_matches('/'))
    }

    /// "https" or "http".
    pub fn scheme(&self) -> &str {
        self.uri
            .scheme_str()
            .unwrap_or(if self.listener.tls { "https" } else { "http" })
    }

    /// The trace, when it is sampled: spans are made.
    pub fn sampled(&self) -> Option<&TraceContext> {
        self.context.as_ref().filter(|context| context.sampled)
    }

    /// It was not answered as asked for: by a proxy's own reply, or by the service with an error of its own.
    pub fn has_failed(&self) -> bool {
        match (self.reason.or(self.told), self.grpc_status, self.status) {
            (Some(_), ..) => true,
            (None, Some(status), _) => status.is_server_error(),
            (None, None, status) => status.is_some_and(|status| status.is_server_error()),
        }
    }

    /// Has it this request id, or this trace id in 32 hexadecimal digits?
    pub fn is_called(&self, id: &str) -> bool {
        let trace = self.context.as_ref().map(|context| context.trace_id);
        let asked = (id.len() == 32).then(|| u128::from_str_radix(id, 16).ok()).flatten();
        asked.is_some() && asked == trace || self.request_id.to_string() == id
    }

    /// What somebody wrote that its outcome hangs on.
    pub fn origin(&self) -> Option<&Origin> {
        let route = || self.route.as_ref().map(|route| &route.origin);
        match self.reason.map(Reason::setting) {
            Some(Setting::Listener) => self.failure.as_ref()?.listener.as_deref(),
            Some(Setting::Cluster) => {
                let written = self.cluster.as_ref().map(|cluster| &cluster.origin);
                written.filter(|origin| !origin.place.is_empty()).or_else(route)
            }
            Some(Setting::Route) | None => route(),
        }
    }

    /// Makes it fit to be kept for long: what a caller chose is cut, and holds no buffer of a connection any more.
    pub fn settle(&mut self) {
        let uri = self.uri.to_string();
        self.uri = cut(&uri, MAX_KEPT_URI).parse().unwrap_or_default();
        let copied = |field: &HeaderValue, most| {
            let bytes = field.as_bytes();
            HeaderValue::from_bytes(&bytes[..bytes.len().min(most)]).ok()
        };
        self.host = self.host.take().and_then(|host| copied(&host, MAX_KEPT_FIELD));
        if let Some(agent) = &mut self.agent {
            for field in [&mut agent.name, &mut agent.referer] {
                *field = field.take().and_then(|field| copied(&field, MAX_KEPT_FIELD));
            }
        }
        if let RequestId::Given(field) = &mut self.request_id
            && let Some(own) = copied(field, RequestId::MAX)
        {
            *field = own;
        }
        if let Some(context) = &mut self.context {
            let states = context.tracestate.iter();
            context.tracestate = states.filter_map(|field| copied(field, field.len())).collect();
        }
        if let Some(detail) = self
            .failure
            .as_mut()
            .and_then(|failure| failure.particulars.cause.as_mut())
            && detail.len() > MAX_KEPT_DETAIL
        {
            *detail = cut(detail, MAX_KEPT_DETAIL).into();
        }
    }

    /// The particulars of its failure, in words.
    pub fn detail(&self) -> Option<&str> {
        self.failure.as_ref()?.particulars.cause.as_deref()
    }

    /// What somebody wrote that decided how it failed, in words; or nothing.
    pub fn rule(&self) -> &str {
        let rule = self
            .failure
            .as_ref()
            .and_then(|failure| failure.particulars.rule.as_deref());
        rule.unwrap_or("")
    }

    /// The name of the route, or nothing.
    pub fn route_name(&self) -> &str {
        self.route.as_ref().map_or("", |route| &route.name)
    }

    /// The name of the cluster, or nothing.
    pub fn cluster_name(&self) -> &str {
        self.cluster.as_ref().map_or("", |cluster| &cluster.name)
    }
}

/// What the pick could choose from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    /// Endpoints known.
    pub total: u32,
    /// Endpoints that may be picked.
    pub healthy: u32,
    /// Endpoints that are ejected; only in a panic they are among those.
    pub ejected: u32,
    /// Endpoints whose health checks fail.
    pub ill: u32,
    /// Theirs; more than 0: it has failed over.
    pub priority: u32,
    /// So many endpoints were taken out that they are picked all the same.
    pub is_panic: bool,
}

/// Spans are those of the mesh's trace, 0: there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// The change that led to the configuration in force.
    pub config: u64,
    /// How those of its cluster stood.
    pub circuits: Circuits,
}

/// How the circuits of a cluster stand. Spans are those of the mesh's trace, 0: there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Circuits {
    /// None: the cluster as a whole has none.
    pub breaker: Option<Breaker>,
    /// When it opened last, unless it is closed.
    pub trip: u64,
    /// Ejections of endpoints that are out, as many as are told.
    pub ejections: [u64; 2],
}

/// Whether a cluster lets requests in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaker {
    /// All.
    Closed,
    /// None.
    Open,
    /// One, to find out.
    HalfOpen,
}

impl Breaker {
    /// "closed", …
    pub fn name(self) -> &'static str {
        match self {
            Breaker::Closed => "closed",
            Breaker::Open => "open",
            Breaker::HalfOpen => "half-open",
        }
    }
}

/// One try.
#[derive(Debug)]
pub struct Attempt {
    /// Which instance.
    pub endpoint: Arc<EndpointMetrics>,
    /// The instance's socket.
    pub address: SocketAddr,
    /// Of its CLIENT span; 0 when no span is made.
    pub span_id: u64,
    /// Since the start of the exchange.
    pub started: Duration,
    /// Since the start of the exchange; None: it goes on.
    pub ended: Option<Duration>,
    /// None: it succeeded.
    pub why: Option<Reason>,
    /// The endpoint's verified SPIFFE id.
    pub peer: Option<Arc<str>>,
    /// Of its response.
    pub status: Option<StatusCode>,
    /// Of its response or trailers.
    pub grpc_status: Option<GrpcStatus>,
    /// In the mesh's trace: it took its endpoint out. 0: it did not.
    pub ejection: u64,
}

impl Attempt {
    /// How long it took.
    pub fn duration(&self) -> Duration {
        self.ended.unwrap_or_default().saturating_sub(self.started)
    }
}

/// Tries in order. The first lives in the record itself: nearly all exchanges need no other.
#[derive(Debug, Default)]
pub struct Attempts {
    first: Option<Attempt>,
    /// The snapshot's check bounds it.
    rest: Vec<Attempt>,
}

impl Attempts {
    /// Adds the next one.
    pub fn push(&mut self, attempt: Attempt) {
        match self.first {
            None => self.first = Some(attempt),
            Some(_) => self.rest.push(attempt),
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Attempt> {
        self.first.iter().chain(&self.rest)
    }

    /// The one that goes on or ended last.
    pub fn last(&self) -> Option<&Attempt> {
        self.rest.last().or(self.first.as_ref())
    }

    /// Likewise.
    pub fn last_mut(&mut self) -> Option<&mut Attempt> {
        self.rest.last_mut().or(self.first.as_mut())
    }

    /// The one that goes on.
    pub fn open(&mut self) -> Option<&mut Attempt> {
        self.rest
            .last_mut()
            .or(self.first.as_mut())
            .filter(|attempt| attempt.ended.is_none())
    }

    /// How many.
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }
}

/// Names one exchange.
#[derive(Clone, Debug)]
pub enum RequestId {
    /// By a trusted caller.
    Given(HeaderValue),
    /// By us: a UUID of version 7.
    Made(u128),
}

impl RequestId {
    /// The longest that is taken from a caller.
    const MAX: usize = 128;

    /// From the caller's field, if it is one.
    pub fn given(field: &HeaderValue) -> Option<Self> {
        let bytes = field.as_bytes();
        let fits = (1..=Self::MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
        fits.then(|| RequestId::Given(field.clone()))
    }

    /// RFC 9562 section 5.7: 48 bits of milliseconds, version, 12 random bits, variant, 62 random bits.
    pub fn make(unix_nanos: u64, random: (u64, u64)) -> Self {
        let millis = u128::from(unix_nanos / 1_000_000) << 80;
        let high = u128::from(random.0 & 0xfff) << 64;
        let low = u128::from(random.1 >> 2);
        RequestId::Made(millis | 0x7 << 76 | high | 0b10 << 62 | low)
    }

    /// As a field value.
    pub fn header_value(&self) -> HeaderValue {
        match self {
            RequestId::Given(field) => field.clone(),
            RequestId::Made(id) => {
                // A UUID is always a valid field value.
                let mut value = HeaderValue::from_bytes(&uuid(*id)).unwrap_or_else(|_| HeaderValue::from_static(""));
                never_index(&mut value);
                value
            }
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestId::Given(field) => f.write_str(&String::from_utf8_lossy(field.as_bytes())),
            RequestId::Made(id) => f.write_str(&String::from_utf8_lossy(&uuid(*id))),
        }
    }
}

/// As RFC 9562 section 4 writes it.
fn uuid(id: u128) -> [u8; 36] {
    let mut text = [b'-'; 36];
    let mut rest = id;
    for group in [24..36, 19..23, 14..18, 9..13, 0..8] {
        let digits = group.len();
        hex::write(&mut text[group], rest);
        rest >>= 4 * digits;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_request_id_is_a_uuid_of_version_7() {
        let id = RequestId::make(1_700_000_000_123_456_789, (u64::MAX, u64::MAX));
        assert_eq!(id.to_string(), "018bcfe5-687b-7fff-bfff-ffffffffffff");
        assert_eq!(id.header_value(), "018bcfe5-687b-7fff-bfff-ffffffffffff");
        assert_eq!(
            RequestId::make(0, (0, 0)).to_string(),
            "00000000-0000-7000-8000-000000000000"
        );
    }

    #[test]
    fn a_request_id_is_taken_only_when_it_is_short_and_visible() {
        let given = |text: &str| RequestId::given(&HeaderValue::from_str(text).unwrap()).map(|id| id.to_string());
        assert_eq!(given("abc-123"), Some("abc-123".into()));
        assert_eq!(given(""), None);
        assert_eq!(given("a b"), None);
        assert_eq!(given(&"x".repeat(129)), None);
    }
}
