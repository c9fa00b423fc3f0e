//! One request, from its head to the last byte of its answer. Read this first.
//!
//! record started → route found → attempts (pick, checkout, send, await the head, again?) → answer relayed → record
//! consumed. Whatever goes wrong is one [`Error`], and one place turns it into an answer.

mod attempt;
mod ending;
mod inject;
mod mirror;
mod patience;

use std::future::Future;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use attempt::{Received, TryTimer};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};

use crate::admission::Admitted;
use crate::connect;
use crate::deadline::Deadline;
use crate::error::{Error, Reason};
use crate::filter;
use crate::filter::forwarded;
use crate::forward::{self, Upload};
use crate::http::body::{Body, ResetCode, Responder};
use crate::http::grpc_web::{Form, Translation};
use crate::http::path;
use crate::http::pump::Pump;
use crate::http::stall::Stall;
use crate::random;
use crate::retry::{self, Attempts};
use crate::route::headers::modify;
use crate::route::matcher::Asked;
use crate::route::split;
use crate::scope::{Caller, Scope, Target};
use crate::snapshot::model::Destination;
use crate::standing::Leave;
use crate::telemetry::record::Record;
use crate::telemetry::tracestate;
use crate::upstream::{Permit, Picked};
use crate::verdict;

/// Carries out one exchange. What every exchange needs is made before the future, so that it stands in there once.
pub fn exchange(
    mut scope: Rc<Scope>,
    caller: Rc<Caller>,
    request: Request<()>,
    body: Body,
    responder: Responder,
) -> impl Future<Output = ()> {
    let in_flight = scope.drain.guard();
    let (mut parts, ()) = request.into_parts();
    let unclear = path::normalise(&mut parts.uri).err();
    let client = forwarded::apply(&scope.forwarding, scope.listener.direction, &caller.hop, &mut parts);
    let (trusted, is_tls) = (scope.trusts(&caller), caller.hop.is_tls);
    if !trusted {
        tracestate::forget(&mut parts.headers);
    }
    let mut record = Record::start(
        &scope.observer,
        &scope.listener,
        &parts,
        caller.peer.clone(),
        caller.address,
    );
    record.client(client);
    let upload = Upload::new(body);
    let mut call = Call {
        record,
        upload,
        responder,
        deadline: Deadline::of_client(caller.term.clone()),
        try_timer: None,
        leave: None,
        admitted: None,
        web: None,
        trusted,
        is_tls,
    };
    async move {
        let ended = match unclear {
            Some(why) => Err(Error::new(Reason::BadRequest).because(why)),
            None => loop {
                match call.carry_out(&scope, &caller, &parts).await {
                    Err(error) if error.reason == Reason::Superseded && Scope::follow(&mut scope) => {}
                    ended => break ended,
                }
            },
        };
        if let Err(error) = ended {
            call.refuse(call.deadline.explain(error), &parts).await;
        }
        call.record.finish();
        drop(in_flight);
    }
}

/// What an exchange holds from its first step to its last.
struct Call {
    record: Record,
    upload: Upload,
    responder: Responder,
    deadline: Deadline,
    try_timer: TryTimer,
    leave: Option<Leave>,
    /// Holds its place among those in flight.
    admitted: Option<Box<Admitted>>,
    /// The caller speaks gRPC-Web, the cluster gRPC.
    web: Option<Box<Translation>>,
    /// The caller may know particulars.
    trusted: bool,
    /// TLS protects its connection.
    is_tls: bool,
}

/// What an upstream has answered so far, and what must live as long as the rest comes.
struct Answer<'a> {
    destination: &'a Destination,
    received: Received,
    picked: Picked,
    permit: Permit,
}

impl Call {
    /// Finds the route; then a filter answers, or an endpoint. Fails when there is nothing to answer with.
    async fn carry_out(&mut self, scope: &Scope, caller: &Caller, parts: &Parts) -> Result<(), Error> {
        let target = self.find(scope, caller, parts)?;
        self.leave = scope.leave(caller, Some(parts))?;
        if self.admitted.is_none() {
            let (admitted, asked) = scope.admit(caller, parts);
            self.admitted = admitted;
            asked?;
        }
        if let Some(reply) = filter::reply(&target.route, parts) {
            self.say(reply).await;
            return Ok(());
        }
        self.upload
            .bound(target.route.max_request_body, scope.body_timeout, parts)?;
        let answer = self.answer(target, parts).await?;
        self.relay(answer, parts, scope.send_timeout).await;
        Ok(())
    }

