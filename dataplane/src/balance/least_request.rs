//! The power of choices: of a few random endpoints, the one with the least in flight for its weight.

use std::sync::atomic::Ordering::Relaxed;

use super::round_robin::Schedule;
use crate::cluster::Endpoint;
use crate::random;

/// Picks one of `n` endpoints (`n` > 0), which `endpoint` gives by number. The choices differ: in a small pool nobody is
/// compared with himself. The first is drawn by weight, where `schedule` has unequal ones, and wins a tie: so idle
/// endpoints get their shares.
pub fn pick<'a>(
    n: usize,
    choices: u32,
    schedule: Option<&Schedule>,
    endpoint: impl Fn(usize) -> &'a Endpoint,
) -> usize {
    let mut best = schedule.map_or_else(|| random::below(n), Schedule::any);
    if n == 1 {
        return best;
    }
    let mut last = best;
    for _ in 1..choices {
        last = (last + 1 + random::below(n - 1)) % n;
        best = lighter(best, last, &endpoint);
    }
    best
}

/// The one with less in flight for its weight; of equals the first.
fn lighter<'a>(first: usize, second: usize, endpoint: &impl Fn(usize) -> &'a Endpoint) -> usize {
    let (a, b) = (endpoint(first), endpoint(second));
    let active = |endpoint: &Endpoint| u64::from(endpoint.counts.active.load(Relaxed));
    // active(a) / weight(a) <= active(b) / weight(b), without dividing.
    match active(a) * u64::from(b.weight) <= active(b) * u64::from(a.weight) {
        true => first,
        false => second,
    }
}
