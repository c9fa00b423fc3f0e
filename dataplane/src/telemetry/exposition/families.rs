//! What the registry has, as families of metrics.

use std::sync::Arc;

use super::{Family, Kind, Label, Labels, Value};
use crate::snapshot::model::Direction;
use crate::telemetry::grpc_status::GrpcStatus;
use crate::telemetry::outcomes::Outcome;
use crate::telemetry::registry::{BytesReading, DurationReading, Readings};

/// Single numbers that stand beside the registry's cells.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// By buffer.
    pub dropped: [(&'static str, u64); 3],
    /// What is done without, by what there is too little of.
    pub pressure: [(&'static str, u64); 2],
    /// Of connection tasks.
    pub panics: u64,
    /// Connections of clients that went beyond a budget, by budget.
    pub excesses: Vec<(&'static str, u64)>,
    /// The one applied last.
    pub snapshot_version: u64,
}

/// Everything there is, in the order it is written.
pub fn families(readings: Readings, totals: Totals) -> Vec<Family> {
    let counter = |name, help| Family::new(name, help, Kind::Counter);
    let gauge = |name, help| Family::new(name, help, Kind::Gauge);
    let of = |label: &'static str, text: Arc<str>| (label, Label::Shared(text));
    let by_listener = |(listener, number)| (vec![of("listener", listener)], number);
    let by_outcome = |(cluster, outcome, count)| {
        let labels = vec![of("cluster", cluster), ("outcome", Label::Static(outcome))];
        (labels, count)
    };
    vec![
        durations(&readings.durations),
        counter("sidecar.attempts", "Tries of upstream endpoints, by outcome.")
            .of(readings.attempts.into_iter().map(by_outcome)),
        gauge("sidecar.exchanges.active", "Exchanges in flight.").of([(vec![], readings.exchanges_active)]),
        gauge("sidecar.connections.active", "Open connections from callers.")
            .of(readings.connections.into_iter().map(by_listener)),
        counter(
            "sidecar.dropped",
            "Records that did not fit into a buffer and were lost.",
        )
        .of(totals
            .dropped
            .map(|(buffer, dropped)| (vec![("buffer", Label::Static(buffer))], dropped))),
        gauge(
            "sidecar.pressure",
            "What is done without for want of a resource: 0 nothing, 1 kept-alive connections, 2 requests that can wait, 3 all.",
        )
        .of(totals
            .pressure
            .map(|(resource, step)| (vec![("resource", Label::Static(resource))], step))),
        counter("sidecar.panics", "Connections that ended by a mistake of this proxy.").of([(vec![], totals.panics)]),
        gauge("sidecar.snapshot.version", "Number of the configuration in use.")
            .of([(vec![], totals.snapshot_version)]),
        gauge("sidecar.build.info", "The version of this program.")
            .of([(vec![("version", Label::Static(env!("CARGO_PKG_VERSION")))], 1)]),
        connections(&readings.tcp),
        bytes(&readings.bytes),
        counter(
            "sidecar.cleartext.connections",
            "Connections in the clear to listeners that take mutual TLS too.",
        )
        .of(readings.cleartext.into_iter().map(by_listener)),
        counter(
            "sidecar.candidate.refusals",
            "What the candidate of `allow` would refuse, by caller and method.",
        )
        .of(readings
            .candidates
            .into_iter()
            .map(|((source, method), count)| (vec![of("source", source.into()), of("method", method.into())], count))),
        counter("sidecar.mirrored", "Copies of requests, by what became of them.")
            .of(readings.mirrored.into_iter().map(by_outcome)),
        counter(
            "sidecar.http2.excesses",
            "HTTP/2 connections that were closed because the client went beyond a budget.",
        )
        .of(totals
            .excesses
            .into_iter()
            .map(|(budget, count)| (vec![("budget", Label::Static(budget))], count))),
        counter(
            "sidecar.tls.handshakes",
            "TLS handshakes of callers, by how they ended.",
        )
        .of(readings.handshakes.into_iter().flat_map(|(listener, counts)| {
            ["completed", "failed"]
                .into_iter()
                .zip(counts)
                .map(move |(outcome, count)| {
                    let labels = vec![
                        ("listener", Label::Shared(Arc::clone(&listener))),
                        ("outcome", Label::Static(outcome)),
                    ];
                    (labels, count)
                })
        })),
    ]
}

fn durations(readings: &[DurationReading]) -> Family {
    let family = Family::new(
        "http.server.request.duration",
        "Duration of exchanges, by how they ended.",
        Kind::Histogram,
    );
    family.of_values(readings.iter().map(|duration| {
        let mut labels = vec![
            ("sidecar.direction", Label::Static(duration.direction.name())),
            ("http.route", Label::Shared(Arc::clone(&duration.route))),
            ("sidecar.cluster", Label::Shared(Arc::clone(&duration.cluster))),
        ];
        labels.extend(outcome_labels(duration.outcome));
        (labels, Value::Histogram(Box::new(duration.reading.clone())))
    }))
}

fn connections(readings: &[DurationReading]) -> Family {
    let family = Family::new(
        "sidecar.tcp.connection.duration",
        "Duration of connections that were passed on as they are, by how they ended.",
        Kind::Histogram,
    );
    family.of_values(readings.iter().map(|duration| {
        let reason = duration.outcome.reason().map_or("", |reason| reason.name());
        let mut labels = tcp_labels(duration.direction, &duration.route, &duration.cluster);
        labels.push(("sidecar.reason", Label::Static(reason)));
        (labels, Value::Histogram(Box::new(duration.reading.clone())))
    }))
}

fn bytes(readings: &[BytesReading]) -> Family {
    let family = Family::new(
        "sidecar.tcp.bytes",
        "Bytes from callers (received) and to them (sent) on connections that have ended.",
        Kind::Counter,
    );
    family.of(readings.iter().flat_map(|bytes| {
        [("received", bytes.received), ("sent", bytes.sent)].map(|(way, count)| {
            let mut labels = tcp_labels(bytes.direction, &bytes.route, &bytes.cluster);
            labels.push(("way", Label::Static(way)));
            (labels, count)
        })
    }))
}

fn tcp_labels(direction: Direction, route: &Arc<str>, cluster: &Arc<str>) -> Labels {
    vec![
        ("sidecar.direction", Label::Static(direction.name())),
        ("sidecar.route", Label::Shared(Arc::clone(route))),
        ("sidecar.cluster", Label::Shared(Arc::clone(cluster))),
    ]
}

/// How it ended, as OpenTelemetry names that.
pub fn outcome_labels(outcome: Outcome) -> Labels {
    let status = match outcome.status {
        _ if outcome.is_other() => Label::Static("_OTHER"),
        0 => Label::Static(""),
        status => Label::Number(status),
    };
    let grpc_status = outcome.grpc_status.map_or("", |number| GrpcStatus::new(number).name());
    let reason = outcome.reason().map_or("", |reason| reason.name());
    vec![
        ("http.response.status_code", status),
        ("rpc.response.status_code", Label::Static(grpc_status)),
        ("sidecar.reason", Label::Static(reason)),
    ]
}
