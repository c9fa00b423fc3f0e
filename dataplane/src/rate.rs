//! What is counted of requests, for each key, all workers together: a bounded table without locks.
//!
//! A counter that is idle is as one that was never used, so forgetting it loses nothing; of a table that has no room for
//! another key the counter that is idle first gives way.

mod bucket;
mod window;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::clock;

pub use bucket::Bucket;
pub use window::Window;

/// Sets of a table with keys: with buckets 256 KiB.
const SETS: usize = 2048;
/// Places where a key may stand.
const WAYS: usize = 8;
/// The key of a place that was never used.
const FREE: u64 = 0;
const NANOS_PER_MILLI: u64 = 1_000_000;

/// What one request leaves. Times are in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// So many more may come now.
    pub requests: u64,
    /// Until it is as if nobody had come.
    pub full: u64,
    /// Until there is room; `None`: it was let in.
    pub wait: Option<u64>,
}

/// What is known of one key.
pub trait Held: std::fmt::Debug + Default {
    /// When it is as if it was never used.
    fn idle(&self) -> u64;

    /// Begins anew for another key, unless it is no longer idle as at `seen`: then it counts on, for both.
    fn renew(&self, seen: u64);
}

/// An algorithm, and what it counts of one key.
pub trait Counter: Held {
    /// How many requests it lets in.
    type Rate: Copy;

    /// Lets a request in, where there is room.
    fn take(&self, rate: Self::Rate, now: u64) -> Left;
}

/// The counters of one limit.
#[derive(Debug)]
pub struct Table<C> {
    slots: Box<[Slot<C>]>,
}

/// One key's counter.
#[derive(Debug, Default)]
struct Slot<C> {
    key: AtomicU64,
    counter: C,
}

impl<C: Held> Table<C> {
    /// All idle. Without keys there is one counter.
    pub fn new(has_keys: bool) -> Self {
        let sets = if has_keys { SETS } else { 1 };
        Table { slots: (0..sets * WAYS).map(|_| Slot::default()).collect() }
    }

    /// That of the key; one that is new takes the place of that which is idle first.
    pub fn of(&self, key: u64) -> &C {
        let key = key.max(FREE + 1);
        let set = (key as usize % (self.slots.len() / WAYS)) * WAYS;
        let set = &self.slots[set..set + WAYS];
        let mut first = &set[0];
        for slot in set {
            match slot.key.load(Relaxed) {
                held if held == key => return &slot.counter,
                FREE => {
                    first = slot;
                    break;
                }
                _ if slot.counter.idle() < first.counter.idle() => first = slot,
                _ => {}
            }
        }
        let (held, idle) = (first.key.load(Relaxed), first.counter.idle());
        // Who loses a race, against another key perhaps, shares that one's counter for one request.
        if first.key.compare_exchange(held, key, Relaxed, Relaxed).is_ok() {
            first.counter.renew(idle);
        }
        &first.counter
    }
}

impl<C: Counter> Table<C> {
    /// Lets a request of the key in, where there is room.
    pub fn take(&self, key: u64, rate: C::Rate) -> Left {
        self.of(key).take(rate, clock::millis() * NANOS_PER_MILLI)
    }
}

#[cfg(test)]
mod tests;
