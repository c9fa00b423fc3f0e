//! Route tables: conditions, destinations, rewrites.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderName, Method};
use regex::{Regex, RegexBuilder};

use super::{Checked, Clusters, Rejected, RouteTables, TCP_IDLE_TIMEOUT_MS, identify, millis_or, named, rejected};
use super::{cors, retry};
use crate::proto;
use crate::snapshot::model::{
    Destination, Fault, HeaderMatch, HostMatch, Matcher, Mirror, Origin, PathMatch, Protocol, Route, Routes, ValueMatch,
};

/// Bytes that one compiled regular expression may take; `\w{100}` fits, `\w{10000}` does not.
const REGEX_SIZE: usize = 1 << 20;
/// Bytes that the lazy automaton of one regular expression may take in each thread.
const REGEX_CACHE: usize = 1 << 18;
/// A DNS name has at most 253 characters (RFC 1035 section 2.3.4).
const MAX_HOST: usize = 253;

/// All route tables by name.
pub(super) fn route_tables(messages: Vec<proto::RouteTable>, clusters: &Clusters) -> Result<RouteTables, Rejected> {
    let mut tables = HashMap::with_capacity(messages.len());
    for message in messages {
        let name = Arc::from(message.name);
        let refuse = |wrong: String| rejected("route table", &name, &Origin::default(), wrong);
        let key = named(&name).map_err(refuse)?;
        let routes = Routes {
            http: routes(message.routes, |message, name, origin| {
                route(message, name, origin, clusters)
            })?,
            tcp: routes(message.tcp_routes, |message, name, origin| {
                tcp_route(message, name, origin, clusters)
            })?,
        };
        if tables.insert(key, routes).is_some() {
            return Err(refuse("another route table has this name".to_owned()));
        }
    }
    Ok(tables)
}

fn routes(
    messages: Vec<proto::Route>,
    check: impl Fn(proto::Route, &Arc<str>, &Origin) -> Checked<Route>,
) -> Result<Vec<Arc<Route>>, Rejected> {
    let mut routes = Vec::with_capacity(messages.len());
    for mut message in messages {
        let (name, place) = identify(&mut message.name, &mut message.origin);
        let route = check(message, &name, &place).map_err(|wrong| rejected("route", &name, &place, wrong))?;
        routes.push(Arc::new(route));
    }
    Ok(routes)
}

fn tcp_route(message: proto::Route, name: &Arc<str>, origin: &Origin, clusters: &Clusters) -> Checked<Route> {
    let asked = message.r#match.clone().unwrap_or_default();
    if asked.path.is_some() || !asked.methods.is_empty() || !asked.headers.is_empty() {
        return Err("a TCP route matches by hosts alone".to_owned());
    }
    if message.timeout_ms > 0 || message.rewrite.is_some() {
        return Err("a TCP route has neither timeout nor rewrite".to_owned());
    }
    checked(message, name, origin, clusters, true)
}

fn route(message: proto::Route, name: &Arc<str>, origin: &Origin, clusters: &Clusters) -> Checked<Route> {
    if message.idle_timeout_ms > 0 {
        return Err("idle_timeout is of TCP routes".to_owned());
    }
    checked(message, name, origin, clusters, false)
}

/// `is_tcp`: what the clusters speak that it leads to.
fn checked(
    message: proto::Route,
    name: &Arc<str>,
    origin: &Origin,
    clusters: &Clusters,
    is_tcp: bool,
) -> Checked<Route> {
    let matcher = matcher(message.r#match.unwrap_or_default())?;
    let cors = message.cors.map(cors::cors).transpose()?;
    let (destinations, total_weight) = match message.preflight {
        true if cors.is_none() || !message.destinations.is_empty() => {
            return Err("a preflight route has cors and no destinations".to_owned());
        }
        true => (Vec::new(), 0),
        false => destinations(message.destinations, clusters)?,
    };
    let strays = |to: &&Destination| (clusters[&to.cluster].protocol == Protocol::Tcp) != is_tcp;
    if let Some(stray) = destinations.iter().find(strays) {
        let words = if is_tcp {
            "a TCP route leads to"
        } else {
            "a route of requests leads to the TCP"
        };
        return Err(format!("{words} cluster {:?}", stray.cluster));
    }
    Ok(Route {
        name: named(name)?,
        rewrite_prefix: message
            .rewrite
            .map(|rewrite| rewrite_prefix(rewrite.prefix, &matcher))
            .transpose()?,
        matcher,
        destinations,
        total_weight,
        max_request_body: match message.max_request_body {
            0 => u64::MAX,
            most => most,
        },
        idle_timeout: millis_or(message.idle_timeout_ms, TCP_IDLE_TIMEOUT_MS),
        timeout: (message.timeout_ms > 0).then(|| Duration::from_millis(u64::from(message.timeout_ms))),
        retry: retry::retry(message.retry.unwrap_or_default())?,
        fault: message.fault.map(fault).transpose()?.map(Box::new),
        mirror: message.mirror.map(|message| mirror(message, clusters)).transpose()?,
        cors,
        is_preflight: message.preflight,
        origin: origin.clone(),
    })
}

fn mirror(message: proto::Mirror, clusters: &Clusters) -> Checked<Mirror> {
    let name = message.cluster.as_str();
    let Some((cluster, config)) = clusters.get_key_value(name) else {
        return Err(format!("mirror: there is no cluster {name:?}"));
    };
    if config.protocol == Protocol::Tcp {
        return Err(format!("mirror: the cluster {name:?} takes no requests"));
    }
    if !(1..=1_000_000).contains(&message.share) {
        return Err(format!(
            "mirror.share is {} millionths; expected 1 to 1000000",
            message.share
        ));
    }
    Ok(Mirror { cluster: Arc::clone(cluster), share: message.share })
}

fn fault(message: proto::Fault) -> Checked<Fault> {
    let share = |field: &str, millionths: u32| match millionths {
        0..=1_000_000 => Ok(millionths),
        more => Err(format!("fault.{field} is {more} millionths; at most 1000000 are all")),
    };
    let status = u16::try_from(message.abort_status).unwrap_or(0);
    let call = u8::try_from(message.abort_call).unwrap_or(0);
    if message.abort_share > 0 && !((400..=599).contains(&status) && (1..=16).contains(&call)) {
        let (status, call) = (message.abort_status, message.abort_call);
        return Err(format!(
            "fault aborts with {status} and {call}; expected 400 to 599 and 1 to 16"
        ));
    }
    Ok(Fault {
        matcher: matcher(message.r#match.unwrap_or_default())?,
        delay: (
            Duration::from_millis(message.delay_ms.into()),
            share("delay_share", message.delay_share)?,
        ),
        abort: (status, call, share("abort_share", message.abort_share)?),
        reset: share("reset_share", message.reset_share)?,
        by_header: message.by_header,
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
        Some(Kind::Begins(_)) => Err("path.begins is of rules about callers".to_owned()),
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

pub(super) fn method(method: &str) -> Checked<Method> {
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
pub(super) fn anchored(field: &str, pattern: &str) -> Checked<Regex> {
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
        Some(PathMatch::Regex(_) | PathMatch::Begins(_)) => {
            Err("rewrite.prefix needs a path prefix or an exact path to replace".to_owned())
        }
        Some(PathMatch::Exact(_)) => Ok(prefix.into()),
        Some(PathMatch::Prefix(_)) | None => Ok(prefix.trim_end_matches('/').into()),
    }
}
