//! Metrics in the forms that are asked for: Prometheus text 0.0.4, OpenMetrics 1.0.0, OTLP.

use std::fmt::Write;
use std::sync::Arc;

use prost::Message;
use prost::bytes::Bytes;

use super::otlp::{self, Data, HistogramPoint, KeyValue, NumberPoint, copied, int};
use super::outcomes::{BOUNDS, Exemplar, Reading};

mod families;
#[cfg(test)]
mod tests;

pub use families::{Totals, families, outcome_labels};

/// All points of one name. Names have dots and no unit, as OpenTelemetry wants them; the text forms derive theirs.
pub struct Family {
    name: &'static str,
    help: &'static str,
    /// "s", or nothing.
    unit: &'static str,
    kind: Kind,
    points: Vec<Point>,
}

/// How the numbers of a family behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grow.
    Counter,
    /// Go up and down.
    Gauge,
    /// Durations in buckets.
    Histogram,
    /// How many durations, and their sum.
    Summary,
}

/// Labels by name.
pub type Labels = Vec<(&'static str, Label)>;

struct Point {
    labels: Labels,
    value: Value,
}

/// The value of a label.
#[derive(Clone, Debug)]
pub enum Label {
    /// One of ours.
    Static(&'static str),
    /// One that somebody wrote.
    Shared(Arc<str>),
    /// A status.
    Number(u16),
}

/// What stands at one point.
pub enum Value {
    /// Of a counter or a gauge.
    Number(u64),
    /// Of a histogram.
    Histogram(Box<Reading>),
    /// Of a summary: how many, and how many seconds in all.
    Summary(u64, f64),
}

impl Family {
    /// Without points. Histograms and summaries are of seconds.
    pub fn new(name: &'static str, help: &'static str, kind: Kind) -> Self {
        let unit = if matches!(kind, Kind::Histogram | Kind::Summary) {
            "s"
        } else {
            ""
        };
        Family { name, help, unit, kind, points: Vec::new() }
    }

    /// With these points.
    pub fn of(self, points: impl IntoIterator<Item = (Labels, u64)>) -> Self {
        self.of_values(
            points
                .into_iter()
                .map(|(labels, number)| (labels, Value::Number(number))),
        )
    }

    /// With these points.
    pub fn of_values(mut self, points: impl IntoIterator<Item = (Labels, Value)>) -> Self {
        self.points
            .extend(points.into_iter().map(|(labels, value)| Point { labels, value }));
        self
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
        Kind::Summary => "summary",
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
            Value::Histogram(reading) => write_histogram(out, &name, &labels, reading, form),
            Value::Summary(count, sum) => {
                write_sample(out, &name, "_sum", &labels, sum);
                write_sample(out, &name, "_count", &labels, count);
            }
        }
    }
}

fn write_sample(out: &mut String, name: &str, suffix: &str, labels: &str, value: impl std::fmt::Display) {
    let _ = match labels {
        "" => writeln!(out, "{name}{suffix} {value}"),
        _ => writeln!(out, "{name}{suffix}{{{labels}}} {value}"),
    };
}

fn write_histogram(out: &mut String, name: &str, labels: &str, reading: &Reading, form: TextForm) {
    let mut count = 0;
    let exemplars = reading.exemplars.as_deref().filter(|_| form == TextForm::OpenMetrics);
    for (index, bucket) in reading.buckets.iter().enumerate() {
        count += bucket;
        // `le` is written as a float in both forms ("1.0"), so that a series is the same in either.
        let _ = match BOUNDS.get(index) {
            Some(bound) => write!(out, "{name}_bucket{{{labels},le=\"{bound:?}\"}} {count}"),
            None => write!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}"),
        };
        if let Some(exemplar) = exemplars.and_then(|exemplars| exemplars[index]) {
            write_exemplar(out, &exemplar);
        }
        out.push('\n');
    }
    write_sample(out, name, "_sum", labels, reading.sum);
    write_sample(out, name, "_count", labels, count);
}

fn write_exemplar(out: &mut String, exemplar: &Exemplar) {
    let Exemplar { trace_id, span_id, duration, unix_nanos } = exemplar;
    let (value, time) = (duration.as_secs_f64(), *unix_nanos as f64 / 1e9);
    let _ = write!(
        out,
        " # {{trace_id=\"{trace_id:032x}\",span_id=\"{span_id:016x}\"}} {value} {time:.3}"
    );
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
        Kind::Histogram | Kind::Summary => Data::Histogram(otlp::Histogram {
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

/// A summary is a histogram without buckets, as OTLP has it.
fn histogram_point(point: &Point, period: Period) -> Option<HistogramPoint> {
    let (count, sum) = match &point.value {
        Value::Histogram(reading) => (reading.buckets.iter().sum(), reading.sum),
        Value::Summary(count, sum) => (*count, *sum),
        Value::Number(_) => return None,
    };
    let mut made = HistogramPoint {
        start_time_unix_nano: period.start,
        time_unix_nano: period.end,
        count,
        sum: Some(sum),
        attributes: attributes(&point.labels),
        ..HistogramPoint::default()
    };
    if let Value::Histogram(reading) = &point.value {
        made.bucket_counts = reading.buckets.to_vec();
        made.explicit_bounds = BOUNDS.to_vec();
        let exemplars = reading
            .exemplars
            .iter()
            .flat_map(|exemplars| exemplars.iter().flatten());
        made.exemplars = exemplars.map(exemplar).collect();
    }
    Some(made)
}

fn exemplar(exemplar: &Exemplar) -> otlp::Exemplar {
    otlp::Exemplar {
        time_unix_nano: exemplar.unix_nanos,
        value: Some(exemplar.duration.as_secs_f64()),
        span_id: Bytes::copy_from_slice(&exemplar.span_id.to_be_bytes()),
        trace_id: Bytes::copy_from_slice(&exemplar.trace_id.to_be_bytes()),
    }
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
