//! How exchanges are observed.

use super::AccessLog;

/// Spans and log lines.
#[derive(Clone, Debug, Default)]
pub struct Telemetry {
    /// Make spans.
    pub tracing: bool,
    /// Share of new traces that are sampled, 0 to 1.
    pub ratio: f64,
    /// The share decides for each exchange, whatever its caller has decided.
    pub ignores_parent: bool,
    /// The fields that carry a trace from one process to the next.
    pub propagation: Propagation,
    /// Where what happens to this proxy itself is told.
    pub mesh: Option<MeshTrace>,
    /// Resource attributes, sorted by name.
    pub resource: Vec<(String, String)>,
    /// Who gets a line, and what stands in it.
    pub access_log: AccessLog,
}

/// One way to write down the context of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `traceparent` and `tracestate`.
    TraceContext,
    /// `b3`.
    B3,
    /// `X-B3-TraceId` and others.
    B3Multi,
    /// `uber-trace-id`.
    Jaeger,
}

/// The formats in force, in the order given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagation([Option<Format>; 4]);

impl Default for Propagation {
    fn default() -> Self {
        Propagation([Some(Format::TraceContext), None, None, None])
    }
}

impl Propagation {
    /// Each format once; none: every process has traces of its own.
    pub fn new(formats: impl IntoIterator<Item = Format>) -> Self {
        let mut chosen = [None; 4];
        let mut count = 0;
        for format in formats {
            if !chosen.contains(&Some(format)) {
                chosen[count] = Some(format);
                count += 1;
            }
        }
        Propagation(chosen)
    }

    /// In the order given.
    pub fn formats(&self) -> impl DoubleEndedIterator<Item = Format> + '_ {
        self.0.iter().filter_map(|format| *format)
    }

    /// It is this one alone.
    pub fn is_only(&self, format: Format) -> bool {
        self.0[0] == Some(format) && self.0[1].is_none()
    }
}

/// The trace of what happens to this proxy itself. Its spans are made by the control side, which knows their ids before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeshTrace {
    /// Never 0.
    pub trace_id: u128,
    /// Of the change that led to this snapshot.
    pub config: u64,
    /// Of the drain that will end the process.
    pub drain: u64,
}
