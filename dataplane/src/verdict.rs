//! What the end of one attempt says about its endpoint: the one value that balancing, outlier detection, breakers and
//! retries read.
//!
//! A status stands in a table that the snapshot made, so judging is one or two loads. gRPC is judged by its status,
//! wherever that came: in trailers, or in the head of a trailers-only answer.

use std::ops::RangeInclusive;
use std::sync::{Arc, LazyLock};

use http::StatusCode;
use http::header::{HeaderMap, RETRY_AFTER};

use crate::error::{Error, Reason, Side};

/// Of one attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// The endpoint answered as it should.
    Success,
    /// The endpoint is to blame.
    Failure,
    /// It is, and nobody answered for what was asked: it was not reached, broke off, or says that of who is behind it. A
    /// failure that outlier detection can count by itself.
    GatewayError,
    /// This side is to blame: the caller (a bad request, a call given up), or this proxy's own limits.
    #[default]
    CallersFault,
    /// The endpoint has too much to do, and says so: less should go there, but it is not broken.
    Overload,
}

/// HTTP statuses have three digits (RFC 9110 section 15), of which the first is 1 to 5.
const FIRST_STATUS: u16 = 100;
const STATUSES: usize = 500;
/// gRPC's statuses, 0 to 16 (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>).
const CODES: usize = 17;
const OK: u8 = 0;
const UNKNOWN: u8 = 2;
const RESOURCE_EXHAUSTED: u8 = 8;
/// UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS: as Linkerd has it, without PERMISSION_DENIED, which is
/// about the caller.
const FAILURES: &[u8] = &[UNKNOWN, 4, 13, 14, 15];
/// DEADLINE_EXCEEDED and UNAVAILABLE, which are 504 and 503 where gRPC is mapped to HTTP, as Envoy counts them.
const GATEWAY_ERRORS: &[u8] = &[4, 14];

/// Verdicts by status, for one cluster.
#[derive(Debug, PartialEq, Eq)]
pub struct Judge {
    http: [Verdict; STATUSES],
    grpc: [Verdict; CODES],
}

/// What is known of a gRPC status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// The exchange is no call whose status could be read.
    No,
    /// It is one, and has no status yet.
    Open,
    /// Its status, 0 to 16.
    Status(u8),
}

static USUAL: LazyLock<Arc<Judge>> = LazyLock::new(|| Arc::new(Judge::new(&[500..=599], FAILURES)));

impl Judge {
    /// These statuses are failures. Of the others 429 and RESOURCE_EXHAUSTED are an overload, and errors the caller's fault.
    pub fn new(failures: &[RangeInclusive<u16>], failed_calls: &[u8]) -> Self {
        let is_failure = |status| failures.iter().any(|range| range.contains(&status));
        let http = |status: u16| match status {
            502..=504 if is_failure(status) => Verdict::GatewayError,
            status if is_failure(status) => Verdict::Failure,
            429 => Verdict::Overload,
            ..400 => Verdict::Success,
            _ => Verdict::CallersFault,
        };
        let grpc = |code: u8| match code {
            code if failed_calls.contains(&code) && GATEWAY_ERRORS.contains(&code) => Verdict::GatewayError,
            code if failed_calls.contains(&code) => Verdict::Failure,
            RESOURCE_EXHAUSTED => Verdict::Overload,
            OK => Verdict::Success,
            _ => Verdict::CallersFault,
        };
        Judge {
            http: std::array::from_fn(|index| http(FIRST_STATUS + index as u16)),
            grpc: std::array::from_fn(|index| grpc(index as u8)),
        }
    }

    /// The one of every cluster that says nothing of it: 5xx fails, of calls [`FAILURES`].
    pub fn usual() -> Arc<Judge> {
        Arc::clone(&USUAL)
    }

    /// By the head of an answer. "The server is currently unable to handle the request due to a temporary overload [...]
    /// MAY send a Retry-After" (RFC 9110 section 15.6.4): such a 503 is one.
    pub fn head(&self, status: StatusCode, headers: &HeaderMap) -> Verdict {
        if status == StatusCode::SERVICE_UNAVAILABLE && headers.contains_key(RETRY_AFTER) {
            return Verdict::Overload;
        }
        let index = usize::from(status.as_u16() - FIRST_STATUS);
        // A status of another class is "equivalent to the x00 of its class", and 6xx has none: a server error.
        self.http.get(index).copied().unwrap_or(Verdict::Failure)
    }

    /// By a call's status.
    pub fn call(&self, code: u8) -> Verdict {
        self.grpc
            .get(usize::from(code))
            .copied()
            .unwrap_or(self.grpc[usize::from(UNKNOWN)])
    }

    /// Of an answer that is over: by its `head`, by the call's status, by what broke it off.
    pub fn answered(&self, head: Verdict, call: Call, error: Option<&Error>) -> Verdict {
        let broken = error.map(Verdict::of);
        match (call, broken) {
            (Call::Status(code), _) => self.call(code),
            // Who takes a long time over an answer that has begun may do as it was asked: Envoy counts no timeout then.
            (_, Some(verdict @ (Verdict::GatewayError | Verdict::Overload))) if !is_timeout(error) => verdict,
            (Call::Open, None) if head == Verdict::Success => self.call(UNKNOWN),
            (_, Some(_)) if head == Verdict::Success => Verdict::CallersFault,
            _ => head,
        }
    }
}

