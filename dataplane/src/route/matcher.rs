//! The conditions of one route, and the path it rewrites to.

use std::net::IpAddr;

use http::request::Parts;
use http::{HeaderMap, HeaderValue};

use super::fields;
use super::parameters::below;
use crate::snapshot::model::{HeaderMatch, HostMatch, Matcher, PathMatch, ValueMatch};

/// A DNS name has at most 253 characters (RFC 1035 section 2.3.4); nothing longer is a key of a route table.
pub const MAX_HOST: usize = 255;

/// The host of an `:authority` or a `Host` field as routes write it: lower case, without port and without trailing dot.
/// Made without allocation. A host that is longer than any name becomes the empty one, which only routes without hosts
/// match.
pub fn host<'a>(authority: &'a str, buffer: &'a mut [u8; MAX_HOST]) -> &'a str {
    let name = without_port(authority);
    let name = name.strip_suffix('.').unwrap_or(name);
    let Some(folded) = buffer.get_mut(..name.len()) else {
        return "";
    };
    if !name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return name;
    }
    folded.copy_from_slice(name.as_bytes());
    folded.make_ascii_lowercase();
    // Folding ASCII letters leaves UTF-8 intact, so this never falls back.
    std::str::from_utf8(folded).unwrap_or("")
}

/// Cuts ":8080" off; the colons inside "[::1]" stay.
fn without_port(authority: &str) -> &str {
    match authority.rfind([':', ']']) {
        Some(at) if authority.as_bytes()[at] == b':' => &authority[..at],
        _ => authority,
    }
}

/// What is asked, and who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The request's head.
    pub parts: &'a Parts,
    /// The path that it is taken for.
    pub path: &'a str,
    /// The client.
    pub source: IpAddr,
}

impl<'a> Asked<'a> {
    /// By the client at `source`.
    pub fn of(parts: &'a Parts, source: IpAddr) -> Self {
        Asked { parts, path: parts.uri.path(), source }
    }
}

/// True when the condition on hosts holds.
pub fn host_matches(matcher: &Matcher, host: &str) -> bool {
    matcher.hosts.is_empty()
        || matcher.hosts.iter().any(|condition| match condition {
            HostMatch::Exact(name) => **name == *host,
            HostMatch::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(&**suffix),
        })
}

/// True when every condition but the host holds.
pub fn request_matches(matcher: &Matcher, asked: &Asked<'_>) -> bool {
    let Asked { parts, path, source } = *asked;
    matcher.path.as_ref().is_none_or(|wanted| path_matches(wanted, path))
        && matcher.path_regexes.iter().all(|regex| regex.is_match(path))
        && (matcher.methods.is_empty() || matcher.methods.contains(&parts.method))
        && matcher
            .headers
            .iter()
            .all(|header| header_matches(header, &parts.headers))
        && matcher.query.iter().all(|parameter| {
            let value = parts
                .uri
                .query()
                .and_then(|query| fields::parameter(query, &parameter.name));
            value_matches(&parameter.value, value)
        })
        && matcher
            .cookies
            .iter()
            .all(|cookie| value_matches(&cookie.value, fields::cookie(&parts.headers, &cookie.name)))
        && (matcher.sources.is_empty() || matcher.sources.iter().any(|network| network.contains(source)))
}

