//! What a proxy of the mesh explained to us, on its way to a caller that is told less.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, response};

use super::{Audience, HTML, PROBLEM, X_SIDECAR_REASON, html, problem};
use crate::error::{Error, Reason};
use crate::http::grpc;

/// The longest explanation; what is longer is an application's own content.
const LONGEST: usize = 16 * 1024;

/// Why a proxy made the answer, or ended the call, whose fields these are; `None`: it is nobody's explanation.
pub fn told(fields: &HeaderMap) -> Option<Reason> {
    Reason::named(fields.get(X_SIDECAR_REASON)?.as_bytes())
}

/// Leaves of a call's status what everybody may know.
pub fn shorten(reason: Reason, fields: &mut HeaderMap) {
    fields.remove(X_SIDECAR_REASON);
    if fields.contains_key(grpc::GRPC_STATUS) {
        fields.insert(grpc::GRPC_MESSAGE, grpc::encode_message(reason.sentence()));
    }
}

/// Leaves of an answer's head what everybody may know. Returns what is to take the place of its content, if that explains
/// anything.
pub fn retell(reason: Reason, head: &mut response::Parts, request_id: &str) -> Option<Bytes> {
    shorten(reason, &mut head.headers);
    let kind = head.headers.get(CONTENT_TYPE)?;
    let length: usize = head.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()?;
    if length > LONGEST {
        return None;
    }
    let error = Error::new(reason).with_status(head.status.as_u16());
    let audience = Audience { trusted: false, request_id };
    let content = match kind.as_bytes() {
        kind if kind == PROBLEM.as_bytes() => problem(&error, audience),
        kind if kind == HTML.as_bytes() => html(&error, audience),
        _ => return None,
    };
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(content.len()));
    Some(content.into())
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};

    use super::*;
    use crate::reply::explain;

    /// What a caller outside gets of what a sidecar answers a gateway: head, and content if there is other content.
    fn retold(fields: &[(&str, &str)]) -> (response::Parts, Option<Bytes>) {
        let mut request = Request::builder();
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (request, ()) = request.body(()).expect("a legal request").into_parts();
        let error = Error::new(Reason::NotAllowed).because("spiffe://secret is refused by intention a → b.");
        let told_to_us = explain(&error, &request, Audience { trusted: true, request_id: "r-1" });
        let (mut head, ()) = told_to_us.head.into_parts();
        let reason = told(&head.headers).expect("an explanation");
        assert_eq!(reason, Reason::NotAllowed);
        let content = retell(reason, &mut head, "r-1");
        (head, content)
    }

    #[test]
    fn a_caller_outside_gets_an_explanation_in_short() {
        for (accept, kind) in [
            ("*/*", "application/problem+json"),
            ("text/html", "text/html; charset=utf-8"),
        ] {
            let (head, content) = retold(&[("accept", accept)]);
            let content = content.expect("other content");
            let text = String::from_utf8_lossy(&content);
            assert_eq!(
                (head.status.as_u16(), &head.headers[CONTENT_TYPE]),
                (403, &HeaderValue::from_static(kind))
            );
            assert_eq!(head.headers[CONTENT_LENGTH], content.len().to_string().as_str());
            assert!(!head.headers.contains_key(X_SIDECAR_REASON));
            assert!(
                text.contains("The caller may not do this.") && text.contains("r-1"),
                "{text}"
            );
            assert!(!text.contains("secret") && !text.contains("not-allowed"), "{text}");
        }
    }

    #[test]
    fn a_call_from_outside_gets_its_status_in_short() {
        let (head, content) = retold(&[("content-type", "application/grpc")]);
        assert!(content.is_none());
        assert_eq!(head.headers[grpc::GRPC_STATUS], "7");
        assert_eq!(head.headers[grpc::GRPC_MESSAGE], "The caller may not do this.");
        assert!(!head.headers.contains_key(X_SIDECAR_REASON));
    }

    #[test]
    fn an_applications_own_content_stays() {
        let answer = Response::builder()
            .status(503)
            .header(X_SIDECAR_REASON, "connect-failure")
            .header(CONTENT_TYPE, "text/plain")
            .header(CONTENT_LENGTH, "4");
        let (mut head, ()) = answer.body(()).expect("a legal answer").into_parts();
        assert!(retell(Reason::ConnectFailure, &mut head, "r-1").is_none());
        assert_eq!(head.headers[CONTENT_LENGTH], "4");
        assert!(!head.headers.contains_key(X_SIDECAR_REASON));
        assert_eq!(
            told(&HeaderMap::from_iter([(
                X_SIDECAR_REASON,
                HeaderValue::from_static("my-own")
            )])),
            None
        );
    }
}
