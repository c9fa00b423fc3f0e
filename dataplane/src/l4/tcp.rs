//! One TCP connection, from its start to the last byte of either direction: the counterpart of `exchange.rs`.
//!
//! record started → may the caller? → attempts (pick, connect, again?) → bytes copied both ways → record consumed. Nobody reads the bytes,
//! so nothing can be sent again once the first has moved.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::copy::Way;
use crate::clock;
use crate::deadline::Deadline;
use crate::drain::Guard;
use crate::error::{Error, Reason};
use crate::net::Io;
use crate::pool::Connection;
use crate::random;
use crate::retry::Attempts;
use crate::route::split;
use crate::scope::{Caller, Scope, Target};
use crate::standing::Leave;
use crate::telemetry::record::Record;
use crate::upstream::{Permit, Picked};
use crate::verdict::Verdict;

/// A connection that has found its other end.
#[derive(Debug)]
pub struct Relay {
    record: Record,
    leave: Option<Leave>,
    upstream: Upstream,
    idle_timeout: Duration,
    deadline: Deadline,
    _in_flight: Guard,
}

/// The connection to an endpoint, and what must live as long as it.
#[derive(Debug)]
struct Upstream {
    connection: Connection,
    _picked: Picked,
    _permit: Permit,
}

/// Why a connection found no other end; it is on record.
#[derive(Debug)]
pub struct Refused {
    /// What is wrong.
    pub error: Error,
    /// Names the record.
    pub request_id: String,
}

/// Finds an endpoint for a connection of `caller`, if that may connect at all.
pub async fn open(scope: &Rc<Scope>, caller: &Caller, target: &Rc<Target>) -> Result<Relay, Refused> {
    let host = caller.tunnel.as_ref().map_or("", |asked| asked.as_str());
    let in_flight = scope.drain.guard();
    let mut record = Record::connection(
        &scope.observer,
        &scope.listener,
        caller.tunnel.as_ref(),
        caller.peer.clone(),
        caller.address,
    );
    let (mut scope, mut target) = (Rc::clone(scope), Rc::clone(target));
    let error = loop {
        record.routed(&target.route, &target.metrics);
        let connected = match scope.leave(caller, None) {
            Ok(leave) => connect(&mut record, &target).await.map(|upstream| (leave, upstream)),
            Err(error) => Err(error),
        };
        let error = match connected {
            Ok((leave, upstream)) => {
                let mut deadline = Deadline::of_client(caller.term.clone());
                deadline.endpoint(upstream.connection.term.clone());
                let idle_timeout = target.route.idle_timeout;
                return Ok(Relay { record, leave, upstream, idle_timeout, deadline, _in_flight: in_flight });
            }
            Err(error) => error,
        };
        if error.reason != Reason::Superseded || !Scope::follow(&mut scope) {
            break error;
        }
        match scope.tcp.find_host(host) {
            Some(found) => target = Rc::clone(found),
            None => break Error::new(Reason::NoRoute),
        }
    };
    record.listened(&scope.origin);
    record.failed(&error);
    let request_id = record.request_id().to_string();
    record.finish();
    Err(Refused { error, request_id })
}

/// Tries endpoints until one takes the connection.
async fn connect(record: &mut Record, target: &Target) -> Result<Upstream, Error> {
    let route = &target.route;
    let destination = split::pick(&route.destinations, route.total_weight, random::u64());
    let upstream = &target.upstreams[destination];
    record.cluster(&upstream.config, destination);
    if !upstream.is_warm() {
        upstream.warm().await?;
    }
    record.candidates(upstream.candidates());
    if record.is_sampled() {
        record.circuits(upstream.circuits());
    }
    let permit = upstream.enter()?;
    let key = upstream.key(None, record.client_address());

    let mut attempts = Attempts::new(route.retry.attempts, false);
    loop {
        let picked = upstream.pick(&key, attempts.tried())?;
        attempts.made(picked.index());
        record.attempt_started(&picked.endpoint().counts.metrics, picked.endpoint().address);
        match picked.connect().await {
            Ok(connection) => {
                record.attempt_connected(connection.peer.clone());
                // Nobody reads what follows.
                picked.ended(Verdict::Success);
                permit.ended(Verdict::Success);
                return Ok(Upstream { connection, _picked: picked, _permit: permit });
            }
            Err(error) => {
                record.ejected(picked.ended(Verdict::of(&error)));
                record.attempt_ended(Some(error.reason));
                if !attempts.again_unprocessed(&error) {
                    record.tripped(permit.ended(Verdict::of(&error)));
                    return Err(error);
                }
            }
        }
    }
}

impl Relay {
    /// Copies both ways until both are over, one end breaks, nothing has moved for too long, a certificate ends, or the
    /// caller may no longer.
    pub async fn run(mut self, mut client: Io) {
        let upstream = &mut self.upstream.connection.io;
        let (mut up, mut down) = (Way::default(), Way::default());
        let mut idle = pin!(clock::sleep(self.idle_timeout));
        let mut moved_at = clock::now();
        let copied = poll_fn(|cx| {
            let before = up.moved() + down.moved();
            if let Poll::Ready(Err(error)) = up.poll(cx, &mut client, upstream) {
                return Poll::Ready(Err(Error::new(Reason::DownstreamReset).because(error)));
            }
            if let Poll::Ready(Err(error)) = down.poll(cx, upstream, &mut client) {
                return Poll::Ready(Err(Error::new(Reason::UpstreamReset).because(error)));
            }
            if up.is_over() && down.is_over() {
                return Poll::Ready(Ok(()));
            }
            if let Poll::Ready(error) = self.deadline.poll(cx) {
                return Poll::Ready(Err(error));
            }
            if let Some(Poll::Ready(error)) = self.leave.as_mut().map(|leave| leave.poll(cx, None)) {
                return Poll::Ready(Err(error));
            }
            if up.moved() + down.moved() != before {
                moved_at = clock::now();
            }
            // The timer is moved when it fires, so that a busy connection pays for it rarely.
            while idle.as_mut().poll(cx).is_ready() {
                let ends = moved_at + self.idle_timeout;
                if clock::now() >= ends {
                    let error = Error::new(Reason::IdleTimeout);
                    return Poll::Ready(Err(error.because(format_args!("after {:?}", self.idle_timeout))));
                }
                idle.as_mut().reset(ends);
            }
            Poll::Pending
        });
        let ended = copied.await.and_then(|()| whole(&up, &down));
        self.record.received(up.moved());
        self.record.sent(down.moved());
        if let Err(error) = &ended {
            // Neither end may take what it has for all there was.
            client.abort_on_close();
            upstream.abort_on_close();
            self.record.failed(error);
        }
        self.record.finish();
    }
}

/// Both directions are over: did all that was read arrive?
fn whole(up: &Way, down: &Way) -> Result<(), Error> {
    match (up.refused(), down.refused()) {
        (None, None) => Ok(()),
        (_, Some(error)) => Err(Error::new(Reason::DownstreamReset).because(error)),
        (Some(error), None) => Err(Error::new(Reason::UpstreamReset).because(error)),
    }
}
