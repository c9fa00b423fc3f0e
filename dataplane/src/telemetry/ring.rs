//! A bounded queue from the workers to whoever drains it. Pushing never waits: what does not fit is counted and lost.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_queue::ArrayQueue;

/// Many threads push, many may pop.
#[derive(Debug)]
pub struct Ring<T> {
    queue: ArrayQueue<T>,
    dropped: AtomicU64,
}

impl<T> Ring<T> {
    /// Holds at most `capacity` values, at least one.
    pub fn new(capacity: usize) -> Self {
        Ring { queue: ArrayQueue::new(capacity.max(1)), dropped: AtomicU64::new(0) }
    }

    /// Adds a value, or counts it as dropped.
    pub fn push(&self, value: T) {
        if self.queue.push(value).is_err() {
            self.lose(1);
        }
    }

    /// Counts what was not even pushed.
    pub fn lose(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes the oldest.
    pub fn pop(&self) -> Option<T> {
        self.queue.pop()
    }

    /// Takes up to `max` values, oldest first.
    pub fn drain(&self, max: usize) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| self.queue.pop()).take(max)
    }

    /// How many were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted_exactly() {
        let ring = Ring::new(3);
        for n in 0..5 {
            ring.push(n);
        }
        assert_eq!(ring.dropped(), 2);
        assert_eq!(ring.drain(2).collect::<Vec<_>>(), [0, 1]);
        ring.push(9);
        assert_eq!(ring.drain(10).collect::<Vec<_>>(), [2, 9]);
        ring.lose(3);
        assert_eq!(ring.dropped(), 5);
    }

    #[test]
    fn nothing_is_lost_uncounted_when_many_threads_push() {
        let ring = Ring::new(64);
        let drained = std::thread::scope(|scope| {
            let pushers: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..10_000).for_each(|n| ring.push(n))))
                .collect();
            let mut drained = 0;
            while pushers.iter().any(|pusher| !pusher.is_finished()) {
                drained += ring.drain(16).count();
            }
            drained
        });
        let rest = ring.drain(usize::MAX).count();
        assert_eq!((drained + rest) as u64 + ring.dropped(), 40_000);
    }
}
