//! Health checks.

use http::uri::PathAndQuery;

use super::clusters::status_range;
use super::{Checked, millis_or, or};
use crate::proto::{self, health_check};
use crate::snapshot::model::{HealthCheck, Protocol, Question};

const INTERVAL_MS: u32 = 10_000;
const TIMEOUT_MS: u32 = 2_000;
const HEALTHY_THRESHOLD: u32 = 2;
const UNHEALTHY_THRESHOLD: u32 = 3;
/// More often than this a check is load.
const LEAST_INTERVAL_MS: u32 = 10;

pub(super) fn check(message: proto::HealthCheck, protocol: Protocol) -> Checked<HealthCheck> {
    let question = match message.question {
        None | Some(health_check::Question::Connect(false)) => {
            return Err("health_check asks nothing; expected http, grpc or connect".to_owned());
        }
        Some(health_check::Question::Connect(true)) => Question::Connect,
        Some(_) if protocol == Protocol::Tcp => {
            return Err("health_check: nobody there reads requests; expected connect".to_owned());
        }
        Some(health_check::Question::Grpc(_)) if protocol != Protocol::Http2 => {
            return Err("health_check.grpc needs HTTP/2, which the endpoints do not speak".to_owned());
        }
        Some(health_check::Question::Grpc(service)) => Question::Grpc { service: service.into() },
        Some(health_check::Question::Http(http)) => self::http(http)?,
    };
    let interval = or(message.interval_ms, INTERVAL_MS);
    if interval < LEAST_INTERVAL_MS {
        return Err(format!(
            "health_check.interval_ms is {interval}; expected at least {LEAST_INTERVAL_MS}"
        ));
    }
    Ok(HealthCheck {
        question,
        interval: millis_or(interval, INTERVAL_MS),
        timeout: millis_or(message.timeout_ms, TIMEOUT_MS),
        healthy_threshold: or(message.healthy_threshold, HEALTHY_THRESHOLD),
        unhealthy_threshold: or(message.unhealthy_threshold, UNHEALTHY_THRESHOLD),
    })
}

fn http(message: proto::HttpQuestion) -> Checked<Question> {
    let path = PathAndQuery::try_from(message.path.as_str()).ok();
    let Some(path) = path.filter(|_| message.path.starts_with('/')) else {
        return Err(format!(
            "health_check.http.path {:?} is no path; expected one like \"/healthz\"",
            message.path
        ));
    };
    let range = |range| status_range("health_check.http.statuses", range);
    let mut statuses = message.statuses.into_iter().map(range).collect::<Checked<Vec<_>>>()?;
    if statuses.is_empty() {
        statuses.push(200..=299);
    }
    Ok(Question::Http { path, statuses })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(question: health_check::Question) -> proto::HealthCheck {
        proto::HealthCheck { question: Some(question), ..Default::default() }
    }

    fn http(path: &str) -> proto::HealthCheck {
        let path = path.to_owned();
        asking(health_check::Question::Http(proto::HttpQuestion {
            path,
            statuses: Vec::new(),
        }))
    }

    #[test]
    fn what_is_not_said_is_the_default() {
        let usual = check(http("/healthz?deep"), Protocol::Http1).expect("valid");
        assert_eq!((usual.interval.as_secs(), usual.timeout.as_secs()), (10, 2));
        assert_eq!((usual.healthy_threshold, usual.unhealthy_threshold), (2, 3));
        let Question::Http { path, statuses } = usual.question else {
            panic!("{:?}", usual.question);
        };
        assert_eq!((path.as_str(), statuses), ("/healthz?deep", vec![200..=299]));
    }

    #[test]
    fn questions_that_the_endpoints_cannot_answer_are_refused() {
        let grpc = || asking(health_check::Question::Grpc(String::new()));
        let connect = |wanted| asking(health_check::Question::Connect(wanted));
        for (message, protocol, is_valid) in [
            (proto::HealthCheck::default(), Protocol::Http1, false),
            (connect(false), Protocol::Tcp, false),
            (connect(true), Protocol::Tcp, true),
            (connect(true), Protocol::Http2, true),
            (http("/"), Protocol::Tcp, false),
            (http("/"), Protocol::Http2, true),
            (http("healthz"), Protocol::Http1, false),
            (http("/a b"), Protocol::Http1, false),
            (grpc(), Protocol::Http1, false),
            (grpc(), Protocol::Http2, true),
            (proto::HealthCheck { interval_ms: 9, ..grpc() }, Protocol::Http2, false),
        ] {
            assert_eq!(
                check(message.clone(), protocol).is_ok(),
                is_valid,
                "{message:?} {protocol:?}"
            );
        }
    }
}
