//! The head of a request: found, parsed and judged. Whatever two readers could understand differently is refused.

use std::mem::MaybeUninit;

use bytes::{BufMut, Bytes, BytesMut};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version, header};

use super::is_hop_by_hop;
use super::server::Refusal;
use crate::error::Reason;
use crate::http::check::{AROUND_TARGET, Malformed, check_authority, check_target, decimal};
use crate::http::upgrade::Upgrade;
use crate::snapshot::model::ListenerLimits;

/// Bounds of a head, and of a trailer section.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadLimits {
    pub(super) bytes: usize,
    pub(super) line: usize,
    pub(super) fields: usize,
}

impl From<&ListenerLimits> for HeadLimits {
    fn from(limits: &ListenerLimits) -> Self {
        HeadLimits {
            bytes: limits.max_header_bytes as usize,
            line: limits.max_request_line as usize,
            fields: limits.max_headers as usize,
        }
    }
}

/// Finds the empty line that ends a section of fields, without looking at any byte twice.
#[derive(Debug, Default)]
pub(super) struct Scan {
    line: usize,
    seen: usize,
    /// Take LF alone for the end of a line (RFC 9112 section 2.2 allows it).
    is_lenient: bool,
}

impl Scan {
    /// For what servers send: old ones end lines with LF, and they are not who attacks.
    pub(super) fn lenient() -> Self {
        Scan { is_lenient: true, ..Scan::default() }
    }

    /// True while no line has come to its end.
    pub(super) fn is_in_first_line(&self) -> bool {
        self.line == 0
    }

    /// The length of the section with its empty line; `None` while it is incomplete. `bytes` only ever grows.
    pub(super) fn section_end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        while let Some(distance) = memchr::memchr(b'\n', &bytes[self.seen..]) {
            let line_feed = self.seen + distance;
            let line = &bytes[self.line..line_feed];
            let line = match line.strip_suffix(b"\r") {
                Some(line) => line,
                None if self.is_lenient => line,
                None => return Err(Malformed("a line ends with a bare LF")),
            };
            if line.is_empty() {
                return Ok(Some(line_feed + 1));
            }
            self.seen = line_feed + 1;
            self.line = self.seen;
        }
        self.seen = bytes.len();
        Ok(None)
    }
}

/// How the content of a request is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Nothing,
    Length(u64),
    Chunked,
    /// None; bytes of another protocol follow if the answer is 101.
    Upgrade,
}

/// A request head that passed.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) request: Request<()>,
    pub(super) framing: Framing,
    pub(super) persistent: bool,
    pub(super) takes_trailers: bool,
    pub(super) expects_continue: bool,
}

/// Slots for parsed fields that need no allocation: a little over the default limit.
const FIELDS_ON_STACK: usize = 128;

/// Parses the whole section that [`Scan`] found.
pub(super) fn parse(section: Bytes, limits: HeadLimits, scheme: Scheme) -> Result<Head, Refusal> {
    let mut on_stack = [const { MaybeUninit::uninit() }; FIELDS_ON_STACK];
    let mut on_heap = Vec::new();
    let slots = match on_stack.get_mut(..limits.fields) {
        Some(slots) => slots,
        None => {
            on_heap.resize_with(limits.fields, MaybeUninit::uninit);
            &mut on_heap[..]
        }
    };
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(&section, slots) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(Refusal::bad("the request head is incomplete")),
        Err(error) => return Err(refusal_for(error, &section)),
    }
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Refusal::bad("the request line is incomplete"));
    };
    if method.len() + target.len() + AROUND_TARGET > limits.line {
        return Err(Refusal::line_too_long());
    }
    let version = if minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Refusal::bad("the method is not a token"))?;

    let mut fields = Fields::new(parsed.headers.len(), version);
    for field in parsed.headers.iter() {
        let name =
            HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Refusal::bad("a field name is not a token"))?;
        fields.take(name, section.slice_ref(field.value))?;
    }
    let uri = target_uri(&method, section.slice_ref(target.as_bytes()), &fields, scheme)?;
    fields.finish(method, uri, version)
}

