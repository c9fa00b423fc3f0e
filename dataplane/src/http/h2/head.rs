//! The head of a request from an HTTP/2 client, brought into the form that HTTP/1.1's have, and judged by the same rules.
//!
//! The crate has checked what concerns the framing: order and kind of pseudo-fields, fields of one connection, `te`,
//! lower case, `Content-Length` against the content.

use http::request::Parts;
use http::uri::{Authority, Scheme, Uri};
use http::{HeaderMap, Method, StatusCode, Version, header, uri};

use crate::error::{Error, Reason};
use crate::http::check::{AROUND_TARGET, Malformed, check_authority, check_target, content_length};
use crate::http::upgrade::Upgrade;
use crate::snapshot::model::ListenerLimits;

/// A field's share of the size of a head, beside name and value (RFC 9113 section 6.5.2).
const AROUND_FIELD: usize = 32;

/// A request that is answered without an exchange.
#[derive(Debug)]
pub struct Refusal {
    /// What is wrong with it.
    pub error: Error,
    /// What the client is told.
    pub status: StatusCode,
}

impl Refusal {
    fn too_large(status: StatusCode, cause: &'static str) -> Self {
        Refusal { error: Error::new(Reason::HeadTooLarge).because(cause), status }
    }
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        Refusal {
            error: Error::new(Reason::BadRequest).because(malformed.0),
            status: StatusCode::BAD_REQUEST,
        }
    }
}

/// Holds a head against the listener's limits.
pub(super) fn check_size(parts: &Parts, limits: &ListenerLimits) -> Result<(), Refusal> {
    let path = parts.uri.path_and_query().map_or(0, |path| path.as_str().len());
    let line = parts.method.as_str().len() + path + AROUND_TARGET;
    if line > limits.max_request_line as usize {
        let words = "the request line is longer than allowed";
        return Err(Refusal::too_large(StatusCode::URI_TOO_LONG, words));
    }
    let too_large = |words| Err(Refusal::too_large(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, words));
    // A client may send a cookie in pieces (RFC 9113 section 8.2.3): they are one field.
    let most = limits.max_headers as usize;
    let pieces = || parts.headers.get_all(header::COOKIE).iter().count();
    if parts.headers.len() > most && parts.headers.len() - pieces().saturating_sub(1) > most {
        return too_large("there are more fields than allowed");
    }
    let fields = parts.headers.iter();
    let fields: usize = fields
        .map(|(name, value)| name.as_str().len() + value.len() + AROUND_FIELD)
        .sum();
    let authority = parts.uri.authority().map_or(0, |authority| authority.as_str().len());
    if line + authority + fields > limits.max_header_bytes as usize {
        return too_large("the request head has more bytes than allowed");
    }
    Ok(())
}

/// Afterwards the URI has scheme and authority, there is no `Host`, and an extended CONNECT is a GET that asks for an
/// [`Upgrade`].
pub(super) fn normalize(parts: &mut Parts, scheme: &Scheme) -> Result<(), Malformed> {
    check_fields(&parts.headers)?;
    content_length(&parts.headers)?;
    let host = take_host(&mut parts.headers)?;
    parts.version = Version::HTTP_2;
    let asks = parts.extensions.remove::<h2::ext::Protocol>();
    if let Some(protocol) = &asks {
        let upgrade =
            Upgrade::new(protocol.as_str().as_bytes()).ok_or(Malformed(":protocol names no other protocol"))?;
        if upgrade.is_websocket() {
            // It means nothing here, and an endpoint of HTTP/1.1 gets one of ours.
            parts.headers.remove(header::SEC_WEBSOCKET_KEY);
        }
        parts.extensions.insert(upgrade.by_connect());
        parts.method = Method::GET;
    }
    if let Some(authority) = parts.uri.authority() {
        check_authority(authority.as_str().as_bytes())?;
        if host.is_some_and(|host| !host.as_str().eq_ignore_ascii_case(authority.as_str())) {
            return Err(Malformed("Host and :authority differ"));
        }
    } else {
        let host = host.ok_or(Malformed("there is neither :authority nor Host"))?;
        let mut uri = uri::Parts::default();
        uri.scheme = Some(scheme.clone());
        uri.authority = Some(host);
        uri.path_and_query = parts.uri.path_and_query().cloned();
        parts.uri = Uri::from_parts(uri).map_err(|_| Malformed(":path is malformed"))?;
    }
    if parts.method == Method::CONNECT && asks.is_none() {
        return Ok(());
    }
    if !matches!(parts.uri.scheme_str(), Some("http" | "https")) {
        return Err(Malformed(":scheme is neither http nor https"));
    }
    check_path(parts)
}

