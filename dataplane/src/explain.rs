//! What would become of a request under a snapshot: asked by people, answered by what decides about requests.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};

use crate::authorize::{judge, verdicts};
use crate::error::Error;
use crate::filter::entry::{comes_from, is_like};
use crate::filter::{self, forwarded};
use crate::http::path;
use crate::proto;
use crate::route::matcher::{Asked, MAX_HOST, host, host_matches, request_matches};
use crate::route::missed::conditions;
use crate::route::rewrite;
use crate::route::table::{RouteTable, Unclear};
use crate::scope::Hop;
use crate::snapshot::address_lists::AddressLists;
use crate::snapshot::decode::{Rejected, decode};
use crate::snapshot::index::RouteList;
use crate::snapshot::model::{Direction, Listener, Route, Routes, Sources};
use crate::telemetry::tracestate;

/// Routes of one host that are explained; beyond them nobody reads on.
const MAX_MISSED: usize = 200;

/// Why a request cannot be explained.
#[derive(Debug, thiserror::Error)]
pub enum Unexplained {
    /// The snapshot is none.
    #[error(transparent)]
    Snapshot(#[from] Rejected),
    /// No listener of the snapshot is called so.
    #[error("there is no listener {0:?}")]
    Listener(String),
    /// What was asked is no request.
    #[error("{0}")]
    Request(String),
}

/// What becomes of it.
pub fn explain(query: &proto::ExplainQuery) -> Result<proto::Explanation, Unexplained> {
    let snapshot = decode(&query.snapshot)?;
    let listener = snapshot
        .listeners
        .iter()
        .find(|listener| *listener.name == *query.listener);
    let listener = listener.ok_or_else(|| Unexplained::Listener(query.listener.clone()))?;
    let mut parts = request(query)?;
    let unclear = path::normalise(&mut parts.uri).err();
    let peer = Some(&*query.peer).filter(|peer| !peer.is_empty());
    let client = arrive(listener, peer.is_some(), client(query)?, &mut parts);

    let authority = parts
        .uri
        .authority()
        .map_or("", |authority| authority.as_str())
        .to_owned();
    let mut explanation = proto::Explanation {
        host: host(&authority, &mut [0; MAX_HOST]).to_owned(),
        target: parts
            .uri
            .path_and_query()
            .map_or_else(String::new, |target| target.to_string()),
        ..proto::Explanation::default()
    };
    let none = Routes::default();
    let routes = snapshot.route_tables.get(&listener.route_table).unwrap_or(&none);
    if let Some(unclear) = unclear {
        explanation.refused = unclear.to_string();
        return Ok(explanation);
    }
    let asked = Asked::of(&parts, client);
    match found(&routes.http, &authority, &asked) {
        Ok(found) => explanation.route = found,
        Err(unclear) => explanation.refused = unclear.to_string(),
    }
    explanation.missed = missed(&routes.http, &authority, &asked, explanation.route);
    if let Some(index) = explanation.route {
        let route = &*routes.http[index as usize];
        follow(route, &asked, &mut explanation);
        let entered = may_come(listener.sources.as_deref(), client).and_then(|()| enters(route, &asked));
        if let Err(error) = entered {
            explanation.refused = error.to_string();
        }
    }
    if let Some(rules) = &listener.authorization {
        explanation.verdicts = match peer {
            Some(peer) => verdicts(rules, peer, &parts)
                .into_iter()
                .map(|verdict| proto::Verdict { allow: verdict.allow, by: verdict.by.to_string() })
                .collect(),
            None => Vec::new(),
        };
        if let Err(error) = judge(rules, peer, Some(&parts)) {
            explanation.refused = error.to_string();
        }
    }
    Ok(explanation)
}

/// The request as a codec would give it.
fn request(query: &proto::ExplainQuery) -> Result<Parts, Unexplained> {
    let wrong = |what: &str, error: &dyn std::fmt::Display| Unexplained::Request(format!("{what}: {error}"));
    let uri: Uri = query.url.parse().map_err(|error| wrong(&query.url, &error))?;
    if uri.authority().is_none() {
        return Err(wrong(
            &query.url,
            &"expected a URL with a host, such as http://orders/path",
        ));
    }
    let method = Method::from_bytes(query.method.as_bytes()).map_err(|error| wrong(&query.method, &error))?;
    if method == Method::CONNECT {
        return Err(wrong(
            "CONNECT",
            &"a tunnel has no routes; ask for the request inside it",
        ));
    }
    let mut request = Request::builder().method(method).uri(uri);
    for field in &query.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|error| wrong(&field.name, &error))?;
        let value = HeaderValue::from_str(&field.value).map_err(|error| wrong(&field.name, &error))?;
        // The URL says it; codecs leave one of the two.
        if name != header::HOST {
            request = request.header(name, value);
        }
    }
    let (parts, ()) = request
        .body(())
        .map_err(|error| wrong("the request", &error))?
        .into_parts();
    Ok(parts)
}

