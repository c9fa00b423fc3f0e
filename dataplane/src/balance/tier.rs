//! Whom a request can go to at all: by priority, health, and when nearly nobody is left, panic.

use std::sync::Arc;

use crate::cluster::Endpoint;
use crate::telemetry::finished::Candidates;

/// The endpoints of one priority that can be picked.
#[derive(Debug)]
pub struct Tier {
    /// By their places in the list, in order.
    pub indices: Vec<usize>,
    /// The ejected ones, of it and of those before it, of all when there is panic: a request can bring them back.
    pub ejected: Vec<usize>,
    /// The same for records.
    pub candidates: Candidates,
}

impl Tier {
    /// The first priority of which at least `threshold` per cent are available; only those that discovery calls healthy
    /// count. When there is none, what was taken out here is picked all the same: most of it is rather not broken, and
    /// those that are left would not bear the load of all. `ejects`: who is ejected is not available.
    pub fn choose(endpoints: &[Arc<Endpoint>], threshold: u32, ejects: bool) -> Tier {
        let is_ejected = |endpoint: &Endpoint| ejects && endpoint.counts.circuit.is_open();
        let mut priorities: Vec<u32> = healthy(endpoints).map(|(_, endpoint)| endpoint.priority).collect();
        priorities.sort_unstable();
        priorities.dedup();
        for &priority in &priorities {
            let known = healthy(endpoints).filter(|(_, endpoint)| endpoint.priority == priority);
            let (known, indices) = known.fold((0, Vec::new()), |(known, mut indices), (index, endpoint)| {
                if !endpoint.counts.is_out() && !is_ejected(endpoint) {
                    indices.push(index);
                }
                (known + 1, indices)
            });
            if !indices.is_empty() && indices.len() * 100 >= known * threshold as usize {
                return Tier::new(endpoints, indices, is_ejected, (priority, false));
            }
        }
        let first = priorities.first().copied().unwrap_or(0);
        let known = healthy(endpoints).filter(|(_, endpoint)| endpoint.priority == first);
        let indices: Vec<usize> = known.map(|(index, _)| index).collect();
        let is_panic = !indices.is_empty();
        Tier::new(endpoints, indices, is_ejected, (first, is_panic))
    }

    fn new(
        endpoints: &[Arc<Endpoint>],
        indices: Vec<usize>,
        is_ejected: impl Fn(&Endpoint) -> bool,
        (priority, is_panic): (u32, bool),
    ) -> Tier {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let mut ejected: Vec<usize> = healthy(endpoints)
            .filter(|(_, endpoint)| is_ejected(endpoint))
            .map(|(index, _)| index)
            .collect();
        let candidates = Candidates {
            total: count(endpoints.len()),
            healthy: count(indices.len()),
            ejected: count(ejected.len()),
            priority,
            is_panic,
        };
        ejected.retain(|&index| {
            let Endpoint { counts, priority: own, .. } = &*endpoints[index];
            is_panic || (*own <= priority && !counts.is_out())
        });
        Tier { indices, ejected, candidates }
    }

    /// For each of so many endpoints, whether it can be picked.
    pub fn marks(&self, count: usize) -> Vec<bool> {
        let mut marks = vec![false; count];
        self.indices.iter().for_each(|&index| marks[index] = true);
        marks
    }
}

fn healthy(endpoints: &[Arc<Endpoint>]) -> impl Iterator<Item = (usize, &Endpoint)> {
    let all = endpoints.iter().map(|endpoint| &**endpoint).enumerate();
    all.filter(|(_, endpoint)| endpoint.healthy)
}
