//! What a service takes from its callers: as many requests at a time, and as many in a time, as its document says. What is
//! beyond is refused at once, so that what is taken is answered in time.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::breaker::Gauge;
use crate::error::{Error, Reason};
use crate::http::{grpc, grpc_web};
use crate::rate::{Buckets, Left};
use crate::snapshot::model::{Admission, Listener, RateKey, RateLimit};

/// Of draft-ietf-httpapi-ratelimit-headers.
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// The shortest that `Retry-After` can tell.
const SOON: Duration = Duration::from_secs(1);

/// The gates of all listeners that have one, by listener.
pub type Gates = HashMap<Arc<str>, Arc<Gate>>;

/// Lets requests in by one listener, all workers together. What it counts outlives snapshots.
#[derive(Debug)]
pub struct Gate {
    config: Arc<Admission>,
    in_flight: Arc<Gauge>,
    buckets: Option<Arc<Counted>>,
}

/// Buckets, and how their keys are made: with a secret, so that nobody can aim at another's.
#[derive(Debug)]
struct Counted {
    buckets: Buckets,
    secret: RandomState,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The verified SPIFFE id; `None` without one.
    pub peer: Option<&'a str>,
    /// The TCP peer.
    pub address: IpAddr,
}

/// The gates of these listeners; each that was among those before goes on counting.
pub fn gates(listeners: &[Arc<Listener>], before: &Gates) -> Gates {
    let gate = |listener: &Arc<Listener>| {
        let config = listener.admission.as_ref()?;
        let gate = Gate::new(config, before.get(&listener.name).map(|gate| &**gate));
        Some((Arc::clone(&listener.name), Arc::new(gate)))
    };
    listeners.iter().filter_map(gate).collect()
}

impl Gate {
    fn new(config: &Arc<Admission>, before: Option<&Gate>) -> Self {
        let buckets = config.rate.as_ref().map(|rate| {
            let same = before.filter(|gate| gate.config.rate.as_ref().is_some_and(|held| held.by == rate.by));
            let held = same.and_then(|gate| gate.buckets.clone());
            held.unwrap_or_else(|| {
                let buckets = Buckets::new(!rate.by.is_empty());
                Arc::new(Counted { buckets, secret: RandomState::new() })
            })
        });
        Gate {
            config: Arc::clone(config),
            in_flight: before.map_or_else(Arc::default, |gate| Arc::clone(&gate.in_flight)),
            buckets,
        }
    }

    /// Requests in flight.
    #[cfg(test)]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.held()
    }

    /// Lets a request in, until what is returned is dropped, or says why not. What is returned is there in both cases: it
    /// tells of the quota.
    pub fn ask(&self, source: Source<'_>, request: &Parts) -> (Admitted, Result<(), Error>) {
        let mut admitted = Admitted { in_flight: None, quota: None };
        if !self.in_flight.try_take(self.config.concurrency) {
            let cause = format!("concurrency: {} are in flight.", self.config.concurrency);
            let error = Error::new(Reason::ConcurrencyLimit).because(cause);
            // A call tries elsewhere as soon as it likes; of HTTP this header makes 503 an overload, and not a failure.
            let error = match is_call(&request.headers) {
                true => error,
                false => error.with_retry_after(SOON),
            };
            return (admitted, Err(error));
        }
        admitted.in_flight = Some(Arc::clone(&self.in_flight));
        let (Some(rate), Some(counted)) = (&self.config.rate, &self.buckets) else {
            return (admitted, Ok(()));
        };
        let left = counted.buckets.take(counted.key(&rate.by, source, request), rate.rate);
        admitted.quota = Some((Arc::clone(&self.config), left));
        let asked = left.wait.map_or(Ok(()), |wait| Err(refusal(rate, wait)));
        (admitted, asked)
    }
}

impl Counted {
    fn key(&self, by: &[RateKey], source: Source<'_>, request: &Parts) -> u64 {
        let mut hasher = self.secret.build_hasher();
        for part in by {
            match part {
                RateKey::Source => match (source.peer, source.address) {
                    (Some(peer), _) => hasher.write(peer.as_bytes()),
                    (None, IpAddr::V4(address)) => hasher.write(&address.octets()),
                    (None, IpAddr::V6(address)) => hasher.write(&address.octets()),
                },
                RateKey::Method if is_call(&request.headers) => hasher.write(request.uri.path().as_bytes()),
                RateKey::Method => hasher.write(request.method.as_str().as_bytes()),
                RateKey::Header(name) => {
                    if let Some(value) = request.headers.get(name) {
                        hasher.write(value.as_bytes());
                    }
                }
            }
            // No byte of UTF-8, so that parts do not run into each other.
            hasher.write_u8(0xff);
        }
        hasher.finish()
    }
}

fn is_call(headers: &HeaderMap) -> bool {
    grpc::is_grpc(headers) || grpc_web::is_grpc_web(headers)
}

fn refusal(rate: &RateLimit, wait: u64) -> Error {
    let wait = Duration::from_nanos(wait);
    let (requests, period) = (rate.requests, rate.period);
    Error::new(Reason::RateLimited)
        .because(format_args!(
            "rate_limit: {requests} per {period:?}. There is room again in {wait:?}."
        ))
        .with_retry_after(wait)
}

/// A request that was let in, or what is known of one that was not.
#[derive(Debug)]
pub struct Admitted {
    in_flight: Option<Arc<Gauge>>,
    quota: Option<(Arc<Admission>, Left)>,
}

impl Admitted {
    /// Adds what the caller's quota is, and what is left of it.
    pub fn tell(&self, answer: &mut HeaderMap) {
        let Some((config, left)) = &self.quota else {
            return;
        };
        let Some(rate) = &config.rate else {
            return;
        };
        let seconds = left.full.div_ceil(NANOS_PER_SECOND);
        let now = format!("\"default\";r={};t={seconds}", left.tokens);
        if let Ok(now) = HeaderValue::try_from(now) {
            answer.insert(RATELIMIT_POLICY, rate.policy.clone());
            answer.insert(RATELIMIT, now);
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(in_flight) = &self.in_flight {
            in_flight.give();
        }
    }
}

#[cfg(test)]
mod tests;
