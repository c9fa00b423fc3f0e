//! Token buckets, one for each key, all workers together: a bounded table without locks.
//!
//! A bucket is one number, the time at which it will be full again (the generic cell rate algorithm). A bucket that is full
//! is as one that was never used, so forgetting it loses nothing; of a table that has no room for another key the bucket that
//! is full first gives way.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::clock;
use crate::snapshot::model::Rate;

/// Buckets of a table with keys: 256 KiB.
const SETS: usize = 2048;
/// Places where a key may stand.
const WAYS: usize = 8;
/// The key of a place that was never used.
const FREE: u64 = 0;
const NANOS_PER_MILLI: u64 = 1_000_000;

/// What one taken token leaves. Times are in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Whole tokens.
    pub tokens: u64,
    /// Until the bucket is full again.
    pub full: u64,
    /// Until there is one; `None`: it was taken.
    pub wait: Option<u64>,
}

/// The buckets of one limit.
#[derive(Debug)]
pub struct Buckets {
    slots: Box<[Slot]>,
}

/// One bucket.
#[derive(Debug, Default)]
struct Slot {
    key: AtomicU64,
    /// When it is full again.
    full: AtomicU64,
}

impl Buckets {
    /// All full. Without keys there is one bucket.
    pub fn new(has_keys: bool) -> Self {
        let sets = if has_keys { SETS } else { 1 };
        Buckets { slots: (0..sets * WAYS).map(|_| Slot::default()).collect() }
    }

    /// Takes a token of the key's bucket, where there is one.
    pub fn take(&self, key: u64, rate: Rate) -> Left {
        let now = clock::millis() * NANOS_PER_MILLI;
        let most = rate.interval.saturating_mul(u64::from(rate.burst));
        let next = |full: u64| full.max(now).saturating_add(rate.interval);
        let slot = self.slot(key.max(FREE + 1), now);
        let taken = |full| Some(next(full)).filter(|next| next - now <= most);
        let (full, wait) = match slot.full.fetch_update(Relaxed, Relaxed, taken) {
            Ok(before) => (next(before), None),
            Err(full) => (full, Some(next(full) - now - most)),
        };
        let full = full.saturating_sub(now);
        Left { tokens: most.saturating_sub(full) / rate.interval, full, wait }
    }

    /// Where the key's bucket is; one that is new takes the place of that which is full first.
    fn slot(&self, key: u64, now: u64) -> &Slot {
        let set = (key as usize % (self.slots.len() / WAYS)) * WAYS;
        let set = &self.slots[set..set + WAYS];
        let mut first = &set[0];
        for slot in set {
            match slot.key.load(Relaxed) {
                held if held == key => return slot,
                FREE => {
                    first = slot;
                    break;
                }
                _ if slot.full.load(Relaxed) < first.full.load(Relaxed) => first = slot,
                _ => {}
            }
        }
        let (held, full) = (first.key.load(Relaxed), first.full.load(Relaxed));
        // Who loses a race, against another key perhaps, shares that one's bucket for one request.
        if first.key.compare_exchange(held, key, Relaxed, Relaxed).is_ok() {
            let _raced = first.full.compare_exchange(full, now, Relaxed, Relaxed);
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MILLI: u64 = NANOS_PER_MILLI;
    /// 10 a second, 5 at once.
    const RATE: Rate = Rate { interval: 100 * MILLI, burst: 5 };

    /// A key as a hash would be.
    fn spread(n: u64) -> u64 {
        (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32)
    }

    /// How many tokens there are.
    fn tokens(buckets: &Buckets, key: u64) -> usize {
        (0..).take_while(|_| buckets.take(key, RATE).wait.is_none()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_holds_its_burst_and_fills_with_time() {
        let buckets = Buckets::new(false);
        assert_eq!(buckets.take(1, RATE), Left { tokens: 4, full: 100 * MILLI, wait: None });
        assert_eq!(tokens(&buckets, 1), 4);
        assert_eq!(
            buckets.take(1, RATE),
            Left { tokens: 0, full: 500 * MILLI, wait: Some(100 * MILLI) }
        );
        clock::sleep(Duration::from_millis(250)).await;
        assert_eq!(tokens(&buckets, 1), 2);
        assert_eq!(buckets.take(1, RATE).wait, Some(50 * MILLI));
        clock::sleep(Duration::from_secs(3600)).await;
        assert_eq!(tokens(&buckets, 1), 5, "no more than it holds");
    }

    #[tokio::test(start_paused = true)]
    async fn over_time_the_rate_is_kept_whatever_is_asked_for() {
        let buckets = Buckets::new(false);
        let mut taken = 0;
        for _ in 0..1000 {
            taken += tokens(&buckets, 1);
            clock::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(taken, 5 + 99);
    }

    #[tokio::test(start_paused = true)]
    async fn each_key_has_a_bucket_of_its_own() {
        let buckets = Buckets::new(true);
        for key in 0..1000 {
            assert_eq!(tokens(&buckets, spread(key)), 5, "{key}");
        }
        for key in 0..1000 {
            assert_eq!(tokens(&buckets, spread(key)), 0, "{key}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_keys_takes_no_more_room_and_forgets_first_what_is_full_first() {
        let buckets = Buckets::new(false);
        assert_eq!(tokens(&buckets, 1), 5);
        // Seven others beside it, each nearer to full.
        for key in 2..=WAYS as u64 {
            buckets.take(key, RATE);
        }
        for key in 100..1000 {
            assert!(buckets.take(key, RATE).wait.is_none(), "a new key is never refused");
        }
        assert_eq!(buckets.slots.len(), WAYS);
        assert_eq!(tokens(&buckets, 1), 0, "the emptiest bucket is kept");
    }

    #[test]
    fn workers_share_a_bucket_to_the_token() {
        let buckets = Buckets::new(true);
        let rate = Rate { interval: u64::from(u32::MAX) * 1000, burst: 1000 };
        let taken: usize = std::thread::scope(|scope| {
            let take = || (0..1000).filter(|_| buckets.take(7, rate).wait.is_none()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 1000);
    }
}
