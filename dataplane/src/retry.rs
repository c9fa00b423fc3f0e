//! May this request be tried again, and when?
//!
//! What an endpoint has certainly not processed may always be sent to another one. Anything else is tried again when the
//! route says so, as long as nothing of an answer went out, within the cluster's budget, and if it can end in time. An
//! application that says when to come back, or not to, is obeyed, whoever is tried next: it speaks for its service. The
//! proxy beside it counts for that one endpoint, and is waited for when nobody else is left. Of a chain of callers one
//! alone tries again what may have been processed: the first that would.

use std::time::Duration;

use http::Response;
use http::header::{HeaderMap, HeaderName, RETRY_AFTER};

use crate::error::{Again, Error, Reason, X_SIDECAR_REASON};
use crate::http::grpc;
use crate::random;
use crate::snapshot::model::Retry;
use crate::telemetry::grpc_status::GrpcStatus;
use crate::telemetry::tracestate;

/// Tries that one request may have at most, whatever its route says; bounds what is kept about them.
pub const MOST_ATTEMPTS: usize = 8;
/// Waits that a server asks for are obeyed up to this where no deadline bounds them; a caller can wait longer by itself.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Which attempt this is, the first one counted (Envoy's `include_request_attempt_count`).
const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");

/// The attempts of one request.
#[derive(Debug)]
pub struct Attempts {
    tried: [usize; MOST_ATTEMPTS],
    made: usize,
    allowed: usize,
    is_retried_above: bool,
}

/// What was wrong with one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For the record.
    pub reason: Reason,
    kind: Kind,
    pushback: Pushback,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unprocessed,
    Broken,
    TimedOut,
    /// By HTTP status, and by the gRPC status where it is a call's.
    Answered(u16, Option<u8>),
    /// Nothing that another try could mend.
    Final,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pushback {
    None,
    After(Duration),
    /// Of this endpoint alone: any other may be tried at once.
    Here(Duration),
    Never,
}

/// How things stand when an attempt has failed.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// The request can be sent again.
    pub can_replay: bool,
    /// An endpoint is left that was not tried.
    pub has_others: bool,
    /// Until the deadline; None: there is none.
    pub left: Option<Duration>,
}

/// Whether someone above tries a trusted caller's request again: a proxy of ours, as `tracestate` says, or whoever has
/// done so already, a client of gRPC or an Envoy. If all did, a failure at the end of a chain would be tried as often as
/// the product of their attempts.
pub fn is_retried_above(headers: &HeaderMap) -> bool {
    let count = |name: HeaderName| headers.get(name)?.to_str().ok()?.parse::<u32>().ok();
    tracestate::is_marked_retried(headers)
        || count(grpc::PREVIOUS_ATTEMPTS).is_some_and(|tries_before| tries_before > 0)
        || count(ATTEMPT_COUNT).is_some_and(|attempt| attempt > 1)
}

impl Attempts {
    /// `allowed` counts the first. `is_retried_above`: only what was not processed is tried again.
    pub fn new(allowed: u32, is_retried_above: bool) -> Self {
        Attempts {
            is_retried_above,
            tried: [0; MOST_ATTEMPTS],
            made: 0,
            allowed: (allowed as usize).clamp(1, MOST_ATTEMPTS),
        }
    }

    /// Endpoints tried so far, by their place in the list.
    pub fn tried(&self) -> &[usize] {
        &self.tried[..self.made]
    }

    /// Counts a try of the endpoint at `index`.
    pub fn made(&mut self, index: usize) {
        if let Some(slot) = self.tried.get_mut(self.made) {
            *slot = index;
            self.made += 1;
        }
    }

    /// True when one more is allowed.
    pub fn is_left(&self) -> bool {
        self.made < self.allowed
    }

    /// True when work that may have been done may be done again.
    pub fn may_repeat(&self) -> bool {
        self.is_left() && !self.is_retried_above
    }

    /// True when another try is due at once: the endpoint did not process what it was sent.
    pub fn again_unprocessed(&self, error: &Error) -> bool {
        error.again == Again::Unprocessed && self.is_left()
    }

