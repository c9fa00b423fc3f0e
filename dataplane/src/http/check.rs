//! What both versions of HTTP demand of a message.

use std::net::Ipv6Addr;

use http::{HeaderMap, header};

/// What a request line holds beside method and target: two spaces and the version.
pub(super) const AROUND_TARGET: usize = "  HTTP/1.1".len();

/// What is wrong with a message, for a person. Never holds the peer's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// Refuses what HTTP/1.1 lets no target hold, and NUL in a path, which many servers take for its end.
pub(super) fn check_target(target: &[u8]) -> Result<(), Malformed> {
    if target.is_empty() || !target.iter().all(|byte| byte.is_ascii_graphic()) {
        return Err(Malformed(
            "the request target holds a space, a control byte or a byte beyond ASCII",
        ));
    }
    if target.contains(&b'#') {
        return Err(Malformed("the request target holds a fragment"));
    }
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    if path.contains(&b'%') && path.windows(3).any(|three| three == b"%00") {
        return Err(Malformed("the path holds an encoded NUL"));
    }
    Ok(())
}

/// A host name, IPv4 or bracketed IPv6 address, with an optional port: what a mesh can route by. User information, percent
/// encoding and the further punctuation that RFC 3986 allows in names have no use here but to confuse.
pub(super) fn check_authority(authority: &[u8]) -> Result<(), Malformed> {
    let malformed = Malformed("the authority is not a host with an optional port");
    let text = std::str::from_utf8(authority).map_err(|_| malformed)?;
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']').ok_or(malformed)?;
            address.parse::<Ipv6Addr>().map_err(|_| malformed)?;
            match rest {
                "" => return Ok(()),
                _ => ("v6", rest.strip_prefix(':').ok_or(malformed)?),
            }
        }
        None => text.split_once(':').unwrap_or((text, "80")),
    };
    let is_in_label = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~');
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(is_in_label);
    // One dot at the end names the root.
    let is_host = host.strip_suffix('.').unwrap_or(host).split('.').all(is_label);
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    match is_host && is_port {
        true => Ok(()),
        false => Err(malformed),
    }
}

/// The one length that a message's `Content-Length` fields agree on.
pub fn content_length(fields: &HeaderMap) -> Result<Option<u64>, Malformed> {
    let mut values = fields.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = values.next() else { return Ok(None) };
    let length = decimal(first.as_bytes())?;
    for other in values {
        if decimal(other.as_bytes())? != length {
            return Err(Malformed("the Content-Length fields differ"));
        }
    }
    Ok(Some(length))
}

/// A `Content-Length`: digits and nothing else.
pub(super) fn decimal(digits: &[u8]) -> Result<u64, Malformed> {
    let malformed = Malformed("Content-Length is not a decimal number");
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(malformed);
    }
    digits
        .iter()
        .try_fold(0u64, |sum, digit| {
            sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        })
        .ok_or(malformed)
}
