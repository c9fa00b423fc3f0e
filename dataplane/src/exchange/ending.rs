//! What an exchange says in the proxy's own name, and how it ends when it cannot go on.

use http::request::Parts;
use http::{HeaderMap, Response};

use super::Call;
use crate::error::{Error, Reason};
use crate::filter;
use crate::http::body::ResetCode;
use crate::http::grpc_web::Form;
use crate::http::pump::{Observe, Pump};
use crate::reply::{self, Audience, Reply};
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
        self.complete(parts, reply.head.headers_mut());
        self.say(reply).await;
    }

    /// Brings what an answer says up to its route, and tells what is left of the caller's quota.
    pub(super) fn complete(&self, request: &Parts, answer: &mut HeaderMap) {
        filter::answered(self.record.route(), request, answer);
        if let Some(admitted) = &self.admitted {
            admitted.tell(answer);
        }
    }

    /// Answers in the proxy's own name.
    pub(super) async fn say(&mut self, Reply { head, content }: Reply) {
        let (head, ()) = head.into_parts();
        self.record.response_head(&head);
        self.record
            .sent(content.as_ref().map_or(0, |content| content.len() as u64));
        let reply = Reply { head: Response::from_parts(head, ()), content };
        reply::send(reply, &mut self.responder).await;
    }
}

impl Observe for Record {
    fn trailers(&mut self, trailers: &mut HeaderMap) {
        self.trailers(trailers);
    }
}
