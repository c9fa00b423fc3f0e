//! What a request must be like before anybody asks who it is from.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{ALLOW, CONTENT_TYPE};
use http::request::Parts;

use crate::error::{Error, Reason};
use crate::snapshot::address_lists::AddressLists;
use crate::snapshot::model::{Route, Shape, Sources};

/// Fails when clients of this address may not come in.
pub fn comes_from(sources: Option<&Sources>, known: &AddressLists, client: IpAddr) -> Result<(), Error> {
    match sources.and_then(|sources| sources.refusal(client, known)) {
        Some(words) => Err(Error::new(Reason::AddressRefused).because(words)),
        None => Ok(()),
    }
}

/// Fails when the request is not as the route wants it.
pub fn is_like(shape: &Shape, request: &Parts, has_content: bool) -> Result<(), Error> {
    if !shape.methods.is_empty() && !shape.methods.contains(&request.method) {
        let words = format_args!("`methods` of the route has no {}.", request.method);
        return Err(Error::new(Reason::MethodRefused).because(words));
    }
    if has_content && !shape.content_types.is_empty() && !has_one(shape, &request.headers) {
        let words = match request.headers.contains_key(CONTENT_TYPE) {
            true => "`content_types` of the route does not have that of the content.",
            false => "The content has no Content-Type, and `content_types` of the route asks for one.",
        };
        return Err(Error::new(Reason::ContentTypeRefused).because(words));
    }
    Ok(())
}

/// Of several fields nobody knows which one counts: all must be good.
fn has_one(shape: &Shape, headers: &HeaderMap) -> bool {
    let is_good = |field: &[u8]| shape.content_types.iter().any(|kind| kind.takes(field));
    let mut fields = headers.get_all(CONTENT_TYPE).into_iter().peekable();
    fields.peek().is_some() && fields.all(|field| is_good(field.as_bytes()))
}

/// Tells in an answer that refuses for the method which ones there are (RFC 9110 section 15.5.6).
pub fn tell_methods(route: &Route, error: &Error, answer: &mut HeaderMap) {
    if let (Reason::MethodRefused, Some(shape)) = (error.reason, &route.shape) {
        answer.insert(ALLOW, shape.allow.clone());
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Method, Request};

    use super::*;
    use crate::snapshot::model::ContentType;

    fn asked(method: &str, types: &[&str]) -> Parts {
        let mut request = Request::builder().method(method);
        for text in types {
            request = request.header(CONTENT_TYPE, *text);
        }
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn other_methods_and_kinds_of_content_are_refused() {
        let shape = Shape {
            methods: vec![Method::POST],
            allow: HeaderValue::from_static("POST"),
            content_types: vec![ContentType::Exact("a/b".into())],
        };
        let reason = |method: &str, types: &[&str], has_content| {
            is_like(&shape, &asked(method, types), has_content)
                .err()
                .map(|error| error.reason)
        };
        assert_eq!(reason("POST", &["a/b"], true), None);
        assert_eq!(reason("POST", &["A/B; c=d"], true), None);
        assert_eq!(
            reason("POST", &[], false),
            None,
            "without content there is no kind of it"
        );
        assert_eq!(reason("GET", &["a/b"], true), Some(Reason::MethodRefused));
        assert_eq!(
            reason("post", &["a/b"], true),
            Some(Reason::MethodRefused),
            "methods have a case"
        );
        for types in [&[][..], &["a/c"], &["a/b", "a/c"], &["a/c", "a/b"]] {
            assert_eq!(
                reason("POST", types, true),
                Some(Reason::ContentTypeRefused),
                "{types:?}"
            );
        }
        let open = Shape {
            methods: Vec::new(),
            allow: HeaderValue::from_static(""),
            content_types: Vec::new(),
        };
        assert!(is_like(&open, &asked("BREW", &["x"]), true).is_ok());
    }
}
