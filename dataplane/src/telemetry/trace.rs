//! The place of an exchange in a trace: taken from its caller or begun here, sampled or not, and passed on.

use http::header::{HeaderMap, HeaderValue};

use super::finished::Touched;
use super::propagation::{self, Told, w3c};
use crate::random;
use crate::snapshot::model::{Format, Propagation, Telemetry};

/// What a snapshot says of traces.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tracing {
    /// None: no spans are made.
    sampler: Option<Sampler>,
    propagation: Propagation,
    /// Of the change that led to these settings, in the mesh's trace; 0: there is none.
    config_span: u64,
}

impl Tracing {
    /// As `telemetry` says.
    pub fn of(telemetry: &Telemetry) -> Self {
        let sampler = Sampler { heeds_parent: !telemetry.ignores_parent, ..Sampler::new(telemetry.ratio) };
        Tracing {
            sampler: telemetry.tracing.then_some(sampler),
            propagation: telemetry.propagation,
            config_span: telemetry.mesh.map_or(0, |mesh| mesh.config),
        }
    }

    /// That of a request with these fields. Without spans there is one only when the caller names one, for log lines.
    pub fn context(&self, headers: &HeaderMap) -> Option<TraceContext> {
        match self.sampler {
            Some(sampler) => Some(TraceContext::start(headers, self.propagation, sampler)),
            None => TraceContext::observe(headers, self.propagation),
        }
    }

    /// What touches an exchange from its start, if spans are made of it and somebody tells of the mesh.
    pub fn touched(&self, context: Option<&TraceContext>) -> Option<Box<Touched>> {
        let config = self.config_span;
        let is_told = config != 0 && context.is_some_and(|context| context.sampled);
        is_told.then(|| Box::new(Touched { config, ..Touched::default() }))
    }

    /// That of something that no field comes with.
    pub fn root(&self) -> Option<TraceContext> {
        self.sampler
            .map(|sampler| TraceContext::start(&HeaderMap::new(), self.propagation, sampler))
    }
}

/// The place of one exchange in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Never 0.
    pub trace_id: u128,
    /// Of our SERVER span; in an unsampled trace only what the next hop is told, or 0.
    pub span_id: u64,
    /// The caller's span; None: the trace begins here.
    pub parent: Option<u64>,
    /// Spans are made.
    pub sampled: bool,
    /// The caller's are: what we decide for ourselves does not break off its trace.
    pub caller_sampled: bool,
    /// It is sampled whatever anybody has decided.
    pub debug: bool,
    /// The lower 56 bits of the trace id are random.
    pub random: bool,
    /// What the caller sent, unchanged; empty when it sent none or an invalid one.
    pub tracestate: Vec<HeaderValue>,
    /// The caller's fields say all there is to say: they are passed on as they came.
    pub forward: bool,
    /// The fields that are written.
    pub propagation: Propagation,
}

impl TraceContext {
    /// Continues the caller's trace, or begins one.
    pub fn start(headers: &HeaderMap, propagation: Propagation, sampler: Sampler) -> Self {
        let (format, told) = match propagation::read(propagation, headers) {
            Some((format, told)) => (Some(format), told),
            None => (None, Told::default()),
        };
        let (trace_id, parent, random) = match told.ids {
            Some((trace_id, parent)) => (trace_id, Some(parent), told.random),
            None => (trace_id(), None, true),
        };
        let sampled = told.debug || sampler.decides(told.sampled, trace_id);
        let is_whole =
            told.is_current && told.sampled.is_some() && format.is_some_and(|only| propagation.is_only(only));
        let forward = !sampled && parent.is_some() && is_whole;
        TraceContext {
            trace_id,
            span_id: if sampled || parent.is_none() { span_id() } else { 0 },
            parent,
            sampled,
            caller_sampled: told.sampled == Some(true),
            debug: told.debug,
            random,
            tracestate: match format {
                Some(Format::TraceContext) if !forward => w3c::tracestate(headers),
                _ => Vec::new(),
            },
            forward,
            propagation,
        }
    }

    /// What the caller said, for logs only: nothing is decided and nothing is changed on the way.
    pub fn observe(headers: &HeaderMap, propagation: Propagation) -> Option<Self> {
        let (_, told) = propagation::read(propagation, headers)?;
        told.ids.map(|(trace_id, parent)| TraceContext {
            trace_id,
            span_id: 0,
            parent: Some(parent),
            sampled: false,
            caller_sampled: told.sampled == Some(true),
            debug: told.debug,
            random: told.random,
            tracestate: Vec::new(),
            forward: true,
            propagation,
        })
    }

    /// What the next hop is told of the decision.
    pub fn is_told_sampled(&self) -> bool {
        self.sampled || self.caller_sampled
    }

    /// The trace flags.
    pub fn flags(&self) -> u8 {
        w3c::flags(self)
    }

    /// Writes the context into a request that `span` sends; `span` is the id of its CLIENT span, 0 when no span is made.
    pub fn inject(&self, span: u64, headers: &mut HeaderMap) {
        if self.forward {
            return propagation::pass(self.propagation, headers);
        }
        let parent_id = match (span, self.parent) {
            (0, Some(parent)) => parent,
            (0, None) => self.span_id,
            (span, _) => span,
        };
        propagation::write(self, parent_id, headers);
    }
}

/// Decides whether spans are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampler {
    /// Of 2^63.
    threshold: u64,
    /// A caller's decision stands.
    heeds_parent: bool,
}

impl Sampler {
    /// `ratio` from 0 to 1, of the traces that begin here; a caller's decision stands.
    pub fn new(ratio: f64) -> Self {
        let whole = (1u64 << 63) as f64;
        Sampler { threshold: (ratio.clamp(0.0, 1.0) * whole) as u64, heeds_parent: true }
    }

    fn decides(self, told: Option<bool>, trace_id: u128) -> bool {
        match told {
            Some(sampled) if self.heeds_parent => sampled,
            _ => self.samples(trace_id),
        }
    }

    /// TraceIdRatioBased as the OpenTelemetry SDKs for Go, Python and Java do it, on the high 63 of the lower 64 bits.
    pub fn samples(self, trace_id: u128) -> bool {
        (trace_id as u64) >> 1 < self.threshold
    }
}

/// A new trace id.
pub fn trace_id() -> u128 {
    loop {
        let id = u128::from(random::u64()) << 64 | u128::from(random::u64());
        if id != 0 {
            return id;
        }
    }
}

/// A new span id.
pub fn span_id() -> u64 {
    loop {
        let id = random::u64();
        if id != 0 {
            return id;
        }
    }
}

#[cfg(test)]
mod tests;
