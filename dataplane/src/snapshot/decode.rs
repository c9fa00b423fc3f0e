//! Bytes of the wire become a [`Snapshot`], or are refused as a whole with the name and place of what is wrong.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderName, Method};
use prost::Message;
use regex::{Regex, RegexBuilder};
use rustls_pki_types::ServerName;

use super::model::{
    BalancePolicy, ClientTls, Cluster, Destination, Direction, HeaderMatch, HostMatch, Listener, ListenerLimits,
    Matcher, Origin, PathMatch, Protocol, Route, ServerTls, Snapshot, Telemetry, ValueMatch,
};
use crate::proto;

/// Why a snapshot was refused: the first thing that is wrong in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Rejected(String);

/// What is wrong with one thing, before its name and place are known.
type Checked<T> = Result<T, String>;

/// Bytes that one compiled regular expression may take; `\w{100}` fits, `\w{10000}` does not.
const REGEX_SIZE: usize = 1 << 20;
/// Bytes that the lazy automaton of one regular expression may take in each thread.
const REGEX_CACHE: usize = 1 << 18;
/// Tries of one exchange; each is kept for the log and the trace.
const MAX_ATTEMPTS: u32 = 16;
/// A DNS name has at most 253 characters (RFC 1035 section 2.3.4).
const MAX_HOST: usize = 253;

const MAX_HEADER_BYTES: u32 = 60 * 1024;
const MAX_HEADERS: u32 = 100;
const MAX_STREAMS: u32 = 256;
const HEADER_TIMEOUT_MS: u32 = 10_000;
const IDLE_TIMEOUT_MS: u32 = 3_600_000;
const CONNECT_TIMEOUT_MS: u32 = 5_000;
const WARM_TIMEOUT_MS: u32 = 5_000;
const CLUSTER_LIMIT: u32 = 1024;
const ATTEMPTS: u32 = 3;

/// Decodes and checks. Defaults of `model.rs` take the place of what is 0 or absent.
pub fn decode(bytes: &[u8]) -> Result<Snapshot, Rejected> {
    let message = proto::Snapshot::decode(bytes).map_err(|error| Rejected(format!("not a Snapshot: {error}")))?;
    let clusters = clusters(message.clusters)?;
    let route_tables = route_tables(message.route_tables, &clusters)?;
    let listeners = listeners(message.listeners, &route_tables)?;
    let telemetry = telemetry(message.telemetry).map_err(|wrong| Rejected(format!("telemetry: {wrong}")))?;
    Ok(Snapshot { version: message.version, listeners, route_tables, clusters, telemetry })
}

/// Puts the name and place before what is wrong.
fn rejected(kind: &str, name: &str, origin: &Origin, wrong: impl Display) -> Rejected {
    let place = match (&*origin.place, origin.index) {
        ("", _) => String::new(),
        (place, 0) => format!(" ({place})"),
        (place, index) => format!(" ({place}, index {index})"),
    };
    Rejected(format!("{kind} {name:?}{place}: {wrong}"))
}

fn origin(message: Option<proto::Origin>) -> Origin {
    let proto::Origin { place, index } = message.unwrap_or_default();
    Origin { place: place.into(), index }
}

fn or(value: u32, default: u32) -> u32 {
    if value == 0 { default } else { value }
}

fn millis_or(value: u32, default: u32) -> Duration {
    Duration::from_millis(u64::from(or(value, default)))
}

fn named(name: String) -> Checked<Arc<str>> {
    if name.is_empty() {
        Err("it has no name".to_owned())
    } else {
        Ok(name.into())
    }
}

// ---- listeners

fn listeners(
    messages: Vec<proto::Listener>,
    tables: &HashMap<Arc<str>, Vec<Arc<Route>>>,
) -> Result<Vec<Arc<Listener>>, Rejected> {
    let mut listeners: Vec<Arc<Listener>> = Vec::with_capacity(messages.len());
    let mut names = HashSet::new();
    let mut addresses: HashMap<SocketAddr, Arc<str>> = HashMap::new();
    for message in messages {
        let (name, place) = (message.name.clone(), origin(message.origin.clone()));
        let refuse = |wrong: String| rejected("listener", &name, &place, wrong);
        let listener = listener(message, place.clone(), tables).map_err(refuse)?;
        if !names.insert(Arc::clone(&listener.name)) {
            return Err(refuse("another listener has this name".to_owned()));
        }
        if listener.address.port() != 0
            && let Some(other) = addresses.insert(listener.address, Arc::clone(&listener.name))
        {
            return Err(refuse(format!(
                "listener {other:?} has the same address {}",
                listener.address
            )));
        }
        listeners.push(Arc::new(listener));
    }
    Ok(listeners)
}

