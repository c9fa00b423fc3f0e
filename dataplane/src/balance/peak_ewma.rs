//! Of two random endpoints the one where a request is expected to take less: its latency of late, times what is in flight
//! there, by weight. As Linkerd and Finagle.

use std::sync::atomic::Ordering::Relaxed;

use crate::clock;
use crate::cluster::Endpoint;
use crate::random;

/// Picks one of `n` endpoints (`n` > 0), which `endpoint` gives by number.
pub fn pick<'a>(n: usize, endpoint: impl Fn(usize) -> &'a Endpoint) -> usize {
    let first = random::below(n);
    if n == 1 {
        return first;
    }
    // Of the others, so that the two differ.
    let second = (first + 1 + random::below(n - 1)) % n;
    let now = clock::millis();
    let cost = |n: usize| {
        let Endpoint { counts, weight, .. } = endpoint(n);
        counts.latency.estimate(now) * f64::from(counts.active.load(Relaxed) + 1) / f64::from(*weight)
    };
    if cost(first) <= cost(second) { first } else { second }
}
