//! Bytes of the wire become a [`Snapshot`], or are refused as a whole with the name and place of what is wrong.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;

use super::model::{
    Cluster, Direction, Forwarding, Listener, ListenerLimits, Mode, Origin, Routes, ServerTls, Snapshot, TlsVersion,
};
use crate::proto;

mod access_log;
mod admission;
mod authentication;
mod authorization;
mod breaking;
mod check;
mod clusters;
mod coding;
mod cors;
mod direct;
mod entry;
mod headers;
mod matchers;
mod retry;
mod rewrite;
mod routes;
#[cfg(test)]
mod tests;
mod tracing;

pub use admission::consumer_limit;

/// Why a snapshot was refused: the first thing that is wrong in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Rejected(String);

/// What is wrong with one thing, before its name and place are known.
type Checked<T> = Result<T, String>;

type Clusters = HashMap<Arc<str>, Arc<Cluster>>;
type RouteTables = HashMap<Arc<str>, Routes>;

const MAX_HEADER_BYTES: u32 = 60 * 1024;
const MAX_REQUEST_LINE: u32 = 8 * 1024;
const MAX_HEADERS: u32 = 100;
const MAX_STREAMS: u32 = 256;
const HEADER_TIMEOUT_MS: u32 = 10_000;
const BODY_TIMEOUT_MS: u32 = 60_000;
const SEND_TIMEOUT_MS: u32 = 300_000;
const IDLE_TIMEOUT_MS: u32 = 3_600_000;
const TCP_IDLE_TIMEOUT_MS: u32 = 3_600_000;
const MAX_CONNECTION_AGE_MS: u32 = 3_600_000;
const KEEPALIVE_INTERVAL_MS: u32 = 60_000;
const KEEPALIVE_TIMEOUT_MS: u32 = 20_000;
const MAX_CONNECTIONS: u32 = 16_384;