impl Verdict {
    /// Of an attempt that ended before there was an answer.
    pub fn of(error: &Error) -> Verdict {
        match error.reason {
            Reason::RefusedStream => Verdict::Overload,
            // What an endpoint means by ENHANCE_YOUR_CALM.
            Reason::UpstreamReset if error.grpc_status() == RESOURCE_EXHAUSTED => Verdict::Overload,
            reason if reason.side() == Side::Upstream => Verdict::GatewayError,
            _ => Verdict::CallersFault,
        }
    }
}

fn is_timeout(error: Option<&Error>) -> bool {
    error.is_some_and(|error| error.reason == Reason::Timeout)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn head(status: u16) -> Verdict {
        let status = StatusCode::from_u16(status).unwrap();
        Judge::usual().head(status, &HeaderMap::new())
    }

    #[test]
    fn statuses_are_judged_as_users_of_envoy_and_linkerd_expect() {
        for (status, expected) in [
            (101, Verdict::Success),
            (200, Verdict::Success),
            (304, Verdict::Success),
            (400, Verdict::CallersFault),
            (404, Verdict::CallersFault),
            (429, Verdict::Overload),
            (500, Verdict::Failure),
            (502, Verdict::GatewayError),
            (503, Verdict::GatewayError),
            (504, Verdict::GatewayError),
            (505, Verdict::Failure),
            (599, Verdict::Failure),
            (999, Verdict::Failure),
        ] {
            assert_eq!(head(status), expected, "{status}");
        }
        for code in 0..=16 {
            let expected = match code {
                0 => Verdict::Success,
                4 | 14 => Verdict::GatewayError,
                2 | 13 | 15 => Verdict::Failure,
                8 => Verdict::Overload,
                _ => Verdict::CallersFault,
            };
            assert_eq!(Judge::usual().call(code), expected, "{code}");
        }
    }

    #[test]
    fn a_503_that_says_when_to_come_back_is_an_overload() {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("1"))]);
        let judge = Judge::usual();
        assert_eq!(judge.head(StatusCode::SERVICE_UNAVAILABLE, &headers), Verdict::Overload);
        assert_eq!(
            judge.head(StatusCode::INTERNAL_SERVER_ERROR, &headers),
            Verdict::Failure
        );
    }

    #[test]
    fn what_fails_can_be_said() {
        let judge = Judge::new(&[404..=404, 502..=504], &[5]);
        let head = |status| judge.head(StatusCode::from_u16(status).unwrap(), &HeaderMap::new());
        assert_eq!(head(404), Verdict::Failure);
        assert_eq!(head(500), Verdict::CallersFault);
        assert_eq!(head(503), Verdict::GatewayError);
        assert_eq!(judge.call(5), Verdict::Failure);
        assert_eq!(judge.call(14), Verdict::CallersFault);
        assert_eq!(Judge::new(&[429..=429], &[8]).call(8), Verdict::Failure);
    }

    #[test]
    fn nobody_but_the_endpoint_is_blamed_for_what_it_did() {
        for &reason in Reason::ALL {
            let expected = match (reason, reason.side()) {
                (Reason::RefusedStream, _) => Verdict::Overload,
                (_, Side::Upstream) => Verdict::GatewayError,
                _ => Verdict::CallersFault,
            };
            assert_eq!(Verdict::of(&Error::new(reason)), expected, "{reason}");
        }
        let calm = Error::new(Reason::UpstreamReset).with_grpc_status(8);
        assert_eq!(Verdict::of(&calm), Verdict::Overload);
    }

    #[test]
    fn a_call_is_judged_by_its_status_whatever_came_before_and_after() {
        let judge = Judge::usual();
        let gone = Error::new(Reason::DownstreamReset);
        assert_eq!(judge.answered(head(200), Call::Status(14), None), Verdict::GatewayError);
        assert_eq!(
            judge.answered(head(200), Call::Status(14), Some(&gone)),
            Verdict::GatewayError
        );
        assert_eq!(judge.answered(head(500), Call::Status(0), None), Verdict::Success);
        // An answer that ends without one is UNKNOWN; by its head when that says more.
        assert_eq!(judge.answered(head(200), Call::Open, None), Verdict::Failure);
        assert_eq!(judge.answered(head(404), Call::Open, None), Verdict::CallersFault);
    }

    #[test]
    fn an_answer_that_was_given_up_says_nothing_and_one_that_broke_off_says_much() {
        let judge = Judge::usual();
        for call in [Call::No, Call::Open] {
            let answered = |status, reason| judge.answered(head(status), call, Some(&Error::new(reason)));
            assert_eq!(answered(200, Reason::DownstreamReset), Verdict::CallersFault);
            assert_eq!(answered(500, Reason::DownstreamReset), Verdict::Failure);
            assert_eq!(answered(200, Reason::UpstreamReset), Verdict::GatewayError);
            assert_eq!(answered(200, Reason::Timeout), Verdict::CallersFault);
        }
        assert_eq!(judge.answered(head(200), Call::No, None), Verdict::Success);
    }
}
