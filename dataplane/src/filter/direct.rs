//! Answers of routes that lead nowhere.

use http::header::{CONTENT_TYPE, LOCATION};
use http::request::Parts;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Method, Response, StatusCode};

use super::forwarded::is_https;
use crate::http::{grpc, grpc_web};
use crate::reply::{self, Reply};
use crate::route::matcher::beyond;
use crate::snapshot::model::{Matcher, NewPath, Redirect, Respond};

/// Sends the client elsewhere. `matcher` is the route's.
pub fn redirect(to: &Redirect, matcher: &Matcher, request: &Parts) -> Reply {
    let mut place = origin(to, request);
    match &to.path {
        Some(NewPath::Whole(whole)) => place.push_str(whole),
        Some(NewPath::Prefix(prefix)) => {
            let rest = beyond(matcher, request.uri.path());
            place.push_str(prefix);
            place.push_str(rest);
            if prefix.is_empty() && rest.is_empty() {
                place.push('/');
            }
        }
        None => place.push_str(request.uri.path()),
    }
    if let Some(query) = request.uri.query().filter(|_| !to.strip_query) {
        place.push('?');
        place.push_str(query);
    }
    elsewhere(to.status, place)
}

/// Scheme, host and port. A path alone would not do: `//host` at its beginning is another host (RFC 3986 section 4.2).
fn origin(to: &Redirect, request: &Parts) -> String {
    let authority = request.uri.authority();
    let is_tls = to
        .scheme
        .as_ref()
        .map_or(is_https(&request.headers), |scheme| *scheme == Scheme::HTTPS);
    let host = to
        .host
        .as_deref()
        .or(authority.map(Authority::host))
        .unwrap_or("localhost");
    let kept = authority.filter(|_| to.scheme.is_none() && to.host.is_none());
    let port = to.port.or(kept.and_then(Authority::port_u16));
    place(is_tls, host, port)
}

/// "https://host:8443"; without the port that the scheme has by itself.
pub(super) fn place(is_tls: bool, host: &str, port: Option<u16>) -> String {
    let (scheme, usual) = if is_tls { ("https", 443) } else { ("http", 80) };
    match port.filter(|port| *port != usual) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    }
}

/// An answer that names another place.
pub(super) fn elsewhere(status: StatusCode, place: String) -> Reply {
    let mut head = Response::new(());
    *head.status_mut() = status;
    // What a request's target and a configured host are made of is always a legal value.
    let place = HeaderValue::try_from(place).unwrap_or_else(|_| HeaderValue::from_static("/"));
    head.headers_mut().insert(LOCATION, place);
    Reply { head, content: None }
}

