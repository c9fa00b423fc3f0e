//! The conditions of one route, and the path it rewrites to.

use http::request::Parts;
use http::uri::{InvalidUri, PathAndQuery};
use http::{HeaderMap, HeaderValue};

use crate::snapshot::model::{HeaderMatch, Matcher, PathMatch, Route, ValueMatch};

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

/// True when every condition but the host holds.
pub fn request_matches(matcher: &Matcher, parts: &Parts) -> bool {
    matcher
        .path
        .as_ref()
        .is_none_or(|path| path_matches(path, parts.uri.path()))
        && (matcher.methods.is_empty() || matcher.methods.contains(&parts.method))
        && matcher
            .headers
            .iter()
            .all(|header| header_matches(header, &parts.headers))
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
        PathMatch::Begins(begins) => path.starts_with(&**begins),
        PathMatch::Regex(regex) => regex.is_match(path),
    }
}

fn header_matches(condition: &HeaderMatch, headers: &HeaderMap) -> bool {
    let any = |holds: &dyn Fn(&HeaderValue) -> bool| headers.get_all(&condition.name).iter().any(holds);
    match &condition.value {
        ValueMatch::Present(present) => headers.contains_key(&condition.name) == *present,
        ValueMatch::Exact(exact) => any(&|value| value.as_bytes() == exact.as_bytes()),
        ValueMatch::Prefix(prefix) => any(&|value| value.as_bytes().starts_with(prefix.as_bytes())),
        ValueMatch::Regex(regex) => {
            any(&|value| std::str::from_utf8(value.as_bytes()).is_ok_and(|text| regex.is_match(text)))
        }
    }
}

/// The path and query to send when the route rewrites: what its path condition matched is replaced, the rest of the path
/// and the query stay. `None` when the route does not rewrite. Fails when the result is too long for a path.
pub fn rewritten(route: &Route, sent: &PathAndQuery) -> Result<Option<PathAndQuery>, InvalidUri> {
    let Some(prefix) = route.rewrite_prefix.as_deref() else {
        return Ok(None);
    };
    let matched = match &route.matcher.path {
        Some(PathMatch::Prefix(prefix)) => prefix.len(),
        Some(PathMatch::Exact(exact)) => exact.len(),
        Some(PathMatch::Begins(begins)) => begins.len(),
        Some(PathMatch::Regex(_)) | None => 0,
    };
    let rest = sent.path().get(matched..).unwrap_or("");
    let mut path = String::with_capacity(prefix.len() + sent.as_str().len() + 1);
    path.push_str(prefix);
    path.push_str(rest);
    if path.is_empty() {
        path.push('/');
    }
    if let Some(query) = sent.query() {
        path.push('?');
        path.push_str(query);
    }
    PathAndQuery::try_from(path).map(Some)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderName, Method, Request};
    use regex::Regex;

    use super::*;
    use crate::snapshot::model::Origin;

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
            assert_eq!(request_matches(&api, &parts(sent)), expected, "{sent}");
        }
        assert!(request_matches(
            &path(PathMatch::Prefix("".into())),
            &parts("/anything")
        ));
        let any = path(PathMatch::Prefix("".into()));
        let options = Request::builder()
            .method("OPTIONS")
            .uri("*")
            .body(())
            .unwrap()
            .into_parts()
            .0;
        assert!(
            request_matches(&any, &options),
            "`OPTIONS *` has a path that starts with no slash"
        );
    }

    #[test]
    fn exact_and_regex_see_the_path_without_its_query() {
        assert!(request_matches(&path(PathMatch::Exact("/a".into())), &parts("/a?b=c")));
        assert!(!request_matches(&path(PathMatch::Exact("/a".into())), &parts("/a/")));
        let regex = Regex::new(r"\A(?:/v\d+)\z").unwrap();
        assert!(request_matches(
            &path(PathMatch::Regex(regex.clone())),
            &parts("/v12?x")
        ));
        assert!(!request_matches(&path(PathMatch::Regex(regex)), &parts("/v12/x")));
    }

    #[test]
    fn header_conditions_hold_when_one_value_fits() {
        let header = |value| Matcher {
            headers: vec![HeaderMatch { name: HeaderName::from_static("x-user"), value }],
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
            assert_eq!(request_matches(&matcher, &with), on_with, "{matcher:?}");
            assert_eq!(request_matches(&matcher, &without), on_without, "{matcher:?}");
        }
    }

    #[test]
    fn methods_are_alternatives() {
        let matcher = Matcher { methods: vec![Method::PUT, Method::GET], ..Matcher::default() };
        assert!(request_matches(&matcher, &parts("/")));
        let matcher = Matcher { methods: vec![Method::PUT], ..Matcher::default() };
        assert!(!request_matches(&matcher, &parts("/")));
    }

    #[test]
    fn a_rewrite_replaces_what_was_matched() {
        let route = |condition: Option<PathMatch>, prefix: Option<&str>| Route {
            name: "r".into(),
            matcher: Matcher { path: condition, ..Matcher::default() },
            destinations: Vec::new(),
            total_weight: 0,
            timeout: None,
            retry: crate::snapshot::model::Retry::once(),
            fault: None,
            mirror: None,
            idle_timeout: Duration::from_secs(3600),
            rewrite_prefix: prefix.map(Into::into),
            max_request_body: u64::MAX,
            cors: None,
            is_preflight: false,
            origin: Origin::default(),
        };
        let api = || Some(PathMatch::Prefix("/api".into()));
        for (condition, prefix, sent, expected) in [
            (api(), Some(""), "/api/orders?x=1", "/orders?x=1"),
            (api(), Some(""), "/api", "/"),
            (api(), Some(""), "/api?x=1", "/?x=1"),
            (api(), Some("/v2"), "/api/orders", "/v2/orders"),
            (Some(PathMatch::Exact("/a".into())), Some("/b/"), "/a?q", "/b/?q"),
            (None, Some("/base"), "/x", "/base/x"),
        ] {
            let sent = PathAndQuery::from_static(sent);
            let got = rewritten(&route(condition, prefix), &sent).unwrap().unwrap();
            assert_eq!(got.as_str(), expected, "{sent}");
        }
        assert!(
            rewritten(&route(api(), None), &PathAndQuery::from_static("/api"))
                .unwrap()
                .is_none()
        );
        let long = PathAndQuery::try_from(format!("/{}", "a".repeat(65_000))).unwrap();
        assert!(rewritten(&route(None, Some(&format!("/{}", "b".repeat(1000)))), &long).is_err());
    }
}
