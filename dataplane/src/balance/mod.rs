//! Which endpoint gets a request: a closed set of policies over one list of endpoints. No I/O, and time and randomness
//! come from their modules: a simulation can own all of it.

mod key;
mod least_request;
mod peak_ewma;
mod round_robin;
mod session;
mod slow_start;
#[cfg(test)]
mod tests;
mod tier;

use std::sync::Arc;

pub use key::{Key, Origin};

use self::round_robin::Schedule;
use self::session::Sessions;
use self::slow_start::SlowStart;
use self::tier::Tier;
use crate::breaker::Pass;
use crate::cluster::{Endpoint, Members};
use crate::hashing::{self, Table};
use crate::random;
use crate::snapshot::model::{Balance, BalancePolicy};
use crate::telemetry::finished::Candidates;

/// How often a key is led on from an endpoint that cannot be picked, or a policy asked again for one that can.
const MOST_STEPS: usize = 16;

/// One policy over one list of endpoints, of which only some can be picked. It is made anew when another list comes, and
/// when another endpoint of it becomes available or is no longer.
#[derive(Debug)]
pub struct Balancer {
    tier: Tier,
    policy: Policy,
    slow_start: Option<SlowStart>,
    sessions: Option<Sessions>,
}

#[derive(Debug)]
enum Policy {
    RoundRobin(Schedule),
    Random(Schedule),
    /// The schedule is for unequal weights.
    LeastRequest(Option<Schedule>, u32),
    PeakEwma,
    /// The table is of all endpoints, so that those which come and go move nobody else's keys. `None`: it is not there yet.
    Hash(Option<Arc<Table>>, Vec<bool>),
}

impl Balancer {
    /// Prepares `config`'s policy for the endpoints that can be picked now; with `ejects` the ejected ones cannot.
    pub fn new(config: &Balance, members: &Members, ejects: bool) -> Self {
        let endpoints = &members.endpoints;
        let tier = Tier::choose(endpoints, config.panic_threshold, ejects);
        let weights = || {
            tier.indices
                .iter()
                .map(|&index| endpoints[index].weight)
                .collect::<Vec<_>>()
        };
        let policy = match config.policy {
            BalancePolicy::RoundRobin => Policy::RoundRobin(Schedule::new(&weights())),
            BalancePolicy::Random => Policy::Random(Schedule::new(&weights())),
            BalancePolicy::LeastRequest { choices } => {
                let weights = weights();
                let is_even = weights.iter().all(|&weight| weight == weights[0]);
                Policy::LeastRequest((!is_even).then(|| Schedule::new(&weights)), choices)
            }
            BalancePolicy::PeakEwma => Policy::PeakEwma,
            BalancePolicy::Hash(_) => Policy::Hash(members.table.clone(), tier.marks(endpoints.len())),
        };
        let is_hashed = matches!(policy, Policy::Hash(..));
        let slow_start = config.slow_start.filter(|_| !is_hashed);
        Balancer {
            slow_start: slow_start.and_then(|window| SlowStart::of(window, &tier.indices, endpoints)),
            sessions: config.sticky.as_ref().map(|_| Sessions::of(&tier.indices, endpoints)),
            tier,
            policy,
        }
    }

    /// What can be picked from.
    pub fn candidates(&self) -> Candidates {
        self.tier.candidates
    }

    /// The index of an ejected endpoint whose time is over, and of which this request finds out whether it is well. Who
    /// is with another endpoint, by its session or its key, stays there; and no second try is risked.
    pub fn probe(&self, endpoints: &[Arc<Endpoint>], key: &Key, tried: &[usize]) -> Option<usize> {
        if self.tier.ejected.is_empty() || !tried.is_empty() || self.with_session(key).is_some() {
            return None;
        }
        let is_its_own = |index: usize| match (&self.policy, key.hash) {
            (Policy::Hash(Some(table), _), Some(hash)) => table.find(hash) == index,
            _ => true,
        };
        let ejected = self.tier.ejected.iter().copied();
        let mut own = ejected.filter(|&index| is_its_own(index));
        own.find(|&index| endpoints[index].counts.circuit.pass() == Pass::Probe)
    }

    /// Any that can be picked and of which this holds.
    pub fn any(&self, holds: impl Fn(usize) -> bool) -> Option<usize> {
        let available = &self.tier.indices;
        let start = random::below(available.len().max(1));
        let mut all = available.iter().cycle().skip(start).take(available.len()).copied();
        all.find(|&index| holds(index))
    }

    fn with_session(&self, key: &Key) -> Option<usize> {
        self.sessions.as_ref()?.find(key.session?)
    }

    /// The index of the endpoint to use, one of `tried` only when all others are among them too.
    pub fn pick(&self, endpoints: &[Arc<Endpoint>], key: &Key, tried: &[usize]) -> Option<usize> {
        let available = &self.tier.indices;
        if available.is_empty() {
            return None;
        }
        if let Some(index) = self.with_session(key).filter(|index| !tried.contains(index)) {
            return Some(index);
        }
        let picked = self.by_policy(endpoints, key, tried);
        if !tried.contains(&picked) {
            return Some(picked);
        }
        Some(self.any(|index| !tried.contains(&index)).unwrap_or(picked))
    }

    fn by_policy(&self, endpoints: &[Arc<Endpoint>], key: &Key, tried: &[usize]) -> usize {
        let available = &self.tier.indices;
        if let Policy::Hash(Some(table), usable) = &self.policy
            && let Some(hash) = key.hash
        {
            return hashed(table, hash, |index| {
                usable.get(index) == Some(&true) && !tried.contains(&index)
            })
            .unwrap_or(available[hash as usize % available.len()]);
        }
        for _ in 1..MOST_STEPS {
            let picked = self.draw(endpoints);
            match &self.slow_start {
                Some(slow_start) if !slow_start.takes(&endpoints[picked]) => {}
                _ => return picked,
            }
        }
        self.draw(endpoints)
    }

    fn draw(&self, endpoints: &[Arc<Endpoint>]) -> usize {
        let available = &self.tier.indices;
        let endpoint = |n: usize| &*endpoints[available[n]];
        available[match &self.policy {
            Policy::RoundRobin(schedule) => schedule.next(),
            Policy::Random(schedule) => schedule.any(),
            Policy::LeastRequest(schedule, choices) => {
                least_request::pick(available.len(), *choices, schedule.as_ref(), endpoint)
            }
            Policy::PeakEwma => peak_ewma::pick(available.len(), endpoint),
            // A request without a key, as in Envoy.
            Policy::Hash(..) => random::below(available.len()),
        }]
    }
}

/// Where a key leads; from an endpoint that cannot be used it goes on to where its next hash leads, so that those keys
/// spread over all others.
fn hashed(table: &Table, mut hash: u64, is_usable: impl Fn(usize) -> bool) -> Option<usize> {
    for _ in 0..MOST_STEPS {
        let index = table.find(hash);
        if is_usable(index) {
            return Some(index);
        }
        hash = hashing::mix(hash.wrapping_add(1));
    }
    None
}
