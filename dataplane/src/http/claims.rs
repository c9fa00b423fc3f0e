//! Fields in which proxies tell who calls and how a request came. What a client writes there is a claim of its own.

use http::{HeaderMap, HeaderName};

/// Takes away what a stranger may not say: who called before it, what its certificate is, which try this is, and how long
/// the request may take, in the standard's words, Envoy's and ours.
pub fn forget(fields: &mut HeaderMap) {
    forget_if(fields, |name| {
        is_told_by_proxies(name) || is_ours(name) || is_of_answers(name)
    });
}

/// Takes away what a proxy in front has no reason to say, and passes on from its clients unseen.
pub fn forget_ours(fields: &mut HeaderMap) {
    forget_if(fields, |name| is_ours(name) || is_of_answers(name));
}

/// Takes away all by these names, however they are written.
pub fn forget_named(fields: &mut HeaderMap, names: &[HeaderName]) {
    if !names.is_empty() {
        forget_if(fields, |name| {
            names.iter().any(|known| is(name, known.as_str().as_bytes()))
        });
    }
}

fn forget_if(fields: &mut HeaderMap, is_claim: impl Fn(&[u8]) -> bool) {
    while let Some(name) = fields.keys().find(|name| is_claim(name.as_str().as_bytes())) {
        let name: HeaderName = name.clone();
        fields.remove(name);
    }
}

fn is_told_by_proxies(name: &[u8]) -> bool {
    match name.first() {
        Some(b'x') => begins(name, b"x-forwarded-") || begins(name, b"x-envoy-") || is(name, b"x-request-id"),
        Some(b'f') => is(name, b"forwarded"),
        _ => false,
    }
}

/// Sidecars take these from callers that they trust, of whom a gateway is one, and services from gateways: who calls.
fn is_ours(name: &[u8]) -> bool {
    match name.get(2) {
        Some(b's') => begins(name, b"x-sidecar-"),
        Some(b'c') => begins(name, b"x-consumer-"),
        Some(b'a') => is(name, b"x-anonymous-consumer"),
        _ => false,
    }
}

/// How a call ended, which no request can say.
fn is_of_answers(name: &[u8]) -> bool {
    name.first() == Some(&b'g') && (begins(name, b"grpc-status") || is(name, b"grpc-message"))
}

fn is(name: &[u8], known: &[u8]) -> bool {
    name.len() == known.len() && begins(name, known)
}

/// With `_` for `-` too: programs behind CGI's names cannot tell them apart (RFC 3875 section 4.1.18).
fn begins(name: &[u8], known: &[u8]) -> bool {
    let is_same = |(byte, known): (&u8, &u8)| byte == known || (*byte == b'_' && *known == b'-');
    name.len() >= known.len() && name.iter().zip(known).all(is_same)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn left(forget: fn(&mut HeaderMap), names: &[&'static str]) -> Vec<String> {
        let mut fields: HeaderMap = names
            .iter()
            .map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1")))
            .collect();
        forget(&mut fields);
        let mut left: Vec<_> = fields.keys().map(|name| name.as_str().to_owned()).collect();
        left.sort_unstable();
        left
    }

    const OF_PROXIES: [&str; 6] = [
        "forwarded",
        "x-envoy-attempt-count",
        "x-forwarded-client-cert",
        "x-forwarded-prefix",
        "x-request-id",
        "x_forwarded_for",
    ];
    const OF_NOBODY: [&str; 7] = [
        "grpc-message",
        "grpc-status",
        "grpc-status-details-bin",
        "x-anonymous-consumer",
        "x-sidecar-fault",
        "x_consumer_username",
        "x_sidecar-fault",
    ];
    const OF_CLIENTS: [&str; 7] = [
        "forwarded-by",
        "grpc-messages",
        "grpc-previous-rpc-attempts",
        "grpc-timeout",
        "x-envoy",
        "x-forwarded",
        "x-request-ids",
    ];

    #[test]
    fn a_stranger_tells_of_itself_alone() {
        assert!(left(forget, &OF_PROXIES).is_empty());
        assert!(left(forget, &OF_NOBODY).is_empty());
        assert_eq!(left(forget, &OF_CLIENTS), OF_CLIENTS);
    }

    #[test]
    fn a_proxy_in_front_does_not_speak_for_us() {
        assert_eq!(left(forget_ours, &OF_PROXIES), OF_PROXIES);
        assert!(left(forget_ours, &OF_NOBODY).is_empty());
        assert_eq!(left(forget_ours, &OF_CLIENTS), OF_CLIENTS);
    }
}
