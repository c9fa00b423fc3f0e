//! What each policy promises: its distribution, and what one endpoint that goes changes for the others.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::*;
use crate::clock;
use crate::hashing;
use crate::snapshot::model::Hashing;
use crate::snapshot::samples;
use crate::verdict::Verdict;

mod cost;
mod ejection;
mod keys;

const LONG: Duration = Duration::from_secs(100);

const LEAST_REQUEST: BalancePolicy = BalancePolicy::LeastRequest { choices: 2 };
const RING: BalancePolicy = BalancePolicy::Hash(Hashing::Ring { least: 1024, most: 8 << 20 });
const MAGLEV: BalancePolicy = BalancePolicy::Hash(Hashing::Maglev);
const POLICIES: [BalancePolicy; 6] = [
    BalancePolicy::RoundRobin,
    BalancePolicy::Random,
    LEAST_REQUEST,
    BalancePolicy::PeakEwma,
    RING,
    MAGLEV,
];
const ANYBODY: Key = Key { hash: None, session: None, made: None };

fn endpoint(n: usize, weight: u32, healthy: bool, priority: u32) -> Arc<Endpoint> {
    Arc::new(Endpoint {
        id: format!("node/{n}").into(),
        address: ([127, 0, (n >> 8) as u8, n as u8], 1).into(),
        label: n.to_string().into(),
        weight,
        healthy,
        priority,
        spiffe_ids: Vec::new(),
        counts: Arc::default(),
    })
}

fn weighted(weights: &[u32]) -> Vec<Arc<Endpoint>> {
    let endpoints = weights.iter().enumerate();
    endpoints.map(|(n, &weight)| endpoint(n, weight, true, 0)).collect()
}

fn even(count: usize) -> Vec<Arc<Endpoint>> {
    weighted(&vec![1; count])
}

fn members(policy: BalancePolicy, endpoints: &[Arc<Endpoint>]) -> Members {
    let named = endpoints.iter().map(|endpoint| (&*endpoint.id, endpoint.weight));
    let table = match policy {
        BalancePolicy::Hash(hashing) => Table::new(hashing, named).map(Arc::new),
        _ => None,
    };
    Members { version: 1, is_followed: true, endpoints: endpoints.to_vec(), table }
}

fn balance(policy: BalancePolicy) -> Balance {
    samples::cluster("orders", "orders", policy).balance
}

fn balancer(policy: BalancePolicy, endpoints: &[Arc<Endpoint>]) -> Balancer {
    Balancer::new(&balance(policy), &members(policy, endpoints), true)
}

fn key(hash: u64) -> Key {
    Key { hash: Some(hashing::mix(hash)), ..ANYBODY }
}

/// The shares of so many requests, each with a key of its own.
fn shares(balancer: &Balancer, endpoints: &[Arc<Endpoint>], picks: u64) -> Vec<f64> {
    let mut counts = vec![0; endpoints.len()];
    for n in 0..picks {
        counts[balancer.pick(endpoints, &key(n), &[]).expect("some can be picked")] += 1;
    }
    counts
        .into_iter()
        .map(|count: u32| f64::from(count) / picks as f64)
        .collect()
}

/// For a while less than [`LONG`].
fn eject(endpoint: &Endpoint) {
    endpoint.counts.eject(LONG / 2, LONG / 2);
}

fn sticky(policy: BalancePolicy, endpoints: &[Arc<Endpoint>]) -> Balancer {
    let cookie = crate::snapshot::model::Cookie { name: "s".into(), path: "/".into(), ttl: None };
    let config = Balance { sticky: Some(cookie), ..balance(policy) };
    Balancer::new(&config, &members(policy, endpoints), true)
}

