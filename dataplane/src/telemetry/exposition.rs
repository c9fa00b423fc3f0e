//! Metrics in the forms that are asked for: Prometheus text 0.0.4, OpenMetrics 1.0.0, OTLP.

use std::fmt::Write;
use std::sync::Arc;

use prost::Message;

use super::grpc_status::GrpcStatus;
use super::metrics::{BOUNDS, Reading};
use super::otlp::{self, Data, HistogramPoint, KeyValue, NumberPoint, copied, int};
use super::registry::{DurationReading, Readings};
use crate::snapshot::model::Direction;

#[cfg(test)]
mod tests;

/// All points of one name. Names have dots and no unit, as OpenTelemetry wants them; the text forms derive theirs.
pub struct Family {
    name: &'static str,
    help: &'static str,
    /// "s", or nothing.
    unit: &'static str,
    kind: Kind,
    points: Vec<Point>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

struct Point {
    labels: Vec<(&'static str, Label)>,
    value: Value,
}

enum Label {
    Static(&'static str),
    Shared(Arc<str>),
    Number(u16),
}

enum Value {
    Number(u64),
    Histogram(Box<Reading>),
}

/// Single numbers that stand beside the registry's cells.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// By buffer.
    pub dropped: [(&'static str, u64); 3],
    /// Of connection tasks.
    pub panics: u64,
    /// Connections of clients that went beyond a budget, by budget.
    pub excesses: Vec<(&'static str, u64)>,
    /// The one applied last.
    pub snapshot_version: u64,
}

/// Everything there is, in the order it is written.
pub fn families(readings: Readings, totals: Totals) -> Vec<Family> {
    let gauge = |name, help, value| Family::new(name, help, Kind::Gauge).with(vec![], value);
    let mut families = vec![
        durations(&readings),
        Family::new(
            "sidecar.attempts",
            "Tries of upstream endpoints, by outcome.",
            Kind::Counter,
        ),
        gauge(
            "sidecar.exchanges.active",
            "Exchanges in flight.",
            readings.exchanges_active,
        ),
        Family::new(
            "sidecar.connections.active",
            "Open connections from callers.",
            Kind::Gauge,
        ),
        Family::new(
            "sidecar.dropped",
            "Records that did not fit into a buffer and were lost.",
            Kind::Counter,
        ),
        Family::new(
            "sidecar.panics",
            "Connections that ended by a mistake of this proxy.",
            Kind::Counter,
        )
        .with(vec![], totals.panics),
        gauge(
            "sidecar.snapshot.version",
            "Number of the configuration in use.",
            totals.snapshot_version,
        ),
        Family::new("sidecar.build.info", "The version of this program.", Kind::Gauge)
            .with(vec![("version", Label::Static(env!("CARGO_PKG_VERSION")))], 1),
        connections(&readings),
        bytes(&readings),
        Family::new(
            "sidecar.cleartext.connections",
            "Connections in the clear to listeners that take mutual TLS too.",
            Kind::Counter,
        ),
        Family::new(
            "sidecar.candidate.refusals",
            "What the candidate of `allow` would refuse, by caller and method.",
            Kind::Counter,
        ),
        Family::new(
            "sidecar.mirrored",
            "Copies of requests, by what became of them.",
            Kind::Counter,
        ),
        excesses(totals.excesses),
    ];
    for (index, counted) in [(1, readings.attempts), (12, readings.mirrored)] {
        for (cluster, outcome, count) in counted {
            let labels = vec![("cluster", Label::Shared(cluster)), ("outcome", Label::Static(outcome))];
            families[index].push(labels, count);
        }
    }
    for (listener, open) in readings.connections {
        families[3].push(vec![("listener", Label::Shared(listener))], open);
    }
    for (listener, count) in readings.cleartext {
        families[10].push(vec![("listener", Label::Shared(listener))], count);
    }
    for ((source, method), count) in readings.candidates {
        let labels = vec![
            ("source", Label::Shared(source.into())),
            ("method", Label::Shared(method.into())),
        ];
        families[11].push(labels, count);
    }
    for (buffer, dropped) in totals.dropped {
        families[4].push(vec![("buffer", Label::Static(buffer))], dropped);
    }
    families
}

fn excesses(counts: Vec<(&'static str, u64)>) -> Family {
    let mut family = Family::new(
        "sidecar.http2.excesses",
        "HTTP/2 connections that were closed because the client went beyond a budget.",
        Kind::Counter,
    );
    for (budget, count) in counts {
        family.push(vec![("budget", Label::Static(budget))], count);
    }
    family
}

fn durations(readings: &Readings) -> Family {
    let mut family = Family::new(
        "http.server.request.duration",
        "Duration of exchanges, by how they ended.",
        Kind::Histogram,
    );
    family.unit = "s";
    family.points.extend(readings.durations.iter().map(|duration| Point {
        labels: duration_labels(duration),
        value: Value::Histogram(Box::new(duration.reading.clone())),
    }));
    family
}

fn connections(readings: &Readings) -> Family {
    let mut family = Family::new(
        "sidecar.tcp.connection.duration",
        "Duration of connections that were passed on as they are, by how they ended.",
        Kind::Histogram,
    );
    family.unit = "s";
    family.points.extend(readings.tcp.iter().map(|duration| {
        let reason = duration.outcome.reason().map_or("", |reason| reason.name());
        let mut labels = tcp_labels(duration.direction, &duration.route, &duration.cluster);
        labels.push(("sidecar.reason", Label::Static(reason)));
        Point { labels, value: Value::Histogram(Box::new(duration.reading.clone())) }
    }));
    family
}

fn bytes(readings: &Readings) -> Family {
    let mut family = Family::new(
        "sidecar.tcp.bytes",
        "Bytes from callers (received) and to them (sent) on connections that have ended.",
        Kind::Counter,
    );
    for bytes in &readings.bytes {
        for (way, count) in [("received", bytes.received), ("sent", bytes.sent)] {
            let mut labels = tcp_labels(bytes.direction, &bytes.route, &bytes.cluster);
            labels.push(("way", Label::Static(way)));
            family.push(labels, count);
        }
    }
    family
}

fn tcp_labels(direction: Direction, route: &Arc<str>, cluster: &Arc<str>) -> Vec<(&'static str, Label)> {
    vec![
        ("sidecar.direction", Label::Static(direction.name())),
        ("sidecar.route", Label::Shared(Arc::clone(route))),
        ("sidecar.cluster", Label::Shared(Arc::clone(cluster))),
    ]
}

fn duration_labels(duration: &DurationReading) -> Vec<(&'static str, Label)> {
    let outcome = duration.outcome;
    let status = match outcome.status {
        _ if outcome.is_other() => Label::Static("_OTHER"),
        0 => Label::Static(""),
        status => Label::Number(status),
    };
    let grpc_status = outcome.grpc_status.map_or("", |number| GrpcStatus::new(number).name());
    vec![
        ("sidecar.direction", Label::Static(duration.direction.name())),
        ("http.route", Label::Shared(Arc::clone(&duration.route))),
        ("sidecar.cluster", Label::Shared(Arc::clone(&duration.cluster))),
        ("http.response.status_code", status),
        ("rpc.response.status_code", Label::Static(grpc_status)),
        (
            "sidecar.reason",
            Label::Static(outcome.reason().map_or("", |reason| reason.name())),
        ),
    ]
}

impl Family {
    fn new(name: &'static str, help: &'static str, kind: Kind) -> Self {
        Family { name, help, unit: "", kind, points: Vec::new() }
    }

    fn with(mut self, labels: Vec<(&'static str, Label)>, value: u64) -> Self {
        self.push(labels, value);
        self
    }

    fn push(&mut self, labels: Vec<(&'static str, Label)>, value: u64) {
        self.points.push(Point { labels, value: Value::Number(value) });
    }

    /// "http_server_request_duration_seconds"
    fn prometheus_name(&self) -> String {
        let mut name = self.name.replace('.', "_");
        if self.unit == "s" {
            name.push_str("_seconds");
        }
        name
    }
}

/// Which text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextForm {
    /// Prometheus text 0.0.4 (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
    Prometheus,
    /// OpenMetrics 1.0.0 (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).
    OpenMetrics,
}

/// The families as text.
pub fn text(families: &[Family], form: TextForm) -> String {
    let mut out = String::with_capacity(16 * 1024);
    for family in families.iter().filter(|family| !family.points.is_empty()) {
        write_family(&mut out, family, form);
    }
    if form == TextForm::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

fn write_family(out: &mut String, family: &Family, form: TextForm) {
    let name = family.prometheus_name();
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    // A counter's sample ends in `_total`; OpenMetrics names the family without it, Prometheus text with it.
    let total = if family.kind == Kind::Counter { "_total" } else { "" };
    let title = if form == TextForm::OpenMetrics {
        name.clone()
    } else {
        format!("{name}{total}")
    };
    // Writing to a String cannot fail.
    let _ = writeln!(out, "# HELP {title} {}", family.help);
    let _ = writeln!(out, "# TYPE {title} {kind}");
    if form == TextForm::OpenMetrics && family.unit == "s" {
        let _ = writeln!(out, "# UNIT {title} seconds");
    }
    for point in &family.points {
        let labels = label_text(&point.labels);
        match &point.value {
            Value::Number(number) => write_sample(out, &name, total, &labels, *number),
            Value::Histogram(reading) => write_histogram(out, &name, &labels, reading),
        }
    }
}

fn write_sample(out: &mut String, name: &str, suffix: &str, labels: &str, value: impl std::fmt::Display) {
    let _ = match labels {
        "" => writeln!(out, "{name}{suffix} {value}"),
        _ => writeln!(out, "{name}{suffix}{{{labels}}} {value}"),
    };
}

fn write_histogram(out: &mut String, name: &str, labels: &str, reading: &Reading) {
    let mut count = 0;
    for (index, bucket) in reading.buckets.iter().enumerate() {
        count += bucket;
        // `le` is written as a float in both forms ("1.0"), so that a series is the same in either.
        let _ = match BOUNDS.get(index) {
            Some(bound) => writeln!(out, "{name}_bucket{{{labels},le=\"{bound:?}\"}} {count}"),
            None => writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}"),
        };
    }
    write_sample(out, name, "_sum", labels, reading.sum);
    write_sample(out, name, "_count", labels, count);
}

/// `a="x",b="y"`
fn label_text(labels: &[(&'static str, Label)]) -> String {
    let mut out = String::new();
    for (name, label) in labels {
        if !out.is_empty() {
            out.push(',');
        }
        out.extend(name.chars().map(|c| if c == '.' { '_' } else { c }));
        out.push_str("=\"");
        match label {
            Label::Static(text) => escape(&mut out, text),
            Label::Shared(text) => escape(&mut out, text),
            Label::Number(number) => {
                let _ = write!(out, "{number}");
            }
        }
        out.push('"');
    }
    out
}

/// Both forms escape backslash, double quote and line feed in label values, and nothing else.
fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

/// When the counts began and when they were read, in nanoseconds since the epoch.
#[derive(Clone, Copy, Debug)]
pub struct Period {
    /// Of the first count.
    pub start: u64,
    /// Now.
    pub end: u64,
}

/// The families as an ExportMetricsServiceRequest, cumulative since the start.
pub fn otlp(families: &[Family], period: Period, resource: &[(String, String)]) -> Vec<u8> {
    let metrics = families
        .iter()
        .filter(|family| !family.points.is_empty())
        .map(|family| metric(family, period));
    let scope_metrics = vec![otlp::ScopeMetrics { scope: Some(otlp::scope()), metrics: metrics.collect() }];
    let resource_metrics = vec![otlp::ResourceMetrics { resource: Some(otlp::resource(resource)), scope_metrics }];
    otlp::ExportMetrics { resource_metrics }.encode_to_vec()
}

fn metric(family: &Family, period: Period) -> otlp::Metric {
    let numbers = || {
        family
            .points
            .iter()
            .filter_map(|point| number_point(point, period))
            .collect()
    };
    let data = match family.kind {
        Kind::Gauge => Data::Gauge(otlp::Gauge { points: numbers() }),
        Kind::Counter => Data::Sum(otlp::Sum { points: numbers(), temporality: otlp::CUMULATIVE, monotonic: true }),
        Kind::Histogram => Data::Histogram(otlp::Histogram {
            points: family
                .points
                .iter()
                .filter_map(|point| histogram_point(point, period))
                .collect(),
            temporality: otlp::CUMULATIVE,
        }),
    };
    otlp::Metric {
        name: otlp::Text::from_static(family.name.as_bytes()),
        description: otlp::Text::from_static(family.help.as_bytes()),
        unit: otlp::Text::from_static(family.unit.as_bytes()),
        data: Some(data),
    }
}

fn number_point(point: &Point, period: Period) -> Option<NumberPoint> {
    let Value::Number(value) = point.value else { return None };
    Some(NumberPoint {
        start_time_unix_nano: period.start,
        time_unix_nano: period.end,
        value: Some(value as i64),
        attributes: attributes(&point.labels),
    })
}

fn histogram_point(point: &Point, period: Period) -> Option<HistogramPoint> {
    let Value::Histogram(reading) = &point.value else {
        return None;
    };
    Some(HistogramPoint {
        start_time_unix_nano: period.start,
        time_unix_nano: period.end,
        count: reading.buckets.iter().sum(),
        sum: Some(reading.sum),
        bucket_counts: reading.buckets.to_vec(),
        explicit_bounds: BOUNDS.to_vec(),
        attributes: attributes(&point.labels),
    })
}

/// Without those that are empty: an attribute that is not there says the same.
fn attributes(labels: &[(&'static str, Label)]) -> Vec<KeyValue> {
    let attribute = |(name, label): &(&'static str, Label)| match label {
        Label::Static("") => None,
        Label::Static(text) => Some(otlp::text(name, *text)),
        Label::Shared(text) if text.is_empty() => None,
        Label::Shared(text) => Some(otlp::text(name, copied(text))),
        Label::Number(number) => Some(int(name, *number)),
    };
    labels.iter().filter_map(attribute).collect()
}
