//! What a listener at the edge answers by itself, or says in every answer.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, STRICT_TRANSPORT_SECURITY};
use http::request::Parts;
use http::{HeaderValue, Method};

use super::direct::{elsewhere, place};
use super::forwarded::is_https;
use crate::error::{Error, Reason};
use crate::http::grpc;
use crate::reply::Reply;
use crate::snapshot::model::{ErrorPage, Front, Route};

/// Sends a request that came in the clear to TLS, where the listener takes none. Fails where nobody knows which host.
pub fn to_https(front: Option<&Front>, request: &Parts) -> Result<Option<Reply>, Error> {
    let Some(redirect) = front.and_then(|front| front.https_redirect) else {
        return Ok(None);
    };
    if is_https(&request.headers) || request.method == Method::CONNECT {
        return Ok(None);
    }
    let Some(authority) = request.uri.authority() else {
        return Err(Error::new(Reason::BadRequest).because("It names no host, and is not taken in the clear."));
    };
    let mut location = place(true, authority.host(), Some(redirect.port));
    location.push_str(request.uri.path_and_query().map_or("/", |target| target.as_str()));
    Ok(Some(elsewhere(redirect.status, location)))
}

/// Says in an answer what browsers are to keep of the host; in the clear nobody may (RFC 6797 section 7.2).
pub fn keep_https(front: Option<&Front>, request: &Parts, answer: &mut HeaderMap) {
    if let Some(hsts) = front.and_then(|front| front.hsts.as_ref())
        && is_https(&request.headers)
    {
        answer.insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
}

/// The page that takes the place of an explanation with these fields.
pub fn error_page<'a>(
    route: Option<&'a Route>,
    front: Option<&'a Front>,
    status: u16,
    fields: &HeaderMap,
) -> Option<&'a ErrorPage> {
    if fields.contains_key(grpc::GRPC_STATUS) {
        return None;
    }
    let of_route = route.map_or(&[][..], |route| &route.error_pages);
    let of_all = front.map_or(&[][..], |front| &front.error_pages);
    let takes = |page: &&ErrorPage| page.statuses.iter().any(|range| range.contains(&status));
    of_route.iter().chain(of_all).find(takes)
}

/// Makes the fields of an answer tell of the page.
pub fn tell_page(page: &ErrorPage, answer: &mut HeaderMap) {
    answer.insert(CONTENT_TYPE, page.content_type.clone());
    answer.insert(CONTENT_LENGTH, HeaderValue::from(page.body.len()));
}

#[cfg(test)]
mod tests {
    use http::{Request, StatusCode};

    use super::*;
    use crate::snapshot::model::HttpsRedirect;

    fn front() -> Front {
        let page = |statuses, body: &'static str| ErrorPage {
            statuses: vec![statuses],
            content_type: HeaderValue::from_static("text/html"),
            body: body.into(),
        };
        Front {
            https_redirect: Some(HttpsRedirect { status: StatusCode::MOVED_PERMANENTLY, port: 8443 }),
            hsts: Some(HeaderValue::from_static("max-age=1")),
            error_pages: vec![page(503..=503, "soon"), page(500..=599, "sorry")],
        }
    }

    fn asked(method: &str, uri: &str, scheme: &str) -> Parts {
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("x-forwarded-proto", scheme);
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn requests_in_the_clear_are_sent_to_tls_with_all_that_they_say() {
        let location = |request: Parts| {
            let reply = to_https(Some(&front()), &request).expect("an answer");
            reply.map(|reply| reply.head.headers()["location"].to_str().expect("visible").to_owned())
        };
        let asked_for = "http://shop.test:8080/a?b=c";
        assert_eq!(
            location(asked("POST", asked_for, "http")).as_deref(),
            Some("https://shop.test:8443/a?b=c")
        );
        assert_eq!(location(asked("GET", asked_for, "HTTPS")), None);
        assert_eq!(location(asked("CONNECT", "shop.test:443", "http")), None);
        assert!(to_https(Some(&front()), &asked("GET", "/a", "http")).is_err());
        assert!(matches!(to_https(None, &asked("GET", "/a", "http")), Ok(None)));
    }

    #[test]
    fn only_answers_by_tls_tell_browsers_to_stay() {
        for (scheme, expected) in [("https", true), ("http", false)] {
            let mut answer = HeaderMap::new();
            keep_https(Some(&front()), &asked("GET", "/", scheme), &mut answer);
            assert_eq!(answer.contains_key("strict-transport-security"), expected);
        }
    }

    #[test]
    fn the_first_page_of_a_status_is_taken_but_for_calls() {
        let (front, plain) = (front(), HeaderMap::new());
        let body = |status| error_page(None, Some(&front), status, &plain).map(|page| page.body.as_ref());
        assert_eq!(
            (body(503), body(502), body(404)),
            (Some(&b"soon"[..]), Some(&b"sorry"[..]), None)
        );
        let call = HeaderMap::from_iter([(grpc::GRPC_STATUS, HeaderValue::from(14))]);
        assert!(error_page(None, Some(&front), 503, &call).is_none());
    }
}
