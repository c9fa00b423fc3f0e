//! What a request says about the way it came: `X-Forwarded-For`, `-Proto`, `-Host`, `-Port`, `Forwarded` (RFC 7239) and
//! `X-Request-ID`, and `X-Forwarded-Client-Cert`, by which an application learns of its verified caller.
//!
//! At the edge a client can write there what it likes: unless it is a trusted proxy, what it says is replaced. A trusted
//! one is believed as far as the chain of trusted proxies reaches, so that the first address left is the client's. Inside
//! the mesh the caller is known by its certificate: it is added, and nothing is taken away.

use std::net::{IpAddr, SocketAddr};

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::http::claims;
use crate::scope::Hop;
use crate::snapshot::model::{Direction, Forwarding, Network};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
/// What a proxy has seen of a client's certificate; Envoy's field. It is believed of verified peers alone.
const CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// Brings the fields up to date with one hop. Returns the client's address where a trusted proxy has told it.
pub fn apply(trust: &Forwarding, direction: Direction, hop: &Hop, parts: &mut Parts) -> Option<IpAddr> {
    let before = match direction {
        // The application beside us goes on with what it was told, or begins; who it is we prove ourselves.
        Direction::Outbound => {
            set_client_cert(&mut parts.headers, None);
            return None;
        }
        Direction::Inbound => {
            set_client_cert(&mut parts.headers, hop.client_cert.as_ref());
            chain(&parts.headers)
        }
        Direction::Edge if is_trusted(trust, hop.peer) => {
            claims::forget_ours(&mut parts.headers);
            believed(trust, chain(&parts.headers))
        }
        Direction::Edge => {
            claims::forget(&mut parts.headers);
            Vec::new()
        }
    };
    // Inside the mesh the chain is for people: who stands first in it may have been made up by an application.
    let told = match direction {
        Direction::Edge => before.first().and_then(|first| address(first)),
        _ => None,
    };
    set_for(&mut parts.headers, &before, &hop.from);
    note(trust, hop, parts);
    told
}

/// Whether the request came by TLS: to us, or to a trusted proxy in front. Of what `apply` has left.
pub fn is_https(headers: &HeaderMap) -> bool {
    headers
        .get(PROTO)
        .is_some_and(|scheme| scheme.as_bytes().eq_ignore_ascii_case(b"https"))
}

/// An address as proxies write it: alone, in brackets, or with a port.
fn address(text: &str) -> Option<IpAddr> {
    let alone = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let parsed = alone.unwrap_or(text).parse().ok();
    parsed
        .or_else(|| text.parse().map(|socket: SocketAddr| socket.ip()).ok())
        .map(|address: IpAddr| address.to_canonical())
}

/// One element more behind those that a verified peer has sent, such as a gateway behind a trusted proxy; nothing else is
/// believed.
fn set_client_cert(headers: &mut HeaderMap, own: Option<&HeaderValue>) {
    // Almost no request brings one, and names are compared faster than looked up.
    let is_told = headers.keys().any(|name| *name == CLIENT_CERT);
    let value = match own {
        None if is_told => return drop(headers.remove(CLIENT_CERT)),
        None => return,
        Some(own) if is_told => joined(headers, own),
        Some(own) => own.clone(),
    };
    headers.insert(CLIENT_CERT, value);
}

fn joined(headers: &HeaderMap, own: &HeaderValue) -> HeaderValue {
    let mut joined = Vec::new();
    for before in headers.get_all(CLIENT_CERT) {
        joined.extend_from_slice(before.as_bytes());
        joined.push(b',');
    }
    joined.extend_from_slice(own.as_bytes());
    // Values of headers, joined by a comma, are one.
    HeaderValue::from_bytes(&joined).unwrap_or_else(|_| own.clone())
}

/// What an application is told of a verified peer, in Envoy's words.
pub fn client_cert(by: &str, fingerprint: &str, uri: &str) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("By={by};Hash={fingerprint};URI={uri}")).ok()
}

/// Adds what no trusted hop before has said.
fn note(trust: &Forwarding, hop: &Hop, parts: &mut Parts) {
    let scheme = if hop.is_tls { "https" } else { "http" };
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    let headers = &mut parts.headers;
    headers.entry(PROTO).or_insert(HeaderValue::from_static(scheme));
    headers.entry(PORT).or_insert_with(|| hop.port.clone());
    if let Some(host) = authority.and_then(|host| HeaderValue::from_str(host).ok()) {
        headers.entry(HOST).or_insert(host);
    }
    if trust.forwarded {
        add_forwarded(headers, hop, scheme, authority);
    }
}

