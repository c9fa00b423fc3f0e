//! The messages of the OpenTelemetry protocol that are sent, as far as they are used. Field numbers are those of
//! opentelemetry-proto 1.x (<https://github.com/open-telemetry/opentelemetry-proto>, packages trace, metrics, common,
//! resource and collector, all v1).
//!
//! Texts are `Bytes`: on the wire a string and bytes are the same, and a constant then needs no copy. Whoever makes one
//! makes it from UTF-8.

use prost::Message;
use prost::bytes::Bytes;

/// UTF-8.
pub type Text = Bytes;

/// The name of the instrumentation scope.
pub const SCOPE: &str = "sidecar";

/// `collector.trace.v1.ExportTraceServiceRequest`
#[derive(Clone, PartialEq, Message)]
pub struct ExportTraces {
    /// One for each resource.
    #[prost(message, repeated, tag = "1")]
    pub resource_spans: Vec<ResourceSpans>,
}

/// `trace.v1.ResourceSpans`
#[derive(Clone, PartialEq, Message)]
pub struct ResourceSpans {
    /// Who made the spans.
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    /// One for each scope.
    #[prost(message, repeated, tag = "2")]
    pub scope_spans: Vec<ScopeSpans>,
}

/// `trace.v1.ScopeSpans`
#[derive(Clone, PartialEq, Message)]
pub struct ScopeSpans {
    /// What made the spans.
    #[prost(message, optional, tag = "1")]
    pub scope: Option<Scope>,
    /// In any order.
    #[prost(message, repeated, tag = "2")]
    pub spans: Vec<Span>,
}

/// `resource.v1.Resource`
#[derive(Clone, PartialEq, Message)]
pub struct Resource {
    /// "service.name" among them.
    #[prost(message, repeated, tag = "1")]
    pub attributes: Vec<KeyValue>,
}

/// `common.v1.InstrumentationScope`
#[derive(Clone, PartialEq, Message)]
pub struct Scope {
    /// [`SCOPE`].
    #[prost(bytes = "bytes", tag = "1")]
    pub name: Text,
    /// Of this crate.
    #[prost(bytes = "bytes", tag = "2")]
    pub version: Text,
}

/// `common.v1.KeyValue`
#[derive(Clone, PartialEq, Message)]
pub struct KeyValue {
    /// A name of the semantic conventions, or one that starts with "sidecar.".
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Text,
    /// Always there.
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

/// `common.v1.AnyValue`
#[derive(Clone, PartialEq, Message)]
pub struct AnyValue {
    /// Always there.
    #[prost(oneof = "Value", tags = "1, 3")]
    pub value: Option<Value>,
}

/// The kinds of values in use.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Value {
    /// `string_value`
    #[prost(bytes = "bytes", tag = "1")]
    Text(Text),
    /// `int_value`
    #[prost(int64, tag = "3")]
    Int(i64),
}

/// `trace.v1.Span.SpanKind`
pub const KIND_SERVER: i32 = 2;
/// `trace.v1.Span.SpanKind`
pub const KIND_CLIENT: i32 = 3;
/// `trace.v1.SpanFlags`: the next flag is known.
pub const FLAG_HAS_IS_REMOTE: u32 = 0x100;
/// `trace.v1.SpanFlags`: the parent is in another process.
pub const FLAG_IS_REMOTE: u32 = 0x200;

/// `trace.v1.Span`
#[derive(Clone, PartialEq, Message)]
pub struct Span {
    /// 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub trace_id: Bytes,
    /// 8 bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub span_id: Bytes,
    /// What came in `tracestate`.
    #[prost(bytes = "bytes", tag = "3")]
    pub trace_state: Text,
    /// 8 bytes, or none for a root.
    #[prost(bytes = "bytes", tag = "4")]
    pub parent_span_id: Bytes,
    /// Of low cardinality.
    #[prost(bytes = "bytes", tag = "5")]
    pub name: Text,
    /// [`KIND_SERVER`] or [`KIND_CLIENT`].
    #[prost(int32, tag = "6")]
    pub kind: i32,
    /// Since the epoch.
    #[prost(fixed64, tag = "7")]
    pub start_time_unix_nano: u64,
    /// Since the epoch.
    #[prost(fixed64, tag = "8")]
    pub end_time_unix_nano: u64,
    /// In any order.
    #[prost(message, repeated, tag = "9")]
    pub attributes: Vec<KeyValue>,
    /// In the order in which they happened.
    #[prost(message, repeated, tag = "11")]
    pub events: Vec<Event>,
    /// What it has to do with beside its parent.
    #[prost(message, repeated, tag = "13")]
    pub links: Vec<Link>,
    /// None: unset.
    #[prost(message, optional, tag = "15")]
    pub status: Option<Status>,
    /// Trace flags in the lowest byte, `SpanFlags` above.
    #[prost(fixed32, tag = "16")]
    pub flags: u32,
}

