//! Which endpoint gets a request: a closed set of policies over one list of endpoints.

mod least_request;
mod round_robin;

use std::sync::Arc;

use crate::cluster::Endpoint;
use crate::random;
use crate::snapshot::model::BalancePolicy;

/// One policy over one list of endpoints, of which only the healthy can be picked.
#[derive(Debug)]
pub struct Balancer {
    /// Indices of the healthy endpoints.
    healthy: Vec<usize>,
    policy: Policy,
}

#[derive(Debug)]
enum Policy {
    RoundRobin(round_robin::Schedule),
    LeastRequest,
    Random(round_robin::Schedule),
}

impl Balancer {
    /// Prepares `policy` for `endpoints`.
    pub fn new(policy: BalancePolicy, endpoints: &[Arc<Endpoint>]) -> Self {
        let healthy: Vec<usize> = (0..endpoints.len()).filter(|&index| endpoints[index].healthy).collect();
        let schedule = || {
            let weights: Vec<u32> = healthy.iter().map(|&index| endpoints[index].weight).collect();
            round_robin::Schedule::new(&weights)
        };
        let policy = match policy {
            BalancePolicy::RoundRobin => Policy::RoundRobin(schedule()),
            BalancePolicy::Random => Policy::Random(schedule()),
            BalancePolicy::LeastRequest => Policy::LeastRequest,
        };
        Balancer { healthy, policy }
    }

    /// How many endpoints can be picked.
    pub fn healthy(&self) -> usize {
        self.healthy.len()
    }

    /// The index of the endpoint to use, one of `tried` only when all others are among them too.
    pub fn pick(&self, endpoints: &[Arc<Endpoint>], tried: &[usize]) -> Option<usize> {
        if self.healthy.is_empty() {
            return None;
        }
        let picked = self.healthy[match &self.policy {
            Policy::RoundRobin(schedule) => schedule.next(),
            Policy::Random(schedule) => schedule.any(),
            Policy::LeastRequest => least_request::pick(self.healthy.len(), |n| &endpoints[self.healthy[n]]),
        }];
        if !tried.contains(&picked) {
            return Some(picked);
        }
        let start = random::below(self.healthy.len());
        let others = self.healthy.iter().cycle().skip(start).take(self.healthy.len());
        Some(others.copied().find(|index| !tried.contains(index)).unwrap_or(picked))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    fn endpoints(weights: &[(u32, bool)]) -> Vec<Arc<Endpoint>> {
        weights
            .iter()
            .enumerate()
            .map(|(n, &(weight, healthy))| {
                Arc::new(Endpoint {
                    id: n.to_string().into(),
                    address: ([127, 0, 0, 1], n as u16 + 1).into(),
                    label: n.to_string().into(),
                    weight,
                    healthy,
                    spiffe_ids: Vec::new(),
                    counts: Arc::default(),
                })
            })
            .collect()
    }

    fn shares(balancer: &Balancer, endpoints: &[Arc<Endpoint>], picks: usize) -> HashMap<usize, f64> {
        let mut counts = HashMap::new();
        for _ in 0..picks {
            *counts
                .entry(balancer.pick(endpoints, &[]).expect("some are healthy"))
                .or_insert(0.0) += 1.0;
        }
        counts
            .into_iter()
            .map(|(index, count)| (index, count / picks as f64))
            .collect()
    }

    const POLICIES: [BalancePolicy; 3] = [
        BalancePolicy::RoundRobin,
        BalancePolicy::LeastRequest,
        BalancePolicy::Random,
    ];

    #[test]
    fn every_policy_spreads_evenly_over_equal_endpoints() {
        random::seed(7);
        let endpoints = endpoints(&[(1, true); 3]);
        for policy in POLICIES {
            for (index, share) in shares(&Balancer::new(policy, &endpoints), &endpoints, 30_000) {
                assert!(
                    (share - 1.0 / 3.0).abs() < 0.02,
                    "{policy:?}: endpoint {index} got {share}"
                );
            }
        }
    }

    #[test]
    fn weights_are_shares_in_turn_and_at_random() {
        random::seed(7);
        let endpoints = endpoints(&[(3, true), (1, true)]);
        for policy in [BalancePolicy::RoundRobin, BalancePolicy::Random] {
            let shares = shares(&Balancer::new(policy, &endpoints), &endpoints, 30_000);
            assert!((shares[&0] - 0.75).abs() < 0.02, "{policy:?}: {shares:?}");
        }
    }

    #[test]
    fn an_unhealthy_endpoint_is_never_picked() {
        let endpoints = endpoints(&[(1, true), (1, false), (1, true)]);
        for policy in POLICIES {
            let balancer = Balancer::new(policy, &endpoints);
            assert_eq!(balancer.healthy(), 2);
            assert!(!shares(&balancer, &endpoints, 1000).contains_key(&1), "{policy:?}");
        }
        let none = Balancer::new(BalancePolicy::RoundRobin, &endpoints[1..2]);
        assert_eq!(none.pick(&endpoints[1..2], &[]), None);
    }

    #[test]
    fn a_tried_endpoint_is_taken_last() {
        let endpoints = endpoints(&[(1, true); 3]);
        for policy in POLICIES {
            let balancer = Balancer::new(policy, &endpoints);
            for _ in 0..100 {
                assert_eq!(balancer.pick(&endpoints, &[0, 2]), Some(1), "{policy:?}");
                assert!(balancer.pick(&endpoints, &[0, 1, 2]).is_some());
            }
        }
    }

    #[test]
    fn the_loaded_endpoint_gets_the_least() {
        random::seed(7);
        let endpoints = endpoints(&[(1, true); 3]);
        endpoints[1].counts.active.store(10, Relaxed);
        let shares = shares(
            &Balancer::new(BalancePolicy::LeastRequest, &endpoints),
            &endpoints,
            10_000,
        );
        assert!(
            !shares.contains_key(&1),
            "two distinct choices never prefer the loaded one: {shares:?}"
        );
    }
}
