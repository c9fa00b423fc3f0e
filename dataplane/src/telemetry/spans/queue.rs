//! Sampled exchanges that wait to become spans. Its bound is in spans: `OTEL_BSP_MAX_QUEUE_SIZE` is about those.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::count;
use crate::telemetry::finished::Finished;
use crate::telemetry::ring::Ring;

/// Many threads push, one drains.
#[derive(Debug)]
pub struct Queue {
    ring: Ring<Arc<Finished>>,
    capacity: u64,
    /// Spans of the exchanges in `ring`, and of those that are on their way into it.
    held: AtomicU64,
}

impl Queue {
    /// Holds at most `capacity` spans.
    pub fn new(capacity: usize) -> Self {
        Queue { ring: Ring::new(capacity), capacity: capacity as u64, held: AtomicU64::new(0) }
    }

    /// Adds all spans of an exchange, or counts them as dropped. One that is larger than the queue finds room when nothing
    /// else is in there.
    pub fn push(&self, exchange: Arc<Finished>) {
        let spans = count(&exchange);
        let before = self.held.fetch_add(spans, Ordering::Relaxed);
        if before > 0 && before + spans > self.capacity {
            self.held.fetch_sub(spans, Ordering::Relaxed);
            self.ring.lose(spans);
            return;
        }
        // There is a place for it: each of the others has a span at least.
        self.ring.push(exchange);
    }

    /// Takes exchanges, oldest first, until they have `most` spans or more: those of one exchange stay together.
    pub fn drain(&self, most: usize) -> impl Iterator<Item = Arc<Finished>> {
        let mut taken = 0;
        std::iter::from_fn(move || {
            let exchange = (taken < most as u64).then(|| self.ring.pop())??;
            let spans = count(&exchange);
            self.held.fetch_sub(spans, Ordering::Relaxed);
            taken += spans;
            Some(exchange)
        })
    }

    /// Spans that were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.ring.dropped()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::samples::exchange_of_tries;

    fn taken(queue: &Queue, most: usize) -> Vec<u64> {
        queue.drain(most).map(|exchange| count(&exchange)).collect()
    }

    #[test]
    fn its_bound_is_in_spans() {
        let queue = Queue::new(8);
        for tries in [2, 1, 2, 1, 0] {
            queue.push(exchange_of_tries(tries));
        }
        assert_eq!((taken(&queue, 100), queue.dropped()), (vec![3, 2, 3], 3));
        queue.push(exchange_of_tries(7));
        assert_eq!((taken(&queue, 100), queue.dropped()), (vec![8], 3));
    }

    #[test]
    fn the_spans_of_an_exchange_stay_together() {
        let queue = Queue::new(10);
        (0..5).for_each(|_| queue.push(exchange_of_tries(1)));
        assert_eq!(taken(&queue, 3), [2, 2]);
        assert!(taken(&queue, 0).is_empty());
        assert_eq!(taken(&queue, 6), [2, 2, 2]);
    }

    #[test]
    fn one_that_is_larger_than_the_queue_finds_room_in_an_empty_one() {
        let queue = Queue::new(1);
        queue.push(exchange_of_tries(3));
        queue.push(exchange_of_tries(0));
        assert_eq!((taken(&queue, 1), queue.dropped()), (vec![4], 1));
    }
}
