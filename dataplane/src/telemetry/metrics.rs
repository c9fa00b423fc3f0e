//! Counters and histograms that exchanges change: shared by all workers, by relaxed atomics alone.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;

use super::grpc_status::GrpcStatus;
use crate::error::Reason;
use crate::snapshot::model::{Direction, Listener};

/// Upper bounds of the duration buckets in seconds, as OpenTelemetry advises for HTTP
/// (<https://opentelemetry.io/docs/specs/semconv/http/http-metrics/>).
pub const BOUNDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
const BOUND_NANOS: [u64; BOUNDS.len()] = {
    let mut nanos = [0; BOUNDS.len()];
    let mut index = 0;
    while index < BOUNDS.len() {
        // Every bound is a whole number of milliseconds; rounding undoes the binary fraction.
        nanos[index] = (BOUNDS[index] * 1000.0 + 0.5) as u64 * 1_000_000;
        index += 1;
    }
    nanos
};
/// The buckets of [`BOUNDS`] and the one above them.
pub const BUCKETS: usize = BOUNDS.len() + 1;

/// Outcomes of one route and destination that get a series of their own; the others share one.
const MAX_OUTCOMES: usize = 32;

/// How an exchange ended, as far as metrics tell outcomes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Outcome {
    /// 0: the caller got no response.
    pub status: u16,
    /// None: no gRPC.
    pub grpc_status: Option<u8>,
    /// None: the upstream's own answer. Index in `Reason::ALL`.
    reason: Option<u8>,
}

impl Outcome {
    /// All that did not get a series of their own.
    const OTHER: Outcome = Outcome { status: u16::MAX, grpc_status: None, reason: None };

    /// True for the series that the outcomes without one share.
    pub fn is_other(self) -> bool {
        self == Self::OTHER
    }

    /// Why the proxy answered or the exchange broke off.
    pub fn reason(self) -> Option<Reason> {
        self.reason
            .and_then(|index| Reason::ALL.get(usize::from(index)).copied())
    }
}

/// Durations of the exchanges with one outcome.
#[derive(Debug)]
pub struct Histogram {
    outcome: Outcome,
    buckets: [AtomicU64; BUCKETS],
    sum_nanos: AtomicU64,
    next: OnceLock<Box<Histogram>>,
}

/// A histogram at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Not cumulative.
    pub buckets: [u64; BUCKETS],
    /// Seconds.
    pub sum: f64,
}

impl Histogram {
    fn new(outcome: Outcome) -> Box<Self> {
        Box::new(Histogram {
            outcome,
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            sum_nanos: AtomicU64::new(0),
            next: OnceLock::new(),
        })
    }

