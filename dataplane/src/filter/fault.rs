//! Faults on purpose: a request is delayed, answered with an error, or broken off, to see what its caller makes of that.

use std::net::IpAddr;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderName, HeaderValue};

use crate::error::{Error, Reason};
use crate::random;
use crate::route::matcher::{self, Asked};
use crate::snapshot::model::Fault;

/// A trusted caller's wish: `delay=200` (milliseconds), `abort=503`, `reset`, or several with commas between them.
const X_FAULT: HeaderName = HeaderName::from_static("x-sidecar-fault");
/// The longest delay that a caller may ask for, in milliseconds.
const LONGEST: u32 = 60_000;
/// All, in millionths.
const ALL: u64 = 1_000_000;
/// UNAVAILABLE, for calls whose caller names a status of HTTP.
const UNAVAILABLE: u8 = 14;

/// What is done to one request.
#[derive(Debug, Default)]
pub struct Injected {
    /// It waits first.
    pub delay: Option<Duration>,
    /// It goes no further, and this is why.
    pub end: Option<Error>,
}

/// Throws the dice for a request of the client at `source`. What the caller asks for goes before them.
pub fn inject(fault: &Fault, request: &Parts, source: IpAddr, is_trusted: bool) -> Injected {
    if fault.by_header
        && is_trusted
        && let Some(field) = request.headers.get(X_FAULT)
    {
        return asked(field);
    }
    if !matcher::request_matches(&fault.matcher, &Asked::of(request, source)) {
        return Injected::default();
    }
    let (delay, (status, call, aborted)) = (fault.delay, fault.abort);
    let end = match (is_hit(fault.reset), is_hit(aborted)) {
        (true, _) => Some(reset()),
        (false, true) => Some(abort(status, call)),
        (false, false) => None,
    };
    Injected { delay: is_hit(delay.1).then_some(delay.0), end }
}

fn asked(field: &HeaderValue) -> Injected {
    let mut injected = Injected::default();
    for part in field.to_str().unwrap_or_default().split(',').map(str::trim) {
        match part.split_once('=') {
            Some(("delay", millis)) => {
                let millis = millis.parse().ok().filter(|millis| *millis <= LONGEST);
                injected.delay = millis.map(|millis: u32| Duration::from_millis(millis.into()));
            }
            Some(("abort", status)) => {
                let status = status.parse().ok().filter(|status| (400..=599).contains(status));
                injected.end = status.map(|status| abort(status, UNAVAILABLE));
            }
            None if part == "reset" => injected.end = Some(reset()),
            _ => {}
        }
    }
    injected
}

fn abort(status: u16, call: u8) -> Error {
    Error::new(Reason::FaultInjected)
        .with_status(status)
        .with_grpc_status(call)
}

fn reset() -> Error {
    Error::new(Reason::ResetInjected)
}

/// True for so many millionths.
fn is_hit(share: u32) -> bool {
    share > 0 && random::part_of(ALL) < u64::from(share)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use http::Request;

    use super::*;
    use crate::snapshot::model::{Matcher, PathMatch};

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn fault() -> Fault {
        Fault {
            matcher: Matcher::default(),
            delay: (Duration::from_secs(1), 0),
            abort: (503, 14, 0),
            reset: 0,
            by_header: false,
        }
    }

    fn request(path: &str, wish: Option<&'static str>) -> Parts {
        let mut request = Request::get(path);
        if let Some(wish) = wish {
            request = request.header(X_FAULT, wish);
        }
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn shares_are_kept_and_do_not_depend_on_each_other() {
        random::seed(11);
        let fault = Fault { delay: (Duration::from_secs(1), 500_000), abort: (503, 14, 100_000), ..fault() };
        let request = request("/", None);
        let (mut delays, mut aborts) = (0, 0);
        for _ in 0..10_000 {
            let injected = inject(&fault, &request, CLIENT, true);
            delays += u32::from(injected.delay.is_some());
            aborts += u32::from(injected.end.is_some());
        }
        assert!((4800..5200).contains(&delays), "{delays}");
        assert!((900..1100).contains(&aborts), "{aborts}");
    }

    #[test]
    fn other_requests_are_left_alone() {
        let fault = Fault {
            matcher: Matcher { path: Some(PathMatch::Exact("/bad".into())), ..Matcher::default() },
            reset: 1_000_000,
            ..fault()
        };
        let end = inject(&fault, &request("/bad", None), CLIENT, true).end;
        assert_eq!(end.map(|error| error.reason), Some(Reason::ResetInjected));
        assert!(inject(&fault, &request("/good", None), CLIENT, true).end.is_none());
    }

    #[test]
    fn a_trusted_caller_may_ask_where_the_service_allows_it() {
        let wish = request("/", Some("delay=20, abort=500"));
        let open = Fault { by_header: true, ..fault() };
        let injected = inject(&open, &wish, CLIENT, true);
        assert_eq!(injected.delay, Some(Duration::from_millis(20)));
        assert_eq!(injected.end.map(|error| error.status()), Some(500));
        for (fault, is_trusted) in [(&open, false), (&fault(), true)] {
            let injected = inject(fault, &wish, CLIENT, is_trusted);
            assert!(injected.delay.is_none() && injected.end.is_none());
        }
        for nonsense in ["delay=99999999", "abort=200", "abort", "=", ""] {
            let injected = inject(&open, &request("/", Some(nonsense)), CLIENT, true);
            assert!(injected.delay.is_none() && injected.end.is_none(), "{nonsense}");
        }
    }
}
