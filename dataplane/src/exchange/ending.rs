//! What an exchange says in the proxy's own name or retells of another's, and how it ends when it cannot go on.

use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode, response};

use super::Call;
use crate::authenticate;
use crate::error::{Error, Reason};
use crate::filter::{self, compress, entry, front};
use crate::http::body::{Body, ResetCode};
use crate::http::grpc_web::Form;
use crate::http::pump::{Observe, Pump};
use crate::reply::{self, Audience, Reply};
use crate::snapshot::model::ErrorPage;
use crate::telemetry::record::Record;

impl Call {
    /// Ends an answer that cannot go on. A call gets its status, if the caller takes what it is sent; other content must
    /// not look complete.
    pub(super) fn break_off(&mut self, error: &Error, mut download: Pump, form: Form) {
        self.record.failed(error);
        if form.is_call() && error.reason != Reason::DownstreamReset && !download.is_stalled() {
            let request_id = self.record.request_id().to_string();
            let trailers = reply::trailers(error, Audience { trusted: self.trusted, request_id: &request_id });
            self.record.trailers(&trailers);
            if download.sink.conclude(trailers).is_ok() {
                return;
            }
        }
        download.sink.reset(ResetCode::of(error));
    }

    /// Answers with what went wrong, or breaks off when nobody waits any more.
    pub(super) async fn refuse(&mut self, error: Error, parts: &Parts) {
        self.record.failed(&error);
        match error.reason {
            Reason::DownstreamReset => return self.responder.reset(ResetCode::CANCEL),
            Reason::ResetInjected => return self.responder.reset(ResetCode::INTERNAL_ERROR),
            _ => {}
        }
        let request_id = self.record.request_id().to_string();
        let audience = Audience { trusted: self.trusted, request_id: &request_id };
        let mut reply = reply::explain(&error, parts, audience);
        if let Some(page) = self.error_page(error.status(), reply.head.headers()) {
            front::tell_page(page, reply.head.headers_mut());
            reply.content = reply.content.and(Some(page.body.clone()));
        }
        filter::answered(self.record.route(), parts, reply.head.headers_mut());
        if let Some(route) = self.record.route() {
            entry::tell_methods(route, &error, reply.head.headers_mut());
            compress::tell_codings(&error, reply.head.headers_mut());
            if let Some(asked) = &route.authentication {
                authenticate::challenge(asked, &error, reply.head.headers_mut());
            }
        }
        self.say(reply, parts).await;
    }

    /// True when what is known of an answer so far tells of a failure.
    pub(super) fn has_failed(&self, status: StatusCode) -> bool {
        status.as_u16() >= 400 || self.record.has_failed_call()
    }

    /// What the caller gets of an answer that failed. A proxy of the mesh explains to us what nobody outside is told:
    /// such a caller gets it in short.
    pub(super) fn retell(&mut self, head: &mut response::Parts, body: Body, request: &Parts) -> Body {
        let Some(reason) = reply::told(&head.headers) else {
            return body;
        };
        self.record.told(reason);
        if self.trusted {
            return body;
        }
        let request_id = self.record.request_id().to_string();
        let Some(mut content) = reply::retell(reason, head, &request_id) else {
            return body;
        };
        if let Some(page) = self.error_page(head.status.as_u16(), &head.headers) {
            front::tell_page(page, &mut head.headers);
            content = page.body.clone();
        }
        match body.is_end() || request.method == Method::HEAD {
            true => body,
            false => body.instead(content),
        }
    }

    fn error_page(&self, status: u16, fields: &HeaderMap) -> Option<&ErrorPage> {
        front::error_page(self.record.route(), self.front.as_deref(), status, fields)
    }

    /// Brings what an endpoint's answer says up to its route and listener.
    pub(super) fn complete(&self, request: &Parts, answer: &mut HeaderMap) {
        filter::answered(self.record.route(), request, answer);
        self.tell(request, answer);
    }

    /// What every answer tells: that browsers come by TLS, and what is left of the caller's quota.
    fn tell(&self, request: &Parts, answer: &mut HeaderMap) {
        front::keep_https(self.front.as_deref(), request, answer);
        if let Some(admitted) = &self.admitted {
            admitted.tell(answer);
        }
    }

    /// Answers in the proxy's own name.
    pub(super) async fn say(&mut self, Reply { head, content }: Reply, request: &Parts) {
        let (mut head, ()) = head.into_parts();
        self.tell(request, &mut head.headers);
        self.record.response_head(&head);
        self.record
            .sent(content.as_ref().map_or(0, |content| content.len() as u64));
        let reply = Reply { head: Response::from_parts(head, ()), content };
        reply::send(reply, &mut self.responder).await;
    }
}

/// Sees what a caller is told.
pub(super) struct Told<'a> {
    pub(super) record: &'a mut Record,
    /// It may know particulars.
    pub(super) trusted: bool,
}

impl Observe for Told<'_> {
    fn trailers(&mut self, trailers: &mut HeaderMap) {
        self.record.trailers(trailers);
        if self.record.has_failed_call()
            && let Some(reason) = reply::told(trailers)
        {
            self.record.told(reason);
            if !self.trusted {
                reply::shorten(reason, trailers);
            }
        }
    }
}