/// One element of `Forwarded`; IPv6 addresses and hosts with a port are quoted (RFC 7239 section 6).
fn add_forwarded(headers: &mut HeaderMap, hop: &Hop, scheme: &str, host: Option<&str>) {
    let mut element = match hop.peer.to_canonical() {
        IpAddr::V4(address) => format!("for={address}"),
        IpAddr::V6(address) => format!("for=\"[{address}]\""),
    };
    if let Some(host) = host {
        element.push_str(&format!(";host=\"{host}\""));
    }
    element.push_str(&format!(";proto={scheme}"));
    if let Ok(element) = HeaderValue::from_str(&element) {
        headers.append(header::FORWARDED, element);
    }
}

fn is_trusted(trust: &Forwarding, peer: IpAddr) -> bool {
    trust.hops > 0 || is_in(&trust.trusted, peer)
}

fn is_in(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

/// The addresses of `X-Forwarded-For`, oldest first, as they were written.
fn chain(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|address| address.trim().to_owned())
        .filter(|address| !address.is_empty())
        .collect()
}

/// The end of the chain that trusted proxies vouch for: the peer is one, and each vouches for the address before it.
fn believed(trust: &Forwarding, mut chain: Vec<String>) -> Vec<String> {
    let vouched = match trust.hops {
        0 => {
            let is_proxy = |text: &&String| text.parse().is_ok_and(|address| is_in(&trust.trusted, address));
            1 + chain.iter().rev().take_while(is_proxy).count()
        }
        hops => hops as usize,
    };
    chain.split_off(chain.len().saturating_sub(vouched))
}