fn refusal_for(error: httparse::Error, section: &[u8]) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::too_large("there are more fields than allowed"),
        httparse::Error::Version => version_refusal(section),
        httparse::Error::HeaderName => {
            Refusal::bad("a field line is malformed: its name is not a token, it is folded, or it has no colon")
        }
        httparse::Error::HeaderValue => Refusal::bad("a field value holds a control byte"),
        httparse::Error::NewLine => Refusal::bad("a line ends with a bare CR"),
        httparse::Error::Token | httparse::Error::Status => Refusal::bad("the request line is malformed"),
    }
}

/// A version of the right form but not ours deserves its own status (RFC 9110 section 15.6.6).
fn version_refusal(section: &[u8]) -> Refusal {
    let line = section.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let version = match (words.nth(2), words.next()) {
        (Some(version), None) => version,
        _ => return Refusal::bad("the request line is not a method, a target and a version"),
    };
    match version {
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            Refusal::bad("the version is neither HTTP/1.0 nor HTTP/1.1")
                .with_status(StatusCode::HTTP_VERSION_NOT_SUPPORTED)
        }
        [b'H' | b'h', b'T' | b't', b'T' | b't', b'P' | b'p', ..] => {
            Refusal::bad("the request line does not end with an HTTP version")
        }
        _ => Refusal::foreign("the request line does not end with an HTTP version"),
    }
}

/// The fields of a head while they are judged one by one.
struct Fields {
    kept: HeaderMap,
    version: Version,
    host: Option<Bytes>,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    nominated: Vec<HeaderName>,
    /// `Connection` says that `Upgrade` is meant.
    upgrades: bool,
    upgrade: Option<Bytes>,
    takes_trailers: bool,
    expects_continue: bool,
}

impl Fields {
    fn new(count: usize, version: Version) -> Self {
        Fields {
            kept: HeaderMap::with_capacity(count),
            version,
            host: None,
            length: None,
            chunked: false,
            close: false,
            nominated: Vec::new(),
            upgrades: false,
            upgrade: None,
            takes_trailers: false,
            expects_continue: false,
        }
    }

