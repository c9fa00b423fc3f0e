//! The one place where an error becomes an answer: gRPC trailers-only, HTML for browsers, problem+json for everyone else.

use std::future::poll_fn;

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use crate::error::{Error, Reason, X_SIDECAR_REASON};
use crate::http::body::Responder;
use crate::http::{grpc, grpc_web};
use crate::telemetry::record::X_REQUEST_ID;

mod retold;

pub use retold::{retell, shorten, told};

/// What a port may be asked beside CONNECT: the methods of RFC 9110 and PATCH; a service knows more about its own.
const ALLOWED: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE");

const HTML: &str = "text/html; charset=utf-8";
/// RFC 9457.
const PROBLEM: &str = "application/problem+json";

/// A whole answer; `None` as content means that the head ends it.
#[derive(Debug)]
pub struct Reply {
    /// Status and fields.
    pub head: Response<()>,
    /// Content.
    pub content: Option<Bytes>,
}

/// Who is told how much.
#[derive(Clone, Copy, Debug)]
pub struct Audience<'a> {
    /// A verified peer of the mesh, or the local app.
    pub trusted: bool,
    /// Names the exchange, so that it can be found again.
    pub request_id: &'a str,
}

/// Explains `error` to whoever sent `request`.
pub fn explain(error: &Error, request: &Parts, audience: Audience<'_>) -> Reply {
    let mut reply = if grpc::is_grpc(&request.headers) {
        trailers_only(trailers(error, audience), HeaderValue::from_static("application/grpc"))
    } else if let Some(kind) = request.headers.get(CONTENT_TYPE)
        && grpc_web::is_grpc_web(&request.headers)
    {
        trailers_only(trailers(error, audience), kind.clone())
    } else if wants_html(request) {
        with_content(error, HTML, html(error, audience))
    } else {
        with_content(error, PROBLEM, problem(error, audience))
    };
    if let Some(wait) = error.retry_after() {
        let (name, amount) = match reply.head.headers().contains_key(grpc::GRPC_STATUS) {
            true => (grpc::PUSHBACK, wait.as_millis()),
            false => (RETRY_AFTER, wait.as_millis().div_ceil(1000)),
        };
        reply.head.headers_mut().insert(name, HeaderValue::from(amount as u64));
    }
    if error.reason == Reason::MethodNotAllowed {
        reply.head.headers_mut().insert(ALLOW, ALLOWED);
    }
    if request.method == Method::HEAD {
        // Its fields tell of the content that GET would get (RFC 9110 section 9.3.2).
        reply.content = None;
    }
    // By it the record is found again.
    if let Ok(id) = HeaderValue::from_str(audience.request_id) {
        reply.head.headers_mut().insert(X_REQUEST_ID, id);
    }
    if audience.trusted {
        let name = HeaderValue::from_static(error.reason.name());
        reply.head.headers_mut().insert(X_SIDECAR_REASON, name);
    }
    reply
}

/// Sends a whole answer. A caller that has gone meanwhile needs none.
pub async fn send(reply: Reply, responder: &mut Responder) {
    let Reply { head, content } = reply;
    let Ok(mut sink) = responder.respond(head, content.is_none()) else {
        return;
    };
    if let Some(content) = content {
        // Small enough for any codec's buffer.
        let _gone = sink.send_data(content, true);
    }
    let _gone = poll_fn(|cx| sink.poll_flush(cx)).await;
}

/// A gRPC answer without messages: the status stands in the head, which ends the stream.
pub fn trailers_only(trailers: HeaderMap, kind: HeaderValue) -> Reply {
    let mut head = Response::new(());
    *head.headers_mut() = trailers;
    head.headers_mut().insert(CONTENT_TYPE, kind);
    Reply { head, content: None }
}

/// How a gRPC call ends that has begun to be answered.
pub fn trailers(error: &Error, audience: Audience<'_>) -> HeaderMap {
    let mut trailers = grpc::trailers(error.grpc_status(), &sentence(error, audience));
    if audience.trusted {
        trailers.insert(X_SIDECAR_REASON, HeaderValue::from_static(error.reason.name()));
    }
    trailers
}