/// `trace.v1.Span.Event`
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// Since the epoch.
    #[prost(fixed64, tag = "1")]
    pub time_unix_nano: u64,
    /// Of low cardinality.
    #[prost(bytes = "bytes", tag = "2")]
    pub name: Text,
    /// In any order.
    #[prost(message, repeated, tag = "3")]
    pub attributes: Vec<KeyValue>,
}

/// `trace.v1.Span.Link`
#[derive(Clone, PartialEq, Message)]
pub struct Link {
    /// 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub trace_id: Bytes,
    /// 8 bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub span_id: Bytes,
}

/// `trace.v1.Status.StatusCode`
pub const STATUS_ERROR: i32 = 2;

/// `trace.v1.Status`
#[derive(Clone, PartialEq, Message)]
pub struct Status {
    /// For a person.
    #[prost(bytes = "bytes", tag = "2")]
    pub message: Text,
    /// [`STATUS_ERROR`].
    #[prost(int32, tag = "3")]
    pub code: i32,
}

/// `collector.metrics.v1.ExportMetricsServiceRequest`
#[derive(Clone, PartialEq, Message)]
pub struct ExportMetrics {
    /// One for each resource.
    #[prost(message, repeated, tag = "1")]
    pub resource_metrics: Vec<ResourceMetrics>,
}

/// `metrics.v1.ResourceMetrics`
#[derive(Clone, PartialEq, Message)]
pub struct ResourceMetrics {
    /// Who counts.
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    /// One for each scope.
    #[prost(message, repeated, tag = "2")]
    pub scope_metrics: Vec<ScopeMetrics>,
}

/// `metrics.v1.ScopeMetrics`
#[derive(Clone, PartialEq, Message)]
pub struct ScopeMetrics {
    /// What counts.
    #[prost(message, optional, tag = "1")]
    pub scope: Option<Scope>,
    /// One for each name.
    #[prost(message, repeated, tag = "2")]
    pub metrics: Vec<Metric>,
}

/// `metrics.v1.Metric`
#[derive(Clone, PartialEq, Message)]
pub struct Metric {
    /// With dots.
    #[prost(bytes = "bytes", tag = "1")]
    pub name: Text,
    /// For a person.
    #[prost(bytes = "bytes", tag = "2")]
    pub description: Text,
    /// UCUM: "s", or "{thing}".
    #[prost(bytes = "bytes", tag = "3")]
    pub unit: Text,
    /// Always there.
    #[prost(oneof = "Data", tags = "5, 7, 9")]
    pub data: Option<Data>,
}

/// The kinds of metrics in use.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Data {
    /// Goes up and down.
    #[prost(message, tag = "5")]
    Gauge(Gauge),
    /// Only grows.
    #[prost(message, tag = "7")]
    Sum(Sum),
    /// A distribution.
    #[prost(message, tag = "9")]
    Histogram(Histogram),
}

/// `metrics.v1.AggregationTemporality`
pub const CUMULATIVE: i32 = 2;

/// `metrics.v1.Gauge`
#[derive(Clone, PartialEq, Message)]
pub struct Gauge {
    /// One for each attribute set.
    #[prost(message, repeated, tag = "1")]
    pub points: Vec<NumberPoint>,
}

