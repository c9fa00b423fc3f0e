//! One request, from its head to the last byte of its answer. Read this first.
//!
//! record started → route found → attempts (pick, checkout, send, await the head, again?) → answer relayed → record
//! consumed. Whatever goes wrong is one [`Error`], and one place turns it into an answer.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request, Response};

use crate::clock::{self, Instant, Sleep};
use crate::drain::Drain;
use crate::error::{Error, Reason};
use crate::forward::{self, Upload};
use crate::http::body::{Body, ResetCode, Responder, StreamError};
use crate::http::grpc;
use crate::http::pump::{Broken, Observe, Pump};
use crate::pool::Lease;
use crate::random;
use crate::reply::{self, Audience, Reply};
use crate::retry::Attempts;
use crate::route::split;
use crate::route::table::RouteTable;
use crate::snapshot::model::{Direction, Route};
use crate::telemetry::metrics::{ListenerLabel, RouteMetrics};
use crate::telemetry::record::{Observer, Record};
use crate::upstream::{Permit, Picked, Upstream};

/// What the exchanges of one listener share under one snapshot.
#[derive(Debug)]
pub struct Scope {
    /// Which listener.
    pub listener: Arc<ListenerLabel>,
    /// Its routes.
    pub routes: RouteTable<Target>,
    /// Where records go.
    pub observer: Rc<Observer>,
    /// Counts exchanges in flight.
    pub drain: Rc<Drain>,
}

/// A route with what a worker keeps for it.
#[derive(Debug)]
pub struct Target {
    /// What the snapshot says.
    pub route: Arc<Route>,
    /// Beside `route.destinations`.
    pub upstreams: Vec<Rc<Upstream>>,
    /// Its cells.
    pub metrics: Arc<RouteMetrics>,
}

/// Who is at the other end of a downstream connection.
#[derive(Debug)]
pub struct Caller {
    /// The verified SPIFFE id; `None` without mTLS.
    pub peer: Option<Arc<str>>,
    /// The TCP peer.
    pub address: SocketAddr,
}

/// Carries out one exchange.
pub async fn exchange(
    scope: Rc<Scope>,
    caller: Rc<Caller>,
    request: Request<()>,
    body: Body,
    mut responder: Responder,
) {
    let _in_flight = scope.drain.guard();
    let (parts, ()) = request.into_parts();
    let mut record = Record::start(
        &scope.observer,
        &scope.listener,
        &parts,
        caller.peer.clone(),
        caller.address,
    );
    match answer(&scope, &parts, body, &mut responder, &mut record).await {
        Ok(answer) => relay(answer, responder, &mut record).await,
        Err(error) => {
            record.failed(&error);
            let trusted = caller.peer.is_some() || scope.listener.direction == Direction::Outbound;
            refuse(&error, &parts, trusted, responder, &mut record).await;
        }
    }
    record.finish();
}

/// The head of an upstream's response, and everything that the rest of the exchange still needs.
struct Answer {
    head: Response<()>,
    body: Body,
    upload: Upload,
    lease: Lease,
    deadline: Deadline,
    _picked: Picked,
    _permit: Permit,
}

/// Finds the route and tries endpoints until one answers.
async fn answer(
    scope: &Scope,
    parts: &Parts,
    body: Body,
    responder: &mut Responder,
    record: &mut Record,
) -> Result<Answer, Error> {
    let host = parts.uri.authority().map_or("", |authority| authority.as_str());
    let target = scope
        .routes
        .find(host, parts)
        .ok_or_else(|| Error::new(Reason::NoRoute))?;
    let route = &target.route;
    record.routed(route, &target.metrics);

    let destination = split::pick(&route.destinations, route.total_weight, random::u64());
    let upstream = &target.upstreams[destination];
    record.cluster(&upstream.config, destination);

    let mut deadline = Deadline::new(route.timeout, grpc::timeout(&parts.headers));
    if !upstream.is_warm() {
        patiently(upstream.warm(), responder, &mut deadline).await??;
    }
    let (total, healthy) = upstream.candidates();
    record.candidates(total as usize, healthy as usize);
    let permit = upstream.enter()?;

    let mut upload = Upload::new(body);
    let mut attempts = Attempts::new(route.attempts);
    loop {
        let picked = upstream.pick(attempts.tried())?;
        attempts.made(picked.index());
        record.attempt_started(&picked.endpoint().label, picked.endpoint().address);
        let tried = attempt(&picked, route, parts, &mut upload, responder, record, &mut deadline).await;
        match tried {
            Ok((head, body, lease)) => {
                return Ok(Answer { head, body, upload, lease, deadline, _picked: picked, _permit: permit });
            }
            Err(error) => {
                picked.failed();
                record.attempt_ended(Some(error.reason));
                if !attempts.again(&error, upload.can_replay()) {
                    return Err(error);
                }
            }
        }
    }
}