    fn observe(&self, duration: Duration) {
        let nanos = duration.as_nanos() as u64;
        let bucket = BOUND_NANOS
            .iter()
            .position(|bound| nanos <= *bound)
            .unwrap_or(BOUNDS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    fn read(&self) -> Reading {
        Reading {
            buckets: std::array::from_fn(|index| self.buckets[index].load(Ordering::Relaxed)),
            sum: self.sum_nanos.load(Ordering::Relaxed) as f64 / 1e9,
        }
    }
}

/// Durations of one route and destination by outcome: a list that only grows, at most to [`MAX_OUTCOMES`] and one for
/// the rest. The first call of a new outcome adds to it; all others only read it.
#[derive(Debug, Default)]
pub struct DurationSeries {
    first: OnceLock<Box<Histogram>>,
}

impl DurationSeries {
    /// Counts one exchange.
    pub fn observe(
        &self,
        duration: Duration,
        status: Option<StatusCode>,
        grpc_status: Option<GrpcStatus>,
        reason: Option<Reason>,
    ) {
        let outcome = Outcome {
            status: status.map_or(0, |status| status.as_u16()),
            grpc_status: grpc_status.map(GrpcStatus::number),
            reason: reason.map(|reason| reason as u8),
        };
        self.histogram(outcome).observe(duration);
    }

    fn histogram(&self, outcome: Outcome) -> &Histogram {
        let mut slot = &self.first;
        for _ in 0..MAX_OUTCOMES {
            let histogram = slot.get_or_init(|| Histogram::new(outcome));
            if histogram.outcome == outcome {
                return histogram;
            }
            slot = &histogram.next;
        }
        slot.get_or_init(|| Histogram::new(Outcome::OTHER))
    }

    /// Every outcome there was.
    pub(super) fn read(&self) -> impl Iterator<Item = (Outcome, Reading)> {
        let first = self.first.get();
        std::iter::successors(first, |histogram| histogram.next.get())
            .map(|histogram| (histogram.outcome, histogram.read()))
    }
}

/// Attempts of one cluster by outcome.
#[derive(Debug)]
pub struct AttemptCounts {
    succeeded: AtomicU64,
    failed: [AtomicU64; Reason::ALL.len()],
}

impl Default for AttemptCounts {
    fn default() -> Self {
        AttemptCounts {
            succeeded: AtomicU64::new(0),
            failed: [const { AtomicU64::new(0) }; Reason::ALL.len()],
        }
    }
}

impl AttemptCounts {
    /// Counts one attempt; None: it succeeded.
    pub fn count(&self, why: Option<Reason>) {
        let cell = why.map_or(&self.succeeded, |reason| &self.failed[reason as usize]);
        cell.fetch_add(1, Ordering::Relaxed);
    }

    /// Every outcome there was.
    pub(super) fn read(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let failed = Reason::ALL
            .iter()
            .map(|reason| (reason.name(), &self.failed[*reason as usize]));
        std::iter::once(("success", &self.succeeded))
            .chain(failed)
            .map(|(outcome, cell)| (outcome, cell.load(Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
    }
}

/// The cells of one route in one direction.
#[derive(Debug)]
pub struct RouteMetrics {
    /// Exchanges that ended before a destination was picked.
    pub durations: Arc<DurationSeries>,
    /// In the order of the route's destinations.
    pub destinations: Vec<DestinationMetrics>,
    /// Copies of its requests; None: there are none.
    pub mirrored: Option<Arc<AttemptCounts>>,
}

/// The cells of one destination of a route.
#[derive(Debug)]
pub struct DestinationMetrics {
    /// Exchanges sent there.
    pub durations: Arc<DurationSeries>,
    /// The cluster's, whatever the route.
    pub attempts: Arc<AttemptCounts>,
    /// Of connections that are passed on as they are.
    pub bytes: Option<Arc<ByteCounts>>,
}

/// Bytes of the connections of one route and destination, counted when they end.
#[derive(Debug, Default)]
pub struct ByteCounts {
    received: AtomicU64,
    sent: AtomicU64,
}

impl ByteCounts {
    /// Counts one connection: from its caller, and to it.
    pub fn count(&self, received: u64, sent: u64) {
        self.received.fetch_add(received, Ordering::Relaxed);
        self.sent.fetch_add(sent, Ordering::Relaxed);
    }

    /// Received and sent.
    pub(super) fn read(&self) -> (u64, u64) {
        (self.received.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed))
    }
}

/// A listener as exchanges see it, with its connections counted.
#[derive(Debug)]
pub struct ListenerLabel {
    /// Unique.
    pub name: Arc<str>,
    /// Which way.
    pub direction: Direction,
    /// Its connections are TLS.
    pub tls: bool,
    connections: AtomicU64,
    /// Where it takes them: those in the clear.
    cleartext: Option<AtomicU64>,
}

/// Counts one open connection for as long as it lives.
#[derive(Debug)]
pub struct OpenConnection {
    listener: Arc<ListenerLabel>,
    number: u64,
}

impl OpenConnection {
    /// How many were open when it came, itself included.
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl ListenerLabel {
    /// Of `listener`, with no connection yet.
    pub(super) fn new(listener: &Listener) -> Self {
        ListenerLabel {
            name: Arc::clone(&listener.name),
            direction: listener.direction,
            tls: listener.tls.is_some(),
            connections: AtomicU64::new(0),
            cleartext: takes_cleartext(listener).then(AtomicU64::default),
        }
    }

    /// Counts a connection in the clear on a listener that takes TLS too.
    pub fn cleartext(&self) {
        if let Some(count) = &self.cleartext {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many connections came in the clear; `None` where none may.
    pub(super) fn in_the_clear(&self) -> Option<u64> {
        self.cleartext.as_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// How many connections are open.
    pub(super) fn open(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts a connection until the guard is dropped.
    pub fn connection(self: &Arc<Self>) -> OpenConnection {
        let number = 1 + self.connections.fetch_add(1, Ordering::Relaxed);
        OpenConnection { listener: Arc::clone(self), number }
    }
}

/// Whether clients that do not begin with TLS are served beside those that do.
pub(super) fn takes_cleartext(listener: &Listener) -> bool {
    listener.tls.as_ref().is_some_and(|tls| tls.cleartext)
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.listener.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Exchanges of one worker, which alone writes here.
#[derive(Debug, Default)]
pub struct WorkerCounts {
    started: AtomicU64,
    ended: AtomicU64,
}

impl WorkerCounts {
    /// An exchange began.
    pub fn started(&self) {
        Self::add(&self.started);
    }

    /// An exchange is over.
    pub fn ended(&self) {
        Self::add(&self.ended);
    }

    /// Exchanges begun, and exchanges in flight.
    pub(super) fn read(&self) -> (u64, u64) {
        // The worker may write in between; the difference is then off by a few, never below 0.
        let ended = self.ended.load(Ordering::Relaxed);
        let started = self.started.load(Ordering::Relaxed);
        (started, started.saturating_sub(ended))
    }

    /// With one writer a load and a store are enough, and cheaper than an atomic addition.
    fn add(count: &AtomicU64) {
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16) -> Option<StatusCode> {
        Some(StatusCode::from_u16(code).unwrap())
    }

    #[test]
    fn a_duration_falls_into_the_bucket_whose_bound_it_does_not_exceed() {
        let series = DurationSeries::default();
        for nanos in [0, 5_000_000, 5_000_001, 75_000_000, 10_000_000_000, 10_000_000_001] {
            series.observe(Duration::from_nanos(nanos), status(200), None, None);
        }
        let (outcome, reading) = series.read().next().unwrap();
        assert_eq!(outcome.status, 200);
        assert_eq!(reading.buckets, [2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert!((reading.sum - 20.085_000_002).abs() < 1e-9, "{}", reading.sum);
    }

    #[test]
    fn outcomes_are_told_apart_up_to_a_bound() {
        let series = DurationSeries::default();
        for code in 200..300 {
            series.observe(Duration::ZERO, status(code), None, None);
        }
        let readings: Vec<_> = series.read().collect();
        assert_eq!(readings.len(), MAX_OUTCOMES + 1);
        let (other, reading) = &readings[MAX_OUTCOMES];
        assert!(other.is_other());
        assert_eq!(reading.buckets[0], 100 - MAX_OUTCOMES as u64);
        series.observe(Duration::ZERO, status(200), None, Some(Reason::Timeout));
        assert_eq!(series.read().count(), MAX_OUTCOMES + 1);
    }

    #[test]
    fn many_threads_make_one_series_of_each_outcome() {
        let series = DurationSeries::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for code in (200..220).cycle().take(2_000) {
                        series.observe(Duration::ZERO, status(code), None, None);
                    }
                });
            }
        });
        let counts: Vec<u64> = series.read().map(|(_, reading)| reading.buckets.iter().sum()).collect();
        assert_eq!(counts, [400; 20]);
    }
}
