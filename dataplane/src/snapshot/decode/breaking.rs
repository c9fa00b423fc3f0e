//! When endpoints, and whole clusters, get no requests for a while.

use std::time::Duration;

use super::{Checked, millis_or, or};
use crate::proto;
use crate::snapshot::model::{EndpointLimits, ErrorRate, Outlier};

const CONSECUTIVE_ERRORS: u32 = 5;
const SUCCESS_RATE: u32 = 500;
const MIN_REQUESTS: u32 = 20;
const EJECTION_MS: u32 = 30_000;
const MAX_EJECTION_MS: u32 = 300_000;
const MAX_EJECTED: u32 = 500;
const OPEN_MS: u32 = 5_000;

pub(super) fn outlier(message: proto::Outlier) -> Checked<Outlier> {
    let ejection = millis_or(message.ejection_ms, EJECTION_MS);
    Ok(Outlier {
        consecutive_errors: message.consecutive_errors.unwrap_or(CONSECUTIVE_ERRORS),
        consecutive_gateway_errors: message.consecutive_gateway_errors,
        success_rate: share("outlier.success_rate", message.success_rate.unwrap_or(SUCCESS_RATE))?,
        min_requests: or(message.min_requests, MIN_REQUESTS),
        ejection,
        max_ejection: Duration::max(ejection, millis_or(message.max_ejection_ms, MAX_EJECTION_MS)),
        max_ejected: share("outlier.max_ejected", message.max_ejected.unwrap_or(MAX_EJECTED))?,
    })
}

pub(super) fn per_endpoint(message: proto::EndpointLimits) -> EndpointLimits {
    EndpointLimits {
        max_connections: or(message.max_connections, u32::MAX),
        max_pending: or(message.max_pending, u32::MAX),
        max_requests: or(message.max_requests, u32::MAX),
        max_retries: or(message.max_retries, u32::MAX),
    }
}

pub(super) fn error_rate(message: proto::ErrorRate) -> Checked<ErrorRate> {
    if !(1..1000).contains(&message.failures) {
        return Err(format!(
            "breaker.failures is {} thousandths; expected 1 to 999",
            message.failures
        ));
    }
    Ok(ErrorRate {
        failures: message.failures,
        min_requests: or(message.min_requests, MIN_REQUESTS),
        open: millis_or(message.open_ms, OPEN_MS),
    })
}

fn share(field: &str, thousandths: u32) -> Checked<u32> {
    match thousandths {
        0..=1000 => Ok(thousandths),
        more => Err(format!("{field} is {more} thousandths; at most 1000 are all")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_the_default_and_0_is_none() {
        let usual = outlier(proto::Outlier::default()).expect("valid");
        assert_eq!(
            (usual.consecutive_errors, usual.success_rate, usual.max_ejected),
            (5, 500, 500)
        );
        assert_eq!((usual.ejection.as_secs(), usual.max_ejection.as_secs()), (30, 300));
        let none = proto::Outlier { consecutive_errors: Some(0), ejection_ms: 400_000, ..Default::default() };
        let none = outlier(none).expect("valid");
        assert_eq!((none.consecutive_errors, none.max_ejection.as_secs()), (0, 400));
    }

    #[test]
    fn shares_beyond_all_are_refused() {
        assert!(outlier(proto::Outlier { max_ejected: Some(1001), ..Default::default() }).is_err());
        assert!(outlier(proto::Outlier { success_rate: Some(1001), ..Default::default() }).is_err());
        for (failures, is_valid) in [(0, false), (1, true), (999, true), (1000, false)] {
            let message = proto::ErrorRate { failures, ..Default::default() };
            assert_eq!(error_rate(message).is_ok(), is_valid, "{failures}");
        }
    }
}
