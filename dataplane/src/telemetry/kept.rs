//! Exchanges that are kept to be asked for: the last that failed, and the slowest of late.
//!
//! Workers push into bounded queues and never wait. Whoever asks, or drains the access log, moves them on.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;

use super::finished::Finished;

#[expect(
    clippy::disallowed_types,
    reason = "taken by readers; exchanges push into the queue beside it"
)]
type Mutex<T> = std::sync::Mutex<T>;

/// Why one is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It failed.
    Failure,
    /// It took long.
    Slow,
}

/// The newest push out the oldest.
#[derive(Debug)]
pub struct Failures {
    arriving: ArrayQueue<Arc<Finished>>,
    kept: Mutex<VecDeque<Arc<Finished>>>,
}

impl Failures {
    /// Keeps `capacity`, at least one.
    pub fn new(capacity: usize) -> Self {
        Failures { arriving: ArrayQueue::new(capacity.max(1)), kept: Mutex::default() }
    }

    /// Keeps one more.
    pub fn push(&self, failure: Arc<Finished>) {
        self.arriving.force_push(failure);
    }

    /// The newest first.
    pub fn newest(&self) -> Vec<Arc<Finished>> {
        // A panic while it was held cannot leave the deque half changed.
        let mut kept = self.kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // No more than arrived until now: pushing goes on.
        for _ in 0..self.arriving.len() {
            kept.extend(self.arriving.pop());
        }
        let surplus = kept.len().saturating_sub(self.arriving.capacity());
        kept.drain(..surplus);
        kept.iter().rev().cloned().collect()
    }
}

/// So many of them.
const MAX_SLOWEST: usize = 100;
/// Of one route, so that calls that are meant to last do not take the place of all others.
const MAX_OF_ROUTE: usize = 10;
/// What was slow then says little about now.
const KEPT_FOR: Duration = Duration::from_secs(15 * 60);
/// Nobody calls less slow.
const NOT_SLOW: Duration = Duration::from_millis(10);

/// The slowest of the last [`KEPT_FOR`].
#[derive(Debug)]
pub struct Slowest {
    /// Nanoseconds that one must take longer to be among them.
    threshold: AtomicU64,
    arriving: ArrayQueue<Arc<Finished>>,
    kept: Mutex<Vec<Arc<Finished>>>,
}

impl Default for Slowest {
    fn default() -> Self {
        Slowest {
            threshold: AtomicU64::new(NOT_SLOW.as_nanos() as u64),
            arriving: ArrayQueue::new(2 * MAX_SLOWEST),
            kept: Mutex::default(),
        }
    }
}

impl Slowest {
    /// True when an exchange of this duration may be among them.
    pub fn takes(&self, duration: Duration) -> bool {
        duration.as_nanos() as u64 > self.threshold.load(Ordering::Relaxed)
    }

    /// Keeps one more, until it is known who is slower.
    pub fn push(&self, exchange: Arc<Finished>) {
        self.arriving.force_push(exchange);
    }

    /// The slowest first; `now` is the wall clock in nanoseconds since the epoch.
    pub fn slowest(&self, now: u64) -> Vec<Arc<Finished>> {
        // A panic while it was held cannot leave the vector half changed.
        let mut kept = self.kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        for _ in 0..self.arriving.len() {
            kept.extend(self.arriving.pop());
        }
        let begin = now.saturating_sub(KEPT_FOR.as_nanos() as u64);
        kept.retain(|exchange| exchange.started_unix_nanos + exchange.duration.as_nanos() as u64 >= begin);
        kept.sort_by_key(|exchange| std::cmp::Reverse(exchange.duration));
        let mut of_route: HashMap<Arc<str>, usize> = HashMap::new();
        kept.retain(|exchange| {
            let name = exchange
                .route
                .as_ref()
                .map_or_else(|| Arc::from(""), |route| Arc::clone(&route.name));
            let count = of_route.entry(name).or_default();
            *count += 1;
            *count <= MAX_OF_ROUTE
        });
        kept.truncate(MAX_SLOWEST);
        let least = kept.last().filter(|_| kept.len() == MAX_SLOWEST);
        let threshold = least.map_or(NOT_SLOW, |exchange| exchange.duration);
        self.threshold.store(threshold.as_nanos() as u64, Ordering::Relaxed);
        kept.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::model::Direction;
    use crate::telemetry::registry::Registry;
    use crate::telemetry::samples::{listener, route};

    const NOW: u64 = 1_700_000_000_000_000_000;

    /// One that took so many milliseconds and ended that long ago.
    fn exchange(millis: u64, ago: Duration, route_name: &str) -> Arc<Finished> {
        let label = Registry::default().listener(&listener(Direction::Outbound));
        let mut exchange = Finished::blank(&label, "[::1]:1".parse().unwrap());
        exchange.duration = Duration::from_millis(millis);
        exchange.started_unix_nanos = NOW - (exchange.duration + ago).as_nanos() as u64;
        let mut own = Arc::into_inner(route()).unwrap();
        own.name = route_name.into();
        exchange.route = Some(Arc::new(own));
        Arc::new(exchange)
    }

    fn millis(kept: &[Arc<Finished>]) -> Vec<u128> {
        kept.iter().map(|exchange| exchange.duration.as_millis()).collect()
    }

    #[test]
    fn the_slowest_come_first_and_the_rest_is_not_taken_any_more() {
        let slowest = Slowest::default();
        assert!(slowest.takes(Duration::from_millis(11)) && !slowest.takes(NOT_SLOW));
        for number in 0..150 {
            slowest.push(exchange(20 + number, Duration::ZERO, &format!("r{}", number % 50)));
        }
        let kept = slowest.slowest(NOW);
        assert_eq!(millis(&kept), (70..170).rev().collect::<Vec<_>>());
        assert!(slowest.takes(Duration::from_millis(71)) && !slowest.takes(Duration::from_millis(70)));
        assert_eq!(slowest.slowest(NOW).len(), MAX_SLOWEST, "reading takes nothing away");
    }

    #[test]
    fn one_route_does_not_take_all_places() {
        let slowest = Slowest::default();
        for number in 0..30 {
            slowest.push(exchange(10_000 + number, Duration::ZERO, "stream"));
        }
        slowest.push(exchange(50, Duration::ZERO, "short"));
        let kept = slowest.slowest(NOW);
        assert_eq!(kept.len(), MAX_OF_ROUTE + 1);
        assert_eq!(kept.last().unwrap().route_name(), "short");
    }

    #[test]
    fn what_was_slow_long_ago_is_forgotten() {
        let slowest = Slowest::default();
        slowest.push(exchange(5_000, KEPT_FOR + Duration::from_secs(1), "r"));
        slowest.push(exchange(50, KEPT_FOR - Duration::from_secs(1), "r"));
        assert_eq!(millis(&slowest.slowest(NOW)), [50]);
    }
}
