//! The sliding window: what has come in this period, and of what came in the one before the part that the window still
//! covers, as if it had come evenly. Two numbers a key, however many requests come.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{Counter, Held, Left};
use crate::snapshot::model::WindowRate;

/// The window of one key.
#[derive(Debug, Default)]
pub struct Window {
    /// Periods with an even number, and those with an odd one.
    periods: [Period; 2],
    /// When it covers nothing any more.
    idle: AtomicU64,
}

/// The number of a period, and below it how many requests have come in that.
#[derive(Debug, Default)]
struct Period(AtomicU64);

impl Period {
    /// Requests of this period.
    fn count(&self, number: u32) -> u64 {
        let held = self.0.load(Relaxed);
        if (held >> 32) as u32 == number {
            held & u64::from(u32::MAX)
        } else {
            0
        }
    }

    /// Counts one more, where there are fewer than `most`; what there are now, and whether that was one.
    fn add(&self, number: u32, most: u64) -> (u64, bool) {
        let first = u64::from(number) << 32;
        let count = |held: u64| {
            if held & !u64::from(u32::MAX) == first {
                held - first
            } else {
                0
            }
        };
        let added = |held| {
            Some(count(held))
                .filter(|count| *count < most)
                .map(|count| first + count + 1)
        };
        match self.0.fetch_update(Relaxed, Relaxed, added) {
            Ok(before) => (count(before) + 1, true),
            Err(held) => (count(held), false),
        }
    }
}

impl Counter for Window {
    type Rate = WindowRate;

    fn take(&self, rate: WindowRate, now: u64) -> Left {
        let (limit, period) = (u64::from(rate.requests), rate.period);
        // It comes round after 49 days of the shortest periods.
        let number = (now / period) as u32;
        let (gone, rest) = (now % period, period - now % period);
        let before = self.periods[usize::from(number.is_multiple_of(2))].count(number.wrapping_sub(1));
        let still = share(before, rest, period);
        let (count, is_in) = self.periods[usize::from(number % 2 == 1)].add(number, limit.saturating_sub(still));
        let covered = count + still;
        if is_in {
            self.idle.fetch_max(now + rest + period, Relaxed);
        }
        let full = match count {
            0 => rest,
            _ => rest + period,
        };
        let wait = || match count < limit {
            // Enough of what came before leaves it.
            true => until(before, limit - count - 1, period).saturating_sub(gone),
            // It has to be what came before.
            false => rest + until(count, limit - 1, period),
        };
        Left { requests: limit.saturating_sub(covered), full, wait: (!is_in).then(wait) }
    }
}

impl Held for Window {
    fn idle(&self) -> u64 {
        self.idle.load(Relaxed)
    }

    fn renew(&self, seen: u64) {
        if self.idle.compare_exchange(seen, 0, Relaxed, Relaxed).is_ok() {
            for period in &self.periods {
                period.0.store(0, Relaxed);
            }
        }
    }
}

/// Of `count` requests that came evenly in a period those of its last `rest`: each in the middle of its share of it, so that
/// who asks all the time gets the whole rate.
fn share(count: u64, rest: u64, period: u64) -> u64 {
    let period = u128::from(period);
    ((2 * u128::from(count) * u128::from(rest) + period) / (2 * period)) as u64
}

/// How much of a period is gone when at most `most` of the `count` requests of the one before are still covered.
fn until(count: u64, most: u64, period: u64) -> u64 {
    match count.saturating_sub(most) {
        0 => 0,
        gone => (u128::from(period) * u128::from(2 * gone - 1) / u128::from(2 * count)) as u64 + 1,
    }
}
