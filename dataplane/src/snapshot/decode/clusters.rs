//! Clusters: protocol, limits, balancing, verdicts, TLS.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use rustls_pki_types::ServerName;

use super::{Checked, Clusters, Rejected, breaking, check, identify, millis_or, named, or, rejected, unspecified};
use crate::proto;
use crate::snapshot::model::{
    Balance, BalancePolicy, ClientTls, Cluster, Cookie, HashKey, Hashing, KeySource, Origin, Protocol,
};
use crate::verdict::Judge;

const CONNECT_TIMEOUT_MS: u32 = 5_000;
const WARM_TIMEOUT_MS: u32 = 5_000;
const CLUSTER_LIMIT: u32 = 1024;
/// Envoy's defaults (config.cluster.v3.Cluster.LeastRequestLbConfig, RingHashLbConfig, CommonLbConfig).
const CHOICES: u32 = 2;
const MIN_RING_SIZE: u32 = 1024;
const MAX_RING_SIZE: u32 = 8 << 20;
const PANIC_THRESHOLD: u32 = 50;
/// More than these cost more than they find out.
const MAX_CHOICES: u32 = 10;
const MAX_HASH_KEYS: usize = 8;

/// All clusters by name.
pub(super) fn clusters(messages: Vec<proto::Cluster>) -> Result<Clusters, Rejected> {
    let mut clusters = HashMap::with_capacity(messages.len());
    for mut message in messages {
        let (name, place) = identify(&mut message.name, &mut message.origin);
        let refuse = |wrong: String| rejected("cluster", &name, &place, wrong);
        let cluster = cluster(message, &name, &place).map_err(refuse)?;
        if clusters.insert(Arc::clone(&cluster.name), Arc::new(cluster)).is_some() {
            return Err(refuse("another cluster has this name".to_owned()));
        }
    }
    Ok(clusters)
}

fn cluster(mut message: proto::Cluster, name: &Arc<str>, origin: &Origin) -> Checked<Cluster> {
    let (protocol, is_grpc) = match message.protocol() {
        proto::UpstreamProtocol::Unspecified => return Err(unspecified("protocol", message.protocol)),
        proto::UpstreamProtocol::Http1 => (Protocol::Http1, false),
        proto::UpstreamProtocol::Http2 => (Protocol::Http2, false),
        proto::UpstreamProtocol::Grpc => (Protocol::Http2, true),
        proto::UpstreamProtocol::Tcp => (Protocol::Tcp, false),
    };
    let settings = message.balance_settings.take().unwrap_or_default();
    let balance = balance(message.balance(), message.balance, settings)?;
    let limits = message.limits.unwrap_or_default();
    Ok(Cluster {
        name: named(name)?,
        service: message.service.into(),
        subset: message.subset.into(),
        protocol,
        is_grpc,
        balance,
        tls: message.tls.map(client_tls).transpose()?,
        connect_timeout: millis_or(message.connect_timeout_ms, CONNECT_TIMEOUT_MS),
        warm_timeout: millis_or(message.warm_timeout_ms, WARM_TIMEOUT_MS),
        max_connections: or(limits.max_connections, CLUSTER_LIMIT),
        max_pending: or(limits.max_pending, CLUSTER_LIMIT),
        max_requests: or(limits.max_requests, CLUSTER_LIMIT),
        per_endpoint: breaking::per_endpoint(limits.per_endpoint.unwrap_or_default()),
        judge: message.failures.map(judge).transpose()?.unwrap_or_else(Judge::usual),
        max_retries: or(limits.max_retries, CLUSTER_LIMIT),
        outlier: message.outlier.map(breaking::outlier).transpose()?,
        breaker: message.breaker.map(breaking::error_rate).transpose()?,
        check: message
            .health_check
            .map(|message| check::check(message, protocol).map(Arc::new))
            .transpose()?,
        origin: origin.clone(),
    })
}

