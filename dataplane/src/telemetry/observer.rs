//! One worker's side of telemetry: the settings of the snapshot that it runs, and its way to the hub.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::uri::Authority;
use http::{Method, StatusCode, Uri};

use super::excess::Excess;
use super::finished::{Failure, Finished, RequestId};
use super::metrics::{DurationSeries, ListenerLabel, WorkerCounts};
use super::trace::Tracing;
use super::{Hub, Keep};
use crate::clock::{self, Instant};
use crate::error::Error;
use crate::random;
use crate::snapshot::model::{Direction, Logged, Telemetry};

/// How far a worker's idea of the wall clock may be behind a step of it.
const WALL_CLOCK_AGE: Duration = Duration::from_secs(1);

/// Of a share in millionths.
const ALL: u32 = 1_000_000;

/// Observes the exchanges of one worker.
#[derive(Debug)]
pub struct Observer {
    pub(super) hub: Arc<Hub>,
    pub(super) counts: Arc<WorkerCounts>,
    /// By direction: exchanges without a route.
    pub(super) unrouted: [Arc<DurationSeries>; 3],
    pub(super) tracing: Cell<Tracing>,
    /// None: there is no access log.
    pub(super) logged: Cell<Option<Logged>>,
    /// The grace is over: what is dropped now was cut off by us.
    pub(super) is_over: Cell<bool>,
    /// A monotonic time and what the wall clock said then, so that most exchanges need not ask it.
    wall: Cell<(Instant, u64)>,
}

impl Observer {
    /// For one worker. Nothing is traced or logged until `apply`.
    pub fn new(hub: &Arc<Hub>) -> Rc<Self> {
        let unrouted = |direction| hub.registry().unrouted(direction);
        Rc::new(Observer {
            counts: hub.registry().worker(),
            unrouted: [
                unrouted(Direction::Inbound),
                unrouted(Direction::Outbound),
                unrouted(Direction::Edge),
            ],
            hub: Arc::clone(hub),
            tracing: Cell::default(),
            logged: Cell::new(None),
            is_over: Cell::new(false),
            wall: Cell::new((clock::now(), clock::unix_nanos())),
        })
    }

    /// Takes the settings of a new snapshot; exchanges that have begun keep theirs.
    pub fn apply(&self, telemetry: &Telemetry) {
        self.tracing.set(Tracing::of(telemetry));
        self.logged.set(telemetry.access_log.logged);
    }

    /// The grace of a drain is over: exchanges that are still going on will be dropped.
    pub fn end(&self) {
        self.is_over.set(true);
    }

    /// A connection, or what came on it, was refused before there was a request: a failed handshake, broken HTTP.
    pub fn refused(&self, listener: &Arc<ListenerLabel>, caller: (SocketAddr, Option<Arc<str>>), refused: Refused<'_>) {
        let now = clock::now();
        let (client, peer) = caller;
        let unix_nanos = self.unix_nanos(now);
        let mut exchange = Finished {
            peer,
            started_unix_nanos: unix_nanos,
            request_id: RequestId::make(unix_nanos, (random::u64(), random::u64())),
            status: refused.status,
            method: refused.asked.as_ref().map_or(Method::GET, |_| Method::CONNECT),
            uri: refused.asked.map(Uri::from).unwrap_or_default(),
            reason: Some(refused.error.reason),
            failure: refused
                .error
                .particulars()
                .map(|particulars| Box::new(Failure { particulars: particulars.clone(), ..Failure::default() })),
            ..Finished::blank(listener, client)
        };
        let durations = &self.unrouted[listener.direction as usize];
        durations.observe(exchange.duration, exchange.status, None, exchange.reason);
        exchange.settle();
        self.hub
            .push(Arc::new(exchange), self.logged.get().is_some(), Some(Keep::Failure));
    }

    /// A client's connection was closed for what it did there.
    pub fn exceeded(&self, excess: Excess) {
        self.hub.exceeded(excess);
    }

    /// A candidate of the rules would refuse this caller that method.
    pub fn would_refuse(&self, caller: &str, method: &str) {
        self.hub.registry().would_refuse(caller, method);
    }

    /// Whether an exchange that has ended gets a line.
    pub(super) fn logs(&self, exchange: &Finished) -> bool {
        let Some(Logged { sample, only, .. }) = self.logged.get() else {
            return false;
        };
        if sample == ALL && only.is_none() || exchange.has_failed() {
            return true;
        }
        let is_asked_for = only.is_none_or(|only| {
            let status = exchange.status.map_or(0, |status| status.as_u16());
            status >= only.min_status || exchange.duration > only.slower_than
        });
        is_asked_for && (sample == ALL || random::part_of(u64::from(ALL)) < u64::from(sample))
    }

    /// What the wall clock says at `now`.
    pub(super) fn unix_nanos(&self, now: Instant) -> u64 {
        let (then, unix_nanos) = self.wall.get();
        let age = now.duration_since(then);
        if age < WALL_CLOCK_AGE {
            return unix_nanos + age.as_nanos() as u64;
        }
        let unix_nanos = clock::unix_nanos();
        self.wall.set((now, unix_nanos));
        unix_nanos
    }
}

/// What a client was told instead of an exchange.
#[derive(Clone, Debug)]
pub struct Refused<'a> {
    /// Why.
    pub error: &'a Error,
    /// The status sent; `None`: the connection was closed without one.
    pub status: Option<StatusCode>,
    /// Whom a tunnel was asked for; `None`: the connection is no tunnel.
    pub asked: Option<Authority>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;
    use crate::proto;
    use crate::snapshot::model::Only;
    use crate::telemetry::samples::listener;

    /// Whether an exchange with this end gets a line.
    fn logs(logged: Logged, status: u16, millis: u64, reason: Option<Reason>) -> bool {
        let hub = Hub::new(&proto::Options::default());
        let observer = Observer::new(&hub);
        observer.logged.set(Some(logged));
        let label = hub.registry().listener(&listener(Direction::Edge));
        let mut exchange = Finished::blank(&label, "[::1]:1".parse().unwrap());
        exchange.status = StatusCode::from_u16(status).ok();
        exchange.duration = Duration::from_millis(millis);
        exchange.reason = reason;
        observer.logs(&exchange)
    }

    #[test]
    fn failures_get_a_line_and_of_the_others_what_is_asked_for() {
        let only = Some(Only { min_status: 400, slower_than: Duration::from_secs(1) });
        let all = Logged { sample: ALL, only: None, needs_agent: false };
        let none = Logged { sample: 0, ..all };
        let some = Logged { only, ..all };
        for (logged, status, millis, reason, expected) in [
            (all, 200, 1, None, true),
            (none, 200, 1, None, false),
            (none, 404, 1, None, false),
            (none, 500, 1, None, true),
            (none, 404, 1, Some(Reason::NoRoute), true),
            (some, 200, 1000, None, false),
            (some, 200, 1001, None, true),
            (some, 400, 1, None, true),
            (Logged { sample: 0, ..some }, 400, 1, None, false),
        ] {
            assert_eq!(
                logs(logged, status, millis, reason),
                expected,
                "{logged:?} {status} {reason:?}"
            );
        }
    }

    #[test]
    fn a_sample_is_of_its_share() {
        random::seed(5);
        let tenth = Logged { sample: ALL / 10, only: None, needs_agent: false };
        let logged = (0..2000).filter(|_| logs(tenth, 200, 1, None)).count();
        assert!((150..250).contains(&logged), "{logged}");
    }
}