#[test]
fn every_policy_spreads_evenly_over_equal_endpoints() {
    random::seed(7);
    for policy in POLICIES {
        let endpoints = even(3);
        // Five standard deviations of a share of a third are 0.014; a ring's own shares differ by 5 %.
        let bound = if policy == RING { 0.06 } else { 0.015 };
        for (index, share) in shares(&balancer(policy, &endpoints), &endpoints, 30_000)
            .into_iter()
            .enumerate()
        {
            assert!(
                (share - 1.0 / 3.0).abs() < bound,
                "{policy:?}: endpoint {index} got {share}"
            );
        }
    }
}

#[test]
fn weights_are_shares() {
    random::seed(7);
    for policy in [
        BalancePolicy::RoundRobin,
        BalancePolicy::Random,
        LEAST_REQUEST,
        RING,
        MAGLEV,
    ] {
        for weights in [&[3, 1][..], &[5, 3, 2]] {
            let endpoints = weighted(weights);
            let total: u32 = weights.iter().sum();
            let found = shares(&balancer(policy, &endpoints), &endpoints, 30_000);
            for (share, &weight) in found.iter().zip(weights) {
                let expected = f64::from(weight) / f64::from(total);
                assert!((share - expected).abs() < 0.06, "{policy:?} of {weights:?}: {found:?}");
            }
        }
    }
}

#[test]
fn weighted_turns_are_exact_in_each_cycle() {
    let endpoints = weighted(&[5, 3, 2]);
    let balancer = balancer(BalancePolicy::RoundRobin, &endpoints);
    assert_eq!(shares(&balancer, &endpoints, 100), [0.5, 0.3, 0.2]);
}

#[test]
fn an_unhealthy_endpoint_and_one_that_was_taken_out_are_never_picked() {
    for policy in POLICIES {
        let mut endpoints = even(4);
        endpoints[1] = endpoint(1, 1, false, 0);
        endpoints[2].counts.set_out(true);
        let balancer = balancer(policy, &endpoints);
        let standing = balancer.candidates();
        assert_eq!((standing.total, standing.healthy, standing.is_panic), (4, 2, false));
        let shares = shares(&balancer, &endpoints, 1000);
        assert_eq!((shares[1], shares[2]), (0.0, 0.0), "{policy:?}");
        assert!(shares[0] > 0.3 && shares[3] > 0.3, "{policy:?}: {shares:?}");
    }
}

#[test]
fn with_nobody_healthy_nobody_is_picked() {
    for policy in POLICIES {
        let endpoints = [endpoint(0, 1, false, 0)];
        assert_eq!(balancer(policy, &endpoints).pick(&endpoints, &ANYBODY, &[]), None);
        assert_eq!(balancer(policy, &[]).pick(&[], &ANYBODY, &[]), None);
    }
}

#[test]
fn a_tried_endpoint_is_taken_last() {
    for policy in POLICIES {
        let endpoints = even(3);
        let balancer = balancer(policy, &endpoints);
        for n in 0..100 {
            assert_eq!(balancer.pick(&endpoints, &key(n), &[0, 2]), Some(1), "{policy:?}");
            assert!(balancer.pick(&endpoints, &key(n), &[0, 1, 2]).is_some());
        }
    }
}

#[test]
fn the_loaded_endpoint_gets_the_least() {
    random::seed(7);
    for policy in [LEAST_REQUEST, BalancePolicy::PeakEwma] {
        let endpoints = even(3);
        endpoints[1].counts.active.store(10, Relaxed);
        let shares = shares(&balancer(policy, &endpoints), &endpoints, 10_000);
        assert_eq!(
            shares[1], 0.0,
            "{policy:?}: of two different choices the other one is always better"
        );
    }
}

#[test]
fn load_is_counted_by_weight() {
    let endpoints = weighted(&[3, 1]);
    let balancer = balancer(LEAST_REQUEST, &endpoints);
    // Two of three against one of one: the heavy one is the less loaded.
    endpoints[0].counts.active.store(2, Relaxed);
    endpoints[1].counts.active.store(1, Relaxed);
    assert!((0..1000).all(|_| balancer.pick(&endpoints, &ANYBODY, &[]) == Some(0)));
}

