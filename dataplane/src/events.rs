//! What the data plane tells Python: a bounded queue that a thread of Python's waits on. Events are rare; a request only
//! ever raises one for a cluster's first use.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, PoisonError};
use std::time::Duration;

use crate::clock;
use crate::proto::{self, event::Kind};
use crate::telemetry::Hub;

#[expect(
    clippy::disallowed_types,
    reason = "events are rare; a request raises one only for a cluster's first use"
)]
type Mutex<T> = std::sync::Mutex<T>;

/// Events that wait at most, unless the options say otherwise.
const DEFAULT_CAPACITY: usize = 4096;

/// The queue.
#[derive(Debug)]
pub struct Events {
    queue: Mutex<Queue>,
    arrived: Condvar,
    capacity: usize,
    hub: Arc<Hub>,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<proto::Event>,
    dropped: u64,
}

impl Events {
    /// A queue of `capacity` events, 0 takes the default; `hub` counts the drops.
    pub fn new(capacity: u32, hub: Arc<Hub>) -> Self {
        let capacity = if capacity == 0 {
            DEFAULT_CAPACITY
        } else {
            capacity as usize
        };
        Events { queue: Mutex::default(), arrived: Condvar::new(), capacity, hub }
    }

    /// Adds an event; a full queue drops it and counts that.
    pub fn push(&self, kind: Kind) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.events.len() >= self.capacity {
            queue.dropped += 1;
            self.hub.event_dropped();
            return;
        }
        queue
            .events
            .push_back(proto::Event { unix_nanos: clock::unix_nanos(), kind: Some(kind) });
        self.arrived.notify_one();
    }

    /// Takes up to `max` events, waiting up to `timeout` for the first.
    pub fn poll(&self, max: usize, timeout: Duration) -> proto::Events {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut queue, _) = self
            .arrived
            .wait_timeout_while(queue, timeout, |queue| queue.events.is_empty() && queue.dropped == 0)
            .unwrap_or_else(PoisonError::into_inner);
        let taken = queue.events.len().min(max);
        let events = queue.events.drain(..taken).collect();
        proto::Events { events, dropped: std::mem::take(&mut queue.dropped) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(cluster: &str) -> Kind {
        Kind::ClusterWanted(proto::ClusterWanted { cluster: cluster.into() })
    }

    #[test]
    fn a_full_queue_drops_and_counts_exactly() {
        let hub = Hub::new(&proto::Options::default());
        let events = Events::new(2, Arc::clone(&hub));
        for name in ["a", "b", "c", "d"] {
            events.push(wanted(name));
        }
        let first = events.poll(1, Duration::ZERO);
        assert_eq!((first.events.len(), first.dropped), (1, 2));
        assert_eq!(first.events[0].kind, Some(wanted("a")));
        let rest = events.poll(10, Duration::ZERO);
        assert_eq!((rest.events.len(), rest.dropped), (1, 0));
        assert_eq!(hub.stats().events_dropped, 2);
    }

    #[test]
    fn an_empty_queue_answers_after_the_timeout() {
        assert!(
            Events::new(0, Hub::new(&proto::Options::default()))
                .poll(1, Duration::from_millis(1))
                .events
                .is_empty()
        );
    }
}
