//! What a service takes from its callers, and a route of a gateway from its clients: as many requests at a time, and as many
//! in a time, as their documents say. What is beyond is refused at once, so that what is taken is answered in time.

mod counted;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::breaker::Gauge;
use crate::error::{Error, Reason};
use crate::http::{grpc, grpc_web};
use crate::pressure::Step;
use crate::rate::Left;
use crate::snapshot::model::{Admission, MAX_QUOTAS, Quota, RateKey, RateLimit, Route, Snapshot};

pub use counted::Asker;
use counted::Counted;

/// Of draft-ietf-httpapi-ratelimit-headers.
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// RFC 9218 section 5.
const PRIORITY: HeaderName = HeaderName::from_static("priority");
const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// The shortest that `Retry-After` can tell.
const SOON: Duration = Duration::from_secs(1);

/// All that is counted of requests, all workers together; outlives snapshots.
#[derive(Debug, Default)]
pub struct Counts {
    /// By listener; of those that have one.
    gates: HashMap<Arc<str>, Arc<Gate>>,
    /// By name and scope.
    quotas: HashMap<Of, (Vec<RateKey>, Arc<Counted>)>,
    /// Of consumers that have a limit, each by its name.
    consumers: Arc<Consumers>,
}

/// What is counted of consumers: each has a limit of its own, and all of them a table.
#[derive(Debug)]
pub struct Consumers(Counted);

impl Default for Consumers {
    fn default() -> Self {
        Consumers(Counted::new(&[RateKey::Consumer]))
    }
}

impl Consumers {
    /// Lets a request in, or says why not.
    pub fn ask(
        &self,
        limit: &Arc<RateLimit>,
        admitted: &mut Admitted,
        asker: Asker<'_>,
        request: &Parts,
    ) -> Result<(), Error> {
        admitted.take(limit, &self.0, asker, request)
    }
}

/// Name and scope of a quota.
type Of = (Box<str>, Box<str>);

impl Counts {
    /// Those of a snapshot; what was among those before goes on counting.
    pub fn new(snapshot: &Snapshot, before: &Counts) -> Self {
        let gate = |listener: &Arc<crate::snapshot::model::Listener>| {
            let config = listener.admission.as_ref()?;
            let gate = Gate::new(config, before.gate(&listener.name).as_deref());
            Some((Arc::clone(&listener.name), Arc::new(gate)))
        };
        let mut quotas = HashMap::new();
        let routes = snapshot.route_tables.values().flat_map(|table| table.http.iter());
        for quota in routes.flat_map(|route| &route.quotas) {
            quotas.entry(of(quota)).or_insert_with_key(|of| {
                let by = &quota.limit.by;
                let held = before.quotas.get(of).filter(|(held, _)| held == by).cloned();
                held.unwrap_or_else(|| (by.clone(), Arc::new(Counted::new(by))))
            });
        }
        Counts {
            gates: snapshot.listeners.iter().filter_map(gate).collect(),
            quotas,
            consumers: Arc::clone(&before.consumers),
        }
    }

    /// That of a listener; `None`: whatever comes.
    pub fn gate(&self, listener: &str) -> Option<Arc<Gate>> {
        self.gates.get(listener).cloned()
    }

    /// That of all consumers.
    pub fn consumers(&self) -> Arc<Consumers> {
        Arc::clone(&self.consumers)
    }

    /// Those of a route.
    pub fn meters(&self, route: &Route) -> Vec<Meter> {
        let meter = |quota: &Arc<Quota>| {
            let (_, counted) = self.quotas.get(&of(quota))?;
            Some(Meter { quota: Arc::clone(quota), counted: Arc::clone(counted) })
        };
        route.quotas.iter().filter_map(meter).collect()
    }
}

fn of(quota: &Quota) -> Of {
    (quota.limit.name.clone(), quota.scope.clone())
}

/// Lets requests in by one listener.
#[derive(Debug)]
pub struct Gate {
    config: Arc<Admission>,
    in_flight: Arc<Gauge>,
    counted: Option<Arc<Counted>>,
}

/// A quota of routes, and what is counted of it.
#[derive(Debug)]
pub struct Meter {
    quota: Arc<Quota>,
    counted: Arc<Counted>,
}

