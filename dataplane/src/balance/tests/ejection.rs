//! Who is ejected: whom that leaves, who finds out when it is well again, and what it means for the others.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_ejected_are_not_picked_and_one_request_finds_out_when_their_time_is_over() {
    random::seed(7);
    for policy in POLICIES {
        let endpoints = even(3);
        eject(&endpoints[1]);
        let balancer = balancer(policy, &endpoints);
        let standing = balancer.candidates();
        assert_eq!((standing.total, standing.healthy, standing.ejected), (3, 2, 1));
        let found = shares(&balancer, &endpoints, 2000);
        assert!(
            found[1] == 0.0 && found[0] > 0.4 && found[2] > 0.4,
            "{policy:?}: {found:?}"
        );
        assert_eq!(balancer.probe(&endpoints, &ANYBODY, &[]), None, "its time is not over");

        clock::sleep(LONG).await;
        assert_eq!(
            balancer.probe(&endpoints, &ANYBODY, &[0]),
            None,
            "a second try is not risked"
        );
        assert_eq!(balancer.probe(&endpoints, &ANYBODY, &[]), Some(1));
        assert_eq!(balancer.probe(&endpoints, &ANYBODY, &[]), None, "one finds out");
        endpoints[1].counts.restore();
        assert_eq!(self::balancer(policy, &endpoints).candidates().healthy, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_with_another_endpoint_does_not_find_out() {
    for policy in [RING, MAGLEV] {
        let endpoints = even(3);
        let owner = |n| self::balancer(policy, &endpoints).pick(&endpoints, &key(n), &[]);
        let own = (0..).find(|&n| owner(n) == Some(1)).expect("some key leads there");
        let other = (0..).find(|&n| owner(n) == Some(0)).expect("and some elsewhere");
        eject(&endpoints[1]);
        let balancer = balancer(policy, &endpoints);
        clock::sleep(LONG).await;
        assert_eq!(balancer.probe(&endpoints, &key(other), &[]), None);
        assert_eq!(balancer.probe(&endpoints, &key(own), &[]), Some(1));
    }
    let endpoints = even(3);
    eject(&endpoints[1]);
    let balancer = sticky(BalancePolicy::Random, &endpoints);
    clock::sleep(LONG).await;
    let session = |index: usize| Key { session: Some(session::digest(&endpoints[index])), ..ANYBODY };
    assert_eq!(balancer.probe(&endpoints, &session(0), &[]), None);
    assert_eq!(
        balancer.probe(&endpoints, &session(1), &[]),
        Some(1),
        "its own session has no other"
    );
}

#[tokio::test(start_paused = true)]
async fn ejections_move_the_priority_and_make_panic() {
    let endpoints: Vec<_> = (0..6).map(|n| endpoint(n, 1, true, (n / 3) as u32)).collect();
    let standing = |ejects| {
        let balancer = Balancer::new(
            &balance(BalancePolicy::Random),
            &members(BalancePolicy::Random, &endpoints),
            ejects,
        );
        let found = balancer.candidates();
        (found.priority, found.healthy, found.ejected, found.is_panic)
    };
    eject(&endpoints[0]);
    assert_eq!(standing(true), (0, 2, 1, false));
    eject(&endpoints[1]);
    assert_eq!(standing(true), (1, 3, 2, false), "one of three is less than half");
    assert_eq!(standing(false), (0, 3, 0, false), "who does not eject does not see it");

    // Those of the first priority come back by requests that go to the second; those of a later one wait until it is asked.
    let balancer = balancer(BalancePolicy::Random, &endpoints);
    clock::sleep(LONG).await;
    assert!(balancer.probe(&endpoints, &ANYBODY, &[]).is_some());
    endpoints[0].counts.restore();
    endpoints[1].counts.restore();
    eject(&endpoints[3]);
    let balancer = self::balancer(BalancePolicy::Random, &endpoints);
    clock::sleep(LONG).await;
    assert_eq!(
        (standing(true), balancer.probe(&endpoints, &ANYBODY, &[])),
        ((0, 3, 1, false), None)
    );

    for endpoint in &endpoints[..5] {
        eject(endpoint);
    }
    assert_eq!(standing(true), (0, 3, 5, true));
    let balancer = self::balancer(BalancePolicy::Random, &endpoints);
    let found = shares(&balancer, &endpoints, 3000);
    assert!(
        found[..3].iter().all(|&share| share > 0.28),
        "in a panic all of them bear it: {found:?}"
    );
}

#[test]
fn any_of_those_that_can_be_picked_and_no_other() {
    random::seed(7);
    let endpoints = even(4);
    eject(&endpoints[2]);
    let balancer = balancer(BalancePolicy::RoundRobin, &endpoints);
    let found: std::collections::HashSet<_> = (0..100).map(|_| balancer.any(|index| index != 0)).collect();
    assert_eq!(found, [Some(1), Some(3)].into());
    assert_eq!(balancer.any(|index| index == 2), None);
    assert_eq!(self::balancer(BalancePolicy::RoundRobin, &[]).any(|_| true), None);
}

/// What one endpoint that goes means for the others: its share is spread over them, and nobody gets less than before.
#[test]
fn the_share_of_one_that_goes_is_spread_over_all_others() {
    random::seed(7);
    for policy in POLICIES {
        let endpoints = weighted(&[2, 1, 1, 2, 2]);
        let is_weighed = policy != BalancePolicy::PeakEwma;
        let before = shares(&balancer(policy, &endpoints), &endpoints, 40_000);
        eject(&endpoints[4]);
        let after = shares(&balancer(policy, &endpoints), &endpoints, 40_000);
        assert_eq!(after[4], 0.0);
        // Five standard deviations are 0.012; the points of a ring differ by 5 %.
        let bound = if policy == RING { 0.04 } else { 0.02 };
        for index in 0..4 {
            let grown = after[index] / before[index];
            let expected = if is_weighed { 8.0 / 6.0 } else { grown };
            assert!(
                after[index] > before[index] - 0.02 && (after[index] - before[index] * expected).abs() < bound,
                "{policy:?}: endpoint {index} had {} and has {}",
                before[index],
                after[index]
            );
        }
    }
}
