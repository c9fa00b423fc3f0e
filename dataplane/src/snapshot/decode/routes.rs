//! Route tables: conditions, destinations, rewrites.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::headers::{cookie_changes, header_changes, query_changes};
use super::matchers::matcher;
use super::rewrite::rewrite;
use super::{Checked, Clusters, Rejected, RouteTables, TCP_IDLE_TIMEOUT_MS, identify, millis_or, named, rejected};
use super::{admission, authentication, coding, cors, direct, entry, retry};
use crate::proto;
use crate::snapshot::index::RouteList;
use crate::snapshot::model::{Destination, Fault, Mirror, Origin, Protocol, Route, Routes};

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
) -> Result<RouteList, Rejected> {
    let mut routes = Vec::with_capacity(messages.len());
    for mut message in messages {
        let (name, place) = identify(&mut message.name, &mut message.origin);
        let route = check(message, &name, &place).map_err(|wrong| rejected("route", &name, &place, wrong))?;
        routes.push(Arc::new(route));
    }
    Ok(RouteList::new(routes))
}

fn tcp_route(message: proto::Route, name: &Arc<str>, origin: &Origin, clusters: &Clusters) -> Checked<Route> {
    let asked = message.r#match.clone().unwrap_or_default();
    if (proto::Match { hosts: Vec::new(), ..asked }) != proto::Match::default() {
        return Err("a TCP route matches by hosts alone".to_owned());
    }
    let asks = message.authentication.is_some() || message.access.is_some() || message.shape.is_some();
    if asks || message.sources.is_some() || !message.quotas.is_empty() {
        return Err("a TCP route asks nothing of requests: nobody reads what its callers send".to_owned());
    }
    if message.compress.is_some() || message.decompress.is_some() {
        return Err("a TCP route codes nothing".to_owned());
    }
    if message.timeout_ms > 0 || message.rewrite.is_some() || !message.rewrite_host.is_empty() {
        return Err("a TCP route has neither timeout nor rewrite".to_owned());
    }
    if !message.query_changes.is_empty() || !message.cookie_changes.is_empty() {
        return Err("a TCP route changes neither query nor cookies".to_owned());
    }
    if message.redirect.is_some() || message.respond.is_some() || !message.error_pages.is_empty() {
        return Err("a TCP route answers nothing by itself".to_owned());
    }
    let changes = |to: &proto::Destination| !(to.request_headers.is_empty() && to.response_headers.is_empty());
    if message.destinations.iter().any(changes) {
        return Err("a TCP route changes no headers".to_owned());
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
    mut message: proto::Route,
    name: &Arc<str>,
    origin: &Origin,
    clusters: &Clusters,
    is_tcp: bool,
) -> Checked<Route> {
    let matcher = matcher(message.r#match.take().unwrap_or_default())?;
    let direct = direct::direct(&mut message, &matcher)?;
    let cors = message.cors.map(cors::cors).transpose()?;
    let (destinations, total_weight) = match &direct {
        Some(_) => (Vec::new(), 0),
        None => destinations(message.destinations, clusters)?,
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
        rewrite: rewrite(message.rewrite, &message.rewrite_host, &matcher)?.map(Box::new),
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
        authentication: message
            .authentication
            .map(authentication::authentication)
            .transpose()?
            .map(Box::new),
        access: message.access.map(authentication::access).transpose()?,
        sources: message.sources.map(entry::sources).transpose()?.map(Box::new),
        shape: message.shape.map(entry::shape).transpose()?.map(Box::new),
        quotas: admission::quotas(message.quotas)?,
        compress: message.compress.map(coding::compress).transpose()?.map(Box::new),
        decompress: message.decompress.map(coding::decompress).transpose()?,
        mirror: message.mirror.map(|message| mirror(message, clusters)).transpose()?,
        cors,
        direct,
        error_pages: direct::error_pages(message.error_pages)?,
        query: query_changes(message.query_changes)?,
        cookies: cookie_changes(message.cookie_changes)?,
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
    for message in messages {
        let (cluster, weight) = (message.cluster.as_str(), message.weight);
        let Some((cluster, _)) = clusters.get_key_value(cluster) else {
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
        destinations.push(Destination {
            cluster: Arc::clone(cluster),
            weight,
            request_headers: header_changes(message.request_headers)?,
            response_headers: header_changes(message.response_headers)?,
        });
    }
    Ok((destinations, total_weight))
}
