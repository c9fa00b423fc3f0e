//! Slow start: an endpoint that is new, or has come back, gets its share of the load little by little.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::cluster::Endpoint;
use crate::random;

/// Per cent of its share that an endpoint gets at first; Envoy's default (`min_weight_percent`).
const LEAST: u64 = 10;

/// The window in which endpoints warm up, while there are such.
#[derive(Debug)]
pub struct SlowStart {
    window: u64,
    /// When all are warm; 0: they are.
    until: Cell<u64>,
}

impl SlowStart {
    /// `None`: everybody has been there for longer.
    pub fn of(window: Duration, indices: &[usize], endpoints: &[Arc<Endpoint>]) -> Option<Self> {
        let window = window.as_millis() as u64;
        let newest = indices.iter().map(|&index| endpoints[index].counts.since()).max()?;
        let until = newest + window;
        (newest > 0 && clock::millis() < until).then_some(SlowStart { window, until: Cell::new(until) })
    }

    /// Whether an endpoint that was drawn takes the request: in the window in proportion to its age.
    pub fn takes(&self, endpoint: &Endpoint) -> bool {
        if self.until.get() == 0 {
            return true;
        }
        let now = clock::millis();
        if now >= self.until.get() {
            self.until.set(0);
            return true;
        }
        let since = endpoint.counts.since();
        let age = now.saturating_sub(since);
        since == 0 || age >= self.window || (random::below(100) as u64) < (age * 100 / self.window).max(LEAST)
    }
}