/// What the configuration says.
pub fn respond(with: &Respond, request: &Parts) -> Reply {
    let is_web = grpc_web::is_grpc_web(&request.headers);
    if is_web || grpc::is_grpc(&request.headers) {
        let kind = request.headers.get(CONTENT_TYPE).filter(|_| is_web).cloned();
        let kind = kind.unwrap_or_else(|| HeaderValue::from_static("application/grpc"));
        let words = with.body.as_deref().and_then(|body| std::str::from_utf8(body).ok());
        let trailers = grpc::trailers(grpc::of_http(with.status.as_u16()), words.unwrap_or("").trim_end());
        return reply::trailers_only(trailers, kind);
    }
    let mut head = Response::new(());
    *head.status_mut() = with.status;
    head.headers_mut().clone_from(&with.headers);
    // The fields tell of the content that GET would get.
    let content = with.body.clone().filter(|_| request.method != Method::HEAD);
    Reply { head, content }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http::header::{CONTENT_LENGTH, HeaderMap};

    use super::*;
    use crate::snapshot::model::PathMatch;

    fn to() -> Redirect {
        Redirect {
            status: StatusCode::FOUND,
            scheme: None,
            host: None,
            port: None,
            path: None,
            strip_query: false,
        }
    }

    fn asked(uri: &str) -> Parts {
        let request = Request::get(uri).header("x-forwarded-proto", "http");
        request.body(()).expect("a request").into_parts().0
    }

    fn location(to: &Redirect, matched: &str, uri: &str) -> String {
        let matcher = Matcher { path: Some(PathMatch::Prefix(matched.into())), ..Matcher::default() };
        let reply = redirect(to, &matcher, &asked(uri));
        reply.head.headers()[LOCATION].to_str().expect("visible").to_owned()
    }

    #[test]
    fn what_is_not_said_stays() {
        let asked = "http://shop.test:8080/a/b?c=d";
        let host = || Some("new.test".into());
        for (to, expected) in [
            (Redirect { port: Some(81), ..to() }, "http://shop.test:81/a/b?c=d"),
            (
                Redirect { strip_query: true, port: Some(80), ..to() },
                "http://shop.test/a/b",
            ),
            (
                Redirect { scheme: Some(Scheme::HTTPS), ..to() },
                "https://shop.test/a/b?c=d",
            ),
            (
                Redirect { scheme: Some(Scheme::HTTPS), port: Some(443), ..to() },
                "https://shop.test/a/b?c=d",
            ),
            (Redirect { host: host(), ..to() }, "http://new.test/a/b?c=d"),
            (
                Redirect { host: host(), port: Some(8443), ..to() },
                "http://new.test:8443/a/b?c=d",
            ),
            (
                Redirect { path: Some(NewPath::Whole("/x".into())), ..to() },
                "http://shop.test:8080/x?c=d",
            ),
            (
                Redirect { path: Some(NewPath::Prefix("/x".into())), ..to() },
                "http://shop.test:8080/x/b?c=d",
            ),
            (
                Redirect { path: Some(NewPath::Prefix("".into())), ..to() },
                "http://shop.test:8080/b?c=d",
            ),
        ] {
            assert_eq!(location(&to, "/a", asked), expected, "{to:?}");
        }
        let root = Redirect { path: Some(NewPath::Prefix("".into())), ..to() };
        assert_eq!(location(&root, "/a", "http://[::1]:90/a"), "http://[::1]:90/");
    }

    #[test]
    fn a_path_never_becomes_another_host() {
        let root = Redirect { path: Some(NewPath::Prefix("".into())), ..to() };
        assert_eq!(
            location(&root, "/a", "http://shop.test/a//evil.test/"),
            "http://shop.test//evil.test/"
        );
        let nobody = redirect(&root, &Matcher::default(), &asked("//evil.test/"));
        assert_eq!(nobody.head.headers()[LOCATION], "http://localhost//evil.test/");
    }

    fn maintenance(status: u16) -> Respond {
        Respond {
            status: StatusCode::from_u16(status).expect("a status"),
            headers: HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from(4))]),
            body: Some("soon".into()),
        }
    }

    #[test]
    fn a_head_gets_the_fields_alone() {
        let mut request = asked("/");
        request.method = Method::HEAD;
        let Reply { head, content } = respond(&maintenance(503), &request);
        assert_eq!(
            (head.status().as_u16(), &head.headers()[CONTENT_LENGTH]),
            (503, &HeaderValue::from(4))
        );
        assert!(content.is_none());
        assert_eq!(
            respond(&maintenance(200), &asked("/")).content.as_deref(),
            Some(&b"soon"[..])
        );
    }

    #[test]
    fn a_call_gets_a_status_of_its_own() {
        for (status, kind, expected) in [
            (503, "application/grpc", "14"),
            (404, "application/grpc+proto", "12"),
            (403, "application/grpc-web+proto", "7"),
            (200, "application/grpc", "2"),
        ] {
            let mut request = asked("/");
            request.headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            let Reply { head, content } = respond(&maintenance(status), &request);
            assert_eq!((head.status(), content), (StatusCode::OK, None));
            assert_eq!(head.headers()["grpc-status"], expected);
            assert_eq!(head.headers()["grpc-message"], "soon");
            let told = if kind.contains("web") { kind } else { "application/grpc" };
            assert_eq!(head.headers()[CONTENT_TYPE], told);
        }
    }
}
