//! What bounds the use of a cluster, all workers together: how much may be held at a time, and circuits that open when too
//! much fails.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::clock;
use crate::random;

/// One that was taken, in the upper half, and one that is held, in the lower: both are counted in one step.
const TAKEN: u64 = 1 << 32 | 1;

/// A count with a limit that the caller names, since the limit changes with the snapshot and the count does not.
#[derive(Debug, Default)]
pub struct Gauge {
    counts: AtomicU64,
}

impl Gauge {
    /// Takes one, unless `limit` are held.
    pub fn try_take(&self, limit: u32) -> bool {
        if (self.counts.fetch_add(TAKEN, Relaxed) as u32) < limit {
            return true;
        }
        self.counts.fetch_sub(TAKEN, Relaxed);
        false
    }

    /// Takes one whatever is held: what a limit must always leave to each worker.
    pub fn take(&self) {
        self.counts.fetch_add(TAKEN, Relaxed);
    }

    /// Gives one back.
    pub fn give(&self) {
        self.counts.fetch_sub(1, Relaxed);
    }

    /// How many are held.
    pub fn held(&self) -> u32 {
        self.counts.load(Relaxed) as u32
    }

    /// How many were ever taken; it begins again after 2^32.
    pub fn taken(&self) -> u32 {
        (self.counts.load(Relaxed) >> 32) as u32
    }
}

/// Lets everything pass, or nothing, or one to find out:
///
/// ```text
///   ┌────────┐   trip: too much failed      ┌──────┐
///   │ closed ├─────────────────────────────▶│ open │◀───────────────┐
///   └────────┘                              └──┬───┘                │
///       ▲                its time is over, and │ somebody comes     │ the probe failed: longer than before
///       │                                      ▼                    │
///       │    the probe succeeded         ┌───────────┐              │
///       └────────────────────────────────┤ half-open ├──────────────┘
///                                        └───────────┘
/// ```
///
/// A probe that ends without a verdict leaves it open with its time over, so that the next one to come is a probe.
#[derive(Debug, Default)]
pub struct Circuit {
    /// [`CLOSED`], [`HALF_OPEN`], or when its time is over, in milliseconds of [`clock::millis`].
    state: AtomicU64,
    /// How often it opened lately.
    times: AtomicU32,
    /// When it closed last.
    closed: AtomicU64,
    /// Of its last opening, in the mesh's trace.
    span: AtomicU64,
}

const CLOSED: u64 = 0;
const HALF_OPEN: u64 = u64::MAX;
/// A tenth more at random, so that what opened together is not tried again together.
const JITTER: u64 = 10;

/// Who may pass a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// It is closed.
    Free,
    /// Its time is over: this one finds out, and must tell.
    Probe,
    /// It is open.
    Refused,
}

impl Circuit {
    /// True unless everything may pass.
    pub fn is_open(&self) -> bool {
        self.state.load(Relaxed) != CLOSED
    }

    /// Whether one may pass.
    pub fn pass(&self) -> Pass {
        let state = self.state.load(Relaxed);
        if state == CLOSED {
            return Pass::Free;
        }
        let is_due = state != HALF_OPEN && state <= clock::millis();
        match is_due && self.state.compare_exchange(state, HALF_OPEN, Relaxed, Relaxed).is_ok() {
            true => Pass::Probe,
            false => Pass::Refused,
        }
    }

    /// Opens it for `base`, doubled for each time that it opened lately, up to `most`. For every `base` that it stayed
    /// closed one time is forgotten, as Envoy does. False: it was not closed.
    pub fn trip(&self, base: Duration, most: Duration) -> bool {
        let until = self.until(base, most);
        let is_mine = self.state.compare_exchange(CLOSED, until, Relaxed, Relaxed).is_ok();
        if is_mine {
            self.opened(base);
        }
        is_mine
    }

    /// The probe failed.
    pub fn probe_failed(&self, base: Duration, most: Duration) {
        let until = self.until(base, most);
        self.opened(base);
        self.state.store(until, Relaxed);
    }

    /// The probe succeeded.
    pub fn probe_succeeded(&self) {
        self.closed.store(clock::millis(), Relaxed);
        self.state.store(CLOSED, Relaxed);
    }

    /// The probe ended, and nothing is known.
    pub fn probe_lost(&self) {
        self.state.store(clock::millis().max(1), Relaxed);
    }

    /// Until it lets a probe pass; None: it is closed.
    pub fn left(&self) -> Option<Duration> {
        match self.state.load(Relaxed) {
            CLOSED => None,
            HALF_OPEN => Some(Duration::ZERO),
            until => Some(Duration::from_millis(until.saturating_sub(clock::millis()))),
        }
    }

    /// It has opened: `span` tells of that in the mesh's trace.
    pub fn tell(&self, span: u64) {
        self.span.store(span, Relaxed);
    }

    /// That of its last opening, unless it is closed; 0: there is none.
    pub fn span(&self) -> u64 {
        match self.is_open() {
            true => self.span.load(Relaxed),
            false => 0,
        }
    }