/// `metrics.v1.Sum`
#[derive(Clone, PartialEq, Message)]
pub struct Sum {
    /// One for each attribute set.
    #[prost(message, repeated, tag = "1")]
    pub points: Vec<NumberPoint>,
    /// [`CUMULATIVE`].
    #[prost(int32, tag = "2")]
    pub temporality: i32,
    /// True.
    #[prost(bool, tag = "3")]
    pub monotonic: bool,
}

/// `metrics.v1.Histogram`
#[derive(Clone, PartialEq, Message)]
pub struct Histogram {
    /// One for each attribute set.
    #[prost(message, repeated, tag = "1")]
    pub points: Vec<HistogramPoint>,
    /// [`CUMULATIVE`].
    #[prost(int32, tag = "2")]
    pub temporality: i32,
}

/// `metrics.v1.NumberDataPoint`
#[derive(Clone, PartialEq, Message)]
pub struct NumberPoint {
    /// Since when it counts.
    #[prost(fixed64, tag = "2")]
    pub start_time_unix_nano: u64,
    /// When it was read.
    #[prost(fixed64, tag = "3")]
    pub time_unix_nano: u64,
    /// `as_int`; in a oneof there, and always chosen here.
    #[prost(sfixed64, optional, tag = "6")]
    pub value: Option<i64>,
    /// What it counts.
    #[prost(message, repeated, tag = "7")]
    pub attributes: Vec<KeyValue>,
}

/// `metrics.v1.HistogramDataPoint`
#[derive(Clone, PartialEq, Message)]
pub struct HistogramPoint {
    /// Since when it counts.
    #[prost(fixed64, tag = "2")]
    pub start_time_unix_nano: u64,
    /// When it was read.
    #[prost(fixed64, tag = "3")]
    pub time_unix_nano: u64,
    /// Of all buckets.
    #[prost(fixed64, tag = "4")]
    pub count: u64,
    /// In the metric's unit.
    #[prost(double, optional, tag = "5")]
    pub sum: Option<f64>,
    /// One more than the bounds; not cumulative.
    #[prost(fixed64, repeated, tag = "6")]
    pub bucket_counts: Vec<u64>,
    /// Upper bounds, inclusive.
    #[prost(double, repeated, tag = "7")]
    pub explicit_bounds: Vec<f64>,
    /// What it measures.
    #[prost(message, repeated, tag = "9")]
    pub attributes: Vec<KeyValue>,
    /// Of its buckets.
    #[prost(message, repeated, tag = "8")]
    pub exemplars: Vec<Exemplar>,
}

/// `metrics.v1.Exemplar`
#[derive(Clone, PartialEq, Message)]
pub struct Exemplar {
    /// When it was measured.
    #[prost(fixed64, tag = "2")]
    pub time_unix_nano: u64,
    /// `as_double`; in a oneof there, and always chosen here.
    #[prost(double, optional, tag = "3")]
    pub value: Option<f64>,
    /// Eight bytes.
    #[prost(bytes = "bytes", tag = "4")]
    pub span_id: Bytes,
    /// Sixteen bytes.
    #[prost(bytes = "bytes", tag = "5")]
    pub trace_id: Bytes,
}

/// One attribute with a text.
pub fn text(key: &'static str, value: impl Into<Text>) -> KeyValue {
    attribute(Text::from_static(key.as_bytes()), Value::Text(value.into()))
}

/// One attribute with a number.
pub fn int(key: &'static str, value: impl Into<i64>) -> KeyValue {
    attribute(Text::from_static(key.as_bytes()), Value::Int(value.into()))
}

fn attribute(key: Text, value: Value) -> KeyValue {
    KeyValue { key, value: Some(AnyValue { value: Some(value) }) }
}

/// A copy of `value`.
pub fn copied(value: &str) -> Text {
    Text::copy_from_slice(value.as_bytes())
}

/// The resource of everything that is sent.
pub fn resource(attributes: &[(String, String)]) -> Resource {
    let attribute = |(key, value): &(String, String)| attribute(copied(key), Value::Text(copied(value)));
    Resource { attributes: attributes.iter().map(attribute).collect() }
}

/// The scope of everything that is sent.
pub fn scope() -> Scope {
    let version = env!("CARGO_PKG_VERSION");
    Scope {
        name: Text::from_static(SCOPE.as_bytes()),
        version: Text::from_static(version.as_bytes()),
    }
}
