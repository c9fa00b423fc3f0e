//! Answers that are compressed for callers that take that.

use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, response};

use crate::error::{Error, Reason};
use crate::http::body::Body;
use crate::http::check;
use crate::http::coding::{self, Compressed};
use crate::http::{grpc, grpc_web};
use crate::snapshot::model::Compress;

/// What we decode, as a field says it.
const DECODED: HeaderValue = HeaderValue::from_static("zstd, br, gzip");

/// The content of an answer as the caller gets it, and its head brought in line with that.
pub fn answer(compress: &Compress, request: &Parts, answer: &mut response::Parts, body: Body) -> Body {
    if request.method == Method::HEAD || !may_be(compress, request, answer) {
        return body;
    }
    // For who asks otherwise the answer is another, whatever this one becomes.
    add_vary(&mut answer.headers);
    let Some(coding) = coding::best(&request.headers, &compress.codings) else {
        return body;
    };
    let compressed = match Compressed::new(coding, body) {
        Ok(compressed) => compressed,
        Err(body) => return body,
    };
    let headers = &mut answer.headers;
    coding::forget(headers);
    headers.remove(ACCEPT_RANGES);
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    weaken(headers);
    Body::Compressed(Box::new(compressed))
}

/// Whether an answer is one that may be compressed, by what its head says.
fn may_be(compress: &Compress, request: &Parts, answer: &response::Parts) -> bool {
    let headers = &answer.headers;
    let has_status = match answer.status {
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED => {
            false
        }
        status => !status.is_informational(),
    };
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    has_status
        && compress.content_types.iter().any(|listed| listed.takes(kind))
        && !headers.contains_key(CONTENT_ENCODING)
        && !headers.contains_key(CONTENT_RANGE)
        && !must_not_change(headers)
        && !must_not_change(&request.headers)
        && !grpc::is_grpc(headers)
        && !grpc_web::is_grpc_web(headers)
        && check::content_length(headers).is_ok_and(|length| length.is_none_or(|length| length >= compress.min_size))
}

/// RFC 9111 sections 5.2.1.6 and 5.2.2.6.
fn must_not_change(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(CACHE_CONTROL).into_iter();
    let mut directives = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b','));
    directives.any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
}

fn add_vary(headers: &mut HeaderMap) {
    let fields = headers.get_all(VARY).into_iter();
    let mut names = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b','));
    let is_there = |name: &[u8]| name == b"*" || name.eq_ignore_ascii_case(ACCEPT_ENCODING.as_str().as_bytes());
    if !names.any(|name| is_there(name.trim_ascii())) {
        headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// Two codings of one content are not the same bytes (RFC 9110 section 8.8.1).
fn weaken(headers: &mut HeaderMap) {
    let Some(strong) = headers.get(ETAG).filter(|tag| tag.as_bytes().starts_with(b"\"")) else {
        return;
    };
    match HeaderValue::from_bytes(&[&b"W/"[..], strong.as_bytes()].concat()) {
        Ok(weak) => headers.insert(ETAG, weak),
        Err(_) => headers.remove(ETAG),
    };
}

/// Tells in an answer that refuses for the coding which ones are understood (RFC 9110 section 12.5.3).
pub fn tell_codings(error: &Error, answer: &mut HeaderMap) {
    if error.reason == Reason::ContentCodingRefused {
        answer.insert(ACCEPT_ENCODING, DECODED);
    }
}
