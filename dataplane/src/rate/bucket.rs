//! The token bucket: one number, the time at which it will be full again (the generic cell rate algorithm).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{Counter, Held, Left};
use crate::snapshot::model::BucketRate;

/// One bucket: when it is full again.
#[derive(Debug, Default)]
pub struct Bucket(AtomicU64);

impl Counter for Bucket {
    type Rate = BucketRate;

    fn take(&self, rate: BucketRate, now: u64) -> Left {
        let most = rate.interval.saturating_mul(u64::from(rate.burst));
        let next = |full: u64| full.max(now).saturating_add(rate.interval);
        let taken = |full| Some(next(full)).filter(|next| next - now <= most);
        let (full, wait) = match self.0.fetch_update(Relaxed, Relaxed, taken) {
            Ok(before) => (next(before), None),
            Err(full) => (full, Some(next(full) - now - most)),
        };
        let full = full.saturating_sub(now);
        Left { requests: most.saturating_sub(full) / rate.interval, full, wait }
    }
}

impl Held for Bucket {
    fn idle(&self) -> u64 {
        self.0.load(Relaxed)
    }

    fn renew(&self, seen: u64) {
        let _raced = self.0.compare_exchange(seen, 0, Relaxed, Relaxed);
    }
}
