//! What is believed of answers, and who asks.

use std::net::SocketAddr;

use super::*;
use crate::snapshot::model::Question;
use crate::telemetry::Hub;

fn check() -> HealthCheck {
    HealthCheck {
        question: Question::Connect,
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(1),
        healthy_threshold: 2,
        unhealthy_threshold: 3,
    }
}

/// What is believed anew after each answer.
fn believed(answers: &[bool]) -> Vec<Option<bool>> {
    let mut streak = Streak::default();
    answers.iter().map(|&is_well| streak.says(&check(), is_well)).collect()
}

#[test]
fn the_first_answer_is_believed_and_others_when_enough_in_a_row_say_so() {
    let (well, ill) = (Some(true), Some(false));
    assert_eq!(believed(&[true, true]), [well, None]);
    assert_eq!(believed(&[false, false]), [ill, None]);
    assert_eq!(
        believed(&[true, false, false, false, false]),
        [well, None, None, ill, None]
    );
    assert_eq!(believed(&[false, true, true]), [ill, None, well]);
    assert_eq!(
        believed(&[true, false, false, true, false, false]),
        [well, None, None, None, None, None]
    );
    assert_eq!(believed(&[false, true, false, true]), [ill, None, None, None]);
}

#[test]
fn each_endpoint_is_asked_by_one_worker() {
    let events = Arc::new(Events::new(0, Hub::new(&proto::Options::default())));
    let workers: Vec<Checks> = (0..3).map(|n| Checks::new((n, 3), Arc::clone(&events))).collect();
    let mut shares = [0; 3];
    for port in 1..=300 {
        let endpoint = Endpoint {
            id: "one".into(),
            address: SocketAddr::from(([10, 0, 0, 1], port)),
            label: "one".into(),
            weight: 1,
            healthy: true,
            priority: 0,
            spiffe_ids: Vec::new(),
            counts: Arc::default(),
        };
        let owners: Vec<usize> = (0..3).filter(|&n| workers[n].is_ours(&endpoint)).collect();
        assert_eq!(owners.len(), 1, "{owners:?}");
        shares[owners[0]] += 1;
    }
    assert!(shares.iter().all(|&share| share > 60), "{shares:?}");
}