    fn find<'a>(&mut self, scope: &'a Scope, caller: &Caller, parts: &Parts) -> Result<&'a Target, Error> {
        if parts.method == Method::CONNECT {
            return Err(connect::refusal(scope, caller, parts));
        }
        let authority = caller.tunnel.as_ref().or(parts.uri.authority());
        let host = authority.map_or("", |authority| authority.as_str());
        let target = scope.find(host, &Asked::of(parts, self.record.client_address()))?;
        self.record.routed(&target.route, &target.metrics);
        Ok(target)
    }

    /// Tries endpoints until one answers.
    async fn answer<'a>(&mut self, target: &'a Target, parts: &Parts) -> Result<Answer<'a>, Error> {
        let route = &*target.route;
        let index = split::pick(&route.destinations, route.total_weight, random::u64());
        let (destination, upstream) = (&route.destinations[index], &target.upstreams[index]);
        self.record.cluster(&upstream.config, index);
        self.deadline.begin(route.timeout, forward::asked(&parts.headers));
        if !upstream.is_warm() {
            // Boxed, as every rare wait: what is not waited for must not make each exchange larger.
            self.patiently(Box::pin(upstream.warm()), parts).await??;
        }
        if upstream.config.is_grpc {
            self.translate(parts);
        }
        if let Some(fault) = &route.fault {
            Box::pin(self.inject(fault, parts)).await?;
        }
        let candidates = upstream.candidates();
        self.record.candidates(candidates);
        if self.record.is_sampled() {
            self.record.circuits(upstream.circuits());
        }
        let permit = upstream.enter()?;
        let key = upstream.key(Some(parts), self.record.client_address());
        let is_copied = mirror::is_copied(route, parts);
        if route.retry.attempts == 1 && !is_copied {
            self.upload.once();
        }
        let is_retried_above = route.retry.attempts > 1 && self.trusted && retry::is_retried_above(&parts.headers);
        let mut attempts = Attempts::new(route.retry.attempts, is_retried_above);
        loop {
            let picked = upstream.pick(&key, attempts.tried())?;
            attempts.made(picked.index());
            self.record
                .attempt_started(&picked.endpoint().label, picked.endpoint().address);
            let mut received = self.attempt(&picked, (route, destination), parts, &attempts).await;
            match &mut received {
                Ok(received) => picked.answered(&key, received.head.headers_mut(), self.is_tls),
                Err(error) => {
                    self.record.ejected(picked.ended(self.blame(error)));
                    self.record.attempt_ended(Some(error.reason));
                }
            }
            let Some(wait) = self.again(received.as_ref(), (&attempts, candidates), &route.retry, &permit) else {
                if is_copied {
                    self.copy(target, destination, parts);
                }
                if let Err(error) = &received {
                    self.record.tripped(permit.ended(self.blame(error)));
                }
                return received.map(|received| Answer { destination, received, picked, permit });
            };
            self.leave(received, picked);
            self.pause(wait, parts).await?;
        }
    }

    /// Passes the response on while the rest of the request goes up; ends when the response has, or its reader takes
    /// none of it for too long.
    async fn relay(&mut self, answer: Answer<'_>, parts: &Parts, send_timeout: Duration) {
        let Answer { destination, received, picked, permit } = answer;
        let Received { head, first, body, mut lease } = received;
        let (mut head, ()) = head.into_parts();
        let judged = picked.judge().head(head.status, &head.headers);
        self.record.response_head(&head);
        let is_ok = head.status == StatusCode::OK;
        let is_tunnel = head.status == StatusCode::SWITCHING_PROTOCOLS;
        if is_tunnel {
            // The timeout and the verdict are for the answer; what follows lasts as long as its two ends like.
            picked.ended(judged);
            permit.ended(judged);
            self.deadline.lift();
        }
        let is_end = first.is_none() && body.is_end();
        self.upload.commit();
        let form = Form::of(&mut head.headers, self.web.as_deref());
        modify(&destination.response_headers, &mut head.headers);
        self.complete(parts, &mut head.headers);
        let sink = match self.responder.respond(Response::from_parts(head, ()), is_end) {
            Ok(sink) => form.sink(sink),
            Err(error) => return self.record.failed(&Error::new(Reason::DownstreamReset).because(error)),
        };
        let mut download = Pump::new(if is_end { Body::Empty } else { body }, sink);
        first.into_iter().for_each(|data| download.ahead(data));
        let mut stall = (!is_tunnel).then(|| Stall::of_reader(send_timeout));
        let ended = std::future::poll_fn(|cx| {
            // A request that breaks off takes the response with it, but for what has come of that.
            let broken = self.upload.poll(cx, &mut self.deadline).err();
            if let Poll::Ready(ended) = download.poll(cx, &mut self.record) {
                return Poll::Ready(ended.map_err(|error| broken.unwrap_or_else(|| error.into())));
            }
            if let Some(error) = broken {
                return Poll::Ready(Err(error));
            }
            if let Poll::Ready(error) = download.sink.poll_reset(cx) {
                return Poll::Ready(Err(Error::new(Reason::DownstreamReset).because(error)));
            }
            if let Some(stall) = &mut stall
                && stall.poll_reader(cx, &download).is_ready()
            {
                return Poll::Ready(Err(Error::new(Reason::ReaderStalled)));
            }
            self.poll_end(cx, parts).map(Err)
        })
        .await
        .map_err(|error| self.deadline.explain(error));
        if !is_tunnel {
            let error = ended.as_ref().err();
            let verdict = picked.judge().answered(judged, self.record.call(), error);
            self.record.ejected(picked.ended(verdict));
            self.record.tripped(permit.ended(verdict));
        }
        if ended.is_ok() && is_ok && self.record.call() == verdict::Call::Open {
            self.record.failed(&Error::new(Reason::MissingStatus));
        }
        // A call is over with its status, whatever the caller still wanted to send.
        if ended.is_ok() && !form.is_call() && !self.upload.is_done() {
            let rest = self.upload.rest(&mut self.deadline, is_tunnel);
            Box::pin(rest).await;
        }
        self.record.received(self.upload.moved());
        self.record.sent(download.moved());
        match ended {
            Ok(()) if self.upload.is_done() => lease.completed(),
            Ok(()) => {}
            Err(error) if is_tunnel => {
                self.record.failed(&error);
                // "RST exceptions are represented with [...] the CANCEL error code" (RFC 8441 section 5).
                download.sink.reset(ResetCode::CANCEL);
            }
            Err(error) => self.break_off(&error, download, form),
        }
    }
}

#[cfg(test)]
mod tests;