fn check_path(parts: &Parts) -> Result<(), Malformed> {
    let path = parts.uri.path_and_query().map_or("", uri::PathAndQuery::as_str);
    check_target(path.as_bytes())?;
    match path.as_bytes() {
        [b'/', ..] => Ok(()),
        b"*" if parts.method == Method::OPTIONS => Ok(()),
        _ => Err(Malformed(":path does not begin with a slash")),
    }
}

/// "A field value MUST NOT start or end with an ASCII whitespace character" (RFC 9113 section 8.2.1).
fn check_fields(fields: &HeaderMap) -> Result<(), Malformed> {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    for value in fields.values() {
        if is_space(value.as_bytes().first()) || is_space(value.as_bytes().last()) {
            return Err(Malformed("a field value starts or ends with white space"));
        }
    }
    Ok(())
}

/// Takes `Host` out of the fields.
fn take_host(fields: &mut HeaderMap) -> Result<Option<Authority>, Malformed> {
    let malformed = Malformed("Host is not a host with an optional port");
    if !fields.contains_key(header::HOST) {
        return Ok(None);
    }
    if fields.get_all(header::HOST).iter().nth(1).is_some() {
        return Err(Malformed("there is more than one Host field"));
    }
    let Some(host) = fields.remove(header::HOST) else {
        return Ok(None);
    };
    check_authority(host.as_bytes()).map_err(|_| malformed)?;
    Authority::from_maybe_shared(host).map(Some).map_err(|_| malformed)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn normalized(request: http::request::Builder) -> Result<Request<()>, Malformed> {
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        normalize(&mut parts, &Scheme::HTTP).map(|()| Request::from_parts(parts, ()))
    }

    fn get(uri: &str) -> http::request::Builder {
        Request::get(uri)
    }

    #[test]
    fn host_takes_the_place_of_a_missing_authority_and_leaves_the_fields() {
        for request in [
            get("http://orders:80/a?b").header("host", "Orders:80"),
            get("http://orders:80/a?b"),
            get("/a?b").header("host", "orders:80"),
        ] {
            let request = normalized(request).unwrap();
            assert_eq!(request.uri(), "http://orders:80/a?b");
            assert!(!request.headers().contains_key("host"));
        }
    }

    #[test]
    fn what_http_1_refuses_is_refused() {
        for (request, cause) in [
            (get("http://orders/").header("host", "other"), "differ"),
            (
                get("http://orders/").header("host", "orders").header("host", "orders"),
                "more than one",
            ),
            (get("/").header("host", "a@b"), "Host is not"),
            (get("/"), "neither"),
            (get("http://a@b/"), "authority"),
            (get("ftp://orders/"), ":scheme"),
            (get("http://orders/a%00"), "NUL"),
            (get("http://orders/").header("x", " 1"), "white space"),
            (get("http://orders/").header("x", "1\t"), "white space"),
            (
                get("http://orders/")
                    .header("content-length", "5")
                    .header("content-length", "6"),
                "differ",
            ),
            (get("http://orders/").header("content-length", "+5"), "decimal"),
        ] {
            let words = format!("{request:?}");
            let malformed = normalized(request).expect_err(&words);
            assert!(malformed.0.contains(cause), "{}: {words}", malformed.0);
        }
        let star = || {
            Uri::builder()
                .scheme("http")
                .authority("orders")
                .path_and_query("*")
                .build()
                .unwrap()
        };
        assert!(normalized(Request::options(star())).is_ok());
        assert!(normalized(Request::get(star())).is_err_and(|malformed| malformed.0.contains("slash")));
    }

    #[test]
    fn an_extended_connect_becomes_a_get_that_asks_for_an_upgrade() {
        let connect = || Request::connect("http://orders/chat");
        let asked = connect().header("sec-websocket-key", "of no meaning");
        let request = normalized(asked.extension(h2::ext::Protocol::from_static("websocket"))).unwrap();
        assert!(request.headers().is_empty());
        assert_eq!((request.method(), request.uri().path()), (&Method::GET, "/chat"));
        assert!(request.extensions().get::<Upgrade>().is_some_and(Upgrade::is_websocket));
        let refused = normalized(connect().extension(h2::ext::Protocol::from_static("h2c")));
        assert!(refused.is_err());
    }
}
