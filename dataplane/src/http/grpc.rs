//! What of gRPC shows in HTTP: the content type, the status, the timeout.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::body::ResetCode;
use crate::error::{Error, Reason};

/// The call's status, in trailers or in the head of a trailers-only response.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// The status in words, percent-encoded.
pub const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// The time that is left for the call.
pub const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// How often the call was tried before.
pub const PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");

/// In trailers: milliseconds to wait before the next try; a negative number or another word asks for none
/// (<https://github.com/grpc/proposal/blob/master/A6-client-retries.md#pushback>).
pub const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// True when the message is gRPC: `application/grpc`, alone or with a message format or parameter.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        value
            .as_bytes()
            .strip_prefix(b"application/grpc")
            .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    })
}

/// Adds tries of ours to those that the caller tells of
/// (<https://github.com/grpc/proposal/blob/master/A6-client-retries.md#exposed-retry-metadata>).
pub fn add_previous_attempts(headers: &mut HeaderMap, tries: usize) {
    let told = headers
        .get(PREVIOUS_ATTEMPTS)
        .and_then(|field| field.to_str().ok()?.parse().ok());
    headers.insert(
        PREVIOUS_ATTEMPTS,
        HeaderValue::from(told.unwrap_or(0usize).saturating_add(tries)),
    );
}

/// The `grpc-timeout` of a request: at most 8 digits and a unit
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>). A malformed one counts as absent.
pub fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

/// The remaining time as a `grpc-timeout`, in the finest unit whose number has at most 8 digits.
pub fn format_timeout(left: Duration) -> HeaderValue {
    const MOST: u128 = 99_999_999;
    let (number, unit) = if left.as_nanos() <= MOST {
        (left.as_nanos(), b'n')
    } else if left.as_micros() <= MOST {
        (left.as_micros(), b'u')
    } else if left.as_millis() <= MOST {
        (left.as_millis(), b'm')
    } else {
        (u128::from(left.as_secs()).min(MOST), b'S')
    };
    let mut text = itoa::Buffer::new();
    let text = [text.format(number as u64).as_bytes(), &[unit]].concat();
    // Digits and a letter are always a legal value.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("1S"))
}

/// What it means that an endpoint has reset a call
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#errors>).
pub fn reset(code: ResetCode) -> Error {
    Error::new(Reason::UpstreamReset).with_grpc_status(match code {
        ResetCode::REFUSED_STREAM => 14,
        ResetCode::CANCEL => 1,
        ResetCode::ENHANCE_YOUR_CALM => 8,
        ResetCode::INADEQUATE_SECURITY => 7,
        _ => 13,
    })
}

/// Trailers with a status and what it is for.
pub fn trailers(status: u8, message: &str) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(4);
    trailers.insert(GRPC_STATUS, HeaderValue::from(u16::from(status)));
    trailers.insert(GRPC_MESSAGE, encode_message(message));
    trailers
}

/// The status of a call that is answered with this one of HTTP
/// (<https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>).
pub fn of_http(status: u16) -> u8 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// What takes the place of trailers that an endpoint left out: such a call is UNKNOWN
/// (<https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>).
pub fn no_status() -> HeaderMap {
    trailers(2, "The endpoint ended its answer without a status.")
}

/// Encodes a message for `grpc-message`: printable ASCII but `%` as it is, everything else as `%XX`.
pub fn encode_message(message: &str) -> HeaderValue {
    let mut encoded = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    HeaderValue::from_str(&encoded).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn content_types_that_are_grpc() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(is_grpc(&with(header::CONTENT_TYPE, value)), expected, "{value}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn our_tries_come_on_top_of_the_callers() {
        let mut headers = HeaderMap::new();
        add_previous_attempts(&mut headers, 1);
        assert_eq!(headers[PREVIOUS_ATTEMPTS], "1");
        add_previous_attempts(&mut headers, 2);
        assert_eq!(headers[PREVIOUS_ATTEMPTS], "3");
    }

    #[test]
    fn timeouts_parse_as_the_protocol_writes_them() {
        for (value, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("250m", Some(Duration::from_millis(250))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("999999999n", None),
            ("-1S", None),
            ("S", None),
            ("", None),
            ("1s", None),
        ] {
            assert_eq!(timeout(&with(GRPC_TIMEOUT, value)), expected, "{value}");
        }
    }

    #[test]
    fn a_formatted_timeout_reads_back_as_at_most_itself() {
        for left in [
            Duration::ZERO,
            Duration::from_nanos(7),
            Duration::from_secs(15),
            Duration::from_secs(1 << 30),
        ] {
            let headers = HeaderMap::from_iter([(GRPC_TIMEOUT, format_timeout(left))]);
            let read = timeout(&headers);
            assert!(read.is_some_and(|read| read <= left), "{left:?} became {read:?}");
        }
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(encode_message("50% of ü\n"), "50%25 of %C3%BC%0A");
    }
}