fn with_content(error: &Error, kind: &'static str, content: String) -> Reply {
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = head.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(content.len()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Reply { head, content: Some(content.into()) }
}

/// What happened; particulars such as addresses stay inside the mesh.
fn sentence(error: &Error, audience: Audience<'_>) -> String {
    if audience.trusted {
        error.to_string()
    } else {
        error.reason.sentence().to_owned()
    }
}

fn problem(error: &Error, audience: Audience<'_>) -> String {
    let mut json = String::with_capacity(256);
    json.push_str("{\"type\":\"about:blank\",\"title\":");
    push_json(&mut json, error.reason.sentence());
    json.push_str(",\"status\":");
    json.push_str(itoa::Buffer::new().format(error.status()));
    if audience.trusted {
        json.push_str(",\"detail\":");
        push_json(&mut json, &sentence(error, audience));
        json.push_str(",\"next\":");
        push_json(&mut json, error.reason.next_step());
        json.push_str(",\"reason\":");
        push_json(&mut json, error.reason.name());
    }
    json.push_str(",\"instance\":");
    push_json(&mut json, audience.request_id);
    json.push_str("}\n");
    json
}

fn html(error: &Error, audience: Audience<'_>) -> String {
    let status = error.status();
    let (sentence, id) = (
        escape_html(&sentence(error, audience)),
        escape_html(audience.request_id),
    );
    format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{status}</title>\n\
         <h1>{status}</h1>\n<p>{sentence}</p>\n<p>Request {id}</p>\n</html>\n"
    )
}

/// Browsers name text/html first; programs name it rarely or not at all.
fn wants_html(request: &Parts) -> bool {
    let accept = request.headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.trim_start().starts_with("text/html"))
}

fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn push_json(json: &mut String, text: &str) {
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            character if character < ' ' => json.push_str(&format!("\\u{:04x}", u32::from(character))),
            character => json.push(character),
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn reply(fields: &[(&str, &str)], trusted: bool) -> Reply {
        let mut request = Request::builder();
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("a legal request").into_parts();
        let error = Error::new(Reason::ConnectFailure).because("127.0.0.1:9: \"refused\" 100%");
        explain(&error, &parts, Audience { trusted, request_id: "r-1" })
    }

    #[test]
    fn a_grpc_caller_gets_trailers_only() {
        let reply = reply(&[("content-type", "application/grpc+proto")], true);
        assert_eq!(reply.head.status(), 200);
        assert_eq!(reply.head.headers()["grpc-status"], "14");
        let message = reply.head.headers()["grpc-message"].to_str().expect("ascii");
        assert!(message.ends_with("\"refused\" 100%25"), "{message}");
        assert!(reply.content.is_none());
    }

    #[test]
    fn a_browsers_grpc_caller_gets_them_in_its_own_kind() {
        for kind in ["application/grpc-web+proto", "application/grpc-web-text"] {
            let reply = reply(&[("content-type", kind)], false);
            assert_eq!(reply.head.headers()["content-type"], kind);
            assert_eq!(reply.head.headers()["grpc-status"], "14");
        }
    }

    #[test]
    fn a_program_gets_problem_json() {
        let reply = reply(&[], true);
        assert_eq!(
            (reply.head.status().as_u16(), &reply.head.headers()["x-sidecar-reason"]),
            (503, &HeaderValue::from_static("connect-failure"))
        );
        let content = reply.content.expect("content");
        let text = std::str::from_utf8(&content).expect("utf-8");
        assert!(
            text.contains(r#""reason":"connect-failure""#) && text.contains(r#"\"refused\" 100%"#),
            "{text}"
        );
        assert_eq!(reply.head.headers()["content-length"], text.len().to_string().as_str());
    }

    #[test]
    fn a_head_is_answered_without_content() {
        let (head, ()) = Request::head("/").body(()).expect("a legal request").into_parts();
        let (get, ()) = Request::get("/").body(()).expect("a legal request").into_parts();
        let error = Error::new(Reason::NoRoute);
        let [head, get] =
            [head, get].map(|request| explain(&error, &request, Audience { trusted: true, request_id: "r-1" }));
        assert!(head.content.is_none());
        let length = get.content.expect("content").len();
        assert_eq!(head.head.headers()["content-length"], length.to_string().as_str());
    }

    #[test]
    fn a_browser_gets_a_page() {
        let reply = reply(&[("accept", "text/html,application/xhtml+xml")], false);
        assert!(
            reply
                .content
                .is_some_and(|content| content.starts_with(b"<!doctype html>"))
        );
    }

    #[test]
    fn strangers_are_told_no_particulars() {
        for fields in [
            &[][..],
            &[("accept", "text/html")][..],
            &[("content-type", "application/grpc")][..],
        ] {
            let reply = reply(fields, false);
            let mut told = reply
                .content
                .map_or(String::new(), |content| String::from_utf8_lossy(&content).into_owned());
            told.push_str(&format!("{:?}", reply.head.headers()));
            assert!(
                !told.contains("127.0.0.1") && !told.contains("connect-failure"),
                "{told}"
            );
        }
    }
}
