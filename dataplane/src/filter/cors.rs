//! Cross-origin resource sharing: which web pages may read answers (<https://fetch.spec.whatwg.org/#http-cors-protocol>).
//!
//! A route's policy takes the place of what the application says. It keeps no request away: browsers obey it, others need
//! not.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::reply::Reply;
use crate::snapshot::model::{Cors, OriginMatch};

/// The answer to a preflight with these fields.
pub fn preflight(cors: &Cors, request: &HeaderMap) -> Reply {
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::NO_CONTENT;
    let headers = head.headers_mut();
    if name_origin(cors, request, headers) {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, cors.methods.clone());
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, cors.headers.clone());
        if let Some(max_age) = &cors.max_age {
            headers.insert(ACCESS_CONTROL_MAX_AGE, max_age.clone());
        }
    }
    Reply { head, content: None }
}

/// Says in the answer to a request which page may read it, and what of it.
pub fn allow(cors: &Cors, request: &HeaderMap, answer: &mut HeaderMap) {
    for name in [
        ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_ALLOW_CREDENTIALS,
        ACCESS_CONTROL_EXPOSE_HEADERS,
    ] {
        answer.remove(name);
    }
    if name_origin(cors, request, answer) {
        answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, cors.exposed.clone());
    }
}

/// Names the page's origin if it may read the answer. An answer that names one is different for the next, so caches are
/// told, also when there is none (<https://fetch.spec.whatwg.org/#cors-protocol-and-http-caches>).
fn name_origin(cors: &Cors, request: &HeaderMap, answer: &mut HeaderMap) -> bool {
    let origin = request.get(ORIGIN);
    let allowed = match (&cors.origins, origin) {
        (None, Some(_)) => HeaderValue::from_static("*"),
        (None, None) => return false,
        (Some(origins), origin) => {
            answer.append(VARY, HeaderValue::from_static("origin"));
            match origin {
                Some(origin) if origins.iter().any(|known| matches(known, origin)) => origin.clone(),
                _ => return false,
            }
        }
    };
    answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    if cors.credentials {
        answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    true
}

fn matches(known: &OriginMatch, origin: &HeaderValue) -> bool {
    let origin = origin.as_bytes();
    match known {
        OriginMatch::Exact(exact) => origin == exact.as_bytes(),
        OriginMatch::Label(before, after) => origin
            .strip_prefix(before.as_bytes())
            .and_then(|rest| rest.strip_suffix(after.as_bytes()))
            .is_some_and(|label| {
                !label.is_empty() && label.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
            }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(origins: &[OriginMatch], credentials: bool) -> Cors {
        let value = HeaderValue::from_static;
        Cors {
            origins: (!origins.is_empty()).then(|| origins.to_vec()),
            methods: value("GET, POST"),
            headers: value("content-type"),
            exposed: value("grpc-status"),
            max_age: Some(value("600")),
            credentials,
        }
    }

    fn shop() -> OriginMatch {
        OriginMatch::Exact("https://shop.test".into())
    }

    fn from(origin: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static(origin))])
    }

    #[test]
    fn an_origin_is_matched_whole_or_by_one_label() {
        let below = OriginMatch::Label("https://".into(), ".shop.test:8443".into());
        for (known, origin, expected) in [
            (shop(), "https://shop.test", true),
            (shop(), "https://shop.test:8443", false),
            (shop(), "http://shop.test", false),
            (shop(), "https://shop.test.evil.test", false),
            (shop(), "null", false),
            (below.clone(), "https://a-1.shop.test:8443", true),
            (below.clone(), "https://a.b.shop.test:8443", false),
            (below.clone(), "https://.shop.test:8443", false),
            (below.clone(), "https://evil.test/.shop.test:8443", false),
            (below, "https://a.shop.test", false),
        ] {
            assert_eq!(matches(&known, &HeaderValue::from_static(origin)), expected, "{origin}");
        }
    }

    #[test]
    fn a_preflight_is_told_everything_or_nothing() {
        let Reply { head, content } = preflight(&policy(&[shop()], true), &from("https://shop.test"));
        assert_eq!((head.status(), content), (StatusCode::NO_CONTENT, None));
        for (name, value) in [
            ("access-control-allow-origin", "https://shop.test"),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-methods", "GET, POST"),
            ("access-control-allow-headers", "content-type"),
            ("access-control-max-age", "600"),
            ("vary", "origin"),
        ] {
            assert_eq!(head.headers()[name], value);
        }
        let stranger = preflight(&policy(&[shop()], true), &from("https://evil.test"));
        assert_eq!(stranger.head.headers().len(), 1, "{:?}", stranger.head);
        assert_eq!(stranger.head.headers()["vary"], "origin");
    }

    #[test]
    fn the_policy_takes_the_place_of_the_applications() {
        let mut answer = from("https://ignored.test");
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("x-own"));
        answer.insert(VARY, HeaderValue::from_static("accept"));
        let mut refused = answer.clone();
        allow(&policy(&[shop()], false), &from("https://shop.test"), &mut answer);
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_ORIGIN], "https://shop.test");
        assert_eq!(answer[ACCESS_CONTROL_EXPOSE_HEADERS], "grpc-status");
        assert_eq!(answer.get_all(VARY).iter().collect::<Vec<_>>(), ["accept", "origin"]);
        for request in [from("https://evil.test"), HeaderMap::new()] {
            allow(&policy(&[shop()], false), &request, &mut refused);
            assert!(!refused.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
            assert!(!refused.contains_key(ACCESS_CONTROL_EXPOSE_HEADERS));
        }
    }

    #[test]
    fn an_answer_for_everybody_is_the_same_for_everybody() {
        let mut answer = HeaderMap::new();
        allow(&policy(&[], false), &from("https://any.test"), &mut answer);
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(!answer.contains_key(VARY));
    }
}
