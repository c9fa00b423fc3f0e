//! What a service takes from its callers.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::{Checked, or};
use crate::proto;
use crate::snapshot::model::{Admission, BucketRate, MAX_QUOTAS, Mode, Quota, Rate, RateKey, RateLimit, WindowRate};

const MAX_KEYS: usize = 8;
/// The limit of a listener.
const DEFAULT: &str = "default";
const CONSUMER: &str = "consumer";

pub(super) fn admission(message: proto::Admission, mode: Mode) -> Checked<Admission> {
    if mode == Mode::Tcp {
        return Err(
            "admission is about requests, and this listener takes connections whose bytes nobody reads".to_owned(),
        );
    }
    Ok(Admission {
        concurrency: or(message.concurrency, u32::MAX),
        rate: message.rate.map(own_rate).transpose()?.map(Arc::new),
    })
}

/// That of a listener, which nobody has asked who calls.
fn own_rate(message: proto::RateLimit) -> Checked<RateLimit> {
    let limit = rate_limit(DEFAULT, message)?;
    match limit.by.iter().any(needs_caller) {
        true => Err("rate.by has a consumer, a group or a claim, which only a route asks for".to_owned()),
        false => Ok(limit),
    }
}

/// That of a consumer, whatever its routes; what makes the key is not its own to say.
pub fn consumer_limit(mut message: proto::RateLimit) -> Result<RateLimit, String> {
    message.by = vec![proto::RateKey { kind: Some(proto::rate_key::Kind::Consumer(true)) }];
    rate_limit(CONSUMER, message)
}

pub(super) fn quotas(messages: Vec<proto::Quota>) -> Checked<Vec<Arc<Quota>>> {
    if messages.len() > MAX_QUOTAS {
        return Err(format!("it has more than {MAX_QUOTAS} quotas"));
    }
    messages
        .into_iter()
        .map(|message| quota(message).map(Arc::new))
        .collect()
}

fn quota(message: proto::Quota) -> Checked<Quota> {
    let proto::Quota { name, scope, rate } = message;
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return Err(format!("{name:?} is no name of a quota"));
    }
    let limit = rate_limit(&name, rate.unwrap_or_default())?;
    Ok(Quota {
        scope: scope.into(),
        needs_caller: limit.by.iter().any(needs_caller),
        limit: Arc::new(limit),
    })
}

fn needs_caller(key: &RateKey) -> bool {
    matches!(key, RateKey::Consumer | RateKey::Claim(_) | RateKey::Group)
}

fn rate_limit(name: &str, message: proto::RateLimit) -> Checked<RateLimit> {
    let algorithm = message.algorithm();
    let proto::RateLimit { requests, period_ms, burst, by, .. } = message;
    if requests == 0 || period_ms == 0 {
        return Err(format!(
            "rate has {requests} requests in {period_ms} ms; expected more than 0 of both"
        ));
    }
    if by.len() > MAX_KEYS {
        return Err(format!("rate.by has more than {MAX_KEYS} parts"));
    }
    let period = Duration::from_millis(period_ms.into());
    let nanos = period.as_nanos() as u64;
    let rate = match algorithm {
        proto::RateAlgorithm::TokenBucket => {
            let interval = (nanos / u64::from(requests)).max(1);
            Rate::Bucket(BucketRate { interval, burst: or(burst, requests) })
        }
        proto::RateAlgorithm::SlidingWindow => Rate::Window(WindowRate { period: nanos, requests }),
    };
    Ok(RateLimit {
        name: name.into(),
        requests,
        period,
        rate,
        by: by.into_iter().map(key).collect::<Checked<_>>()?,
        policy: policy(name, requests, period)?,
    })
}

fn key(message: proto::RateKey) -> Checked<RateKey> {
    use proto::rate_key::Kind;
    match message.kind {
        Some(Kind::Source(true)) => Ok(RateKey::Source),
        Some(Kind::Method(true)) => Ok(RateKey::Method),
        Some(Kind::Consumer(true)) => Ok(RateKey::Consumer),
        Some(Kind::Group(true)) => Ok(RateKey::Group),
        Some(Kind::Claim(name)) if !name.is_empty() => Ok(RateKey::Claim(name.into())),
        Some(Kind::Header(name)) => HeaderName::from_lowercase(name.as_bytes())
            .map(RateKey::Header)
            .map_err(|_| format!("rate.by: header {name:?} is no lower-case name of a header")),
        _ => {
            Err("a part of rate.by says nothing; expected source, method, header, consumer, group or claim".to_owned())
        }
    }
}