impl Gate {
    fn new(config: &Arc<Admission>, before: Option<&Gate>) -> Self {
        let counted = config.rate.as_ref().map(|rate| {
            let same = before.filter(|gate| gate.config.rate.as_ref().is_some_and(|held| held.by == rate.by));
            let held = same.and_then(|gate| gate.counted.clone());
            held.unwrap_or_else(|| Arc::new(Counted::new(&rate.by)))
        });
        Gate {
            config: Arc::clone(config),
            in_flight: before.map_or_else(Arc::default, |gate| Arc::clone(&gate.in_flight)),
            counted,
        }
    }

    /// Requests in flight.
    #[cfg(test)]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.held()
    }

    /// Lets a request in, until `admitted` is dropped, or says why not.
    pub fn ask(&self, admitted: &mut Admitted, asker: Asker<'_>, request: &Parts) -> Result<(), Error> {
        if !self.in_flight.try_take(self.config.concurrency) {
            let cause = format!("concurrency: {} are in flight.", self.config.concurrency);
            let error = Error::new(Reason::ConcurrencyLimit).because(cause);
            return Err(as_overload(error, request));
        }
        admitted.in_flight = Some(Arc::clone(&self.in_flight));
        match (&self.config.rate, &self.counted) {
            (Some(limit), Some(counted)) => admitted.take(limit, counted, asker, request),
            _ => Ok(()),
        }
    }
}

impl Meter {
    /// It has to be known who calls.
    pub fn needs_caller(&self) -> bool {
        self.quota.needs_caller
    }

    /// Lets a request in, or says why not.
    pub fn ask(&self, admitted: &mut Admitted, asker: Asker<'_>, request: &Parts) -> Result<(), Error> {
        admitted.take(&self.quota.limit, &self.counted, asker, request)
    }
}

/// Fails where the process has too little left to take the request on.
pub fn spare(step: Step, request: &Parts) -> Result<(), Error> {
    let is_taken = match step {
        Step::Calm | Step::Brief => true,
        Step::Sparing => !can_wait(&request.headers),
        Step::Full => false,
    };
    match is_taken {
        true => Ok(()),
        false => Err(as_overload(Error::new(Reason::Overloaded), request)),
    }
}

/// Does the request say that it is less urgent than others? RFC 9218 section 4.1: of 0 to 7, 3 is the default.
fn can_wait(headers: &HeaderMap) -> bool {
    let values = headers
        .get_all(PRIORITY)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    let members = values.flat_map(|value| value.split(',')).map(str::trim);
    let urgency = members
        .filter_map(|member| member.strip_prefix("u=")?.split(';').next())
        .next_back();
    matches!(urgency, Some("4" | "5" | "6" | "7"))
}

/// A call tries elsewhere as soon as it likes; of HTTP this header makes 503 an overload, and not a failure.
fn as_overload(error: Error, request: &Parts) -> Error {
    match is_call(&request.headers) {
        true => error,
        false => error.with_retry_after(SOON),
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
#[derive(Debug, Default)]
pub struct Admitted {
    in_flight: Option<Arc<Gauge>>,
    /// What is left of each quota that was asked, those of the route and the consumer's; they stand at the beginning.
    quotas: [Option<(Arc<RateLimit>, Left)>; MAX_QUOTAS + 1],
}

impl Admitted {
    /// What is known of the quota is told whether there is room in it or not.
    fn take(
        &mut self,
        limit: &Arc<RateLimit>,
        counted: &Counted,
        asker: Asker<'_>,
        request: &Parts,
    ) -> Result<(), Error> {
        let left = counted.take(limit, asker, request);
        if let Some(place) = self.quotas.iter_mut().find(|place| place.is_none()) {
            *place = Some((Arc::clone(limit), left));
        }
        left.wait.map_or(Ok(()), |wait| Err(refusal(limit, wait)))
    }

    /// Adds what the caller's quotas are, and what is left of them. They take the place of what the service has said: its own
    /// is about us.
    pub fn tell(&self, answer: &mut HeaderMap) {
        let (mut policies, mut states) = (Vec::new(), Vec::new());
        for (limit, left) in self.quotas.iter().flatten() {
            let seconds = left.full.div_ceil(NANOS_PER_SECOND);
            policies.push(limit.policy.as_bytes());
            states.push(format!("\"{}\";r={};t={seconds}", limit.name, left.requests));
        }
        if states.is_empty() {
            return;
        }
        let policies = HeaderValue::from_bytes(&policies.join(&b", "[..]));
        if let (Ok(policies), Ok(states)) = (policies, HeaderValue::try_from(states.join(", "))) {
            answer.insert(RATELIMIT_POLICY, policies);
            answer.insert(RATELIMIT, states);
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
