//! Going on in another protocol: `Upgrade` of HTTP/1.1 (RFC 9110 section 7.8) and the extended CONNECT of HTTP/2
//! (RFC 8441), and what WebSocket (RFC 6455) needs to pass from one to the other.
//!
//! Above the codecs both look like HTTP/1.1: a request with an [`Upgrade`] among its extensions, and status 101 when the
//! endpoint agrees. Request and response content are then the bytes of the other protocol.

use std::sync::Arc;

use aws_lc_rs::digest;
use bytes::Bytes;
use http::HeaderValue;

use super::base64;
use crate::random;

/// The protocol that a request asks to go on in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// One token, in lower case.
    name: Arc<str>,
    by_connect: bool,
}

impl Upgrade {
    /// `None` when `name` is no single token, or names HTTP or TLS: those are the connection's affair, not the request's.
    pub fn new(name: &[u8]) -> Option<Self> {
        let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
        let is_token = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/".contains(&byte));
        let is_ours = ["h2", "http/", "tls/"].iter().any(|prefix| name.starts_with(prefix));
        (is_token && !is_ours).then(|| Upgrade { name: name.into(), by_connect: false })
    }

    /// Asked for by extended CONNECT.
    pub fn by_connect(self) -> Self {
        Upgrade { by_connect: true, ..self }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Is it WebSocket?
    pub fn is_websocket(&self) -> bool {
        &*self.name == "websocket"
    }

    /// True when the client has no `Sec-WebSocket-Key` to prove: by extended CONNECT there is none (RFC 8441 section 5).
    pub fn has_no_key(&self) -> bool {
        self.by_connect
    }
}

/// Is it a key: 16 bytes in base64 (RFC 6455 section 4.2.1)?
pub fn is_websocket_key(key: &HeaderValue) -> bool {
    match key.as_bytes().trim_ascii() {
        [digits @ .., b'=', b'='] => {
            digits.len() == 22
                && digits
                    .iter()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(byte))
        }
        _ => false,
    }
}

/// A `Sec-WebSocket-Key` for a request that came without: 16 random bytes (RFC 6455 section 4.1).
pub fn websocket_key() -> HeaderValue {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&random::u64().to_ne_bytes());
    bytes[8..].copy_from_slice(&random::u64().to_ne_bytes());
    value(&bytes)
}

/// The `Sec-WebSocket-Accept` that proves that `key` was read (RFC 6455 section 4.2.2).
pub fn websocket_accept(key: &HeaderValue) -> HeaderValue {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key.as_bytes().trim_ascii());
    context.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    value(context.finish().as_ref())
}

/// Base64 as a value: its alphabet is legal there.
fn value(bytes: &[u8]) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(base64::encode(bytes))).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_is_the_one_of_the_rfc() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(websocket_accept(&key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_key_is_16_bytes_and_never_the_same() {
        let (one, other) = (websocket_key(), websocket_key());
        assert_ne!(one, other);
        assert_eq!(one.len(), 24);
        assert!(is_websocket_key(&one) && is_websocket_key(&other));
        for wrong in [
            "",
            "==",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZQ=a",
            "dGhlIHNhbXBsZSBub25j*Q==",
        ] {
            assert!(!is_websocket_key(&HeaderValue::from_static(wrong)), "{wrong}");
        }
    }

    #[test]
    fn other_protocols_pass_and_ours_do_not() {
        for (name, taken) in [
            ("websocket", true),
            ("WebSocket", true),
            ("tcp", true),
            ("SPDY/3.1", true),
            ("h2c", false),
            ("HTTP/2.0", false),
            ("TLS/1.0", false),
            ("", false),
            ("a, b", false),
            ("a b", false),
        ] {
            assert_eq!(Upgrade::new(name.as_bytes()).is_some(), taken, "{name}");
        }
        assert!(Upgrade::new(b"WebSocket").is_some_and(|upgrade| upgrade.is_websocket()));
    }
}