/// True when the path, without its query, is as asked for.
pub fn path_matches(condition: &PathMatch, path: &str) -> bool {
    match condition {
        PathMatch::Exact(exact) => **exact == *path,
        PathMatch::Prefix(prefix) => {
            path.strip_prefix(&**prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                || prefix.is_empty()
        }
        PathMatch::Template { segments, is_open } => {
            let Some(below) = path.strip_prefix('/') else {
                return false;
            };
            let mut given = below.split('/');
            let is_like = |wanted: &Option<Box<str>>, part: &str| match wanted {
                Some(text) => **text == *part,
                None => !part.is_empty(),
            };
            segments
                .iter()
                .all(|wanted| given.next().is_some_and(|part| is_like(wanted, part)))
                && (*is_open || given.next().is_none())
        }
        PathMatch::Begins(begins) => path.starts_with(&**begins),
        PathMatch::Regex(regex) => regex.is_match(path),
    }
}

pub(super) fn header_matches(condition: &HeaderMatch, headers: &HeaderMap) -> bool {
    let any = |holds: &dyn Fn(&HeaderValue) -> bool| {
        headers.get_all(&condition.name).iter().any(holds) != condition.is_inverted
            && (!condition.is_inverted || headers.contains_key(&condition.name))
    };
    match &condition.value {
        ValueMatch::Present(present) => headers.contains_key(&condition.name) == *present,
        ValueMatch::Exact(exact) => any(&|value| value.as_bytes() == exact.as_bytes()),
        ValueMatch::Prefix(prefix) => any(&|value| value.as_bytes().starts_with(prefix.as_bytes())),
        ValueMatch::Regex(regex) => {
            any(&|value| std::str::from_utf8(value.as_bytes()).is_ok_and(|text| regex.is_match(text)))
        }
    }
}

/// Of a value; `None`: there is none.
pub(super) fn value_matches(condition: &ValueMatch, value: Option<&str>) -> bool {
    match (condition, value) {
        (ValueMatch::Present(present), value) => value.is_some() == *present,
        (ValueMatch::Exact(exact), Some(value)) => **exact == *value,
        (ValueMatch::Prefix(prefix), Some(value)) => value.starts_with(&**prefix),
        (ValueMatch::Regex(regex), Some(value)) => regex.is_match(value),
        (_, None) => false,
    }
}

/// True when the route is about what can be written in several ways, so that its author has thought of that.
pub fn names_escapes(matcher: &Matcher) -> bool {
    let has = |text: &str| text.bytes().any(|byte| matches!(byte, b'%' | b';'));
    let in_path = match &matcher.path {
        Some(PathMatch::Exact(text) | PathMatch::Prefix(text) | PathMatch::Begins(text)) => has(text),
        Some(PathMatch::Template { segments, .. }) => segments.iter().flatten().any(|text| has(text)),
        Some(PathMatch::Regex(regex)) => has(regex.as_str()),
        None => false,
    };
    in_path || matcher.path_regexes.iter().any(|regex| has(regex.as_str()))
}

/// What follows in a path what the condition on it names.
pub fn beyond<'a>(matcher: &Matcher, path: &'a str) -> &'a str {
    let matched = match &matcher.path {
        Some(PathMatch::Prefix(prefix)) => prefix.len(),
        Some(PathMatch::Exact(exact)) => exact.len(),
        Some(PathMatch::Begins(begins)) => begins.len(),
        Some(PathMatch::Template { segments, .. }) => return below(path, segments.len()),
        Some(PathMatch::Regex(_)) | None => 0,
    };
    path.get(matched..).unwrap_or("")
}

#[cfg(test)]
mod tests {

    use http::{HeaderName, Method, Request};
    use regex::Regex;

    use super::*;
    use crate::snapshot::model::{NamedMatch, Network};

    const CLIENT: &str = "192.0.2.7";

    /// Of a client at [`CLIENT`].
    fn matches(matcher: &Matcher, parts: &Parts) -> bool {
        request_matches(matcher, &Asked::of(parts, CLIENT.parse().unwrap()))
    }

    fn parts(path: &str) -> Parts {
        Request::get(path).body(()).unwrap().into_parts().0
    }

    fn path(condition: PathMatch) -> Matcher {
        Matcher { path: Some(condition), ..Matcher::default() }
    }

    #[test]
    fn a_host_loses_port_dot_and_capitals() {
        for (written, name) in [
            ("orders", "orders"),
            ("Orders.MESH:8080", "orders.mesh"),
            ("orders.mesh.", "orders.mesh"),
            ("orders.mesh.:80", "orders.mesh"),
            ("[::1]:9000", "[::1]"),
            ("[FE80::1]", "[fe80::1]"),
            ("", ""),
        ] {
            assert_eq!(host(written, &mut [0; MAX_HOST]), name, "{written}");
        }
        assert_eq!(host(&"a".repeat(300), &mut [0; MAX_HOST]), "");
    }

