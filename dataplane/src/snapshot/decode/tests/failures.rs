//! Which answers are an endpoint's failure.

use http::{HeaderMap, StatusCode};

use super::*;
use crate::verdict::Verdict;

fn with(http: &[(u32, u32)], grpc: &[u32]) -> proto::Snapshot {
    let mut message = smallest();
    message.clusters[0].failures = Some(proto::FailureStatuses {
        http: http
            .iter()
            .map(|&(first, last)| proto::StatusRange { first, last })
            .collect(),
        grpc: grpc.to_vec(),
    });
    message
}

fn judged(message: &proto::Snapshot, status: StatusCode, code: u8) -> (Verdict, Verdict) {
    let judge = Arc::clone(&accepted(message).clusters["orders"].judge);
    (judge.head(status, &HeaderMap::new()), judge.call(code))
}

#[test]
fn statuses_that_are_named_are_failures_and_the_default_without_names() {
    let (named, usual) = (with(&[(404, 404)], &[5]), smallest());
    assert_eq!(
        judged(&named, StatusCode::NOT_FOUND, 5),
        (Verdict::Failure, Verdict::Failure)
    );
    assert_eq!(
        judged(&usual, StatusCode::NOT_FOUND, 5),
        (Verdict::CallersFault, Verdict::CallersFault)
    );
    assert_eq!(
        judged(&with(&[], &[]), StatusCode::BAD_GATEWAY, 14),
        (Verdict::CallersFault, Verdict::CallersFault)
    );
}

#[test]
fn statuses_that_are_none_are_refused() {
    let refusal = |message: proto::Snapshot| decode(&message.encode_to_vec()).unwrap_err().to_string();
    for range in [(0, 599), (500, 600), (503, 500), (70_000, 70_001)] {
        assert!(refusal(with(&[range], &[])).contains("failures.http"), "{range:?}");
    }
    for code in [0, 17, 300] {
        assert!(refusal(with(&[], &[code])).contains("failures.grpc"), "{code}");
    }
}
