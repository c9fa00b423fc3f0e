use http::{HeaderValue, StatusCode};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const FINE: Standing = Standing { can_replay: true, has_others: true, left: None };

fn policy() -> Retry {
    Retry {
        attempts: 3,
        reset: false,
        statuses: vec![502..=504],
        calls: 1 << 14,
        per_try_timeout: None,
        backoff: Duration::from_millis(25),
        backoff_max: Duration::from_millis(250),
        budget: 200,
    }
}

fn attempts(made: usize) -> Attempts {
    let mut attempts = Attempts::new(3, false);
    (0..made).for_each(|index| attempts.made(index));
    attempts
}

fn answer(status: u16, fields: &[(&'static str, &'static str)]) -> Response<()> {
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::from_u16(status).expect("a status");
    for (name, value) in fields {
        head.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    head
}

fn call(fields: &[(&'static str, &'static str)]) -> Option<Failure> {
    Failure::answered(&answer(200, fields), true, None)
}

fn again(failure: Option<Failure>) -> Option<Duration> {
    attempts(1).again(failure?, &policy(), FINE, || true)
}

#[test]
fn what_was_not_processed_goes_to_another_endpoint_at_once_and_costs_no_budget() {
    let refused = Failure::broken(&Error::unprocessed(Reason::RefusedStream));
    let again = |attempts: &Attempts, standing| attempts.again(refused, &policy(), standing, || false);
    assert_eq!(again(&attempts(1), FINE), Some(Duration::ZERO));
    assert_eq!(again(&attempts(2), FINE), Some(Duration::ZERO));
    assert_eq!(again(&attempts(3), FINE), None, "it had its three tries");
    assert_eq!(again(&attempts(1), Standing { can_replay: false, ..FINE }), None);
    assert_eq!(attempts(2).tried(), [0, 1]);
}

#[test]
fn who_is_tried_again_above_has_only_what_was_not_processed_tried_again() {
    let mut attempts = Attempts::new(3, true);
    attempts.made(0);
    let again = |failure: Option<Failure>| attempts.again(failure?, &policy(), FINE, || true);
    assert!(again(Some(Failure::broken(&Error::unprocessed(Reason::ConnectFailure)))).is_some());
    assert_eq!(again(call(&[("grpc-status", "14")])), None);
    assert_eq!(again(Some(Failure::broken(&Error::new(Reason::TryTimeout)))), None);
    assert!(attempts.is_left() && !attempts.may_repeat());
}

#[test]
fn a_request_tells_that_someone_above_tries_it_again() {
    for (fields, expected) in [
        (&[][..], false),
        (&[("tracestate", "a=1,sidecar=retry:1")], true),
        (&[("tracestate", "sidecarx=retry:1")], false),
        (&[("grpc-previous-rpc-attempts", "1")], true),
        (&[("grpc-previous-rpc-attempts", "0")], false),
        (&[("x-envoy-attempt-count", "2")], true),
        (&[("x-envoy-attempt-count", "1")], false),
        (&[("x-envoy-attempt-count", "many")], false),
    ] {
        assert_eq!(is_retried_above(answer(200, fields).headers()), expected, "{fields:?}");
    }
}

#[test]
fn a_policy_repeats_work_when_it_names_what_may_have_been_processed() {
    let only_calls = Retry { statuses: Vec::new(), ..policy() };
    assert!(only_calls.repeats(true) && !only_calls.repeats(false));
    let slow = Retry { per_try_timeout: Some(SECOND), calls: 0, ..only_calls.clone() };
    assert!(slow.repeats(false));
    assert!(!Retry { calls: 0, ..only_calls.clone() }.repeats(true));
    assert!(
        !Retry { attempts: 1, ..policy() }.repeats(true),
        "there is no other try"
    );
}

#[test]
fn a_request_has_one_try_at_least_and_a_bounded_number_at_most() {
    let tries = |allowed| {
        let mut attempts = Attempts::new(allowed, false);
        attempts.made(0);
        while attempts.again_unprocessed(&Error::unprocessed(Reason::ConnectFailure)) {
            attempts.made(0);
        }
        attempts.tried().len()
    };
    assert_eq!(tries(0), 1);
    assert_eq!(tries(u32::MAX), MOST_ATTEMPTS);
}

#[test]
fn an_answer_is_tried_again_by_the_statuses_of_the_route() {
    for (status, expected) in [(200, false), (404, false), (500, false), (503, true), (504, true)] {
        let failure = Failure::answered(&answer(status, &[]), false, None);
        assert_eq!(again(failure).is_some(), expected, "{status}");
    }
    for (code, expected) in [("0", false), ("14", true), ("8", false), ("99", false), ("x", false)] {
        assert_eq!(again(call(&[("grpc-status", code)])).is_some(), expected, "{code}");
    }
}

#[test]
fn a_call_is_judged_by_its_trailers_and_else_by_what_http_says() {
    let trailers = HeaderMap::from_iter([(grpc::GRPC_STATUS, HeaderValue::from_static("14"))]);
    let head = answer(200, &[]);
    assert!(again(Failure::answered(&head, true, Some(&trailers))).is_some());
    assert_eq!(Failure::answered(&head, true, None), None, "the call goes on");
    assert_eq!(Failure::answered(&head, false, Some(&trailers)), None, "no call");
    // 429 of a proxy in front means UNAVAILABLE.
    assert!(again(Failure::answered(&answer(429, &[]), true, None)).is_some());
    assert_eq!(again(Failure::answered(&answer(429, &[]), false, None)), None);
}

#[test]
fn a_broken_connection_is_tried_again_where_the_route_says_reset() {
    let broken = Failure::broken(&Error::new(Reason::UpstreamReset));
    assert_eq!(again(Some(broken)), None);
    let eager = Retry { reset: true, ..policy() };
    assert!(attempts(1).again(broken, &eager, FINE, || true).is_some());
    // As Envoy has it: what is no HTTP is no answer.
    let garbled = Failure::broken(&Error::new(Reason::UpstreamProtocol));
    assert!(attempts(1).again(garbled, &eager, FINE, || true).is_some());
    for reason in [Reason::Timeout, Reason::DownstreamReset, Reason::BodyTooLarge] {
        let failure = Failure::broken(&Error::new(reason));
        assert_eq!(attempts(1).again(failure, &eager, FINE, || true), None, "{reason}");
    }
    let late = Failure::broken(&Error::new(Reason::TryTimeout));
    assert!(attempts(1).again(late, &policy(), FINE, || true).is_some());
}

#[test]
fn without_room_in_the_budget_the_failure_stands() {
    let failure = call(&[("grpc-status", "14")]).expect("a failure");
    assert_eq!(attempts(1).again(failure, &policy(), FINE, || false), None);
    assert!(attempts(1).again(failure, &policy(), FINE, || true).is_some());
}

#[test]
fn a_retry_that_cannot_end_in_time_is_not_begun() {
    let failure = call(&[("grpc-status", "14"), ("grpc-retry-pushback-ms", "500")]).expect("a failure");
    let again = |left| attempts(1).again(failure, &policy(), Standing { left, ..FINE }, || true);
    assert_eq!(again(Some(SECOND)), Some(SECOND / 2));
    assert_eq!(again(Some(SECOND / 2)), None);
    assert_eq!(again(None), Some(SECOND / 2));
}

#[test]
fn an_endpoint_says_when_to_come_back() {
    let pushed = |millis| again(call(&[("grpc-status", "14"), ("grpc-retry-pushback-ms", millis)]));
    assert_eq!(pushed("0"), Some(Duration::ZERO));
    assert_eq!(pushed("1500"), Some(SECOND * 3 / 2));
    for never in ["-1", "", "soon", "99999999"] {
        assert_eq!(pushed(never), None, "{never:?}");
    }
    let told = |after| again(Failure::answered(&answer(503, &[("retry-after", after)]), false, None));
    assert_eq!(told("2"), Some(SECOND * 2));
    for never in ["3600", "Wed, 21 Oct 2015 07:28:00 GMT"] {
        assert_eq!(told(never), None, "{never}");
    }
}

#[test]
fn a_proxy_speaks_for_its_endpoint_and_another_one_is_tried_meanwhile() {
    const REASON: (&str, &str) = ("x-sidecar-reason", "concurrency-limit");
    let busy = [
        call(&[("grpc-status", "14"), ("grpc-retry-pushback-ms", "1000"), REASON]),
        Failure::answered(&answer(503, &[("retry-after", "1"), REASON]), false, None),
    ];
    for failure in busy {
        let failure = failure.expect("a failure");
        let again = |standing| attempts(1).again(failure, &policy(), standing, || true);
        assert!(again(FINE).is_some_and(|wait| wait <= policy().backoff));
        let brief = Some(SECOND / 2);
        assert!(
            again(Standing { left: brief, ..FINE }).is_some(),
            "there is time for the back-off"
        );
        assert_eq!(again(Standing { has_others: false, ..FINE }), Some(SECOND));
        assert_eq!(again(Standing { has_others: false, left: brief, ..FINE }), None);
    }
    let hours = call(&[("grpc-status", "14"), ("grpc-retry-pushback-ms", "3600000"), REASON]).expect("a failure");
    assert!(attempts(1).again(hours, &policy(), FINE, || true).is_some());
    let alone = Standing { has_others: false, ..FINE };
    assert_eq!(attempts(1).again(hours, &policy(), alone, || true), None);
}

#[test]
fn the_wait_is_random_and_its_bound_doubles_up_to_the_longest() {
    random::seed(7);
    let policy = Retry { backoff_max: Duration::from_millis(40), ..policy() };
    for (made, most) in [(1, 25), (2, 40), (7, 40)] {
        let waits: Vec<_> = (0..1000).map(|_| attempts_of(made).backoff(&policy)).collect();
        let most = Duration::from_millis(most);
        let longest = waits.iter().max().expect("some");
        assert!(*longest < most && *longest > most * 9 / 10, "{made}: {longest:?}");
        assert!(*waits.iter().min().expect("some") < most / 10, "{made}");
    }
}

fn attempts_of(made: usize) -> Attempts {
    let mut attempts = Attempts::new(8, false);
    (0..made).for_each(|index| attempts.made(index));
    attempts
}
