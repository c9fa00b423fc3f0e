//! One try at one endpoint: send, await the head, and judge what came before any of it is passed on.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Response};

use super::Call;
use crate::clock::{self, Sleep};
use crate::error::Error;
use crate::forward::{self, Sending};
use crate::http::body::{Body, Frame, Head};
use crate::http::grpc;
use crate::http::grpc_web::Translation;
use crate::http::pump::Broken;
use crate::http::upgrade::Upgrade;
use crate::pool::Lease;
use crate::retry::{Attempts, Failure, Standing};
use crate::snapshot::model::{Destination, Retry, Route};
use crate::telemetry::finished::Candidates;
use crate::telemetry::grpc_status::GrpcStatus;
use crate::upstream::{Permit, Picked};
use crate::verdict;

/// How long the head of a call's answer may be held back until its first message or its status comes.
const MOST_HELD: Duration = Duration::from_millis(100);

/// What an endpoint has answered so far.
pub(super) struct Received {
    pub(super) head: Response<()>,
    /// The first of the content, if it came before the head is passed on.
    pub(super) first: Option<Bytes>,
    pub(super) body: Body,
    pub(super) lease: Lease,
}

impl Received {
    /// The trailers, when they have come and nothing before them.
    fn trailers(&self) -> Option<&HeaderMap> {
        match &self.body {
            Body::Trailers(trailers) => Some(trailers),
            _ => None,
        }
    }
}

/// When one try has lasted too long; None: it never does.
pub(super) type TryTimer = Option<Pin<Box<Sleep>>>;

impl Call {
    /// A gRPC-Web call goes on as gRPC.
    pub(super) fn translate(&mut self, parts: &Parts) {
        self.web = Translation::of(&parts.headers);
        if let Some(web) = &self.web {
            self.record.translated();
            self.upload.translate(|body| web.body(body));
        }
    }

    /// Sends the request to one endpoint and waits for its answer, of a call until its outcome is known where that
    /// could be tried again.
    pub(super) async fn attempt(
        &mut self,
        picked: &Picked,
        (route, destination): (&Route, &Destination),
        parts: &Parts,
        attempts: &Attempts,
    ) -> Result<Received, Error> {
        self.try_timer = route
            .retry
            .per_try_timeout
            .map(|timeout| Box::pin(clock::sleep(timeout)));
        let tries_before = attempts.tried().len() - 1;
        let mut received = self.send(picked, (route, destination), parts, tries_before).await?;
        if route.retry.calls != 0 && attempts.may_repeat() && self.awaits_outcome(&received) {
            self.hold(&mut received, parts).await?;
        }
        self.try_timer = None;
        Ok(received)
    }

    /// Sends the request and waits for the head of its response; the request's content goes on meanwhile.
    async fn send(
        &mut self,
        picked: &Picked,
        (route, destination): (&Route, &Destination),
        parts: &Parts,
        tries_before: usize,
    ) -> Result<Received, Error> {
        let mut lease = match picked.ready() {
            Some(lease) => lease,
            None => self.patiently(Box::pin(picked.checkout()), parts).await??,
        };
        self.record.attempt_connected(lease.peer().cloned());
        self.deadline.endpoint(lease.term().cloned());
        if parts.extensions.get::<Upgrade>().is_some() {
            self.patiently(Box::pin(lease.settled()), parts).await?;
        }
        let sending = Sending {
            route,
            caller: self.identified.as_deref(),
            destination,
            is_tls: lease.peer().is_some(),
            left: self.deadline.left(),
            tries_before: Some(tries_before),
        };
        let request = forward::request(parts, &sending, &self.record, self.web.as_deref())?;
        let (mut response, sink) = lease.send(request, self.upload.is_empty())?;
        self.upload.begin(sink);
        let (head, body) = std::future::poll_fn(|cx| {
            self.upload.poll(cx, &mut self.deadline)?;
            while let Poll::Ready(head) = response.poll(cx)? {
                match head {
                    Head::Interim(head) => self.responder.inform(head),
                    Head::Final(head, body) => return Poll::Ready(Ok((head, body))),
                }
            }
            self.poll_patience(cx, parts).map(Err)
        })
        .await?;
        Ok(Received { head, first: None, body, lease })
    }

    /// True when the call's status is still to come, and the endpoint has all that it could wait for.
    fn awaits_outcome(&self, received: &Received) -> bool {
        self.record.is_call()
            && received.head.status() == http::StatusCode::OK
            && !received.body.is_end()
            && self.upload.is_done()
            && self.upload.can_replay()
    }

    /// Waits a moment for the first message or the trailers.
    async fn hold(&mut self, received: &mut Received, parts: &Parts) -> Result<(), Error> {
        let mut most: TryTimer = None;
        std::future::poll_fn(|cx| {
            match received.body.poll_frame(cx) {
                Poll::Ready(Some(Ok(Frame::Data(data)))) => received.first = Some(data),
                Poll::Ready(Some(Ok(Frame::Trailers(trailers)))) => {
                    received.body = Body::Trailers(Box::new(trailers));
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(Broken::Body(error).into())),
                Poll::Ready(None) => received.body = Body::Empty,
                Poll::Pending => {
                    let most = most.get_or_insert_with(|| Box::pin(clock::sleep(MOST_HELD)));
                    return match most.as_mut().poll(cx) {
                        Poll::Ready(()) => Poll::Ready(Ok(())),
                        Poll::Pending => self.poll_patience(cx, parts).map(Err),
                    };
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// How long to wait before the next try, if what came of this one is a failure that may be tried again.
    pub(super) fn again(
        &mut self,
        received: Result<&Received, &Error>,
        (attempts, candidates): (&Attempts, Candidates),
        policy: &Retry,
        permit: &Permit,
    ) -> Option<Duration> {
        if received.is_ok() && policy.attempts == 1 {
            return None;
        }
        let failure = match received {
            Ok(received) => Failure::answered(&received.head, self.record.is_call(), received.trailers())?,
            Err(error) => Failure::broken(error),
        };
        let standing = Standing {
            can_replay: self.upload.can_replay(),
            has_others: attempts.tried().len() < candidates.healthy as usize,
            left: self.deadline.left(),
        };
        let wait = attempts.again(failure, policy, standing, || permit.retry(policy.budget))?;
        if let Ok(received) = received {
            self.record.attempt_answered(&received.head, received.trailers());
        }
        self.record.attempt_ended(Some(failure.reason));
        Some(wait)
    }

    /// Gives up what came of an attempt that is made again elsewhere.
    pub(super) fn leave(&mut self, received: Result<Received, Error>, picked: Picked) {
        let Ok(received) = received else {
            return;
        };
        let (head, judge) = (&received.head, picked.judge());
        let status = received.trailers().unwrap_or(head.headers()).get(grpc::GRPC_STATUS);
        let call = match status.filter(|_| self.record.is_call()) {
            Some(status) => verdict::Call::Status(GrpcStatus::parse(status).number()),
            None => verdict::Call::No,
        };
        let verdict = judge.answered(judge.head(head.status(), head.headers()), call, None);
        self.record.ejected(picked.ended(verdict));
    }
}