    fn take(&mut self, name: HeaderName, value: Bytes) -> Result<(), Refusal> {
        match name {
            header::HOST if self.host.is_some() => return Err(Refusal::bad("there is more than one Host field")),
            header::HOST => self.host = Some(value),
            header::CONTENT_LENGTH if self.length.is_some() => {
                return Err(Refusal::bad("there is more than one Content-Length field"));
            }
            header::CONTENT_LENGTH => {
                let length = decimal(&value)?;
                self.length = Some(length);
                // Written anew, so that leading zeros do not reach a reader that takes them for octal.
                self.keep(name, HeaderValue::from(length))?;
            }
            header::TRANSFER_ENCODING => self.take_transfer_encoding(&value)?,
            header::CONNECTION => self.take_connection(&value)?,
            header::TE => self.takes_trailers |= tokens(&value).any(|token| token.eq_ignore_ascii_case(b"trailers")),
            header::EXPECT => {
                if self.expects_continue || !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(
                        Refusal::bad("the expectation is not 100-continue").with_status(StatusCode::EXPECTATION_FAILED)
                    );
                }
                self.expects_continue = true;
                self.keep(name, HeaderValue::from_static("100-continue"))?;
            }
            header::UPGRADE => self.upgrade = Some(value),
            name if is_hop_by_hop(&name) => {}
            name => {
                let value = HeaderValue::from_maybe_shared(value)
                    .map_err(|_| Refusal::bad("a field value holds a control byte"))?;
                self.keep(name, value)?;
            }
        }
        Ok(())
    }

    fn take_connection(&mut self, value: &[u8]) -> Result<(), Refusal> {
        for token in tokens(value) {
            let name = HeaderName::from_bytes(token).map_err(|_| Refusal::bad("a connection option is not a token"))?;
            if name == "close" {
                self.close = true;
            } else if name == header::UPGRADE {
                self.upgrades = true;
            } else if !is_hop_by_hop(&name) && !is_protected(&name) {
                self.nominated.push(name);
            }
        }
        Ok(())
    }

    fn keep(&mut self, name: HeaderName, value: HeaderValue) -> Result<(), Refusal> {
        match self.kept.try_append(name, value) {
            Ok(_) => Ok(()),
            Err(_) => Err(Refusal::too_large("there are more fields than a map can hold")),
        }
    }

    fn take_transfer_encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.version == Version::HTTP_10 {
            return Err(Refusal::bad("Transfer-Encoding in an HTTP/1.0 request"));
        }
        if self.chunked {
            return Err(Refusal::bad("there is more than one Transfer-Encoding"));
        }
        if value.eq_ignore_ascii_case(b"chunked") {
            self.chunked = true;
            return Ok(());
        }
        // Only a list that ends with its one `chunked` is framed without doubt; its other codings are ones we do not
        // have (RFC 9112 section 6.1).
        let chunked = tokens(value)
            .filter(|token| token.eq_ignore_ascii_case(b"chunked"))
            .count();
        let last = tokens(value).last().unwrap_or_default();
        match chunked == 1 && last.eq_ignore_ascii_case(b"chunked") {
            true => Err(Refusal::not_implemented("a transfer coding other than chunked")),
            false => Err(Refusal::bad("Transfer-Encoding is not chunked")),
        }
    }

    fn finish(mut self, method: Method, uri: Uri, version: Version) -> Result<Head, Refusal> {
        if self.chunked && self.length.is_some() {
            return Err(Refusal::bad("Content-Length beside Transfer-Encoding"));
        }
        let upgrade = self
            .upgrade
            .take()
            .filter(|_| self.upgrades && version == Version::HTTP_11 && method != Method::CONNECT);
        let upgrade = upgrade.and_then(|name| Upgrade::new(&name));
        let framing = match self.length {
            _ if self.chunked => Framing::Chunked,
            None | Some(0) if upgrade.is_some() => Framing::Upgrade,
            None | Some(0) => Framing::Nothing,
            Some(length) => Framing::Length(length),
        };
        if method == Method::CONNECT && framing != Framing::Nothing {
            return Err(Refusal::bad("CONNECT with content"));
        }
        for name in std::mem::take(&mut self.nominated) {
            self.kept.remove(&name);
        }
        if self.takes_trailers {
            self.keep(header::TE, HeaderValue::from_static("trailers"))?;
        }
        // A proxy must not keep a connection to an HTTP/1.0 client (RFC 9112 section 9.3). After CONNECT the bytes that
        // follow may be a tunnel's, not a request's.
        let persistent = version == Version::HTTP_11 && !self.close && method != Method::CONNECT;
        let has_content = matches!(framing, Framing::Length(_) | Framing::Chunked);
        let expects_continue = self.expects_continue && version == Version::HTTP_11 && has_content;
        if self.expects_continue && !expects_continue {
            self.kept.remove(header::EXPECT);
        }
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.version_mut() = version;
        *request.headers_mut() = self.kept;
        // A request with content cannot leave its connection to another protocol before that is read: it stays HTTP.
        if let (Framing::Upgrade, Some(upgrade)) = (framing, upgrade) {
            request.extensions_mut().insert(upgrade);
        }
        Ok(Head {
            request,
            framing,
            persistent,
            takes_trailers: self.takes_trailers,
            expects_continue,
        })
    }
}