/// Sends the request to one endpoint and waits for the head of its response. The request's content goes on meanwhile.
async fn attempt(
    picked: &Picked,
    route: &Route,
    parts: &Parts,
    upload: &mut Upload,
    responder: &mut Responder,
    record: &mut Record,
    deadline: &mut Deadline,
) -> Result<(Response<()>, Body, Lease), Error> {
    let mut lease = match picked.ready() {
        Some(lease) => lease,
        None => patiently(picked.checkout(), responder, deadline).await??,
    };
    record.attempt_connected(lease.peer().cloned());

    let request = forward::request(parts, route, lease.peer().is_some(), deadline.left(), record)?;
    let (mut head, sink) = lease.send(request, upload.is_empty())?;
    upload.begin(sink);
    let waiting = std::future::poll_fn(|cx| {
        upload.poll(cx)?;
        Pin::new(&mut head).poll(cx)
    });
    let (head, body) = patiently(waiting, responder, deadline).await??;
    upload.commit();
    Ok((head, body, lease))
}

/// Passes the response on while the rest of the request goes up; ends when the response has.
async fn relay(answer: Answer, responder: Responder, record: &mut Record) {
    let Answer { head, body, mut upload, mut lease, mut deadline, .. } = answer;
    let (head, ()) = head.into_parts();
    record.response_head(&head);
    let sink = match responder.respond(Response::from_parts(head, ()), body.is_end()) {
        Ok(sink) => sink,
        Err(error) => return record.failed(&Error::new(Reason::DownstreamReset).because(error)),
    };
    let mut download = Pump::new(if body.is_end() { Body::Empty } else { body }, sink);
    let mut trailers = Trailers(record);
    let ended = std::future::poll_fn(|cx| {
        // A request that breaks off after the response has begun is seen at the response's own ends.
        let _upload = upload.poll(cx);
        if let Poll::Ready(ended) = download.poll(cx, &mut trailers) {
            return Poll::Ready(ended.map_err(broken));
        }
        if let Poll::Ready(error) = download.sink.poll_reset(cx) {
            return Poll::Ready(Err(Error::new(Reason::DownstreamReset).because(error)));
        }
        deadline.poll(cx).map(Err)
    })
    .await;
    record.received(upload.moved() as usize);
    record.sent(download.moved() as usize);
    match ended {
        Ok(()) if upload.is_done() => lease.completed(),
        Ok(()) => {}
        Err(error) => {
            download.sink.reset(reset_code(&error));
            record.failed(&error);
        }
    }
}

/// Lets the record see the trailers on their way.
struct Trailers<'a>(&'a mut Record);

impl Observe for Trailers<'_> {
    fn data(&mut self, _data: &Bytes) {}

    fn trailers(&mut self, trailers: &HeaderMap) {
        self.0.trailers(trailers);
    }
}

/// Answers in the proxy's own name, or breaks off when nobody waits any more.
async fn refuse(error: &Error, parts: &Parts, trusted: bool, responder: Responder, record: &mut Record) {
    if error.reason == Reason::DownstreamReset {
        return responder.reset(ResetCode::CANCEL);
    }
    let request_id = record.request_id().to_string();
    let Reply { head, content } = reply::explain(error, parts, Audience { trusted, request_id: &request_id });
    let (head, ()) = head.into_parts();
    record.response_head(&head);
    let Ok(mut sink) = responder.respond(Response::from_parts(head, ()), content.is_none()) else {
        return;
    };
    if let Some(content) = content {
        record.sent(content.len());
        // Small enough for any codec's buffer; a caller that has gone meanwhile needs no answer.
        let _gone = sink.send_data(content, true);
    }
    let _gone = std::future::poll_fn(|cx| sink.poll_flush(cx)).await;
}

/// Waits for `work` no longer than the caller and the deadline do.
async fn patiently<F: Future>(work: F, responder: &mut Responder, deadline: &mut Deadline) -> Result<F::Output, Error> {
    let mut work = pin!(work);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = work.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        if let Poll::Ready(error) = responder.poll_reset(cx) {
            return Poll::Ready(Err(Error::new(Reason::DownstreamReset).because(error)));
        }
        deadline.poll(cx).map(Err)
    })
    .await
}

fn broken(broken: Broken) -> Error {
    match broken {
        Broken::Sink(error) => Error::new(Reason::DownstreamReset).because(error),
        Broken::Body(StreamError::Malformed(words)) => Error::new(Reason::UpstreamProtocol).because(words),
        Broken::Body(error) => Error::new(Reason::UpstreamReset).because(error),
    }
}

/// What a caller is told when its response breaks off (RFC 9113 section 7).
fn reset_code(error: &Error) -> ResetCode {
    match error.reason {
        Reason::DownstreamReset | Reason::Timeout => ResetCode::CANCEL,
        Reason::UpstreamProtocol => ResetCode::PROTOCOL_ERROR,
        _ => ResetCode::INTERNAL_ERROR,
    }
}

/// When the exchange must be over: the route's timeout or the caller's, whichever is earlier.
struct Deadline {
    at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    fn new(timeout: Option<Duration>, asked: Option<Duration>) -> Self {
        let shortest = match (timeout, asked) {
            (Some(timeout), Some(asked)) => Some(timeout.min(asked)),
            (timeout, asked) => timeout.or(asked),
        };
        let at = shortest.map(|shortest| clock::now() + shortest);
        Deadline { at, timer: None }
    }

    /// The time that is left; `None`: no limit.
    fn left(&self) -> Option<Duration> {
        self.at.map(|at| at.saturating_duration_since(clock::now()))
    }

    fn poll(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Error> {
        let Some(at) = self.at else {
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(clock::sleep_until(at)));
        timer.as_mut().poll(cx).map(|()| Error::new(Reason::Timeout))
    }
}