fn listener(
    message: proto::Listener,
    origin: Origin,
    tables: &HashMap<Arc<str>, Vec<Arc<Route>>>,
) -> Checked<Listener> {
    let direction = match message.direction() {
        proto::Direction::Unspecified => return Err(unspecified("direction", message.direction)),
        proto::Direction::Inbound => Direction::Inbound,
        proto::Direction::Outbound => Direction::Outbound,
        proto::Direction::Edge => Direction::Edge,
    };
    let address = message.address.parse().map_err(|_| {
        format!(
            "address {:?} is no IP address and port; expected one like \"127.0.0.1:8080\"",
            message.address
        )
    })?;
    let Some((route_table, _)) = tables.get_key_value(&*message.route_table) else {
        return Err(format!("there is no route table {:?}", message.route_table));
    };
    Ok(Listener {
        name: named(message.name)?,
        address,
        direction,
        route_table: Arc::clone(route_table),
        tls: message.tls.map(server_tls).transpose()?,
        limits: listener_limits(message.limits.unwrap_or_default()),
        origin,
    })
}

fn server_tls(message: proto::ServerTls) -> Checked<ServerTls> {
    if message.identities.is_empty() || message.identities.iter().any(String::is_empty) {
        return Err("tls has no identity, or one without name".to_owned());
    }
    if message.require_client_certificate && message.trust_bundle.is_empty() {
        return Err("tls requires a client certificate and names no trust_bundle to verify it".to_owned());
    }
    Ok(ServerTls {
        identities: message.identities.into_iter().map(Into::into).collect(),
        trust_bundle: Some(message.trust_bundle)
            .filter(|name| !name.is_empty())
            .map(Into::into),
        require_client_certificate: message.require_client_certificate,
    })
}

fn listener_limits(message: proto::ListenerLimits) -> ListenerLimits {
    ListenerLimits {
        max_header_bytes: or(message.max_header_bytes, MAX_HEADER_BYTES),
        max_headers: or(message.max_headers, MAX_HEADERS),
        max_streams: or(message.max_streams, MAX_STREAMS),
        header_timeout: millis_or(message.header_timeout_ms, HEADER_TIMEOUT_MS),
        idle_timeout: millis_or(message.idle_timeout_ms, IDLE_TIMEOUT_MS),
    }
}

fn unspecified(field: &str, number: i32) -> String {
    match number {
        0 => format!("{field} is not specified"),
        number => format!("{field} has the unknown value {number}; is this data plane older than its control side?"),
    }
}

// ---- routes

type Clusters = HashMap<Arc<str>, Arc<Cluster>>;

fn route_tables(
    messages: Vec<proto::RouteTable>,
    clusters: &Clusters,
) -> Result<HashMap<Arc<str>, Vec<Arc<Route>>>, Rejected> {
    let mut tables = HashMap::with_capacity(messages.len());
    for message in messages {
        let name = message.name.clone();
        let refuse = |wrong: String| rejected("route table", &name, &Origin::default(), wrong);
        let key = named(message.name).map_err(refuse)?;
        let mut routes = Vec::with_capacity(message.routes.len());
        for message in message.routes {
            let (name, place) = (message.name.clone(), origin(message.origin.clone()));
            let route = route(message, place.clone(), clusters);
            routes.push(Arc::new(
                route.map_err(|wrong| rejected("route", &name, &place, wrong))?,
            ));
        }
        if tables.insert(key, routes).is_some() {
            return Err(refuse("another route table has this name".to_owned()));
        }
    }
    Ok(tables)
}