/// Its window is in whole seconds, and left out where it is not.
fn policy(name: &str, requests: u32, period: Duration) -> Checked<HeaderValue> {
    let text = match (period.as_secs(), period.subsec_nanos()) {
        (seconds, 0) => format!("\"{name}\";q={requests};w={seconds}"),
        _ => format!("\"{name}\";q={requests}"),
    };
    HeaderValue::try_from(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(requests: u32, period_ms: u32, burst: u32) -> Checked<RateLimit> {
        rate_limit(
            "default",
            proto::RateLimit { requests, period_ms, burst, ..Default::default() },
        )
    }

    #[test]
    fn a_rate_is_an_interval_and_a_burst() {
        let limit = rate(200, 1000, 0).expect("valid");
        assert_eq!(limit.rate, Rate::Bucket(BucketRate { interval: 5_000_000, burst: 200 }));
        assert_eq!(limit.policy, "\"default\";q=200;w=1");
        let limit = rate(3, 1500, 10).expect("valid");
        assert_eq!(
            limit.rate,
            Rate::Bucket(BucketRate { interval: 500_000_000, burst: 10 })
        );
        assert_eq!(limit.policy, "\"default\";q=3", "a window is in whole seconds");
    }

    #[test]
    fn a_window_is_as_long_as_its_period() {
        let mut message = proto::RateLimit { requests: 200, period_ms: 1500, burst: 7, ..Default::default() };
        message.set_algorithm(proto::RateAlgorithm::SlidingWindow);
        let limit = rate_limit("default", message).expect("valid");
        assert_eq!(
            limit.rate,
            Rate::Window(WindowRate { period: 1_500_000_000, requests: 200 })
        );
    }

    #[test]
    fn a_consumers_limit_counts_by_consumer_whatever_is_said() {
        let message = proto::RateLimit {
            requests: 3,
            period_ms: 60_000,
            by: vec![proto::RateKey::default()],
            ..Default::default()
        };
        let limit = consumer_limit(message).expect("valid");
        assert_eq!(
            (limit.by, limit.policy),
            (vec![RateKey::Consumer], "\"consumer\";q=3;w=60".parse().unwrap())
        );
        assert!(consumer_limit(proto::RateLimit::default()).is_err());
    }

    #[test]
    fn names_and_numbers_of_quotas_are_bounded() {
        let rate = || proto::RateLimit { requests: 3, period_ms: 1000, ..Default::default() };
        let named = |name: &str| proto::Quota { name: name.into(), scope: "all".into(), rate: Some(rate()) };
        assert!(
            quotas(vec![named("route"); MAX_QUOTAS]).is_ok() && quotas(vec![named("route"); MAX_QUOTAS + 1]).is_err()
        );
        assert!(quota(named("")).is_err() && quota(named("a\"b")).is_err());
        assert!(quota(proto::Quota { rate: None, ..named("route") }).is_err());
        let key = |kind| proto::RateKey { kind: Some(kind) };
        let by = |kind| proto::RateLimit { by: vec![key(kind)], ..rate() };
        use proto::rate_key::Kind;
        for (kind, expected) in [
            (Kind::Consumer(true), true),
            (Kind::Claim("sub".into()), true),
            (Kind::Group(true), true),
            (Kind::Source(true), false),
        ] {
            let made = quota(proto::Quota { rate: Some(by(kind.clone())), ..named("route") }).expect("valid");
            assert_eq!(made.needs_caller, expected, "{kind:?}");
            assert_eq!(
                own_rate(by(kind)).is_err(),
                expected,
                "of a listener nobody has asked who calls"
            );
        }
        assert!(quota(proto::Quota { rate: Some(by(Kind::Claim(String::new()))), ..named("route") }).is_err());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(rate(0, 1000, 1).is_err() && rate(1, 0, 1).is_err());
        assert!(key(proto::RateKey { kind: None }).is_err());
        let header = |name: &str| key(proto::RateKey { kind: Some(proto::rate_key::Kind::Header(name.into())) });
        assert_eq!(header("x-user"), Ok(RateKey::Header(HeaderName::from_static("x-user"))));
        assert!(header("X-User").is_err());
        let message = proto::Admission { concurrency: 1, rate: None };
        assert!(admission(message, Mode::Tcp).is_err());
        assert_eq!(
            admission(proto::Admission::default(), Mode::Http)
                .expect("valid")
                .concurrency,
            u32::MAX
        );
    }
}