/// Decodes and checks. Defaults of `model.rs` take the place of what is 0 or absent.
pub fn decode(bytes: &[u8]) -> Result<Snapshot, Rejected> {
    let message = proto::Snapshot::decode(bytes).map_err(|error| Rejected(format!("not a Snapshot: {error}")))?;
    let clusters = clusters::clusters(message.clusters)?;
    let route_tables = routes::route_tables(message.route_tables, &clusters)?;
    let listeners = listeners(message.listeners, &route_tables)?;
    let telemetry = tracing::telemetry(message.telemetry).map_err(|wrong| Rejected(format!("telemetry: {wrong}")))?;
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

/// Takes the name and place out of a message, for what it becomes and for what may be wrong with it.
fn identify(name: &mut String, origin: &mut Option<proto::Origin>) -> (Arc<str>, Origin) {
    let proto::Origin { place, index } = origin.take().unwrap_or_default();
    (std::mem::take(name).into(), Origin { place: place.into(), index })
}

fn or(value: u32, default: u32) -> u32 {
    if value == 0 { default } else { value }
}

fn millis_or(value: u32, default: u32) -> Duration {
    Duration::from_millis(u64::from(or(value, default)))
}

fn named(name: &Arc<str>) -> Checked<Arc<str>> {
    if name.is_empty() {
        Err("it has no name".to_owned())
    } else {
        Ok(Arc::clone(name))
    }
}

fn listeners(messages: Vec<proto::Listener>, tables: &RouteTables) -> Result<Vec<Arc<Listener>>, Rejected> {
    let mut listeners: Vec<Arc<Listener>> = Vec::with_capacity(messages.len());
    let mut names = HashSet::new();
    let mut addresses: HashMap<SocketAddr, Arc<str>> = HashMap::new();
    for mut message in messages {
        let (name, place) = identify(&mut message.name, &mut message.origin);
        let refuse = |wrong: String| rejected("listener", &name, &place, wrong);
        let listener = listener(message, &name, &place, tables).map_err(refuse)?;
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

fn listener(mut message: proto::Listener, name: &Arc<str>, origin: &Origin, tables: &RouteTables) -> Checked<Listener> {
    let direction = match message.direction() {
        proto::Direction::Unspecified => return Err(unspecified("direction", message.direction)),
        proto::Direction::Inbound => Direction::Inbound,
        proto::Direction::Outbound => Direction::Outbound,
        proto::Direction::Edge => Direction::Edge,
    };
    let mode = match proto::ListenerMode::try_from(message.mode) {
        Ok(proto::ListenerMode::Http) => Mode::Http,
        Ok(proto::ListenerMode::Proxy) => Mode::Proxy,
        Ok(proto::ListenerMode::Tcp) => Mode::Tcp,
        Ok(proto::ListenerMode::ByAlpn) if message.tls.is_none() => {
            return Err("mode by ALPN needs tls: without it nobody asks for a protocol".to_owned());
        }
        Ok(proto::ListenerMode::ByAlpn) => Mode::ByAlpn,
        Err(_) => return Err(unspecified("mode", message.mode)),
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
    let front = direct::front(&mut message, direction)?.map(Arc::new);
    let tls = message.tls.map(|tls| server_tls(tls, mode)).transpose()?;
    Ok(Listener {
        name: named(name)?,
        address,
        direction,
        mode,
        route_table: Arc::clone(route_table),
        admission: message
            .admission
            .map(|message| admission::admission(message, mode).map(Arc::new))
            .transpose()?,
        sources: message
            .sources
            .map(|message| match mode {
                Mode::Tcp => Err("sources are of listeners that take requests".to_owned()),
                _ => entry::sources(message).map(Arc::new),
            })
            .transpose()?,
        front,
        balancers: message
            .proxy_protocol
            .map(|message| entry::balancers(&message))
            .transpose()?,
        health_path: entry::health_path(message.health_path)?,
        authorization: message
            .authorization
            .map(|rules| authorization::authorization(rules, tls.as_ref(), mode))
            .transpose()?,
        tls,
        limits: listener_limits(message.limits.unwrap_or_default()),
        forwarding: Arc::new(forwarding(message.forwarding.unwrap_or_default())?),
        origin: origin.clone(),
    })
}

fn server_tls(message: proto::ServerTls, mode: Mode) -> Checked<ServerTls> {
    if message.identities.is_empty() || message.identities.iter().any(String::is_empty) {
        return Err("tls has no identity, or one without name".to_owned());
    }
    if message.require_client_certificate && message.trust_bundle.is_empty() {
        return Err("tls requires a client certificate and names no trust_bundle to verify it".to_owned());
    }
    let min_version = match message.min_version() {
        proto::TlsVersion::Unspecified | proto::TlsVersion::TlsVersion12 => TlsVersion::V12,
        proto::TlsVersion::TlsVersion13 => TlsVersion::V13,
    };
    Ok(ServerTls {
        min_version,
        any_client_name: message.any_client_name,
        cleartext: message.cleartext,
        identities: message.identities.into_iter().map(Into::into).collect(),
        trust_bundle: Some(message.trust_bundle)
            .filter(|name| !name.is_empty())
            .map(Into::into),
        require_client_certificate: message.require_client_certificate,
        offers_http: mode != Mode::Tcp,
    })
}

fn listener_limits(message: proto::ListenerLimits) -> ListenerLimits {
    ListenerLimits {
        max_header_bytes: or(message.max_header_bytes, MAX_HEADER_BYTES),
        max_request_line: or(message.max_request_line, MAX_REQUEST_LINE),
        max_headers: or(message.max_headers, MAX_HEADERS),
        max_streams: or(message.max_streams, MAX_STREAMS),
        header_timeout: millis_or(message.header_timeout_ms, HEADER_TIMEOUT_MS),
        body_timeout: millis_or(message.body_timeout_ms, BODY_TIMEOUT_MS),
        send_timeout: millis_or(message.send_timeout_ms, SEND_TIMEOUT_MS),
        idle_timeout: millis_or(message.idle_timeout_ms, IDLE_TIMEOUT_MS),
        max_connection_age: millis_or(message.max_connection_age_ms, MAX_CONNECTION_AGE_MS),
        keepalive_interval: millis_or(message.keepalive_interval_ms, KEEPALIVE_INTERVAL_MS),
        keepalive_timeout: millis_or(message.keepalive_timeout_ms, KEEPALIVE_TIMEOUT_MS),
        max_connections: or(message.max_connections, MAX_CONNECTIONS),
    }
}

fn forwarding(message: proto::Forwarding) -> Checked<Forwarding> {
    let trusted = message.trusted.iter().map(|text| matchers::network("trusted", text));
    Ok(Forwarding {
        trusted: trusted.collect::<Checked<_>>()?,
        hops: message.hops,
        forwarded: message.forwarded,
        client_cert_by: Some(message.client_cert_by).filter(|by| !by.is_empty()).map(Into::into),
    })
}

fn unspecified(field: &str, number: i32) -> String {
    match number {
        0 => format!("{field} is not specified"),
        number => format!("{field} has the unknown value {number}; is this data plane older than its control side?"),
    }
}
