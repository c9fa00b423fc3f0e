//! What is known about exchanges, and how it leaves: metrics, spans, log lines, explained failures.
//!
//! A worker writes a [`record::Record`] for each exchange through its [`observer::Observer`]. Consumed, it changes
//! metrics and, when somebody wants to know more, goes as one [`finished::Finished`] into the rings of the [`Hub`].
//! Whoever drains the hub pays for the encoding.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;

use crate::proto;
use crate::snapshot::model::{AccessLog, MeshTrace, Telemetry};
use crate::{clock, pressure};

mod access_log;
mod bounded;
pub mod excess;
mod explained;
pub mod exposition;
pub mod finished;
pub mod grpc_status;
mod hex;
mod kept;
pub mod metrics;
pub mod observer;
mod otlp;
pub mod outcomes;
pub mod propagation;
#[cfg(test)]
mod reasons;
pub mod record;
pub mod registry;
mod ring;
#[cfg(test)]
mod samples;
mod spans;
#[cfg(test)]
mod tests;
pub mod trace;
pub mod tracestate;

use excess::{Excess, ExcessCounts};
use explained::explained;
use exposition::{Family, Period, TextForm, Totals};
use finished::Finished;
pub use kept::Keep;
use kept::{Failures, Slowest};
use registry::Registry;
use ring::Ring;

#[expect(
    clippy::disallowed_types,
    reason = "taken at apply and by those who drain; never by an exchange"
)]
type Mutex<T> = std::sync::Mutex<T>;

/// Spans that wait to be drained: the default of OTEL_BSP_MAX_QUEUE_SIZE.
const DEFAULT_SPANS: usize = 2048;
/// Log lines that wait to be drained.
const DEFAULT_ACCESS_LOG: usize = 8192;
/// Failures that are kept.
const DEFAULT_FAILURES: usize = 1000;

/// The telemetry of the process: what the workers' observers write into and what Python drains.
#[derive(Debug)]
pub struct Hub {
    spans: spans::Queue,
    access_log: Ring<Arc<Finished>>,
    failures: Failures,
    slowest: Slowest,
    registry: Registry,
    source: Mutex<Arc<Source>>,
    /// In the mesh's trace: the last change of certificates.
    rotation: AtomicU64,
    /// How lines are written.
    lines: Mutex<Arc<AccessLog>>,
    started_unix_nanos: u64,
    snapshot_version: AtomicU64,
    events_dropped: AtomicU64,
    panics: AtomicU64,
    excesses: ExcessCounts,
}

/// Who sends spans and metrics, as the snapshot in force has it.
#[derive(Debug, Default)]
pub struct Source {
    /// Attributes.
    pub resource: Vec<(String, String)>,
    /// Where what happens to it is told.
    pub mesh: Option<MeshTrace>,
}

/// A form of metrics that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown form of metrics {0:?}; expected \"text\", \"openmetrics\" or \"otlp\"")]
pub struct UnknownForm(String);

impl Hub {
    /// With the buffers that `options` ask for.
    pub fn new(options: &proto::Options) -> Arc<Self> {
        let or = |asked: u32, default: usize| if asked == 0 { default } else { asked as usize };
        Arc::new(Hub {
            spans: spans::Queue::new(or(options.span_buffer, DEFAULT_SPANS)),
            access_log: Ring::new(or(options.access_log_buffer, DEFAULT_ACCESS_LOG)),
            failures: Failures::new(or(options.failure_buffer, DEFAULT_FAILURES)),
            slowest: Slowest::default(),
            registry: Registry::default(),
            source: Mutex::default(),
            rotation: AtomicU64::new(0),
            lines: Mutex::default(),
            started_unix_nanos: clock::unix_nanos(),
            snapshot_version: AtomicU64::new(0),
            events_dropped: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            excesses: ExcessCounts::default(),
        })
    }

    /// A snapshot is applied: its resource attributes hold from now on, and metrics of things long gone are forgotten.
    /// The workers' observers take the other settings themselves.
    pub fn apply(&self, version: u64, telemetry: &Telemetry) {
        self.snapshot_version.store(version, Ordering::Relaxed);
        *self.lock_source() = Arc::new(Source { resource: telemetry.resource.clone(), mesh: telemetry.mesh });
        *self.lock_lines() = Arc::new(telemetry.access_log.clone());
        self.registry.sweep();
    }

    /// The certificates have changed: that is `span` in the mesh's trace, 0 when it is none.
    pub fn rotated(&self, span: u64) {
        self.rotation.store(span, Ordering::Relaxed);
    }

    /// The cells that exchanges change.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Whether an exchange that has ended is kept to be asked for.
    fn keeps(&self, exchange: &Finished) -> Option<Keep> {
        if exchange.has_failed() {
            return Some(Keep::Failure);
        }
        // What tunnels and connections are passed on for ends when its two ends like.
        let is_open_ended = exchange.tcp || exchange.status == Some(StatusCode::SWITCHING_PROTOCOLS);
        (self.slowest.takes(exchange.duration) && !is_open_ended).then_some(Keep::Slow)
    }

