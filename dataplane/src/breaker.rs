//! Limits of what one cluster may hold at a time, all workers together.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A count with a limit that the caller names, since the limit changes with the snapshot and the count does not.
#[derive(Debug, Default)]
pub struct Gauge {
    held: AtomicU32,
}

impl Gauge {
    /// Takes one, unless `limit` are held.
    pub fn try_take(&self, limit: u32) -> bool {
        if self.held.fetch_add(1, Relaxed) < limit {
            return true;
        }
        self.held.fetch_sub(1, Relaxed);
        false
    }

    /// Takes one whatever is held: what a limit must always leave to each worker.
    pub fn take(&self) {
        self.held.fetch_add(1, Relaxed);
    }

    /// Gives one back.
    pub fn give(&self) {
        self.held.fetch_sub(1, Relaxed);
    }

    /// How many are held.
    #[cfg(test)]
    pub fn held(&self) -> u32 {
        self.held.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_gauge_refuses_and_stays_at_its_limit() {
        let gauge = Gauge::default();
        assert!(gauge.try_take(2) && gauge.try_take(2));
        assert!(!gauge.try_take(2));
        assert_eq!(gauge.held(), 2);
        gauge.give();
        assert!(gauge.try_take(2));
    }
}
