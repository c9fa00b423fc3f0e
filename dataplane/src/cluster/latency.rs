//! How fast an endpoint has answered of late: an average that rises at once and falls slowly (Finagle's peak EWMA).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::verdict::Verdict;

/// What nobody has measured yet; Linkerd's default.
const UNKNOWN: f64 = 30e6;
/// After this time a measurement counts for 1/e of itself; Linkerd's default.
const DECAY_MILLIS: f64 = 10_000.0;
/// What did not succeed counts as so many times as slow as the average was: an endpoint that fails fast must not look
/// like a fast one. In a row they multiply, up to [`MOST`].
const PENALTY: f64 = 10.0;
/// Nanoseconds.
const MOST: f64 = 10e9;

/// The average, shared by workers. Two of them that tell it something at the same time may lose one of both.
#[derive(Debug)]
pub struct Latency {
    /// Nanoseconds, as the bits of an f64.
    nanos: AtomicU64,
    /// When it was measured, in milliseconds of [`crate::clock::millis`]; 0: never.
    at: AtomicU64,
}

impl Default for Latency {
    fn default() -> Self {
        Latency { nanos: AtomicU64::new(UNKNOWN.to_bits()), at: AtomicU64::new(0) }
    }
}

impl Latency {
    /// Nanoseconds, as they are at `now`.
    pub fn estimate(&self, now: u64) -> f64 {
        let at = self.at.load(Relaxed);
        let nanos = f64::from_bits(self.nanos.load(Relaxed));
        if at == 0 { nanos } else { nanos * kept(at, now) }
    }

    /// An attempt took so long until its answer began, or until it failed.
    pub fn observe(&self, taken: Duration, verdict: Verdict, now: u64) {
        let at = self.at.load(Relaxed);
        let before = f64::from_bits(self.nanos.load(Relaxed));
        let kept = kept(at, now);
        let mut taken = taken.as_nanos() as f64;
        if matches!(verdict, Verdict::Failure | Verdict::GatewayError | Verdict::Overload) {
            taken = taken.max((before * kept.max(1.0 / PENALTY) * PENALTY).min(MOST));
        }
        let after = if at == 0 || taken > before * kept {
            taken
        } else {
            before * kept + taken * (1.0 - kept)
        };
        self.nanos.store(after.to_bits(), Relaxed);
        self.at.store(now.max(1), Relaxed);
    }
}

/// What is left at `now` of something measured `at`.
fn kept(at: u64, now: u64) -> f64 {
    (-(now.saturating_sub(at) as f64) / DECAY_MILLIS).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    fn millis(latency: &Latency, now: u64) -> u64 {
        (latency.estimate(now) / 1e6).round() as u64
    }

    #[test]
    fn it_rises_at_once_and_falls_slowly() {
        let latency = Latency::default();
        assert_eq!(millis(&latency, 1), 30);
        latency.observe(5 * MILLI, Verdict::Success, 1000);
        assert_eq!(millis(&latency, 1000), 5);
        latency.observe(100 * MILLI, Verdict::Success, 1001);
        assert_eq!(millis(&latency, 1001), 100);
        latency.observe(5 * MILLI, Verdict::Success, 1001);
        assert_eq!(
            millis(&latency, 1001),
            100,
            "one fast answer at the same time is no news"
        );
        latency.observe(5 * MILLI, Verdict::Success, 11_001);
        assert_eq!(millis(&latency, 11_001), 40, "100/e + 5 * (1 - 1/e)");
        assert_eq!(
            millis(&latency, 21_001),
            15,
            "it falls by itself, so that the endpoint is tried again"
        );
    }

    #[test]
    fn a_fast_error_does_not_make_an_endpoint_fast() {
        let latency = Latency::default();
        latency.observe(5 * MILLI, Verdict::Success, 1000);
        for (verdict, expected) in [
            (Verdict::CallersFault, 5),
            (Verdict::Failure, 50),
            (Verdict::Overload, 500),
            (Verdict::Failure, 5000),
            (Verdict::Failure, 10_000),
            (Verdict::Failure, 10_000),
        ] {
            latency.observe(Duration::from_micros(10), verdict, 1000);
            assert_eq!(millis(&latency, 1000), expected, "{verdict:?}");
        }
    }
}
