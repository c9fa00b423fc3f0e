//! What a cluster lets in: as many requests as it may have, and none while too much of it fails.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::Upstream;
use crate::breaker::Pass;
use crate::error::{Error, Reason};
use crate::proto::{self, event::Kind};
use crate::snapshot::model::ErrorRate;
use crate::telemetry::trace::span_id;
use crate::verdict::Verdict;

/// A circuit stays open for up to so many times the shortest.
const LONGEST: u32 = 10;

/// One request in flight.
#[derive(Debug)]
pub struct Permit {
    upstream: Rc<Upstream>,
    is_retried: Cell<bool>,
    /// It finds out whether the cluster is well again, and nobody knows yet.
    is_probe: Cell<bool>,
}

impl Permit {
    /// Counts a request against `max_requests` until it is dropped.
    pub(super) fn take(upstream: &Rc<Upstream>) -> Result<Self, Error> {
        let Upstream { cluster, config, .. } = &**upstream;
        if !cluster.requests.try_take(config.max_requests) {
            let held = config.max_requests;
            return Err(
                Error::new(Reason::Overflow).because(format_args!("max_requests: {held} requests are in flight"))
            );
        }
        let permit = Permit {
            upstream: Rc::clone(upstream),
            is_retried: Cell::new(false),
            is_probe: Cell::new(false),
        };
        if config.breaker.is_some() {
            permit.pass()?;
        }
        cluster.mark_used();
        Ok(permit)
    }

    fn pass(&self) -> Result<(), Error> {
        let circuit = &self.upstream.cluster.circuit;
        match circuit.pass() {
            Pass::Free => {}
            Pass::Probe => self.is_probe.set(true),
            Pass::Refused => {
                let left = circuit.left().unwrap_or_default();
                return Err(Error::new(Reason::CircuitOpen).because(match left.is_zero() {
                    true => "One request finds out at the moment whether it is well again.".to_owned(),
                    false => format!("The next request is let through in {left:?}."),
                }));
            }
        }
        Ok(())
    }

    /// Counts one more retry of the request, where `max_retries` and the budget of `share` thousandths leave room for it.
    pub fn retry(&self, share: u32) -> bool {
        let Upstream { cluster, config, .. } = &*self.upstream;
        if !self.is_retried.get() {
            self.is_retried.set(cluster.retries.try_take(config.max_retries));
        }
        let (total, active) = (cluster.requests.taken(), cluster.requests.held());
        let is_granted = self.is_retried.get() && cluster.budget.try_spend(share, total, active);
        let count = match is_granted {
            true => &cluster.events.retries,
            false => &cluster.events.retries_refused,
        };
        count.fetch_add(1, Relaxed);
        is_granted
    }

    /// The request is over, with this outcome of its last attempt. If that opened the circuit, returns the span of it in
    /// the mesh's trace, else 0.
    pub fn ended(&self, verdict: Verdict) -> u64 {
        let Some(policy) = &self.upstream.config.breaker else {
            return 0;
        };
        let circuit = &self.upstream.cluster.circuit;
        match verdict {
            Verdict::Success if self.is_probe.take() => {
                circuit.probe_succeeded();
                self.tell(String::new());
                0
            }
            Verdict::Failure | Verdict::GatewayError if self.is_probe.take() => {
                circuit.probe_failed(policy.open, longest(policy));
                self.tell("it was tried again and failed".to_owned())
            }
            Verdict::Failure | Verdict::GatewayError => self.failed(policy),
            Verdict::Success | Verdict::CallersFault | Verdict::Overload => 0,
        }
    }

    fn failed(&self, policy: &ErrorRate) -> u64 {
        let cluster = &self.upstream.cluster;
        let (requests, failures) = cluster.window.failed(cluster.requests.taken());
        let is_high = u64::from(failures) * 1000 > u64::from(requests) * u64::from(policy.failures);
        if requests < policy.min_requests || !is_high || !cluster.circuit.trip(policy.open, longest(policy)) {
            return 0;
        }
        cluster.window.forget();
        self.tell(format!("{failures} of {requests} requests failed"))
    }

    /// Returns the span of it in the mesh's trace.
    fn tell(&self, cause: String) -> u64 {
        let Upstream { cluster, config, events, .. } = &*self.upstream;
        let span_id = span_id();
        cluster.circuit.tell(span_id);
        let open_ms = cluster.circuit.left().unwrap_or_default().as_millis() as u64;
        if open_ms > 0 {
            cluster.events.trips.fetch_add(1, Relaxed);
        }
        let cluster = config.name.to_string();
        events.push(Kind::Circuit(proto::Circuit { cluster, cause, open_ms, span_id }));
        span_id
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let cluster = &self.upstream.cluster;
        cluster.requests.give();
        if self.is_retried.get() {
            cluster.retries.give();
        }
        if self.is_probe.get() {
            cluster.circuit.probe_lost();
        }
    }
}

fn longest(policy: &ErrorRate) -> Duration {
    policy.open.saturating_mul(LONGEST)
}
