//! Endpoints that fail more than they should get no requests for a while.
//!
//! What is counted stands in the endpoint's [`Counts`](crate::cluster::Counts), for all workers; an ejected endpoint is one
//! whose [`Circuit`](crate::breaker::Circuit) is open. No more are ejected than `max_ejected`. Whom that leaves, and when so
//! few are left that the ejected ones are picked all the same, the balancer decides.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::cluster::{Counts, Endpoint};
use crate::snapshot::model::Outlier;
use crate::verdict::Verdict;

/// What an attempt has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The endpoint is out.
    Ejected(Cause),
    /// It is back.
    Returned,
}

/// Why an endpoint is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// So many attempts in a row.
    Consecutive(u32),
    /// Likewise, and nobody answered.
    ConsecutiveGateway(u32),
    /// So many of so many requests of the window succeeded.
    SuccessRate(u32, u32),
    /// It was tried again, and failed again.
    Probe,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Consecutive(errors) => write!(f, "{errors} errors in a row"),
            Cause::ConsecutiveGateway(errors) => write!(f, "{errors} gateway errors in a row"),
            Cause::SuccessRate(succeeded, requests) => write!(f, "{succeeded} of {requests} requests succeeded"),
            Cause::Probe => f.write_str("it was tried again and failed"),
        }
    }
}

/// How many of them are out.
fn ejected(endpoints: &[Arc<Endpoint>]) -> usize {
    endpoints
        .iter()
        .filter(|endpoint| endpoint.counts.circuit.is_open())
        .count()
}

/// An attempt at `endpoints[index]` is over. `is_probe`: it was to find out whether it is well again.
pub fn ended(
    policy: &Outlier,
    endpoints: &[Arc<Endpoint>],
    index: usize,
    verdict: Verdict,
    is_probe: bool,
) -> Option<Change> {
    let counts = &endpoints[index].counts;
    match verdict {
        Verdict::Success => {
            // Read first: most of the time there is nothing to write.
            if counts.consecutive.load(Relaxed) != 0 {
                begin_again(counts);
            }
            is_probe.then(|| {
                counts.restore();
                Change::Returned
            })
        }
        Verdict::Failure | Verdict::GatewayError if is_probe => {
            counts.circuit.probe_failed(policy.ejection, policy.max_ejection);
            Some(Change::Ejected(Cause::Probe))
        }
        Verdict::Failure | Verdict::GatewayError => {
            let cause = cause(policy, counts, verdict)?;
            let most = most_ejected(policy, endpoints);
            if ejected(endpoints) >= most || !counts.eject(policy.ejection, policy.max_ejection) {
                return None;
            }
            begin_again(counts);
            counts.window.forget();
            if ejected(endpoints) > most {
                // Another worker ejected one at the same time.
                counts.restore();
                return None;
            }
            Some(Change::Ejected(cause))
        }
        // Too much to do is no fault, and says that the endpoint is there.
        Verdict::Overload | Verdict::CallersFault if is_probe => {
            counts.circuit.probe_lost();
            None
        }
        Verdict::Overload | Verdict::CallersFault => None,
    }
}

/// Nothing is in a row any more.
fn begin_again(counts: &Counts) {
    counts.consecutive.store(0, Relaxed);
    counts.consecutive_gateway.store(0, Relaxed);
}

/// Whether this failure is one too many.
fn cause(policy: &Outlier, counts: &Counts, verdict: Verdict) -> Option<Cause> {
    let consecutive = counts.consecutive.fetch_add(1, Relaxed) + 1;
    let gateway = match verdict {
        Verdict::GatewayError => counts.consecutive_gateway.fetch_add(1, Relaxed) + 1,
        // It is there: another kind of failure ends the row.
        _ => {
            counts.consecutive_gateway.store(0, Relaxed);
            0
        }
    };
    let (requests, failures) = counts.window.failed(counts.total.load(Relaxed) as u32);
    if policy.consecutive_errors > 0 && consecutive >= policy.consecutive_errors {
        return Some(Cause::Consecutive(consecutive));
    }
    if policy.consecutive_gateway_errors > 0 && gateway >= policy.consecutive_gateway_errors {
        return Some(Cause::ConsecutiveGateway(gateway));
    }
    let succeeded = requests - failures;
    let is_low = u64::from(succeeded) * 1000 < u64::from(requests) * u64::from(policy.success_rate);
    (requests >= policy.min_requests && is_low).then_some(Cause::SuccessRate(succeeded, requests))
}

/// How many may be out: the share rounds down, but one of two or more always may.
fn most_ejected(policy: &Outlier, endpoints: &[Arc<Endpoint>]) -> usize {
    let healthy = endpoints.iter().filter(|endpoint| endpoint.healthy).count();
    let share = healthy * policy.max_ejected as usize / 1000;
    match healthy > 1 && policy.max_ejected > 0 {
        true => share.max(1),
        false => share,
    }
}

#[cfg(test)]
mod tests;
