//! What is counted of exchanges or attempts, apart by how they ended: lists that only grow, up to a bound.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;

use super::grpc_status::GrpcStatus;
use crate::clock;
use crate::error::Reason;

#[expect(
    clippy::disallowed_types,
    reason = "taken by those who drain and by readers; never by an exchange"
)]
type Mutex<T> = std::sync::Mutex<T>;

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

/// Outcomes of one series that get cells of their own; the others share one.
const MAX_OUTCOMES: usize = 32;

/// Milliseconds without a change after which an outcome is not told any more, until it changes again.
const IDLE: u64 = 3_600_000;

/// How an exchange or an attempt ended, as far as metrics tell outcomes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Outcome {
    /// 0: there was no response.
    pub status: u16,
    /// None: no gRPC.
    pub grpc_status: Option<u8>,
    /// None: the upstream's own answer. Index in `Reason::ALL`.
    reason: Option<u8>,
}

impl Outcome {
    /// All that did not get a series of their own.
    const OTHER: Outcome = Outcome { status: u16::MAX, grpc_status: None, reason: None };

    /// Of what is known at the end.
    pub fn new(status: Option<StatusCode>, grpc_status: Option<GrpcStatus>, reason: Option<Reason>) -> Self {
        Outcome {
            status: status.map_or(0, |status| status.as_u16()),
            grpc_status: grpc_status.map(GrpcStatus::number),
            reason: reason.map(|reason| reason as u8),
        }
    }

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

/// What is counted of one outcome.
pub trait Cell: Default {
    /// One more, which took so long.
    fn observe(&self, duration: Duration);
    /// How many there were.
    fn count(&self) -> u64;
}

/// One outcome's cell, and the next.
#[derive(Debug)]
struct Node<C> {
    outcome: Outcome,
    cell: C,
    idle: Idle,
    next: OnceLock<Box<Node<C>>>,
}

/// Cells by outcome: at most [`MAX_OUTCOMES`], and one for the rest. The first of a new outcome adds to the list; all
/// others only read it.
#[derive(Debug)]
pub struct Series<C> {
    first: OnceLock<Box<Node<C>>>,
}

impl<C> Default for Series<C> {
    fn default() -> Self {
        Series { first: OnceLock::new() }
    }
}

impl<C: Cell> Series<C> {
    /// Counts one.
    pub fn observe(
        &self,
        duration: Duration,
        status: Option<StatusCode>,
        grpc_status: Option<GrpcStatus>,
        reason: Option<Reason>,
    ) {
        self.cell(Outcome::new(status, grpc_status, reason)).observe(duration);
    }

    fn cell(&self, outcome: Outcome) -> &C {
        let mut slot = &self.first;
        for _ in 0..MAX_OUTCOMES {
            let node = slot.get_or_init(|| Node::new(outcome));
            if node.outcome == outcome {
                return &node.cell;
            }
            slot = &node.next;
        }
        &slot.get_or_init(|| Node::new(Outcome::OTHER)).cell
    }

    /// That of this outcome, if there was one.
    fn known(&self, outcome: Outcome) -> Option<&C> {
        self.nodes().find(|node| node.outcome == outcome).map(|node| &node.cell)
    }

    /// Every outcome that is not idle.
    pub fn cells(&self) -> impl Iterator<Item = (Outcome, &C)> {
        let now = clock::millis();
        let live = self
            .nodes()
            .filter(move |node| !node.idle.is_idle(node.cell.count(), now));
        live.map(|node| (node.outcome, &node.cell))
    }

    fn nodes(&self) -> impl Iterator<Item = &Node<C>> {
        std::iter::successors(self.first.get(), |node| node.next.get()).map(|node| &**node)
    }
}

impl<C: Cell> Node<C> {
    fn new(outcome: Outcome) -> Box<Self> {
        Box::new(Node { outcome, cell: C::default(), idle: Idle::default(), next: OnceLock::new() })
    }
}

/// When a count has changed last, as far as its readers have seen: who counts need not ask for the time.
#[derive(Debug, Default)]
struct Idle {
    seen: AtomicU64,
    since: AtomicU64,
}

impl Idle {
    fn is_idle(&self, count: u64, now: u64) -> bool {
        if self.seen.swap(count, Ordering::Relaxed) != count {
            self.since.store(now, Ordering::Relaxed);
            return false;
        }
        now.saturating_sub(self.since.load(Ordering::Relaxed)) >= IDLE
    }
}

/// How many, and how long all of them took.
#[derive(Debug, Default)]
pub struct Tally {
    count: AtomicU64,
    nanos: AtomicU64,
}

impl Tally {
    /// How many, and how many seconds in all.
    pub fn read(&self) -> (u64, f64) {
        (self.count(), self.nanos.load(Ordering::Relaxed) as f64 / 1e9)
    }
}

impl Cell for Tally {
    fn observe(&self, duration: Duration) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(duration.as_nanos() as u64, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// Durations in buckets, each with an example.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_nanos: AtomicU64,
    exemplars: Mutex<Option<Box<Exemplars>>>,
}

/// The last known of each bucket.
type Exemplars = [Option<Exemplar>; BUCKETS];

/// One exchange whose trace can be looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    /// Its trace.
    pub trace_id: u128,
    /// Its SERVER span.
    pub span_id: u64,
    /// How long it took.
    pub duration: Duration,
    /// When it ended.
    pub unix_nanos: u64,
}

/// A histogram at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Not cumulative.
    pub buckets: [u64; BUCKETS],
    /// Seconds.
    pub sum: f64,
    /// One of each bucket, as far as there was one.
    pub exemplars: Option<Box<Exemplars>>,
}

