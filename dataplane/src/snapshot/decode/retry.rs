//! When a request is tried again.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Checked, millis_or, or};
use crate::proto;
use crate::snapshot::model::Retry;

/// Tries of one exchange; each is kept for the log and the trace.
const MAX_ATTEMPTS: u32 = 16;
const ATTEMPTS: u32 = 3;
const BACKOFF_MS: u32 = 25;
const BACKOFF_MAX_MS: u32 = 250;
const BUDGET: u32 = 200;
/// UNAUTHENTICATED, the last of gRPC's statuses.
const LAST_CALL: u32 = 16;

pub(super) fn retry(message: proto::RetryPolicy) -> Checked<Retry> {
    let attempts = or(message.attempts, ATTEMPTS);
    if attempts > MAX_ATTEMPTS {
        return Err(format!(
            "retry.attempts is {attempts}; at most {MAX_ATTEMPTS} are allowed"
        ));
    }
    let budget = message.budget.unwrap_or(BUDGET);
    if budget > 1000 {
        return Err(format!("retry.budget is {budget} thousandths; at most 1000 are all"));
    }
    let calls = message.calls.iter().try_fold(0, |calls, code| match code {
        1..=LAST_CALL => Ok(calls | 1 << code),
        code => Err(format!("retry.calls has {code}; gRPC's failures are 1 to {LAST_CALL}")),
    })?;
    Ok(Retry {
        attempts,
        reset: message.reset,
        statuses: message.statuses.iter().map(range).collect::<Checked<_>>()?,
        calls,
        per_try_timeout: (message.per_try_timeout_ms > 0)
            .then(|| Duration::from_millis(u64::from(message.per_try_timeout_ms))),
        backoff: millis_or(message.backoff_ms, BACKOFF_MS),
        backoff_max: millis_or(message.backoff_max_ms, BACKOFF_MAX_MS),
        budget,
    })
}

fn range(message: &proto::StatusRange) -> Checked<RangeInclusive<u16>> {
    let status = |number: u32| u16::try_from(number).ok().filter(|number| (400..=599).contains(number));
    match (status(message.first), status(message.last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => Err(format!(
            "retry.statuses has {} to {}; errors are 400 to 599",
            message.first, message.last
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_the_default() {
        let retry = retry(proto::RetryPolicy::default()).expect("valid");
        assert_eq!((retry.attempts, retry.budget, retry.calls), (3, 200, 0));
        assert_eq!(retry.backoff_max, Duration::from_millis(250));
        assert!(!retry.reset && retry.statuses.is_empty() && retry.per_try_timeout.is_none());
    }

    #[test]
    fn what_no_endpoint_can_answer_is_refused() {
        let statuses = |first, last| proto::RetryPolicy {
            statuses: vec![proto::StatusRange { first, last }],
            ..Default::default()
        };
        assert!(retry(statuses(502, 504)).is_ok_and(|retry| retry.statuses == [502..=504]));
        for wrong in [
            statuses(200, 200),
            statuses(504, 502),
            statuses(502, 70_000),
            proto::RetryPolicy { calls: vec![0], ..Default::default() },
            proto::RetryPolicy { calls: vec![17], ..Default::default() },
            proto::RetryPolicy { budget: Some(1001), ..Default::default() },
        ] {
            assert!(retry(wrong.clone()).is_err(), "{wrong:?}");
        }
    }
}