    /// Where a finished exchange goes. `logged`: it gets a line in the access log.
    fn push(&self, exchange: Arc<Finished>, logged: bool, kept: Option<Keep>) {
        if exchange.sampled().is_some() {
            self.spans.push(Arc::clone(&exchange));
        }
        match kept {
            Some(Keep::Failure) => self.failures.push(Arc::clone(&exchange)),
            Some(Keep::Slow) => self.slowest.push(Arc::clone(&exchange)),
            None => {}
        }
        if logged {
            self.access_log.push(exchange);
        }
    }

    /// An ExportTraceServiceRequest with `max` spans and the rest of the last exchange's; empty when there are none.
    pub fn drain_spans(&self, max: usize) -> Vec<u8> {
        let source = Arc::clone(&self.lock_source());
        let rotation = self.rotation.load(Ordering::Relaxed);
        let exchanges: Vec<_> = self.spans.drain(max).collect();
        self.registry.exemplify(&exchanges);
        spans::encode(exchanges.into_iter(), &source, rotation)
    }

    /// Up to `max` lines; empty when there are none.
    pub fn drain_access_log(&self, max: usize) -> Vec<u8> {
        // Somebody comes by several times a second: what is slow is settled then.
        self.slowest.slowest(clock::unix_nanos());
        let format = Arc::clone(&self.lock_lines());
        let writer = access_log::Writer::new(&format);
        let mut lines = String::new();
        for exchange in self.access_log.drain(max) {
            writer.write(&mut lines, &exchange);
        }
        lines.into_bytes()
    }

    /// All metrics, and `others` behind them, as "text" (Prometheus 0.0.4), "openmetrics" (1.0.0) or "otlp"
    /// (ExportMetricsServiceRequest).
    pub fn metrics(&self, form: &str, others: impl FnOnce() -> Vec<Family>) -> Result<Vec<u8>, UnknownForm> {
        let families = || {
            let mut all = exposition::families(self.registry.read(), self.totals());
            all.extend(others());
            all
        };
        match form {
            "text" => Ok(exposition::text(&families(), TextForm::Prometheus).into_bytes()),
            "openmetrics" => Ok(exposition::text(&families(), TextForm::OpenMetrics).into_bytes()),
            "otlp" => {
                let period = Period { start: self.started_unix_nanos, end: clock::unix_nanos() };
                let source = Arc::clone(&self.lock_source());
                Ok(exposition::otlp(&families(), period, &source.resource))
            }
            other => Err(UnknownForm(other.to_owned())),
        }
    }

    /// The last failures, newest first; `limit` 0 = all that are kept.
    pub fn failures(&self, limit: u32) -> proto::Exchanges {
        first(&self.failures.newest(), limit)
    }

    /// The slowest of late, the slowest first; `limit` 0 = all that are kept.
    pub fn slowest(&self, limit: u32) -> proto::Exchanges {
        first(&self.slowest.slowest(clock::unix_nanos()), limit)
    }

    /// Those of them with this request id or trace id, the oldest first.
    pub fn exchange(&self, id: &str) -> proto::Exchanges {
        let kept = [self.failures.newest(), self.slowest.slowest(clock::unix_nanos())].concat();
        let mut found: Vec<_> = kept.into_iter().filter(|exchange| exchange.is_called(id)).collect();
        found.sort_by_key(|exchange| exchange.started_unix_nanos);
        first(&found, 0)
    }

    /// The telemetry's part of the stats; the rest is left at 0.
    pub fn stats(&self) -> proto::Stats {
        let readings = self.registry.read();
        proto::Stats {
            snapshot_version: self.snapshot_version.load(Ordering::Relaxed),
            exchanges_active: readings.exchanges_active,
            exchanges_total: readings.exchanges_total,
            connections_active: readings.connections.iter().map(|(_, open)| open).sum(),
            spans_dropped: self.spans.dropped(),
            access_log_dropped: self.access_log.dropped(),
            events_dropped: self.events_dropped.load(Ordering::Relaxed),
            panics: self.panics.load(Ordering::Relaxed),
            ..proto::Stats::default()
        }
    }

    /// An event did not fit into its buffer.
    pub fn event_dropped(&self) {
        self.events_dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection's task panicked.
    pub fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// A client's connection was closed for what it did there.
    pub fn exceeded(&self, excess: Excess) {
        self.excesses.count(excess);
    }

    fn totals(&self) -> Totals {
        Totals {
            dropped: [
                ("access_log", self.access_log.dropped()),
                ("events", self.events_dropped.load(Ordering::Relaxed)),
                ("spans", self.spans.dropped()),
            ],
            pressure: pressure::steps(),
            panics: self.panics.load(Ordering::Relaxed),
            excesses: self.excesses.read().collect(),
            snapshot_version: self.snapshot_version.load(Ordering::Relaxed),
        }
    }

    fn lock_source(&self) -> std::sync::MutexGuard<'_, Arc<Source>> {
        // A panic while it was held cannot leave the pointer half changed.
        self.source.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn lock_lines(&self) -> std::sync::MutexGuard<'_, Arc<AccessLog>> {
        // As above.
        self.lines.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The first `limit` of them in words; 0 = all.
fn first(exchanges: &[Arc<Finished>], limit: u32) -> proto::Exchanges {
    let limit = if limit == 0 { usize::MAX } else { limit as usize };
    let exchanges = exchanges.iter().take(limit);
    proto::Exchanges { exchanges: exchanges.map(|exchange| explained(exchange)).collect() }
}