#[test]
fn more_choices_find_the_idle_endpoint_more_often() {
    random::seed(7);
    let endpoints = even(10);
    endpoints[1..]
        .iter()
        .for_each(|endpoint| endpoint.counts.active.store(1, Relaxed));
    let share = |choices| {
        shares(
            &balancer(BalancePolicy::LeastRequest { choices }, &endpoints),
            &endpoints,
            30_000,
        )[0]
    };
    assert!((share(2) - 0.2).abs() < 0.02);
    assert!(share(5) > 0.35);
}

#[tokio::test(start_paused = true)]
async fn the_slow_endpoint_and_the_one_that_fails_fast_get_little() {
    random::seed(7);
    let endpoints = even(3);
    let balancer = balancer(BalancePolicy::PeakEwma, &endpoints);
    let answers = |index: usize| match index {
        0 => (Duration::from_millis(5), Verdict::Success),
        1 => (Duration::from_millis(200), Verdict::Success),
        _ => (Duration::from_micros(100), Verdict::Failure),
    };
    let mut counts = [0; 3];
    for _ in 0..3000 {
        let index = balancer.pick(&endpoints, &ANYBODY, &[]).unwrap();
        let (taken, verdict) = answers(index);
        counts[index] += 1;
        endpoints[index].counts.ended(verdict, Some(taken));
        clock::sleep(Duration::from_millis(2)).await;
    }
    // Of three pairs two have the fast one; the third is of the slow one and the one that fails.
    assert!(
        counts[0] > 1900 && counts[1] < 1100 && (1..30).contains(&counts[2]),
        "{counts:?}"
    );
}

#[test]
fn when_an_endpoint_goes_only_its_own_keys_move() {
    for policy in [RING, MAGLEV] {
        for count in [3, 100] {
            let endpoints = even(count);
            let before = balancer(policy, &endpoints);
            let owners: Vec<_> = (0..20_000).map(|n| before.pick(&endpoints, &key(n), &[])).collect();
            endpoints[1].counts.set_out(true);
            let after = balancer(policy, &endpoints);
            let mut heirs = std::collections::HashSet::new();
            for (n, &owner) in owners.iter().enumerate() {
                let now = after.pick(&endpoints, &key(n as u64), &[]);
                if owner == Some(1) {
                    heirs.insert(now);
                } else {
                    assert_eq!(now, owner, "{policy:?}");
                }
            }
            assert!(
                heirs.len() > count / 3,
                "{policy:?}: the keys of one go to {} others",
                heirs.len()
            );
        }
    }
}

#[test]
fn a_request_without_a_key_goes_anywhere() {
    random::seed(7);
    for policy in [RING, MAGLEV] {
        let endpoints = even(3);
        let balancer = balancer(policy, &endpoints);
        let picked: std::collections::HashSet<_> = (0..100).map(|_| balancer.pick(&endpoints, &ANYBODY, &[])).collect();
        assert_eq!(picked.len(), 3);
    }
}

#[test]
fn the_next_priority_takes_over_when_too_few_are_left() {
    let endpoints: Vec<_> = (0..6).map(|n| endpoint(n, 1, true, (n / 3) as u32)).collect();
    let standing = || balancer(BalancePolicy::Random, &endpoints).candidates();
    assert_eq!((standing().priority, standing().healthy), (0, 3));
    endpoints[0].counts.set_out(true);
    assert_eq!((standing().priority, standing().healthy), (0, 2));
    endpoints[1].counts.set_out(true);
    assert_eq!(
        (standing().priority, standing().healthy),
        (1, 3),
        "one of three is less than half"
    );
    endpoints[1].counts.set_out(false);
    assert_eq!((standing().priority, standing().healthy), (0, 2));
}

