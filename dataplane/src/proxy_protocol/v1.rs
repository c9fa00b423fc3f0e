//! Version 1: a line of text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use memchr::memchr;

use super::{Header, Malformed, Told};

pub const BEGINNING: &[u8] = b"PROXY ";
const UNKNOWN: &[u8] = b"UNKNOWN";
/// "the worst case is 107 characters", CRLF included (section 2.1).
const LONGEST: usize = 107;

/// Of bytes that start with [`BEGINNING`].
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let seen = &bytes[..bytes.len().min(LONGEST)];
    let Some(end) = memchr(b'\n', seen) else {
        return match seen.len() {
            LONGEST => Err(Malformed("a line of version 1 has at most 107 bytes")),
            _ => Ok(None),
        };
    };
    let Some(line) = seen[BEGINNING.len()..end].strip_suffix(b"\r") else {
        return Err(Malformed("a line of version 1 ends with CR and LF"));
    };
    Ok(Some(Header { told: told(line)?, len: end + 1 }))
}

fn told(line: &[u8]) -> Result<Option<Told>, Malformed> {
    if let Some(rest) = line.strip_prefix(UNKNOWN)
        && matches!(rest.first(), None | Some(b' '))
    {
        // "the receiver must ignore anything presented before the CRLF"
        return Ok(None);
    }
    let words: Vec<&str> = str::from_utf8(line).unwrap_or_default().split(' ').collect();
    let &[family, from, to, from_port, to_port] = words.as_slice() else {
        return Err(Malformed(
            "version 1 has a family, two addresses and two ports, or UNKNOWN",
        ));
    };
    let address: fn(&str) -> Option<IpAddr> = match family {
        "TCP4" => |text| text.parse().map(|address: Ipv4Addr| address.into()).ok(),
        "TCP6" => |text| text.parse().map(|address: Ipv6Addr| address.into()).ok(),
        _ => return Err(Malformed("version 1 knows TCP4, TCP6 and UNKNOWN")),
    };
    let (Some(from), Some(to)) = (address(from), address(to)) else {
        return Err(Malformed("an address of version 1 is not of its family"));
    };
    let (Some(from_port), Some(to_port)) = (port(from_port), port(to_port)) else {
        return Err(Malformed("a port of version 1 is not from 0 to 65535"));
    };
    Ok(Some(Told {
        from: SocketAddr::new(from, from_port),
        to: SocketAddr::new(to, to_port),
    }))
}

/// "Leading zeroes are not permitted".
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    is_plain.then(|| text.parse().ok()).flatten()
}
