use std::time::Duration;

use super::*;
use crate::breaker::Pass;
use crate::clock;

const SECOND: Duration = Duration::from_secs(1);
const POLICY: Outlier = Outlier {
    consecutive_errors: 5,
    consecutive_gateway_errors: 3,
    success_rate: 500,
    min_requests: 20,
    ejection: Duration::from_secs(30),
    max_ejection: Duration::from_secs(300),
    max_ejected: 500,
};

fn endpoints(count: u16) -> Vec<Arc<Endpoint>> {
    (1..=count)
        .map(|port| {
            Arc::new(Endpoint {
                id: "".into(),
                address: ([127, 0, 0, 1], port).into(),
                label: "".into(),
                weight: 1,
                healthy: true,
                priority: 0,
                spiffe_ids: Vec::new(),
                counts: Arc::default(),
            })
        })
        .collect()
}

fn pass(endpoint: &Endpoint) -> Pass {
    endpoint.counts.circuit.pass()
}

/// So many attempts at one endpoint; the last change.
fn attempts(endpoints: &[Arc<Endpoint>], index: usize, verdict: Verdict, count: usize) -> Option<Change> {
    let attempt = |_| {
        endpoints[index].counts.total.fetch_add(1, Relaxed);
        ended(&POLICY, endpoints, index, verdict, false)
    };
    (0..count).filter_map(attempt).fold(None, |_, change| Some(change))
}

#[tokio::test(start_paused = true)]
async fn errors_in_a_row_eject_and_a_success_between_them_does_not() {
    let endpoints = endpoints(3);
    assert_eq!(attempts(&endpoints, 0, Verdict::Failure, 4), None);
    attempts(&endpoints, 0, Verdict::Success, 1);
    assert_eq!(attempts(&endpoints, 0, Verdict::Failure, 4), None);
    assert_eq!(
        attempts(&endpoints, 0, Verdict::Failure, 1),
        Some(Change::Ejected(Cause::Consecutive(5)))
    );
    assert_eq!((pass(&endpoints[0]), ejected(&endpoints)), (Pass::Refused, 1));
}

#[tokio::test(start_paused = true)]
async fn gateway_errors_in_a_row_eject_sooner_and_another_answer_ends_the_row() {
    let endpoints = endpoints(3);
    for between in [Verdict::Success, Verdict::Failure] {
        assert_eq!(attempts(&endpoints, 0, Verdict::GatewayError, 2), None);
        assert_eq!(attempts(&endpoints, 0, between, 1), None, "{between:?}");
        attempts(&endpoints, 0, Verdict::Success, 1);
    }
    assert_eq!(
        attempts(&endpoints, 0, Verdict::GatewayError, 3),
        Some(Change::Ejected(Cause::ConsecutiveGateway(3)))
    );
    // They are failures too, and without a count of their own count with the others.
    let policy = Outlier { consecutive_gateway_errors: 0, ..POLICY };
    let endpoints = self::endpoints(3);
    let changes = (0..5).map(|_| ended(&policy, &endpoints, 1, Verdict::GatewayError, false));
    let changes: Vec<_> = changes.collect();
    assert_eq!(changes[..4], [None; 4]);
    assert_eq!(changes[4], Some(Change::Ejected(Cause::Consecutive(5))));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_the_endpoints_fault_never_ejects() {
    let endpoints = endpoints(3);
    for verdict in [Verdict::Overload, Verdict::CallersFault, Verdict::Success] {
        assert_eq!(attempts(&endpoints, 0, verdict, 100), None, "{verdict:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_one_nobody_is_ejected_of_three_one_and_of_four_two() {
    for (count, most) in [(1, 0), (2, 1), (3, 1), (4, 2), (10, 5)] {
        let endpoints = endpoints(count);
        for index in 0..endpoints.len() {
            attempts(&endpoints, index, Verdict::Failure, 50);
        }
        assert_eq!(ejected(&endpoints), most, "of {count}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_low_success_rate_ejects_without_errors_in_a_row() {
    let endpoints = endpoints(3);
    let mut change = None;
    for round in 0..40 {
        let verdict = if round % 3 == 2 {
            Verdict::Success
        } else {
            Verdict::Failure
        };
        change = change.or(attempts(&endpoints, 1, verdict, 1));
    }
    assert!(
        matches!(change, Some(Change::Ejected(Cause::SuccessRate(_, 20..)))),
        "{change:?}"
    );

    // Every other one is enough.
    for _ in 0..100 {
        attempts(&endpoints, 2, Verdict::Failure, 1);
        assert_eq!(attempts(&endpoints, 2, Verdict::Success, 1), None);
    }
    assert_eq!(ejected(&endpoints), 1);
}

#[tokio::test(start_paused = true)]
async fn one_probe_brings_it_back_or_sends_it_away_for_longer() {
    let endpoints = endpoints(3);
    attempts(&endpoints, 0, Verdict::Failure, 5);
    clock::sleep(34 * SECOND).await;
    assert_eq!(pass(&endpoints[0]), Pass::Probe);
    assert_eq!(pass(&endpoints[0]), Pass::Refused);
    assert_eq!(
        ended(&POLICY, &endpoints, 0, Verdict::Failure, true),
        Some(Change::Ejected(Cause::Probe))
    );
    clock::sleep(34 * SECOND).await;
    assert_eq!(pass(&endpoints[0]), Pass::Refused, "twice as long");
    clock::sleep(34 * SECOND).await;
    assert_eq!(pass(&endpoints[0]), Pass::Probe);
    // A request that was under way before says nothing.
    assert_eq!(attempts(&endpoints, 0, Verdict::Success, 1), None);
    assert_eq!(pass(&endpoints[0]), Pass::Refused);
    assert_eq!(
        ended(&POLICY, &endpoints, 0, Verdict::Success, true),
        Some(Change::Returned)
    );
    assert_eq!((pass(&endpoints[0]), ejected(&endpoints)), (Pass::Free, 0));
}
