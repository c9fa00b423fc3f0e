//! The way of an answer to the caller, while the rest of the request goes up.

use std::future::{Future, poll_fn};
use std::task::{Context, Poll};
use std::time::Duration;

use http::request::Parts;
use http::{Response, StatusCode};

use super::attempt::Received;
use super::ending::Told;
use super::{Answer, Call};
use crate::error::{Error, Reason};
use crate::filter::compress;
use crate::forward;
use crate::http::body::{Body, ResetCode};
use crate::http::grpc_web::Form;
use crate::http::pump::Pump;
use crate::http::stall::Stall;
use crate::pool::Lease;
use crate::pressure::Held;
use crate::route::headers::modify;
use crate::upstream::{Permit, Picked};
use crate::verdict::{self, Verdict};

/// An answer whose head has been passed on, and what must live as long as the rest comes.
struct Download {
    pump: Pump,
    form: Form,
    is_ok: bool,
    /// What follows is no answer any more.
    is_tunnel: bool,
    stall: Option<Stall>,
    held: Held,
    picked: Picked,
    permit: Permit,
    /// By the head.
    judged: Verdict,
    lease: Lease,
}

impl Call {
    /// Passes the response on; ends when it has, or its reader takes none of it for too long. What is done with the head is
    /// done before the future, so that the response stands in there once.
    pub(super) fn relay(
        &mut self,
        answer: Answer<'_>,
        parts: &Parts,
        send_timeout: Duration,
    ) -> impl Future<Output = ()> {
        let mut begun = self.begin(answer, parts, send_timeout);
        async move {
            let Some(download) = &mut begun else {
                return;
            };
            let ended = poll_fn(|cx| self.poll_relayed(cx, download, parts))
                .await
                .map_err(|error| self.deadline.explain(error));
            self.judge(download, &ended);
            // A call is over with its status, whatever the caller still wanted to send.
            if ended.is_ok() && !download.form.is_call() && !self.upload.is_done() {
                let rest = self.upload.rest(&mut self.deadline, download.is_tunnel);
                Box::pin(rest).await;
            }
            if let Some(download) = begun.take() {
                self.end(download, ended);
            }
        }
    }

    /// Passes the head on; `None`: nobody waits for it any more.
    fn begin(&mut self, answer: Answer<'_>, parts: &Parts, send_timeout: Duration) -> Option<Download> {
        let Answer { destination, received, picked, permit } = answer;
        let Received { head, first, mut body, lease } = received;
        let (mut head, ()) = head.into_parts();
        let judged = picked.judge().head(head.status, &head.headers);
        self.record.response_head(&head);
        let (is_ok, is_tunnel) = (
            head.status == StatusCode::OK,
            head.status == StatusCode::SWITCHING_PROTOCOLS,
        );
        if is_tunnel {
            // The timeout and the verdict are for the answer; what follows lasts as long as its two ends like.
            picked.ended(judged);
            permit.ended(judged);
            self.deadline.lift();
        }
        let is_end = first.is_none() && body.is_end();
        self.upload.commit();
        if self.has_failed(head.status) {
            body = self.retell(&mut head, body, parts);
        }
        let form = Form::of(&mut head.headers, self.web.as_deref());
        if let Some(route) = self.record.route() {
            let facts = forward::facts(parts, route, self.identified.as_deref(), &self.record);
            modify(&destination.response_headers, &mut head.headers, &facts);
        }
        self.complete(parts, &mut head.headers);
        if let Some(wanted) = self.record.route().and_then(|route| route.compress.as_deref())
            && !is_end
            && !is_tunnel
            && first.is_none()
        {
            body = compress::answer(wanted, parts, &mut head, body);
        }
        let sink = match self.responder.respond(Response::from_parts(head, ()), is_end) {
            Ok(sink) => form.sink(sink),
            Err(error) => {
                self.record.failed(&Error::new(Reason::DownstreamReset).because(error));
                return None;
            }
        };
        let mut pump = Pump::new(if is_end { Body::Empty } else { body }, sink);
        first.into_iter().for_each(|data| pump.ahead(data));
        let stall = (!is_tunnel).then(|| Stall::of_reader(send_timeout));
        Some(Download {
            pump,
            form,
            is_ok,
            is_tunnel,
            stall,
            held: Held::default(),
            picked,
            permit,
            judged,
            lease,
        })
    }

    /// Ready when the response has ended, or cannot go on.
    fn poll_relayed(
        &mut self,
        cx: &mut Context<'_>,
        Download { pump, stall, held, .. }: &mut Download,
        parts: &Parts,
    ) -> Poll<Result<(), Error>> {
        // A request that breaks off takes the response with it, but for what has come of that.
        let broken = self.upload.poll(cx, &mut self.deadline).err();
        let mut told = Told { record: &mut self.record, trusted: self.trusted };
        if let Poll::Ready(ended) = pump.poll(cx, &mut told) {
            return Poll::Ready(ended.map_err(|error| broken.unwrap_or_else(|| error.into())));
        }
        if let Some(error) = broken {
            return Poll::Ready(Err(error));
        }
        if let Poll::Ready(error) = pump.sink.poll_reset(cx) {
            return Poll::Ready(Err(Error::new(Reason::DownstreamReset).because(error)));
        }
        if let Some(stall) = stall
            && stall.poll_reader(cx, pump).is_ready()
        {
            return Poll::Ready(Err(Error::new(Reason::ReaderStalled)));
        }
        if pump.is_stalled() && held.poll_end(cx).is_ready() {
            return Poll::Ready(Err(Error::new(Reason::Overloaded)));
        }
        self.poll_end(cx, parts).map(Err)
    }

    /// Tells what the answer says about its endpoint.
    fn judge(&mut self, download: &Download, ended: &Result<(), Error>) {
        let Download { picked, permit, judged, .. } = download;
        if !download.is_tunnel {
            let verdict = picked
                .judge()
                .answered(*judged, self.record.call(), ended.as_ref().err());
            self.record.ejected(picked.ended(verdict));
            self.record.tripped(permit.ended(verdict));
        }
        if ended.is_ok() && download.is_ok && self.record.call() == verdict::Call::Open {
            self.record.failed(&Error::new(Reason::MissingStatus));
        }
    }

    /// Nothing more comes.
    fn end(&mut self, mut download: Download, ended: Result<(), Error>) {
        self.record.received(self.upload.moved());
        self.record.sent(download.pump.moved());
        match ended {
            Ok(()) if self.upload.is_done() => download.lease.completed(),
            Ok(()) => {}
            Err(error) if download.is_tunnel => {
                self.record.failed(&error);
                // "RST exceptions are represented with [...] the CANCEL error code" (RFC 8441 section 5).
                download.pump.sink.reset(ResetCode::CANCEL);
            }
            Err(error) => self.break_off(&error, download.pump, download.form),
        }
    }
}