    #[test]
    fn a_prefix_ends_at_a_slash() {
        let api = path(PathMatch::Prefix("/api".into()));
        for (sent, expected) in [
            ("/api", true),
            ("/api/", true),
            ("/api/v1?x=/apis", true),
            ("/apis", false),
            ("/ap", false),
        ] {
            assert_eq!(matches(&api, &parts(sent)), expected, "{sent}");
        }
        assert!(matches(&path(PathMatch::Prefix("".into())), &parts("/anything")));
        let any = path(PathMatch::Prefix("".into()));
        let options = Request::builder()
            .method("OPTIONS")
            .uri("*")
            .body(())
            .unwrap()
            .into_parts()
            .0;
        assert!(
            matches(&any, &options),
            "`OPTIONS *` has a path that starts with no slash"
        );
    }

    #[test]
    fn a_template_takes_any_segments_that_are_not_empty() {
        let template = |is_open| {
            let segments = ["users", "", "orders"].map(|text| (!text.is_empty()).then(|| text.into()));
            path(PathMatch::Template { segments: segments.into(), is_open })
        };
        for (sent, closed, open) in [
            ("/users/7/orders", true, true),
            ("/users/a%2Fb/orders?x=/", true, true),
            ("/users/7/orders/", false, true),
            ("/users/7/orders/8/9", false, true),
            ("/users//orders", false, false),
            ("/users/7", false, false),
            ("/users/7/order", false, false),
            ("/users/7/orders8", false, false),
        ] {
            assert_eq!(matches(&template(false), &parts(sent)), closed, "{sent}");
            assert_eq!(matches(&template(true), &parts(sent)), open, "{sent}");
        }
        let options = Request::options("*").body(()).unwrap().into_parts().0;
        assert!(!matches(&template(true), &options));
    }

    #[test]
    fn exact_and_regex_see_the_path_without_its_query() {
        assert!(matches(&path(PathMatch::Exact("/a".into())), &parts("/a?b=c")));
        assert!(!matches(&path(PathMatch::Exact("/a".into())), &parts("/a/")));
        let regex = Regex::new(r"\A(?:/v\d+)\z").unwrap();
        let digits = Matcher { path_regexes: vec![regex], ..Matcher::default() };
        assert!(matches(&digits, &parts("/v12?x")));
        assert!(!matches(&digits, &parts("/v12/x")));
        let both = Matcher { path: Some(PathMatch::Prefix("/v1".into())), ..digits };
        assert!(matches(&both, &parts("/v1")));
        assert!(!matches(&both, &parts("/v12")));
    }

    #[test]
    fn header_conditions_hold_when_one_value_fits() {
        let header = |value| Matcher {
            headers: vec![HeaderMatch { name: HeaderName::from_static("x-user"), value, is_inverted: false }],
            ..Matcher::default()
        };
        let mut with = parts("/");
        with.headers.append("x-user", HeaderValue::from_static("ann"));
        with.headers.append("x-user", HeaderValue::from_static("bob-7"));
        let without = parts("/");
        for (value, on_with, on_without) in [
            (ValueMatch::Present(true), true, false),
            (ValueMatch::Present(false), false, true),
            (ValueMatch::Exact("bob-7".into()), true, false),
            (ValueMatch::Exact("bob".into()), false, false),
            (ValueMatch::Prefix("bob".into()), true, false),
            (ValueMatch::Regex(Regex::new(r"\A(?:bob-\d)\z").unwrap()), true, false),
        ] {
            let matcher = header(value);
            assert_eq!(matches(&matcher, &with), on_with, "{matcher:?}");
            assert_eq!(matches(&matcher, &without), on_without, "{matcher:?}");
        }
    }

    #[test]
    fn an_inverted_header_condition_holds_of_a_field_that_is_there() {
        let inverted = |value| Matcher {
            headers: vec![HeaderMatch { name: HeaderName::from_static("x-user"), value, is_inverted: true }],
            ..Matcher::default()
        };
        let mut with = parts("/");
        with.headers.append("x-user", HeaderValue::from_static("ann"));
        for (value, expected) in [
            (ValueMatch::Exact("ann".into()), false),
            (ValueMatch::Exact("bob".into()), true),
            (ValueMatch::Prefix("a".into()), false),
            (ValueMatch::Regex(Regex::new(r"\A(?:b.*)\z").unwrap()), true),
        ] {
            let matcher = inverted(value);
            assert_eq!(matches(&matcher, &with), expected, "{matcher:?}");
            assert!(!matches(&matcher, &parts("/")), "as in Envoy: {matcher:?}");
        }
    }

