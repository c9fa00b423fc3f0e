//! What a service takes from its callers.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::{Checked, or};
use crate::proto;
use crate::snapshot::model::{Admission, Mode, Rate, RateKey, RateLimit};

const MAX_KEYS: usize = 8;

pub(super) fn admission(message: proto::Admission, mode: Mode) -> Checked<Admission> {
    if mode == Mode::Tcp {
        return Err(
            "admission is about requests, and this listener takes connections whose bytes nobody reads".to_owned(),
        );
    }
    Ok(Admission {
        concurrency: or(message.concurrency, u32::MAX),
        rate: message.rate.map(rate_limit).transpose()?,
    })
}

fn rate_limit(message: proto::RateLimit) -> Checked<RateLimit> {
    let proto::RateLimit { requests, period_ms, burst, by } = message;
    if requests == 0 || period_ms == 0 {
        return Err(format!(
            "rate has {requests} requests in {period_ms} ms; expected more than 0 of both"
        ));
    }
    if by.len() > MAX_KEYS {
        return Err(format!("rate.by has more than {MAX_KEYS} parts"));
    }
    let period = Duration::from_millis(period_ms.into());
    let interval = (period.as_nanos() as u64 / u64::from(requests)).max(1);
    Ok(RateLimit {
        requests,
        period,
        rate: Rate { interval, burst: or(burst, requests) },
        by: by.into_iter().map(key).collect::<Checked<_>>()?,
        policy: policy(requests, period)?,
    })
}

fn key(message: proto::RateKey) -> Checked<RateKey> {
    use proto::rate_key::Kind;
    match message.kind {
        Some(Kind::Source(true)) => Ok(RateKey::Source),
        Some(Kind::Method(true)) => Ok(RateKey::Method),
        Some(Kind::Header(name)) => HeaderName::from_lowercase(name.as_bytes())
            .map(RateKey::Header)
            .map_err(|_| format!("rate.by: header {name:?} is no lower-case name of a header")),
        _ => Err("a part of rate.by says nothing; expected source, method or header".to_owned()),
    }
}

/// Its window is in whole seconds, and left out where it is not.
fn policy(requests: u32, period: Duration) -> Checked<HeaderValue> {
    let text = match (period.as_secs(), period.subsec_nanos()) {
        (seconds, 0) => format!("\"default\";q={requests};w={seconds}"),
        _ => format!("\"default\";q={requests}"),
    };
    HeaderValue::try_from(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(requests: u32, period_ms: u32, burst: u32) -> Checked<RateLimit> {
        rate_limit(proto::RateLimit { requests, period_ms, burst, by: Vec::new() })
    }

    #[test]
    fn a_rate_is_an_interval_and_a_burst() {
        let limit = rate(200, 1000, 0).expect("valid");
        assert_eq!(limit.rate, Rate { interval: 5_000_000, burst: 200 });
        assert_eq!(limit.policy, "\"default\";q=200;w=1");
        let limit = rate(3, 1500, 10).expect("valid");
        assert_eq!(limit.rate, Rate { interval: 500_000_000, burst: 10 });
        assert_eq!(limit.policy, "\"default\";q=3", "a window is in whole seconds");
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
