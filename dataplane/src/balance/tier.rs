//! Whom a request can go to at all: by priority, health, and when nearly nobody is left, panic.

use std::sync::Arc;

use crate::cluster::Endpoint;
use crate::telemetry::finished::Candidates;

/// The endpoints of one priority that can be picked.
#[derive(Debug)]
pub struct Tier {
    /// By their places in the list, in order.
    pub indices: Vec<usize>,
    /// The same for records.
    pub candidates: Candidates,
}

impl Tier {
    /// The first priority of which at least `threshold` per cent are available; only those that discovery calls healthy
    /// count. When there is none, what was taken out here is picked all the same: most of it is rather not broken, and
    /// those that are left would not bear the load of all.
    pub fn choose(endpoints: &[Arc<Endpoint>], threshold: u32) -> Tier {
        let mut priorities: Vec<u32> = healthy(endpoints).map(|(_, endpoint)| endpoint.priority).collect();
        priorities.sort_unstable();
        priorities.dedup();
        for &priority in &priorities {
            let known = healthy(endpoints).filter(|(_, endpoint)| endpoint.priority == priority);
            let (known, indices) = known.fold((0, Vec::new()), |(known, mut indices), (index, endpoint)| {
                if !endpoint.counts.is_out() {
                    indices.push(index);
                }
                (known + 1, indices)
            });
            if !indices.is_empty() && indices.len() * 100 >= known * threshold as usize {
                return Tier::new(endpoints.len(), indices, priority, false);
            }
        }
        let first = priorities.first().copied().unwrap_or(0);
        let known = healthy(endpoints).filter(|(_, endpoint)| endpoint.priority == first);
        let indices: Vec<usize> = known.map(|(index, _)| index).collect();
        let is_panic = !indices.is_empty();
        Tier::new(endpoints.len(), indices, first, is_panic)
    }

    fn new(total: usize, indices: Vec<usize>, priority: u32, is_panic: bool) -> Tier {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let candidates = Candidates {
            total: count(total),
            healthy: count(indices.len()),
            ejected: 0,
            priority,
            is_panic,
        };
        Tier { indices, candidates }
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
