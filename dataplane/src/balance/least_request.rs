//! The power of two choices: of two random endpoints, the one with less in flight for its weight.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::cluster::Endpoint;
use crate::random;

/// Picks one of `n` endpoints (`n` > 0), which `endpoint` gives by number.
pub fn pick<'a>(n: usize, endpoint: impl Fn(usize) -> &'a Arc<Endpoint>) -> usize {
    if n == 1 {
        return 0;
    }
    let first = random::below(n);
    // Of the others, so that the two differ.
    let second = (first + 1 + random::below(n - 1)) % n;
    let (a, b) = (endpoint(first), endpoint(second));
    let load = |endpoint: &Endpoint| u64::from(endpoint.counts.active.load(Relaxed)) + 1;
    // load(a) / weight(a) <= load(b) / weight(b), without dividing.
    if load(a) * u64::from(b.weight) <= load(b) * u64::from(a.weight) {
        first
    } else {
        second
    }
}
