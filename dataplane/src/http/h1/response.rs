//! The head of a response as a server wrote it.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version, header};

use super::chunked::Decoder;
use super::content::{Content, NO_CONTENT};
use super::head::{HeadLimits, tokens};
use super::is_hop_by_hop;
use super::request::Asked;
use crate::http::check::{Malformed, content_length};

/// Bytes of a response head; a little over the default of our listeners for requests.
pub(super) const MAX_BYTES: usize = 64 * 1024;

/// Fields of a response head; the default of our listeners for requests, twice.
const MAX_FIELDS: usize = 200;

/// A response head that passed, without what concerns the connection.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) head: Response<()>,
    pub(super) content: Content,
    pub(super) persistent: bool,
}

impl Parsed {
    /// True when another head follows.
    pub(super) fn is_interim(&self) -> bool {
        self.head.status().is_informational() && self.head.status() != StatusCode::SWITCHING_PROTOCOLS
    }
}

/// Parses a whole section.
pub(super) fn parse(section: Bytes, asked: &Asked) -> Result<Parsed, Malformed> {
    let mut slots = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    // "A proxy MUST remove any such whitespace" (RFC 9112 section 5.1).
    let mut config = httparse::ParserConfig::default();
    config.allow_spaces_after_header_name_in_responses(true);
    match config.parse_response_with_uninit_headers(&mut parsed, &section, &mut slots) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Malformed("there are more response fields than allowed")),
        Ok(httparse::Status::Partial) | Err(_) => return Err(Malformed("the response head is malformed")),
    }
    let (Some(code), Some(minor)) = (parsed.code, parsed.version) else {
        return Err(Malformed("the status line is incomplete"));
    };
    let status = StatusCode::from_u16(code).map_err(|_| Malformed("the status is no number from 100 to 999"))?;
    let mut fields = HeaderMap::with_capacity(parsed.headers.len());
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_maybe_shared(section.slice_ref(field.value));
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(Malformed("a response field is malformed"));
        };
        if fields.try_append(name, value).is_err() {
            return Err(Malformed("there are more response fields than allowed"));
        }
    }
    finish(fields, status, minor, asked)
}

fn finish(mut fields: HeaderMap, status: StatusCode, minor: u8, asked: &Asked) -> Result<Parsed, Malformed> {
    let content = content(&fields, status, minor, asked)?;
    let closes = fields
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| tokens(value.as_bytes()))
        .any(|token| token.eq_ignore_ascii_case(b"close"));
    let persistent = minor == 1 && !closes && !matches!(content, Content::UntilClose);
    remove_hop_by_hop(&mut fields);
    let mut head = Response::new(());
    *head.status_mut() = status;
    *head.version_mut() = Version::HTTP_11;
    *head.headers_mut() = fields;
    Ok(Parsed { head, content, persistent })
}

/// How the content is framed (RFC 9112 section 6.3).
fn content(fields: &HeaderMap, status: StatusCode, minor: u8, asked: &Asked) -> Result<Content, Malformed> {
    let length = content_length(fields)?;
    let mut codings = fields.get_all(header::TRANSFER_ENCODING).iter();
    let coding = codings.next();
    if let Some(coding) = coding {
        if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(Malformed("Transfer-Encoding is not chunked"));
        }
        if minor == 0 {
            return Err(Malformed("Transfer-Encoding in an HTTP/1.0 response"));
        }
        if length.is_some() {
            return Err(Malformed("Content-Length beside Transfer-Encoding"));
        }
    }
    Ok(match (status, coding, length) {
        (StatusCode::SWITCHING_PROTOCOLS, ..) if asked.upgrades => Content::UntilClose,
        (StatusCode::SWITCHING_PROTOCOLS, ..) => {
            return Err(Malformed("the endpoint switches protocols unasked"));
        }
        (StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED, ..) => NO_CONTENT,
        _ if asked.is_head || status.is_informational() => NO_CONTENT,
        (_, Some(_), _) => Content::Chunked(Decoder::new(HeadLimits {
            bytes: MAX_BYTES,
            line: 0,
            fields: MAX_FIELDS,
        })),
        (_, None, Some(length)) => Content::Length(length),
        (_, None, None) => Content::UntilClose,
    })
}

fn remove_hop_by_hop(fields: &mut HeaderMap) {
    let nominated: Vec<HeaderName> = fields
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| tokens(value.as_bytes()))
        .filter(|token| !is_option(token))
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|name| *name != header::CONTENT_LENGTH)
        .collect();
    for name in nominated {
        fields.remove(name);
    }
    if let Some(length) = fields.get(header::CONTENT_LENGTH)
        && let Some(length) = std::str::from_utf8(length.as_bytes())
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    {
        // Once, and without leading zeros, which some readers take for octal.
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    while let Some(name) = fields.keys().find(|name| is_hop_by_hop(name)) {
        let name = name.clone();
        fields.remove(name);
    }
}

/// Names no field but `Keep-Alive`, which goes in any case.
fn is_option(token: &[u8]) -> bool {
    [&b"close"[..], b"keep-alive"]
        .iter()
        .any(|option| token.eq_ignore_ascii_case(option))
}