    fn until(&self, base: Duration, most: Duration) -> u64 {
        let doubled = base.saturating_mul(1 << self.times_lately(base).min(31));
        let open = doubled.min(most.max(base)).as_millis() as u64;
        (clock::millis() + open + random::part_of(open / JITTER)).clamp(1, HALF_OPEN - 1)
    }

    fn times_lately(&self, base: Duration) -> u32 {
        let closed = clock::millis().saturating_sub(self.closed.load(Relaxed));
        let forgotten = match self.is_open() {
            true => 0,
            false => closed / (base.as_millis() as u64).max(1),
        };
        self.times
            .load(Relaxed)
            .saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX))
    }

    fn opened(&self, base: Duration) {
        self.times.store(self.times_lately(base).saturating_add(1), Relaxed);
    }
}

/// Failures among the requests of the last while. Only a failure looks at it: how many requests there were is read from a
/// count that is kept anyway.
#[derive(Debug, Default)]
pub struct Window {
    /// When it began, in milliseconds.
    began: AtomicU64,
    /// How many requests there had ever been then.
    before: AtomicU32,
    failures: AtomicU32,
}

/// Milliseconds, as Envoy's `interval`.
const WINDOW: u64 = 10_000;

impl Window {
    /// One of `total` requests ever made failed; returns the requests and the failures of the window. It begins with its
    /// first failure.
    pub fn failed(&self, total: u32) -> (u32, u32) {
        let now = clock::millis();
        let began = self.began.load(Relaxed);
        let is_over = now.saturating_sub(began) >= WINDOW || began == 0;
        if is_over && self.began.compare_exchange(began, now.max(1), Relaxed, Relaxed).is_ok() {
            self.before.store(total.wrapping_sub(1), Relaxed);
            self.failures.store(0, Relaxed);
        }
        let failures = self.failures.fetch_add(1, Relaxed) + 1;
        (total.wrapping_sub(self.before.load(Relaxed)).max(failures), failures)
    }

    /// Begins again with the next failure.
    pub fn forget(&self) {
        self.began.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_full_gauge_refuses_and_stays_at_its_limit() {
        let gauge = Gauge::default();
        assert!(gauge.try_take(2) && gauge.try_take(2));
        assert!(!gauge.try_take(2));
        assert_eq!((gauge.held(), gauge.taken()), (2, 2));
        gauge.give();
        assert!(gauge.try_take(2));
        assert_eq!((gauge.held(), gauge.taken()), (2, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_circuit_lets_one_pass_when_its_time_is_over() {
        let circuit = Circuit::default();
        assert_eq!(circuit.pass(), Pass::Free);
        assert!(circuit.trip(10 * SECOND, 60 * SECOND));
        assert!(!circuit.trip(10 * SECOND, 60 * SECOND), "it is open already");
        assert_eq!(circuit.pass(), Pass::Refused);
        clock::sleep(11 * SECOND).await;
        assert_eq!(circuit.pass(), Pass::Probe);
        assert_eq!(circuit.pass(), Pass::Refused, "one finds out");
        circuit.probe_succeeded();
        assert_eq!(circuit.pass(), Pass::Free);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_without_a_verdict_leaves_it_to_the_next() {
        let circuit = Circuit::default();
        circuit.trip(SECOND, SECOND);
        clock::sleep(2 * SECOND).await;
        assert_eq!(circuit.pass(), Pass::Probe);
        circuit.probe_lost();
        assert_eq!(circuit.pass(), Pass::Probe);
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_for_longer_each_time_and_forgets_that_with_time() {
        let circuit = Circuit::default();
        let opened = |circuit: &Circuit| circuit.left().expect("open").as_secs();
        circuit.trip(10 * SECOND, 35 * SECOND);
        assert!((10..=11).contains(&opened(&circuit)));
        for most in [20, 35, 35] {
            clock::sleep(40 * SECOND).await;
            assert_eq!(circuit.pass(), Pass::Probe);
            circuit.probe_failed(10 * SECOND, 35 * SECOND);
            assert!(
                (most..=most * 11 / 10).contains(&opened(&circuit)),
                "{:?}",
                circuit.left()
            );
        }
        clock::sleep(40 * SECOND).await;
        assert_eq!(circuit.pass(), Pass::Probe);
        circuit.probe_succeeded();
        clock::sleep(100 * SECOND).await;
        circuit.trip(10 * SECOND, 35 * SECOND);
        assert!((10..=11).contains(&opened(&circuit)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_counts_from_its_first_failure_and_ends() {
        let window = Window::default();
        assert_eq!(window.failed(1000), (1, 1));
        assert_eq!(window.failed(1010), (11, 2));
        clock::sleep(11 * SECOND).await;
        assert_eq!(window.failed(1020), (1, 1));
        window.forget();
        assert_eq!(window.failed(1030), (1, 1));
    }
}