fn bucket(duration: Duration) -> usize {
    let nanos = duration.as_nanos() as u64;
    let first = BOUND_NANOS.iter().position(|bound| nanos <= *bound);
    first.unwrap_or(BOUNDS.len())
}

impl Histogram {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Box<Exemplars>>> {
        // A panic while it was held cannot leave the pointer half changed.
        self.exemplars.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn read(&self) -> Reading {
        Reading {
            buckets: std::array::from_fn(|index| self.buckets[index].load(Ordering::Relaxed)),
            sum: self.sum_nanos.load(Ordering::Relaxed) as f64 / 1e9,
            exemplars: self.lock().clone(),
        }
    }
}

impl Cell for Histogram {
    fn observe(&self, duration: Duration) {
        self.buckets[bucket(duration)].fetch_add(1, Ordering::Relaxed);
        self.sum_nanos.fetch_add(duration.as_nanos() as u64, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }
}

impl Series<Histogram> {
    /// Every outcome that is not idle.
    pub fn read(&self) -> impl Iterator<Item = (Outcome, Reading)> {
        self.cells().map(|(outcome, histogram)| (outcome, histogram.read()))
    }

    /// Shows this one for its outcome and duration. It was counted before.
    pub fn exemplify(&self, outcome: Outcome, exemplar: Exemplar) {
        let histogram = self.known(outcome).or_else(|| self.known(Outcome::OTHER));
        if let Some(histogram) = histogram {
            let mut held = histogram.lock();
            let exemplars = held.get_or_insert_with(|| Box::new([None; BUCKETS]));
            exemplars[bucket(exemplar.duration)] = Some(exemplar);
        }
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
        let series = Series::<Histogram>::default();
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
        let series = Series::<Histogram>::default();
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
        let series = Series::<Tally>::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for code in (200..220).cycle().take(2_000) {
                        series.observe(Duration::from_secs(1), status(code), None, None);
                    }
                });
            }
        });
        let tallies: Vec<_> = series.cells().map(|(_, tally)| tally.read()).collect();
        assert_eq!(tallies, [(400, 400.0); 20]);
    }

    #[test]
    fn what_does_not_change_is_not_told_after_a_while() {
        let idle = Idle::default();
        assert!(!idle.is_idle(1, 1_000));
        assert!(!idle.is_idle(1, 1_000 + IDLE - 1));
        assert!(idle.is_idle(1, 1_000 + IDLE));
        assert!(!idle.is_idle(2, 1_000 + IDLE), "it has changed");
        assert!(!idle.is_idle(2, 1_001 + IDLE));
    }

    #[test]
    fn an_exemplar_stands_in_the_bucket_of_its_duration() {
        let series = Series::<Histogram>::default();
        let exemplar = |millis| Exemplar {
            trace_id: 1,
            span_id: 2,
            duration: Duration::from_millis(millis),
            unix_nanos: millis,
        };
        let outcome = Outcome::new(status(200), None, None);
        series.exemplify(outcome, exemplar(1));
        assert_eq!(
            series.read().count(),
            0,
            "nothing was counted, so there is nothing to show"
        );
        series.observe(Duration::from_millis(7), status(200), None, None);
        series.exemplify(outcome, exemplar(6));
        series.exemplify(outcome, exemplar(7));
        let (_, reading) = series.read().next().unwrap();
        let shown = *reading.exemplars.unwrap();
        assert_eq!(shown.iter().flatten().collect::<Vec<_>>(), [&exemplar(7)]);
        assert_eq!(shown[1], Some(exemplar(7)));
    }
}
