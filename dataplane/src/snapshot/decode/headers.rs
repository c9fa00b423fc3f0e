//! Changes of header fields.

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};

use super::Checked;
use crate::proto;
use crate::snapshot::model::{Change, HeaderChange};

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
    let value = |text: String| {
        HeaderValue::try_from(&text).map_err(|_| format!("header {name}: {text:?} is no value; expected visible text"))
    };
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