    /// Conditions on what is called `v`, with whether they hold of the values "1", "", "12", and of none.
    fn value_conditions() -> Vec<(ValueMatch, [bool; 4])> {
        vec![
            (ValueMatch::Present(true), [true, true, true, false]),
            (ValueMatch::Present(false), [false, false, false, true]),
            (ValueMatch::Exact("1".into()), [true, false, false, false]),
            (ValueMatch::Prefix("1".into()), [true, false, true, false]),
            (
                ValueMatch::Regex(Regex::new(r"\A(?:\d*)\z").unwrap()),
                [true, true, true, false],
            ),
        ]
    }

    #[test]
    fn a_parameter_of_the_query_is_the_first_of_its_name_as_it_is_written() {
        for (value, expected) in value_conditions() {
            let matcher = Matcher { query: vec![NamedMatch { name: "v".into(), value }], ..Matcher::default() };
            for (sent, expected) in ["/?v=1", "/?a=1&v&v=1", "/?v=12&v=1", "/?vv=1"]
                .into_iter()
                .zip(expected)
            {
                assert_eq!(matches(&matcher, &parts(sent)), expected, "{sent} {matcher:?}");
            }
            assert_eq!(matches(&matcher, &parts("/v=1")), expected[3], "{matcher:?}");
        }
        let exact = |value: &str| Matcher {
            query: vec![NamedMatch { name: "v".into(), value: ValueMatch::Exact(value.into()) }],
            ..Matcher::default()
        };
        assert!(matches(&exact("a%20b"), &parts("/?v=a%20b")));
        assert!(!matches(&exact("a b"), &parts("/?v=a%20b")));
        assert!(matches(&exact("a=b"), &parts("/?v=a=b")));
    }

    #[test]
    fn a_cookie_is_the_first_of_its_name() {
        for (value, expected) in value_conditions() {
            let matcher = Matcher { cookies: vec![NamedMatch { name: "v".into(), value }], ..Matcher::default() };
            let sent = [&["v=1"][..], &["a=2", "b=3; v=; v=1"], &["v=\"12\""], &["vv=1; av=1"]];
            for (fields, expected) in sent.into_iter().zip(expected) {
                let mut parts = parts("/?v=1");
                for field in fields {
                    parts.headers.append("cookie", HeaderValue::from_static(field));
                }
                assert_eq!(matches(&matcher, &parts), expected, "{fields:?} {matcher:?}");
            }
        }
    }

    #[test]
    fn a_client_is_in_one_of_the_networks() {
        let from = |networks: &[(&str, u8)]| Matcher {
            sources: networks
                .iter()
                .map(|(address, length)| Network { address: address.parse().unwrap(), length: *length })
                .collect(),
            ..Matcher::default()
        };
        for (networks, client, expected) in [
            (&[][..], "192.0.2.7", true),
            (&[("192.0.2.0", 24)], "192.0.2.7", true),
            (&[("192.0.2.0", 24)], "::ffff:192.0.2.7", true),
            (&[("192.0.2.0", 30)], "192.0.2.7", false),
            (&[("10.0.0.0", 8), ("192.0.2.7", 32)], "192.0.2.7", true),
            (&[("0.0.0.0", 0)], "2001:db8::1", false),
            (&[("2001:db8::", 32)], "2001:db8::1", true),
            (&[("2001:db8::2", 128)], "2001:db8::1", false),
        ] {
            let client = client.parse().unwrap();
            assert_eq!(
                request_matches(&from(networks), &Asked::of(&parts("/"), client)),
                expected,
                "{networks:?} {client}"
            );
        }
    }

    #[test]
    fn methods_are_alternatives() {
        let matcher = Matcher { methods: vec![Method::PUT, Method::GET], ..Matcher::default() };
        assert!(matches(&matcher, &parts("/")));
        let matcher = Matcher { methods: vec![Method::PUT], ..Matcher::default() };
        assert!(!matches(&matcher, &parts("/")));
    }
}