#[test]
fn when_nearly_all_were_taken_out_they_are_picked_all_the_same() {
    let mut endpoints = even(5);
    endpoints[4] = endpoint(4, 1, false, 0);
    let standing = |threshold| {
        let config = Balance { panic_threshold: threshold, ..balance(BalancePolicy::Random) };
        Balancer::new(&config, &members(BalancePolicy::Random, &endpoints), true).candidates()
    };
    for endpoint in &endpoints[..3] {
        endpoint.counts.set_out(true);
    }
    // What discovery calls ill is not picked in a panic either.
    assert_eq!((standing(50).is_panic, standing(50).healthy), (true, 4));
    assert_eq!((standing(25).is_panic, standing(25).healthy), (false, 1));
    assert_eq!((standing(0).is_panic, standing(0).healthy), (false, 1));
    endpoints[3].counts.set_out(true);
    assert_eq!((standing(0).is_panic, standing(0).healthy), (true, 4));
}

#[test]
fn discovery_and_health_checks_must_both_call_an_endpoint_well() {
    let endpoints = [
        endpoint(0, 1, true, 0),
        endpoint(1, 1, false, 0),
        endpoint(2, 1, true, 0),
        endpoint(3, 1, true, 1),
    ];
    let ill = |n: usize, is_ill: bool| {
        let error = is_ill.then(|| "it answers 503".to_owned());
        assert!(endpoints[n].counts.checked(error, Some(is_ill)));
    };
    let picked = || {
        let balancer = balancer(BalancePolicy::RoundRobin, &endpoints);
        let shares = shares(&balancer, &endpoints, 100);
        let picked: Vec<usize> = (0..4).filter(|&n| shares[n] > 0.0).collect();
        (picked, balancer.candidates().is_panic)
    };
    assert_eq!(picked(), (vec![0, 2], false));
    ill(1, true);
    ill(0, true);
    assert_eq!(picked(), (vec![2], false), "they count as if discovery had said so");
    ill(2, true);
    assert_eq!(picked(), (vec![3], false), "the next priority takes over");
    ill(3, true);
    assert_eq!(picked(), (vec![0, 2], true), "all are ill: that is believed of nobody");
    ill(1, false);
    assert_eq!(picked(), (vec![0, 2], true), "discovery is believed");
    ill(2, false);
    assert_eq!(picked(), (vec![2], false));
    endpoints[2].counts.set_out(true);
    assert_eq!(
        picked(),
        (vec![2], true),
        "an ejected one is rather well than an ill one"
    );
}

#[tokio::test(start_paused = true)]
async fn a_new_endpoint_gets_its_share_little_by_little() {
    random::seed(7);
    for policy in [BalancePolicy::RoundRobin, BalancePolicy::Random, LEAST_REQUEST] {
        let endpoints = even(4);
        endpoints[3].counts.set_out(true);
        endpoints[3].counts.set_out(false);
        let config = Balance { slow_start: Some(Duration::from_secs(30)), ..balance(policy) };
        let balancer = Balancer::new(&config, &members(policy, &endpoints), true);
        let share = || shares(&balancer, &endpoints, 20_000)[3];
        // A weight of a tenth beside three of one; half of one; one.
        assert!((share() - 0.1 / 3.1).abs() < 0.02, "{policy:?}: {}", share());
        clock::sleep(Duration::from_secs(15)).await;
        assert!((share() - 0.5 / 3.5).abs() < 0.03, "{policy:?}: {}", share());
        clock::sleep(Duration::from_secs(16)).await;
        assert!((share() - 0.25).abs() < 0.02, "{policy:?}: {}", share());
    }
}

#[test]
fn a_session_stays_with_its_endpoint_while_that_can_be_picked() {
    for policy in POLICIES {
        let endpoints = even(3);
        let session = Key { session: Some(session::digest(&endpoints[2])), ..key(1) };
        let pick = |tried: &[usize]| sticky(policy, &endpoints).pick(&endpoints, &session, tried);
        assert!((0..100).all(|_| pick(&[]) == Some(2)), "{policy:?}");
        assert_ne!(pick(&[2]), Some(2));
        endpoints[2].counts.set_out(true);
        assert_ne!(pick(&[]), Some(2));
    }
}