/// Fields that stay although `Connection` names them: a client must not be able to take away what routes, frames,
/// authenticates or traces its request, nor what a proxy in front wrote about it.
fn is_protected(name: &HeaderName) -> bool {
    match *name {
        header::CONTENT_LENGTH
        | header::CONTENT_TYPE
        | header::CONTENT_ENCODING
        | header::AUTHORIZATION
        | header::PROXY_AUTHORIZATION
        | header::COOKIE
        | header::FORWARDED
        | header::VIA => true,
        _ => {
            let name = name.as_str();
            ["x-forwarded-", "x-sidecar-", "x-b3-", "grpc-"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
                || matches!(
                    name,
                    "traceparent" | "tracestate" | "baggage" | "b3" | "uber-trace-id" | "x-request-id"
                )
        }
    }
}

/// The request's URI from its target and `Host` (RFC 9112 section 3.2).
fn target_uri(method: &Method, target: Bytes, fields: &Fields, scheme: Scheme) -> Result<Uri, Refusal> {
    check_target(&target)?;
    if let Some(host) = &fields.host {
        check_authority(host).map_err(|_| Refusal::bad("Host is not a host with an optional port"))?;
    } else if fields.version == Version::HTTP_11 {
        return Err(Refusal::bad("Host is missing"));
    }
    let malformed = || Refusal::bad("the request target is malformed");
    let mut parts = http::uri::Parts::default();
    if *method == Method::CONNECT {
        check_authority(&target)?;
        parts.authority = Some(Authority::from_maybe_shared(target).map_err(|_| malformed())?);
        return Uri::from_parts(parts).map_err(|_| malformed());
    }
    if target[0] == b'/' || (target[..] == *b"*" && *method == Method::OPTIONS) {
        if let Some(host) = &fields.host {
            parts.authority = Some(Authority::from_maybe_shared(host.clone()).map_err(|_| malformed())?);
            parts.scheme = Some(scheme);
        }
        parts.path_and_query = Some(PathAndQuery::from_maybe_shared(target).map_err(|_| malformed())?);
        return Uri::from_parts(parts).map_err(|_| malformed());
    }
    // Absolute form: its authority replaces `Host` (section 3.2.2).
    let behind_authority = target
        .splitn(3, |byte| *byte == b'/')
        .nth(2)
        .and_then(|rest| rest.iter().copied().find(|byte| matches!(byte, b'/' | b'?')));
    let uri = Uri::from_maybe_shared(target).map_err(|_| malformed())?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority)) => {
            check_authority(authority.as_str().as_bytes())?;
        }
        _ => return Err(malformed()),
    }
    let path = match (behind_authority, uri.path_and_query()) {
        (None, _) if *method == Method::OPTIONS => PathAndQuery::from_static("*"),
        // The query of an empty path, which goes on as "/" (section 3.2.1); so the crate shows it, but does not hold it.
        (Some(b'?'), Some(query)) => PathAndQuery::try_from(query.to_string()).map_err(|_| malformed())?,
        _ => return Ok(uri),
    };
    let mut parts = uri.into_parts();
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).map_err(|_| malformed())
}

/// The elements of a comma-separated list; empty ones are skipped (RFC 9110 section 5.6.1).
pub(super) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

/// Writes one field line. No name or value can break out of its line: `HeaderName` is a token and `HeaderValue` holds no
/// CR, LF or NUL by construction.
pub(super) fn write_field(out: &mut BytesMut, name: &HeaderName, value: &HeaderValue) {
    out.reserve(name.as_str().len() + value.len() + 4);
    out.put_slice(name.as_str().as_bytes());
    out.put_slice(b": ");
    out.put_slice(value.as_bytes());
    out.put_slice(b"\r\n");
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        Refusal::bad(malformed.0)
    }
}

impl Refusal {
    pub(super) fn bad(cause: &'static str) -> Self {
        Refusal::new(Reason::BadRequest, cause)
    }

    /// For a peer that does not speak HTTP/1 at all: it gets no answer that it could take for one of its own protocol.
    pub(super) fn foreign(cause: &'static str) -> Self {
        Refusal { is_answered: false, ..Refusal::bad(cause) }
    }

    pub(super) fn too_large(cause: &'static str) -> Self {
        Refusal::new(Reason::HeadTooLarge, cause)
    }

    pub(super) fn line_too_long() -> Self {
        Refusal::too_large("the request line is longer than allowed").with_status(StatusCode::URI_TOO_LONG)
    }

    pub(super) fn not_implemented(cause: &'static str) -> Self {
        Refusal::new(Reason::NotImplemented, cause)
    }
}
