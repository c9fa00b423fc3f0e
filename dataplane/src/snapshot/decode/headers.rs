//! Changes of header fields.

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};

use super::Checked;
use crate::proto;
use crate::snapshot::model::{Change, HeaderChange, NamedChange, Value};

/// Fields that frame a message or are of one connection (RFC 9110 section 7.6.1), and the one that `:authority` stands
/// for: with them a message would be another one at its receiver.
const FRAMING: [HeaderName; 11] = [
    CONNECTION,
    CONTENT_LENGTH,
    HOST,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Nobody but a codec writes it.
pub(super) fn is_framing(name: &HeaderName) -> bool {
    FRAMING.contains(name)
}

/// In their order.
pub(super) fn header_changes(messages: Vec<proto::HeaderChange>) -> Checked<Box<[HeaderChange]>> {
    messages.into_iter().map(header_change).collect()
}

fn header_change(message: proto::HeaderChange) -> Checked<HeaderChange> {
    use proto::header_change::Kind;
    let name = HeaderName::from_lowercase(message.name.as_bytes()).map_err(|_| {
        let name = &message.name;
        format!("{name:?} is no header name; expected lower case, like \"x-user\"")
    })?;
    if is_framing(&name) {
        return Err(format!("header {name} is of the connection and cannot be changed"));
    }
    let fixed =
        |text: &str| HeaderValue::try_from(text).map_err(|_| format!("{text:?} is no value; expected visible text"));
    let value = |text: String| Value::parse(&text, fixed).map_err(|wrong| format!("header {name}: {wrong}"));
    let change = match message.kind {
        Some(Kind::Set(text)) => Change::Set(value(text)?),
        Some(Kind::Add(text)) => Change::Add(value(text)?),
        Some(Kind::Remove(true)) => Change::Remove,
        Some(Kind::Remove(false)) | None => {
            return Err(format!("header {name} is not changed; expected set, add or remove"));
        }
    };
    Ok(HeaderChange { name, change })
}

/// Of parameters of the query, in their order.
pub(super) fn query_changes(messages: Vec<proto::HeaderChange>) -> Checked<Box<[NamedChange]>> {
    let legal = |byte: u8| byte.is_ascii_graphic() && !b"&#".contains(&byte);
    named_changes("parameter", messages, legal)
}

/// Of cookies, in their order.
pub(super) fn cookie_changes(messages: Vec<proto::HeaderChange>) -> Checked<Box<[NamedChange]>> {
    // RFC 6265 section 4.1.1.
    let legal = |byte: u8| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte);
    named_changes("cookie", messages, legal)
}

fn named_changes(
    what: &str,
    messages: Vec<proto::HeaderChange>,
    legal: impl Fn(u8) -> bool,
) -> Checked<Box<[NamedChange]>> {
    use proto::header_change::Kind;
    let named = |message: proto::HeaderChange| {
        let name = message.name;
        if name.is_empty() || !name.bytes().all(|byte| legal(byte) && byte != b'=') {
            return Err(format!("{what} {name:?} is no name"));
        }
        let fixed = |text: &str| match text.bytes().all(&legal) {
            true => Ok(Box::from(text)),
            false => Err(format!("{text:?} is no value")),
        };
        let value = |text: String| Value::parse(&text, fixed).map_err(|wrong| format!("{what} {name}: {wrong}"));
        let change = match message.kind {
            Some(Kind::Set(text)) => Change::Set(value(text)?),
            Some(Kind::Add(text)) => Change::Add(value(text)?),
            Some(Kind::Remove(true)) => Change::Remove,
            Some(Kind::Remove(false)) | None => {
                return Err(format!("{what} {name} is not changed; expected set, add or remove"));
            }
        };
        Ok(NamedChange { name: name.into(), change })
    };
    messages.into_iter().map(named).collect()
}

#[cfg(test)]
mod tests {
    use proto::header_change::Kind;

    use super::*;

    fn set(name: &str, value: &str) -> Vec<proto::HeaderChange> {
        vec![proto::HeaderChange { name: name.into(), kind: Some(Kind::Set(value.into())) }]
    }

    #[test]
    fn a_value_that_would_be_two_is_refused() {
        assert!(query_changes(set("page", "a=b%%20c%METHOD%")).is_ok());
        assert!(cookie_changes(set("session", "a=b%CLIENT%")).is_ok());
        for (name, value) in [
            ("", "a"),
            ("a b", "c"),
            ("a=b", "c"),
            ("a", "b&c"),
            ("a", "b#c"),
            ("a", "b\r\n"),
            ("a", "%A%"),
        ] {
            assert!(query_changes(set(name, value)).is_err(), "{name} {value}");
        }
        for (name, value) in [
            ("", "a"),
            ("a;b", "c"),
            ("a", "b;c"),
            ("a", "b c%METHOD%"),
            ("a", "\"b"),
            ("a", "%A%"),
        ] {
            assert!(cookie_changes(set(name, value)).is_err(), "{name} {value}");
        }
        assert!(header_changes(set("x-a", "a %METHOD%")).is_ok());
        for value in ["%METHOD% a\r\nb", "%METHOD", "%NONE%"] {
            assert!(header_changes(set("x-a", value)).is_err(), "{value}");
        }
    }
}