    /// How long to wait before another try; None: the failure is final. `spend` is asked last whether the cluster has
    /// room for a retry, and only for what may have been processed.
    pub fn again(
        &self,
        failure: Failure,
        policy: &Retry,
        standing: Standing,
        spend: impl FnOnce() -> bool,
    ) -> Option<Duration> {
        if !self.is_left() || !standing.can_replay || !failure.is_retried(policy) {
            return None;
        }
        let is_unprocessed = failure.kind == Kind::Unprocessed;
        if self.is_retried_above && !is_unprocessed {
            return None;
        }
        let wait = match failure.pushback {
            Pushback::Here(_) if standing.has_others => self.backoff(policy),
            Pushback::Never => return None,
            Pushback::After(wait) | Pushback::Here(wait) if wait > LONGEST_WAIT => return None,
            Pushback::After(wait) | Pushback::Here(wait) => wait,
            Pushback::None if is_unprocessed && (standing.has_others || self.made == 1) => Duration::ZERO,
            Pushback::None => self.backoff(policy),
        };
        let in_time = standing.left.is_none_or(|left| wait < left);
        (in_time && (is_unprocessed || spend())).then_some(wait)
    }

    /// A random part of a time that doubles with each try, so that those who failed together do not come back together.
    fn backoff(&self, policy: &Retry) -> Duration {
        let doubled = policy.backoff.saturating_mul(1 << (self.made - 1).min(31));
        let most = doubled.min(policy.backoff_max).as_nanos() as u64;
        Duration::from_nanos(random::part_of(most))
    }
}

impl Failure {
    /// There was no answer.
    pub fn broken(error: &Error) -> Self {
        let kind = match (error.again, error.reason) {
            (Again::Unprocessed, _) => Kind::Unprocessed,
            (Again::No, Reason::UpstreamReset | Reason::UpstreamProtocol) => Kind::Broken,
            (Again::No, Reason::TryTimeout) => Kind::TimedOut,
            (Again::No, _) => Kind::Final,
        };
        Failure { reason: error.reason, kind, pushback: Pushback::None }
    }

    /// There was one; `None`: it is no failure. Of a call the status stands in the head when nothing follows that, or in
    /// the `trailers`.
    pub fn answered(head: &Response<()>, is_call: bool, trailers: Option<&HeaderMap>) -> Option<Self> {
        let status = head.status().as_u16();
        let last = trailers.unwrap_or(head.headers());
        let call = match is_call {
            true => call_status(last).or((status != 200).then(|| GrpcStatus::from_http(head.status()).number())),
            false => None,
        };
        if status < 400 && call.is_none_or(|code| code == 0) {
            return None;
        }
        let pushback = match is_call {
            true => pushback(last),
            false => retry_after(last),
        };
        let pushback = match pushback {
            Pushback::After(wait) if head.headers().contains_key(X_SIDECAR_REASON) => Pushback::Here(wait),
            told => told,
        };
        Some(Failure { reason: Reason::RetriedStatus, kind: Kind::Answered(status, call), pushback })
    }

    fn is_retried(self, policy: &Retry) -> bool {
        match self.kind {
            Kind::Unprocessed | Kind::TimedOut => true,
            Kind::Broken => policy.reset,
            Kind::Answered(status, call) => {
                policy.statuses.iter().any(|range| range.contains(&status))
                    || call.is_some_and(|code| policy.calls & 1 << (code & 31) != 0)
            }
            Kind::Final => false,
        }
    }
}

fn call_status(last: &HeaderMap) -> Option<u8> {
    last.get(grpc::GRPC_STATUS)
        .map(|field| GrpcStatus::parse(field).number())
}

fn pushback(trailers: &HeaderMap) -> Pushback {
    let Some(field) = trailers.get(grpc::PUSHBACK) else {
        return Pushback::None;
    };
    let millis = field.to_str().ok().and_then(|text| text.parse().ok());
    millis.map_or(Pushback::Never, |millis| Pushback::After(Duration::from_millis(millis)))
}

/// Seconds. A date is further away than any request waits.
fn retry_after(head: &HeaderMap) -> Pushback {
    let Some(field) = head.get(RETRY_AFTER) else {
        return Pushback::None;
    };
    let seconds = field.to_str().ok().and_then(|text| text.parse().ok());
    seconds.map_or(Pushback::Never, |seconds| Pushback::After(Duration::from_secs(seconds)))
}

#[cfg(test)]
mod tests;