fn set_for(headers: &mut HeaderMap, chain: &[String], peer: &HeaderValue) {
    if chain.is_empty() {
        headers.insert(FOR, peer.clone());
        return;
    }
    let mut value = chain.join(", ").into_bytes();
    value.extend_from_slice(b", ");
    value.extend_from_slice(peer.as_bytes());
    // What stood there was a value before, so it is one again.
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(FOR, value);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    /// The fields after one hop from `peer`, by name.
    fn after(trust: &Forwarding, direction: Direction, peer: &str, fields: &[(&str, &str)]) -> HeaderMap {
        let mut request = Request::get("https://shop.test/");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let hop = Hop::new(peer.parse().unwrap(), 8443, true);
        apply(trust, direction, &hop, &mut parts);
        parts.headers
    }

    fn networks() -> Forwarding {
        Forwarding {
            trusted: vec![
                Network { address: "10.0.0.0".parse().unwrap(), length: 8 },
                Network { address: "fd00::".parse().unwrap(), length: 8 },
            ],
            ..Forwarding::default()
        }
    }

    const LIES: [(&str, &str); 7] = [
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-proto", "gopher"),
        ("x-forwarded-host", "bank.test"),
        ("x-forwarded-port", "1"),
        ("forwarded", "for=6.6.6.6"),
        ("x-request-id", "mine"),
        ("x-forwarded-client-cert", "Subject=CN=admin"),
    ];

    #[test]
    fn at_the_edge_a_stranger_is_not_believed() {
        let fields = after(&Forwarding::default(), Direction::Edge, "192.0.2.1", &LIES);
        assert_eq!(fields["x-forwarded-for"], "192.0.2.1");
        assert_eq!(fields["x-forwarded-proto"], "https");
        assert_eq!(fields["x-forwarded-host"], "shop.test");
        assert_eq!(fields["x-forwarded-port"], "8443");
        for gone in ["forwarded", "x-request-id", "x-forwarded-client-cert"] {
            assert!(!fields.contains_key(gone), "{gone}");
        }
        assert_eq!(
            after(&networks(), Direction::Edge, "11.0.0.9", &LIES)["x-forwarded-for"],
            "11.0.0.9"
        );
    }

    #[test]
    fn a_trusted_proxy_is_believed_as_far_as_the_chain_reaches() {
        for (said, kept) in [
            ("192.0.2.1", "192.0.2.1, 10.0.0.9"),
            ("6.6.6.6, 192.0.2.1", "192.0.2.1, 10.0.0.9"),
            (
                "6.6.6.6, 192.0.2.1, 10.1.1.1, fd00::1",
                "192.0.2.1, 10.1.1.1, fd00::1, 10.0.0.9",
            ),
            ("unknown", "unknown, 10.0.0.9"),
        ] {
            let said = [
                ("x-forwarded-for", said),
                ("x-forwarded-proto", "http"),
                ("x-request-id", "r"),
            ];
            let fields = after(&networks(), Direction::Edge, "10.0.0.9", &said);
            assert_eq!(fields["x-forwarded-for"], kept, "{said:?}");
            assert_eq!(fields["x-forwarded-proto"], "http");
            assert_eq!(fields["x-request-id"], "r");
        }
    }

    #[test]
    fn hops_are_counted_where_addresses_are_not_known() {
        let said = [
            ("x-forwarded-for", "6.6.6.6, 192.0.2.1"),
            ("x-forwarded-for", "192.0.2.7"),
        ];
        for (hops, kept) in [(1, "192.0.2.7, 192.0.2.9"), (2, "192.0.2.1, 192.0.2.7, 192.0.2.9")] {
            let trust = Forwarding { hops, ..Forwarding::default() };
            let fields = after(&trust, Direction::Edge, "192.0.2.9", &said);
            assert_eq!(fields["x-forwarded-for"], kept);
        }
    }

    #[test]
    fn inside_the_mesh_the_caller_is_added_and_nothing_is_lost() {
        let fields = after(&Forwarding::default(), Direction::Inbound, "10.0.0.9", &LIES);
        assert_eq!(fields["x-forwarded-for"], "6.6.6.6, 10.0.0.9");
        assert_eq!(fields["x-forwarded-host"], "bank.test");
        assert_eq!(fields["x-request-id"], "mine");
        // Nobody has verified that one.
        assert!(!fields.contains_key("x-forwarded-client-cert"));
        let own = after(&Forwarding::default(), Direction::Outbound, "127.0.0.1", &[]);
        assert!(own.is_empty(), "{own:?}");
        let own = after(&Forwarding::default(), Direction::Outbound, "127.0.0.1", &LIES[6..]);
        assert!(own.is_empty(), "{own:?}");
    }

    #[test]
    fn an_application_is_told_who_calls_and_what_that_one_has_verified() {
        let own = client_cert("spiffe://m/orders", "00ff", "spiffe://m/edge").unwrap();
        let told = |before: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in before {
                headers.append(CLIENT_CERT, HeaderValue::from_static(value));
            }
            set_client_cert(&mut headers, Some(&own));
            let values: Vec<_> = headers.get_all(CLIENT_CERT).iter().cloned().collect();
            assert_eq!(values.len(), 1);
            values[0].clone()
        };
        assert_eq!(told(&[]), "By=spiffe://m/orders;Hash=00ff;URI=spiffe://m/edge");
        assert_eq!(
            told(&["URI=a", "URI=b"]),
            "URI=a,URI=b,By=spiffe://m/orders;Hash=00ff;URI=spiffe://m/edge"
        );
    }

    #[test]
    fn only_a_trusted_proxy_tells_who_the_client_is() {
        let told = |trust: &Forwarding, direction, chain: &str| {
            let request = Request::get("https://shop.test/").header("x-forwarded-for", chain);
            let (mut parts, ()) = request.body(()).unwrap().into_parts();
            let hop = Hop::new("10.0.0.9".parse().unwrap(), 8443, true);
            apply(trust, direction, &hop, &mut parts).map(|address| address.to_string())
        };
        let one_hop = Forwarding { hops: 1, ..Forwarding::default() };
        for (trust, chain, expected) in [
            (Forwarding::default(), "192.0.2.1", None),
            (networks(), "6.6.6.6, 192.0.2.1", Some("192.0.2.1")),
            (networks(), "192.0.2.1:5000, 10.0.0.1", Some("192.0.2.1")),
            (networks(), "[2001:db8::1]:5000", Some("2001:db8::1")),
            (networks(), "[2001:db8::1]", Some("2001:db8::1")),
            (networks(), "::ffff:192.0.2.1", Some("192.0.2.1")),
            (networks(), "unknown", None),
            (networks(), "", None),
            (one_hop, "6.6.6.6, 192.0.2.1", Some("192.0.2.1")),
        ] {
            assert_eq!(told(&trust, Direction::Edge, chain).as_deref(), expected, "{chain:?}");
        }
        assert_eq!(told(&networks(), Direction::Inbound, "192.0.2.1"), None);
    }

    #[test]
    fn the_standard_field_is_written_when_asked_for() {
        let trust = Forwarding { forwarded: true, ..Forwarding::default() };
        let fields = after(&trust, Direction::Edge, "2001:db8::1", &LIES);
        assert_eq!(
            fields["forwarded"],
            "for=\"[2001:db8::1]\";host=\"shop.test\";proto=https"
        );
    }
}