fn balance(policy: proto::BalancePolicy, number: i32, settings: proto::BalanceSettings) -> Checked<Balance> {
    let choices = or(settings.choices, CHOICES);
    if !(2..=MAX_CHOICES).contains(&choices) {
        return Err(format!(
            "balance_settings.choices is {choices}; expected 2 to {MAX_CHOICES}"
        ));
    }
    let (least, most) = (
        or(settings.min_ring_size, MIN_RING_SIZE),
        or(settings.max_ring_size, MAX_RING_SIZE),
    );
    if least > most || most > MAX_RING_SIZE {
        return Err(format!(
            "a ring of {least} to {most} points cannot be; expected at most {MAX_RING_SIZE}, and the least below the most"
        ));
    }
    if settings.hash.len() > MAX_HASH_KEYS {
        return Err(format!("balance_settings.hash has more than {MAX_HASH_KEYS} parts"));
    }
    let panic_threshold = settings.panic_threshold.unwrap_or(PANIC_THRESHOLD);
    if panic_threshold > 100 {
        return Err(format!(
            "panic_threshold is {panic_threshold}; expected 0 to 100 per cent"
        ));
    }
    let policy = match policy {
        proto::BalancePolicy::Unspecified => return Err(unspecified("balance", number)),
        proto::BalancePolicy::RoundRobin => BalancePolicy::RoundRobin,
        proto::BalancePolicy::LeastRequest => BalancePolicy::LeastRequest { choices },
        proto::BalancePolicy::Random => BalancePolicy::Random,
        proto::BalancePolicy::PeakEwma => BalancePolicy::PeakEwma,
        proto::BalancePolicy::RingHash => BalancePolicy::Hash(Hashing::Ring { least, most }),
        proto::BalancePolicy::Maglev => BalancePolicy::Hash(Hashing::Maglev),
    };
    Ok(Balance {
        policy,
        keys: settings.hash.into_iter().map(hash_key).collect::<Checked<_>>()?,
        sticky: settings.sticky.map(cookie).transpose()?,
        slow_start: (settings.slow_start_ms > 0).then(|| Duration::from_millis(u64::from(settings.slow_start_ms))),
        panic_threshold,
    })
}

fn hash_key(message: proto::HashKey) -> Checked<HashKey> {
    use proto::hash_key::Source;
    let source = match message.source {
        None | Some(Source::Address(false)) => {
            return Err("a part of hash says nothing; expected header, cookie, query or address".to_owned());
        }
        Some(Source::Header(name)) => KeySource::Header(
            HeaderName::from_lowercase(name.as_bytes())
                .map_err(|_| format!("hash.header {name:?} is no lower-case name of a header"))?,
        ),
        Some(Source::Cookie(message)) => KeySource::Cookie(cookie(message)?),
        Some(Source::Query(name)) if name.is_empty() => return Err("hash.query has no name".to_owned()),
        Some(Source::Query(name)) => KeySource::Query(name.into()),
        Some(Source::Address(true)) => KeySource::Address,
    };
    Ok(HashKey { source, is_terminal: message.terminal })
}

fn cookie(message: proto::Cookie) -> Checked<Cookie> {
    // A token (RFC 9110 section 5.6.2), as names of headers are, and an attribute of RFC 6265 section 4.1.1.
    if HeaderName::try_from(message.name.as_str()).is_err() {
        return Err(format!("cookie {:?} is no name of a cookie", message.name));
    }
    let path = if message.path.is_empty() { "/" } else { &message.path };
    if !path.starts_with('/') || !path.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b';') {
        return Err(format!("cookie {:?}: {path:?} is no path", message.name));
    }
    Ok(Cookie {
        path: path.into(),
        name: message.name.into(),
        ttl: message.ttl_ms.map(|millis| Duration::from_millis(u64::from(millis))),
    })
}

fn judge(message: proto::FailureStatuses) -> Checked<Arc<Judge>> {
    let mut ranges = Vec::with_capacity(message.http.len());
    for range in message.http {
        ranges.push(status_range("failures.http", range)?);
    }
    let code = |code| u8::try_from(code).ok().filter(|code| (1..=16).contains(code));
    let codes: Option<Vec<u8>> = message.grpc.iter().copied().map(code).collect();
    let codes = codes.ok_or_else(|| format!("failures.grpc {:?}: expected 1 to 16", message.grpc))?;
    Ok(Arc::new(Judge::new(&ranges, &codes)))
}

pub(super) fn status_range(field: &str, range: proto::StatusRange) -> Checked<RangeInclusive<u16>> {
    let proto::StatusRange { first, last } = range;
    match (u16::try_from(first), u16::try_from(last)) {
        (Ok(first), Ok(last)) if 100 <= first && first <= last && last <= 599 => Ok(first..=last),
        _ => Err(format!("{field} {first} to {last} is no range within 100 to 599")),
    }
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