fn route(message: proto::Route, origin: Origin, clusters: &Clusters) -> Checked<Route> {
    let matcher = matcher(message.r#match.unwrap_or_default())?;
    let (destinations, total_weight) = destinations(message.destinations, clusters)?;
    let attempts = or(message.retry.unwrap_or_default().attempts, ATTEMPTS);
    if attempts > MAX_ATTEMPTS {
        return Err(format!(
            "retry.attempts is {attempts}; at most {MAX_ATTEMPTS} are allowed"
        ));
    }
    Ok(Route {
        name: named(message.name)?,
        rewrite_prefix: message
            .rewrite
            .map(|rewrite| rewrite_prefix(rewrite.prefix, &matcher))
            .transpose()?,
        matcher,
        destinations,
        total_weight,
        timeout: (message.timeout_ms > 0).then(|| Duration::from_millis(u64::from(message.timeout_ms))),
        attempts,
        origin,
    })
}

fn destinations(messages: Vec<proto::Destination>, clusters: &Clusters) -> Checked<(Vec<Destination>, u32)> {
    if messages.is_empty() {
        return Err("it has no destination".to_owned());
    }
    let mut total_weight = 0u32;
    let mut destinations = Vec::with_capacity(messages.len());
    for proto::Destination { cluster, weight } in messages {
        let Some((cluster, _)) = clusters.get_key_value(&*cluster) else {
            return Err(format!("there is no cluster {cluster:?}"));
        };
        if weight == 0 {
            return Err(format!(
                "the weight of {cluster:?} is 0; leave the destination out to send nothing"
            ));
        }
        total_weight = total_weight
            .checked_add(weight)
            .ok_or("the sum of the weights is above 2^32 - 1")?;
        destinations.push(Destination { cluster: Arc::clone(cluster), weight });
    }
    Ok((destinations, total_weight))
}

fn matcher(message: proto::Match) -> Checked<Matcher> {
    Ok(Matcher {
        hosts: message
            .hosts
            .iter()
            .map(|host| host_match(host))
            .collect::<Checked<_>>()?,
        path: message.path.map(path_match).transpose()?,
        methods: message
            .methods
            .iter()
            .map(|method| self::method(method))
            .collect::<Checked<_>>()?,
        headers: message.headers.into_iter().map(header_match).collect::<Checked<_>>()?,
    })
}

fn host_match(host: &str) -> Checked<HostMatch> {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let is_ipv6 = name.starts_with('[') && name.ends_with(']');
    // What RFC 3986 allows in a name, but capitals and the star.
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._~%!$&'()+,;=".contains(&byte);
    if name.is_empty() || name.len() > MAX_HOST || name.ends_with('.') || !(is_ipv6 || name.bytes().all(legal)) {
        return Err(format!(
            "host {host:?} is not usable; expected a lower-case name without port, or one like \"*.example.com\""
        ));
    }
    Ok(match host.strip_prefix('*') {
        Some(suffix) => HostMatch::Suffix(suffix.into()),
        None => HostMatch::Exact(host.into()),
    })
}

fn path_match(message: proto::PathMatch) -> Checked<PathMatch> {
    use proto::path_match::Kind;
    match message.kind {
        None => Err("path has no condition; expected exact, prefix or regex".to_owned()),
        Some(Kind::Exact(exact)) => Ok(PathMatch::Exact(path("path.exact", exact)?.into())),
        Some(Kind::Prefix(prefix)) => Ok(PathMatch::Prefix(
            path("path.prefix", prefix)?.trim_end_matches('/').into(),
        )),
        Some(Kind::Regex(regex)) => Ok(PathMatch::Regex(anchored("path.regex", &regex)?)),
    }
}

/// An absolute path without a query. Plain ones pass by a glance, the others are parsed.
fn path(field: &str, path: String) -> Checked<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    let usable = path.starts_with('/')
        && (path.bytes().all(plain) || PathAndQuery::try_from(path.as_str()).is_ok_and(|parsed| parsed.path() == path));
    if usable {
        Ok(path)
    } else {
        Err(format!("{field} {path:?} is no path; expected one like \"/api\""))
    }
}

fn method(method: &str) -> Checked<Method> {
    Method::from_bytes(method.as_bytes()).map_err(|_| format!("{method:?} is no method; expected one like \"GET\""))
}

fn header_match(message: proto::HeaderMatch) -> Checked<HeaderMatch> {
    use proto::header_match::Kind;
    let name = HeaderName::from_lowercase(message.name.as_bytes()).map_err(|_| {
        format!(
            "{:?} is no header name; expected lower case, like \"x-user\"",
            message.name
        )
    })?;
    if name == http::header::HOST {
        return Err("a header condition on \"host\" does not hold in HTTP/2; use hosts".to_owned());
    }
    let value = match message.kind {
        None => {
            return Err(format!(
                "header {name} has no condition; expected exact, prefix, regex or present"
            ));
        }
        Some(Kind::Exact(exact)) => ValueMatch::Exact(exact.into()),
        Some(Kind::Prefix(prefix)) => ValueMatch::Prefix(prefix.into()),
        Some(Kind::Regex(regex)) => ValueMatch::Regex(anchored(&format!("header {name}"), &regex)?),
        Some(Kind::Present(present)) => ValueMatch::Present(present),
    };
    Ok(HeaderMatch { name, value })
}

/// A regular expression that has to match from the beginning to the end.
fn anchored(field: &str, pattern: &str) -> Checked<Regex> {
    let compile = |pattern: &str| {
        RegexBuilder::new(pattern)
            .size_limit(REGEX_SIZE)
            .dfa_size_limit(REGEX_CACHE)
            .build()
            .map_err(|error| {
                let error = error.to_string();
                format!(
                    "{field} {pattern:?} is not usable: {}",
                    error.lines().last().unwrap_or(&error).trim()
                )
            })
    };
    // By itself first: "a)|(b" is no expression, but it would become one between the anchors.
    compile(pattern)?;
    compile(&format!(r"\A(?:{pattern})\z"))
}

