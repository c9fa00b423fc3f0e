//! One request, from its head to the last byte of its answer. Read this first.
//!
//! record started → route found → attempts (pick, checkout, send, await the head, again?) → answer relayed → record
//! consumed. Whatever goes wrong is one [`Error`], and one place turns it into an answer.

mod attempt;
mod ending;
mod entry;
mod identify;
mod inject;
mod mirror;
mod patience;
mod relay;

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use attempt::{Received, TryTimer};
use http::request::Parts;
use http::{Method, Request};

use crate::admission::Admitted;
use crate::authenticate::identified::Identified;
use crate::connect;
use crate::deadline::Deadline;
use crate::error::{Error, Reason};
use crate::filter;
use crate::filter::forwarded;
use crate::forward::{self, Upload};
use crate::http::body::{Body, Responder};
use crate::http::grpc_web::Translation;
use crate::http::path;
use crate::pressure::Step;
use crate::random;
use crate::retry::{self, Attempts};
use crate::route::matcher::Asked;
use crate::route::split;
use crate::scope::{Caller, Scope, Target};
use crate::snapshot::model::{Destination, Front};
use crate::standing::Leave;
use crate::telemetry::record::Record;
use crate::telemetry::tracestate;
use crate::upstream::{Permit, Picked};

/// Carries out one exchange. What every exchange needs is made before the future, so that it stands in there once.
pub fn exchange(
    mut scope: Rc<Scope>,
    caller: Rc<Caller>,
    request: Request<()>,
    body: Body,
    responder: Responder,
    step: Step,
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
        identified: None,
        web: None,
        front: scope.front.clone(),
        trusted,
        is_tls,
        step,
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
            call.record.listened(&scope.origin);
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
    /// Who calls, where the route asks.
    identified: Option<Box<Identified>>,
    /// The caller speaks gRPC-Web, the cluster gRPC.
    web: Option<Box<Translation>>,
    /// What the listener answers whatever the route.
    front: Option<Arc<Front>>,
    /// The caller may know particulars.
    trusted: bool,
    /// TLS protects its connection.
    is_tls: bool,
    /// What the process did without when it began.
    step: Step,
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
        if let Some(reply) = self.at_the_door(scope, parts)? {
            self.say(reply, parts).await;
            return Ok(());
        }
        let target = self.find(scope, caller, parts)?;
        self.leave = scope.leave(caller, Some(parts))?;
        self.enter(scope, caller, target, parts).await?;
        if let Some(reply) = filter::reply(&target.route, parts) {
            self.say(reply, parts).await;
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
        self.upload.decode(route, parts)?;
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
        // Where memory is short, nothing is kept for another try.
        if (route.retry.attempts == 1 || self.step >= Step::Brief) && !is_copied {
            self.upload.once();
        }
        let is_retried_above = route.retry.attempts > 1 && self.trusted && retry::is_retried_above(&parts.headers);
        let mut attempts = Attempts::new(route.retry.attempts, is_retried_above);
        loop {
            let picked = upstream.pick(&key, attempts.tried())?;
            attempts.made(picked.index());
            self.record
                .attempt_started(&picked.endpoint().counts.metrics, picked.endpoint().address);
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
}

#[cfg(test)]
mod tests;
