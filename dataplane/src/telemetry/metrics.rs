//! Counters and histograms. A worker resolves its cells when it takes a snapshot, so that an exchange finds them by
//! pointer; they are shared by all workers and changed by relaxed atomics alone.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;

use super::finished::GrpcStatus;
use crate::error::Reason;
use crate::snapshot::model::{Direction, Listener, Route};

#[expect(
    clippy::disallowed_types,
    reason = "taken at apply, at start and by readers; never by an exchange"
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

/// Outcomes of one route and destination that get a series of their own; the others share one.
const MAX_OUTCOMES: usize = 32;

/// Applies that a series outlives the last snapshot that could change it, so that a scraper sees its last value.
const KEPT_APPLIES: u32 = 4;

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

    fn read(&self) -> impl Iterator<Item = (Outcome, Reading)> {
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

    fn read(&self) -> impl Iterator<Item = (&'static str, u64)> {
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
}

/// The cells of one destination of a route.
#[derive(Debug)]
pub struct DestinationMetrics {
    /// Exchanges sent there.
    pub durations: Arc<DurationSeries>,
    /// The cluster's, whatever the route.
    pub attempts: Arc<AttemptCounts>,
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
}

/// Counts one open connection for as long as it lives.
#[derive(Debug)]
pub struct OpenConnection(Arc<ListenerLabel>);

impl ListenerLabel {
    /// Counts a connection until the guard is dropped.
    pub fn connection(self: &Arc<Self>) -> OpenConnection {
        self.connections.fetch_add(1, Ordering::Relaxed);
        OpenConnection(Arc::clone(self))
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
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

    /// With one writer a load and a store are enough, and cheaper than an atomic addition.
    fn add(count: &AtomicU64) {
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// Cells by key, with the number of applies that nobody held them.
type Held<K, V> = HashMap<K, (Arc<V>, u32)>;

#[derive(Debug, Default)]
struct Cells {
    /// Direction, route, cluster; "" for none.
    durations: Held<(Direction, Arc<str>, Arc<str>), DurationSeries>,
    attempts: Held<Arc<str>, AttemptCounts>,
    listeners: Held<(Arc<str>, Direction, bool), ListenerLabel>,
    workers: Vec<Arc<WorkerCounts>>,
}

/// All cells that exchanges change.
#[derive(Debug, Default)]
pub struct Registry {
    cells: Mutex<Cells>,
}

/// Everything in the registry at one moment, sorted.
#[derive(Debug, Default)]
pub struct Readings {
    /// Direction, route, cluster, outcome.
    pub durations: Vec<(Direction, Arc<str>, Arc<str>, Outcome, Reading)>,
    /// Cluster, outcome.
    pub attempts: Vec<(Arc<str>, &'static str, u64)>,
    /// Listener.
    pub connections: Vec<(Arc<str>, u64)>,
    /// Exchanges in flight.
    pub exchanges_active: u64,
    /// Exchanges begun.
    pub exchanges_total: u64,
}

impl Registry {
    /// The cells of `route` for listeners of `direction`; the same for every worker and for later snapshots with a
    /// route of this name.
    pub fn route(&self, direction: Direction, route: &Route) -> Arc<RouteMetrics> {
        let mut cells = self.lock();
        let none: Arc<str> = Arc::from("");
        let durations = held(
            &mut cells.durations,
            (direction, Arc::clone(&route.name), none),
            Default::default,
        );
        let destinations = route.destinations.iter().map(|destination| DestinationMetrics {
            durations: held(
                &mut cells.durations,
                (direction, Arc::clone(&route.name), Arc::clone(&destination.cluster)),
                Default::default,
            ),
            attempts: held(&mut cells.attempts, Arc::clone(&destination.cluster), Default::default),
        });
        Arc::new(RouteMetrics { durations, destinations: destinations.collect() })
    }

    /// The cells of exchanges that found no route.
    pub fn unrouted(&self, direction: Direction) -> Arc<DurationSeries> {
        let none: Arc<str> = Arc::from("");
        held(
            &mut self.lock().durations,
            (direction, Arc::clone(&none), none),
            Default::default,
        )
    }

    /// The label of `listener`; the same for every worker.
    pub fn listener(&self, listener: &Listener) -> Arc<ListenerLabel> {
        let key = (Arc::clone(&listener.name), listener.direction, listener.tls.is_some());
        held(&mut self.lock().listeners, key, || ListenerLabel {
            name: Arc::clone(&listener.name),
            direction: listener.direction,
            tls: listener.tls.is_some(),
            connections: AtomicU64::new(0),
        })
    }

    /// The counts of a new worker.
    pub fn worker(&self) -> Arc<WorkerCounts> {
        let counts = Arc::new(WorkerCounts::default());
        self.lock().workers.push(Arc::clone(&counts));
        counts
    }

    /// Called at each apply: forgets what no snapshot in use and no exchange has held for [`KEPT_APPLIES`] applies.
    pub fn sweep(&self) {
        let mut cells = self.lock();
        sweep(&mut cells.durations);
        sweep(&mut cells.attempts);
        sweep(&mut cells.listeners);
    }

    /// Everything, sorted by label.
    pub fn read(&self) -> Readings {
        let cells = self.lock();
        let mut readings = Readings::default();
        for ((direction, route, cluster), (series, _)) in &cells.durations {
            let of = |(outcome, reading)| (*direction, Arc::clone(route), Arc::clone(cluster), outcome, reading);
            readings.durations.extend(series.read().map(of));
        }
        for (cluster, (counts, _)) in &cells.attempts {
            readings.attempts.extend(
                counts
                    .read()
                    .map(|(outcome, count)| (Arc::clone(cluster), outcome, count)),
            );
        }
        for ((name, ..), (listener, _)) in &cells.listeners {
            let open = listener.connections.load(Ordering::Relaxed);
            // A listener that changed its direction or TLS has two labels while old connections last.
            match readings.connections.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => *sum += open,
                None => readings.connections.push((Arc::clone(name), open)),
            }
        }
        for worker in &cells.workers {
            // The worker may write in between; the difference is then off by a few, never below 0.
            let ended = worker.ended.load(Ordering::Relaxed);
            let started = worker.started.load(Ordering::Relaxed);
            readings.exchanges_total += started;
            readings.exchanges_active += started.saturating_sub(ended);
        }
        drop(cells);
        readings
            .durations
            .sort_unstable_by(|a, b| (a.0, &a.1, &a.2, a.3).cmp(&(b.0, &b.1, &b.2, b.3)));
        readings.attempts.sort_unstable();
        readings.connections.sort_unstable();
        readings
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cells> {
        // A panic while it was held cannot leave the maps half changed.
        self.cells.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The cell of `key`, made when it is new.
fn held<K: Hash + Eq, V>(cells: &mut Held<K, V>, key: K, make: impl FnOnce() -> V) -> Arc<V> {
    let entry = cells.entry(key).or_insert_with(|| (Arc::new(make()), 0));
    entry.1 = 0;
    Arc::clone(&entry.0)
}

fn sweep<K: Hash + Eq, V>(cells: &mut Held<K, V>) {
    cells.retain(|_, (cell, unheld)| {
        *unheld = if Arc::strong_count(cell) == 1 { *unheld + 1 } else { 0 };
        *unheld <= KEPT_APPLIES
    });
}
