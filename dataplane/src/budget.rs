//! How many retries one cluster may get, all workers together: a share of its requests, and a floor for when they are few.
//!
//! What counts is the last [`WINDOW`]. Nothing is done per request: how many there were is read from a count that is kept
//! anyway, when a retry is asked for. What is older fades out evenly.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::clock;

/// Milliseconds, as Linkerd's and Finagle's `ttl`.
const WINDOW: u64 = 10_000;
/// Milliseconds in which the counts are brought up to date at most once.
const TICK: u64 = 100;
const WINDOW_TICKS: u64 = WINDOW / TICK;
/// Retries in a window that need no requests: 3 a second. Linkerd has 10 a second, Envoy 3 at a time.
const FLOOR: u64 = 30;
/// A retry is counted in thousandths, so that it can fade.
const RETRY: u64 = 1000;

/// The budget of one cluster.
#[derive(Debug)]
pub struct Budget {
    /// The tick of the last update, and how many requests there had ever been: 32 bits each.
    seen: AtomicU64,
    /// Requests of the window, and thousandths of retries: 32 bits each.
    recent: AtomicU64,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { seen: AtomicU64::new(pair(tick(), 0)), recent: AtomicU64::new(0) }
    }
}

impl Budget {
    /// Counts a retry if there is room for it. `share` is in thousandths; `total` requests were ever made, which may
    /// begin again after 2^32, and `active` of them are in flight.
    pub fn try_spend(&self, share: u32, total: u32, active: u32) -> bool {
        let fresh = self.refresh(total);
        let room = |recent| {
            let (requests, retries) = halves(recent);
            let requests = (requests + fresh).max(u64::from(active));
            let spent = retries + RETRY;
            (spent <= FLOOR * RETRY + requests * u64::from(share)).then(|| pair(requests_of(recent), spent))
        };
        self.recent.fetch_update(Relaxed, Relaxed, room).is_ok()
    }

    /// Lets what is old fade; returns the requests that are not in `recent` yet.
    fn refresh(&self, total: u32) -> u64 {
        let now = tick();
        let seen = self.seen.load(Relaxed);
        let (then, before) = halves(seen);
        let fresh = u64::from(total.wrapping_sub(before as u32));
        let elapsed = u64::from((now as u32).wrapping_sub(then as u32));
        // Who loses the race has its requests counted by the winner.
        let is_mine = |next| self.seen.compare_exchange(seen, next, Relaxed, Relaxed).is_ok();
        if elapsed == 0 || !is_mine(pair(now, u64::from(total))) {
            return fresh;
        }
        let left = WINDOW_TICKS.saturating_sub(elapsed);
        let fresh = fresh * WINDOW_TICKS / elapsed.max(WINDOW_TICKS);
        let faded = |recent| {
            let (requests, retries) = halves(recent);
            Some(pair(
                requests * left / WINDOW_TICKS + fresh,
                retries * left / WINDOW_TICKS,
            ))
        };
        // It has no case in which it fails.
        let _before = self.recent.fetch_update(Relaxed, Relaxed, faded);
        0
    }
}

fn tick() -> u64 {
    clock::millis() / TICK
}

fn halves(both: u64) -> (u64, u64) {
    (both >> 32, both & u64::from(u32::MAX))
}

fn requests_of(both: u64) -> u64 {
    both >> 32
}

fn pair(high: u64, low: u64) -> u64 {
    (high & u64::from(u32::MAX)) << 32 | low.min(u64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// How many retries there is room for.
    fn room(budget: &Budget, share: u32, total: u32, active: u32) -> u64 {
        (0..).take_while(|_| budget.try_spend(share, total, active)).count() as u64
    }

    #[tokio::test(start_paused = true)]
    async fn few_requests_have_the_floor_and_many_their_share() {
        assert_eq!(room(&Budget::default(), 200, 0, 0), FLOOR);
        assert_eq!(room(&Budget::default(), 200, 1000, 0), FLOOR + 200);
        assert_eq!(room(&Budget::default(), 0, 1000, 0), FLOOR);
        assert_eq!(
            room(&Budget::default(), 200, 100, 1000),
            FLOOR + 200,
            "those in flight count"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_spent_comes_back_with_time_and_never_more_than_a_window_of_it() {
        let budget = Budget::default();
        assert_eq!(room(&budget, 200, 1000, 0), FLOOR + 200);
        clock::sleep(Duration::from_secs(5)).await;
        // Of what was spent half is forgotten; the requests may have come just now.
        assert_eq!(room(&budget, 200, 1000, 0), (FLOOR + 200) / 2);
        clock::sleep(Duration::from_secs(100)).await;
        // 2000 requests in 100 s are 200 in a window.
        assert_eq!(room(&budget, 200, 3000, 0), FLOOR + 40);
    }

    #[tokio::test(start_paused = true)]
    async fn a_count_that_begins_again_is_no_flood() {
        let budget = Budget::default();
        room(&budget, 0, u32::MAX - 9, 0);
        clock::sleep(Duration::from_secs(20)).await;
        room(&budget, 0, u32::MAX - 9, 0);
        clock::sleep(Duration::from_secs(10)).await;
        assert_eq!(room(&budget, 200, 90, 0), FLOOR + 20);
    }
}