/// Who connects.
fn client(query: &proto::ExplainQuery) -> Result<IpAddr, Unexplained> {
    match &*query.client {
        "" => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        client => client
            .parse()
            .map_err(|error| Unexplained::Request(format!("client {client:?}: {error}"))),
    }
}

/// What every exchange does first. Returns whom the request is from: `client`, or who its trusted proxies say.
fn arrive(listener: &Listener, has_name: bool, client: IpAddr, parts: &mut Parts) -> IpAddr {
    let hop = Hop::new(client, listener.address.port(), listener.tls.is_some());
    let told = forwarded::apply(&listener.forwarding, listener.direction, &hop, parts);
    let is_trusted = match listener.direction {
        Direction::Inbound => has_name,
        Direction::Outbound => true,
        Direction::Edge => false,
    };
    if !is_trusted {
        tracestate::forget(&mut parts.headers);
    }
    told.unwrap_or(client)
}

/// The route that takes it, by its place in the table.
fn found(routes: &RouteList, authority: &str, asked: &Asked<'_>) -> Result<Option<u32>, Unclear> {
    let table = RouteTable::build(routes, 0u32..);
    Ok(table.find_clear(authority, asked)?.map(|index| **index))
}

/// Why the others of the host do not.
fn missed(routes: &[Arc<Route>], authority: &str, asked: &Asked<'_>, taken: Option<u32>) -> Vec<proto::Missed> {
    let mut buffer = [0; MAX_HOST];
    let host = host(authority, &mut buffer);
    let of_host = (0u32..)
        .zip(routes)
        .filter(|(_, route)| host_matches(&route.matcher, host));
    of_host
        .filter(|(index, _)| Some(*index) != taken)
        .map(|(route, config)| proto::Missed { route, conditions: conditions(&config.matcher, asked) })
        .take(MAX_MISSED)
        .collect()
}

/// Fails when clients of this address may not come in, as far as that stands in documents: files are not read for it.
fn may_come(sources: Option<&Sources>, client: IpAddr) -> Result<(), Error> {
    let told = sources.filter(|sources| !sources.has_lists());
    comes_from(told, &AddressLists::default(), client)
}

/// Fails when the route does not let it in, whoever it is from. Of its content nothing is known.
fn enters(route: &Route, asked: &Asked<'_>) -> Result<(), Error> {
    may_come(route.sources.as_deref(), asked.source)?;
    let has_content = asked.parts.headers.contains_key(header::CONTENT_TYPE);
    route
        .shape
        .as_ref()
        .map_or(Ok(()), |shape| is_like(shape, asked.parts, has_content))
}

/// What the route and its filters do to it.
fn follow(route: &Route, asked: &Asked<'_>, explanation: &mut proto::Explanation) {
    explanation.answered = filter::reply(route, asked.parts).is_some();
    explanation.faulty = route
        .fault
        .as_ref()
        .is_some_and(|fault| request_matches(&fault.matcher, asked));
    if let Some(sent) = asked.parts.uri.path_and_query() {
        match rewrite::path(route, sent) {
            Ok(Some(changed)) => explanation.target = changed.to_string(),
            Ok(None) => {}
            Err(error) => explanation.refused = error.to_string(),
        }
        match rewrite::host(route, sent.path()) {
            Ok(changed) => explanation.rewritten_host = changed.map_or_else(String::new, |host| host.to_string()),
            Err(error) => explanation.refused = error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests;
