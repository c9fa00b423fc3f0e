//! One exchange in words, for whoever asks why it ended as it did.

use super::bounded::cut;
use super::finished::{Attempt, Finished};
use crate::error::Reason;
use crate::proto;

/// Bytes of a value that a caller chooses.
const MAX_VALUE: usize = 4096;

/// All that is known of it.
pub fn explained(exchange: &Finished) -> proto::Exchange {
    let context = exchange.context.as_ref();
    let span = |id: Option<u64>| id.filter(|id| *id != 0).map_or_else(String::new, hex);
    let is_sampled = exchange.sampled().is_some();
    let origin = exchange.origin();
    let name = |reason: Option<Reason>| reason.map_or("", Reason::name).to_owned();
    let next = |reason: Option<Reason>| reason.map_or("", Reason::next_step).to_owned();
    proto::Exchange {
        unix_nanos: exchange.started_unix_nanos,
        request_id: exchange.request_id.to_string(),
        trace_id: context.map_or_else(String::new, |context| format!("{:032x}", context.trace_id)),
        span_id: span(context.map(|context| context.span_id).filter(|_| is_sampled)),
        parent_id: span(context.and_then(|context| context.parent)),
        method: match exchange.tcp {
            true => String::new(),
            false => cut(exchange.method.as_str(), MAX_VALUE).to_owned(),
        },
        authority: cut(&exchange.authority(), MAX_VALUE).to_owned(),
        path: cut(exchange.uri.path(), MAX_VALUE).to_owned(),
        status: exchange.status.map_or(0, |status| u32::from(status.as_u16())),
        grpc_status: exchange.grpc_status.map_or("", |status| status.name()).to_owned(),
        reason: name(exchange.reason),
        detail: exchange
            .reason
            .map_or_else(String::new, |reason| detail(reason, exchange)),
        next: next(exchange.reason),
        rule: exchange.rule().to_owned(),
        told: name(exchange.told),
        told_detail: exchange.told.map_or("", Reason::sentence).to_owned(),
        told_next: next(exchange.told),
        direction: exchange.listener.direction.name().to_owned(),
        listener: exchange.listener.name.to_string(),
        client: exchange.client.to_string(),
        peer: exchange.peer.as_deref().unwrap_or("").to_owned(),
        route: exchange.route_name().to_owned(),
        cluster: exchange.cluster_name().to_owned(),
        attempts: exchange.attempts.iter().map(attempt).collect(),
        candidates_total: exchange.candidates.total,
        candidates_healthy: exchange.candidates.healthy,
        candidates_ejected: exchange.candidates.ejected,
        candidates_ill: exchange.candidates.ill,
        candidates_priority: exchange.candidates.priority,
        candidates_panic: exchange.candidates.is_panic,
        origin: origin.map_or_else(String::new, |origin| origin.place.to_string()),
        origin_index: origin.map_or(0, |origin| origin.index),
        duration_us: micros(exchange.duration),
        received: exchange.received,
        sent: exchange.sent,
        tcp: exchange.tcp,
    }
}

/// The reason's sentence, the particulars, what to look at next.
fn detail(reason: Reason, exchange: &Finished) -> String {
    match exchange.detail() {
        Some(detail) => format!(
            "{} {} {}",
            reason.sentence(),
            cut(detail, MAX_VALUE),
            reason.next_step()
        ),
        None => format!("{} {}", reason.sentence(), reason.next_step()),
    }
}

fn attempt(attempt: &Attempt) -> proto::Attempt {
    proto::Attempt {
        endpoint: attempt.endpoint.label.to_string(),
        address: attempt.address.to_string(),
        peer: attempt.peer.as_deref().unwrap_or("").to_owned(),
        why: attempt.why.map_or("", |reason| reason.name()).to_owned(),
        status: attempt.status.map_or(0, |status| u32::from(status.as_u16())),
        grpc_status: attempt.grpc_status.map_or("", |status| status.name()).to_owned(),
        started_us: micros(attempt.started),
        duration_us: micros(attempt.duration()),
        span_id: match attempt.span_id {
            0 => String::new(),
            id => hex(id),
        },
    }
}

fn hex(id: u64) -> String {
    format!("{id:016x}")
}

fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