/// Without a trailing slash behind a prefix, as the matcher holds prefixes.
fn rewrite_prefix(prefix: String, matcher: &Matcher) -> Checked<Box<str>> {
    let prefix = if prefix.is_empty() {
        prefix
    } else {
        path("rewrite.prefix", prefix)?
    };
    match matcher.path {
        Some(PathMatch::Regex(_)) => Err("rewrite.prefix needs a path prefix or an exact path to replace".to_owned()),
        Some(PathMatch::Exact(_)) => Ok(prefix.into()),
        Some(PathMatch::Prefix(_)) | None => Ok(prefix.trim_end_matches('/').into()),
    }
}

// ---- clusters

fn clusters(messages: Vec<proto::Cluster>) -> Result<Clusters, Rejected> {
    let mut clusters = HashMap::with_capacity(messages.len());
    for message in messages {
        let (name, place) = (message.name.clone(), origin(message.origin.clone()));
        let refuse = |wrong: String| rejected("cluster", &name, &place, wrong);
        let cluster = cluster(message, place.clone()).map_err(refuse)?;
        if clusters.insert(Arc::clone(&cluster.name), Arc::new(cluster)).is_some() {
            return Err(refuse("another cluster has this name".to_owned()));
        }
    }
    Ok(clusters)
}

fn cluster(message: proto::Cluster, origin: Origin) -> Checked<Cluster> {
    let protocol = match message.protocol() {
        proto::UpstreamProtocol::Unspecified => return Err(unspecified("protocol", message.protocol)),
        proto::UpstreamProtocol::Http1 => Protocol::Http1,
        proto::UpstreamProtocol::Http2 => Protocol::Http2,
    };
    let balance = match message.balance() {
        proto::BalancePolicy::Unspecified => return Err(unspecified("balance", message.balance)),
        proto::BalancePolicy::RoundRobin => BalancePolicy::RoundRobin,
        proto::BalancePolicy::LeastRequest => BalancePolicy::LeastRequest,
        proto::BalancePolicy::Random => BalancePolicy::Random,
    };
    let limits = message.limits.unwrap_or_default();
    Ok(Cluster {
        name: named(message.name)?,
        service: message.service.into(),
        subset: message.subset.into(),
        protocol,
        balance,
        tls: message.tls.map(client_tls).transpose()?,
        connect_timeout: millis_or(message.connect_timeout_ms, CONNECT_TIMEOUT_MS),
        warm_timeout: millis_or(message.warm_timeout_ms, WARM_TIMEOUT_MS),
        max_connections: or(limits.max_connections, CLUSTER_LIMIT),
        max_pending: or(limits.max_pending, CLUSTER_LIMIT),
        max_requests: or(limits.max_requests, CLUSTER_LIMIT),
        origin,
    })
}

fn client_tls(message: proto::ClientTls) -> Checked<ClientTls> {
    if message.trust_bundle.is_empty() {
        return Err("tls names no trust_bundle to verify the peer".to_owned());
    }
    if message.spiffe_ids.is_empty() {
        return Err("tls names no spiffe_ids that the peer may have".to_owned());
    }
    if let Some(other) = message.spiffe_ids.iter().find(|id| !id.starts_with("spiffe://")) {
        return Err(format!(
            "{other:?} is no SPIFFE id; expected one like \"spiffe://mesh.local/service/orders\""
        ));
    }
    if ServerName::try_from(message.server_name.as_str()).is_err() {
        return Err(format!(
            "tls.server_name {:?} is neither a DNS name nor an IP address",
            message.server_name
        ));
    }
    Ok(ClientTls {
        identity: Some(message.identity).filter(|name| !name.is_empty()).map(Into::into),
        trust_bundle: message.trust_bundle.into(),
        spiffe_ids: message.spiffe_ids.into_iter().map(Into::into).collect(),
        server_name: message.server_name.into(),
    })
}

// ---- telemetry

fn telemetry(message: Option<proto::Telemetry>) -> Checked<Telemetry> {
    let message = message.unwrap_or_default();
    let tracing = message.tracing.unwrap_or_default();
    if !(0.0..=1.0).contains(&tracing.ratio) {
        return Err(format!("tracing.ratio is {}; expected 0 to 1", tracing.ratio));
    }
    let mut resource: Vec<_> = tracing.resource.into_iter().collect();
    resource.sort_unstable();
    Ok(Telemetry {
        tracing: tracing.enabled,
        ratio: tracing.ratio,
        resource,
        access_log: message.access_log.unwrap_or_default().enabled,
    })
}
