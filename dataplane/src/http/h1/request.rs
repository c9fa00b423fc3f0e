//! The head of a request as it goes to a server.

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, header};

use super::content::Writing;
use super::head::write_field;
use super::is_hop_by_hop;
use super::socket::HEAD_SPACE;
use crate::http::check::{Malformed, content_length};
use crate::http::upgrade::{Upgrade, websocket_key};

/// What of a request decides how its response is read.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    /// HEAD: the response has no content.
    pub(super) is_head: bool,
    /// Sending it twice does what sending it once does (RFC 9110 section 9.2.2).
    pub(super) is_idempotent: bool,
    /// It asks to go on in another protocol.
    pub(super) upgrades: bool,
    /// The `Sec-WebSocket-Key` of a client that has none.
    pub(super) our_key: Option<HeaderValue>,
}

/// Writes the head in origin form, with `Host`; without content if `end`.
pub(super) fn write(out: &mut BytesMut, head: &Request<()>, end: bool) -> Result<(Asked, Writing), Malformed> {
    let upgrade = head.extensions().get::<Upgrade>().filter(|_| !end);
    let length = content_length(head.headers())?;
    if end && matches!(length, Some(1..)) {
        return Err(Malformed("Content-Length of a request without content"));
    }
    out.reserve(HEAD_SPACE);
    write_request_line(out, head);
    write_host(out, head);
    let mut asked = Asked {
        is_head: head.method() == Method::HEAD,
        is_idempotent: head.method().is_idempotent(),
        upgrades: upgrade.is_some(),
        our_key: None,
    };
    write_fields(out, head.headers());
    if let Some(upgrade) = upgrade
        && upgrade.is_websocket()
        && upgrade.has_no_key()
    {
        let key = websocket_key();
        write_field(out, &header::SEC_WEBSOCKET_KEY, &key);
        asked.our_key = Some(key);
    }
    write_connection(out, head.headers(), upgrade);
    let writing = write_framing(out, head.method(), length, end, upgrade.is_some());
    out.put_slice(b"\r\n");
    Ok((asked, writing))
}

fn write_request_line(out: &mut BytesMut, head: &Request<()>) {
    out.put_slice(head.method().as_str().as_bytes());
    out.put_u8(b' ');
    let path = head.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    out.put_slice(path.as_bytes());
    out.put_slice(b" HTTP/1.1\r\n");
}

/// No authority can break out of its line: it holds no control byte by construction.
fn write_host(out: &mut BytesMut, head: &Request<()>) {
    let authority = head.uri().authority().map_or("", http::uri::Authority::as_str);
    out.put_slice(b"host: ");
    out.put_slice(authority.as_bytes());
    out.put_slice(b"\r\n");
}

/// All but what frames the message and what concerns the connection.
fn write_fields(out: &mut BytesMut, fields: &HeaderMap) {
    let mut has_cookies = false;
    for (name, value) in fields {
        match *name {
            header::HOST | header::CONTENT_LENGTH => {}
            header::COOKIE => has_cookies = true,
            _ if is_hop_by_hop(name) => {}
            _ => write_field(out, name, value),
        }
    }
    if has_cookies {
        write_cookies(out, fields);
    }
}

/// HTTP/2 may send a cookie in pieces; HTTP/1.1 has one field for all (RFC 9113 section 8.2.3).
fn write_cookies(out: &mut BytesMut, fields: &HeaderMap) {
    out.put_slice(b"cookie: ");
    for (index, value) in fields.get_all(header::COOKIE).iter().enumerate() {
        if index > 0 {
            out.put_slice(b"; ");
        }
        out.put_slice(value.as_bytes());
    }
    out.put_slice(b"\r\n");
}

/// `TE` and `Upgrade` concern one connection and must be named so (RFC 9110 sections 7.8 and 10.1.4).
fn write_connection(out: &mut BytesMut, fields: &HeaderMap, upgrade: Option<&Upgrade>) {
    let takes_trailers = fields.contains_key(header::TE);
    if takes_trailers {
        out.put_slice(b"te: trailers\r\n");
    }
    if let Some(upgrade) = upgrade {
        out.put_slice(b"upgrade: ");
        out.put_slice(upgrade.name().as_bytes());
        out.put_slice(b"\r\n");
    }
    out.put_slice(match (takes_trailers, upgrade) {
        (true, Some(_)) => b"connection: te, upgrade\r\n",
        (true, None) => b"connection: te\r\n",
        (false, Some(_)) => b"connection: upgrade\r\n",
        (false, None) => b"",
    });
}

fn write_framing(out: &mut BytesMut, method: &Method, length: Option<u64>, end: bool, upgrades: bool) -> Writing {
    // A server may want to know that a method which usually has content has none (RFC 9110 section 8.6).
    let usually_has_content = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
    let (length, writing) = match (end, length) {
        (true, None) if !usually_has_content => (None, Writing::Done),
        (true, _) => (Some(0), Writing::Done),
        (false, _) if upgrades => (None, Writing::Waiting),
        (false, Some(length)) => (Some(length), Writing::Length(length)),
        (false, None) => (None, Writing::Chunked),
    };
    if let Some(length) = length {
        out.put_slice(b"content-length: ");
        out.put_slice(itoa::Buffer::new().format(length).as_bytes());
        out.put_slice(b"\r\n");
    }
    if writing == Writing::Chunked {
        out.put_slice(b"transfer-encoding: chunked\r\n");
    }
    writing
}
