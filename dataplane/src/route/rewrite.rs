//! The path and the host that a route makes of those of its requests.

use http::uri::{Authority, InvalidUri, PathAndQuery};
use regex::Captures;

use super::matcher::{MAX_HOST, beyond};
use super::parameters::{below, parameter};
use crate::http::path::{Ambiguous, check_made};
use crate::snapshot::model::{HostChange, Matcher, Part, PathChange, Route};

/// Why there is no path or no host.
#[derive(Debug, thiserror::Error)]
pub enum Unwritable {
    /// It is none, or too long.
    #[error("rewrite: {0}")]
    Invalid(#[from] InvalidUri),
    /// It is another than it seems.
    #[error("rewrite: {0} ({1:?})")]
    Ambiguous(Ambiguous, String),
    /// It is none.
    #[error("rewrite: {0:?} is no path: it begins with no slash")]
    NoPath(String),
    /// It is none.
    #[error("rewrite: {0:?} is no host")]
    NoHost(String),
}

/// The path and query to send; the query stays. `None`: what came.
pub fn path(route: &Route, sent: &PathAndQuery) -> Result<Option<PathAndQuery>, Unwritable> {
    let Some(change) = route.rewrite.as_ref().and_then(|rewrite| rewrite.path.as_ref()) else {
        return Ok(None);
    };
    let path = match change {
        PathChange::Prefix(prefix) => with_prefix(prefix, &route.matcher, sent),
        PathChange::Template { parts, replaced } => {
            let mut path = made(parts, |number| parameter(&route.matcher, number, sent.path()));
            path.push_str(replaced.map_or("", |segments| below(sent.path(), segments)));
            legal(path)?
        }
        PathChange::Substitution { pattern, parts } => {
            let group =
                |captures: &Captures<'_>| made(parts, |number| captures.get(number).map_or("", |group| group.as_str()));
            legal(pattern.replace_all(sent.path(), group).into_owned())?
        }
    };
    Ok(Some(with_query(path, sent)?))
}

/// The host to ask for instead. `path`: as it was matched. `None`: the one that came.
pub fn host(route: &Route, path: &str) -> Result<Option<Authority>, Unwritable> {
    match route.rewrite.as_ref().and_then(|rewrite| rewrite.host.as_ref()) {
        None => Ok(None),
        Some(HostChange::Fixed(host)) => Ok(Some(host.clone())),
        Some(HostChange::Made(parts)) => {
            let mut host = made(parts, |number| parameter(&route.matcher, number, path));
            host.make_ascii_lowercase();
            let authority = is_host(&host)
                .then(|| Authority::try_from(host.as_str()).ok())
                .flatten();
            authority.map(Some).ok_or(Unwritable::NoHost(host))
        }
    }
}

/// What the path condition matched is replaced, the rest of the path stays.
fn with_prefix(prefix: &str, matcher: &Matcher, sent: &PathAndQuery) -> String {
    format!("{prefix}{}", beyond(matcher, sent.path()))
}

fn made<'a>(parts: &'a [Part], value: impl Fn(usize) -> &'a str) -> String {
    let texts = parts.iter().map(|part| match part {
        Part::Text(text) => &**text,
        Part::Value(number) => value(*number),
    });
    texts.collect()
}

/// The path, if it is one that stays as it is wherever it is read: what was matched must not become dots, or half an escape.
fn legal(path: String) -> Result<String, Unwritable> {
    if !path.is_empty() && !path.starts_with('/') {
        return Err(Unwritable::NoPath(path));
    }
    match check_made(&path) {
        Ok(()) => Ok(path),
        Err(ambiguous) => Err(Unwritable::Ambiguous(ambiguous, path)),
    }
}

fn with_query(mut path: String, sent: &PathAndQuery) -> Result<PathAndQuery, InvalidUri> {
    if path.is_empty() {
        path.push('/');
    }
    if let Some(query) = sent.query() {
        path.push('?');
        path.push_str(query);
    }
    PathAndQuery::try_from(path)
}

/// Names with dots between them, and a port.
fn is_host(host: &str) -> bool {
    let (name, port) = host.split_once(':').unwrap_or((host, "1"));
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.len() <= MAX_HOST && name.split('.').all(is_label) && port.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;
    use crate::route::table::tests::route;
    use crate::snapshot::model::{Parameter, PathMatch, PathPart, Rewrite};

    fn text(text: &str) -> Part {
        Part::Text(text.into())
    }

    /// What becomes of a path whose segment of number 1 is the parameter 0, and the rest behind it the parameter 1.
    fn changed(change: PathChange, path_match: Option<PathMatch>, sent: &str) -> Result<Option<String>, Unwritable> {
        let matcher = Matcher {
            path: path_match,
            path_regexes: vec![Regex::new(r"\A(?:(?s).*?x(.*))\z").unwrap()],
            parameters: [PathPart::Segment(1), PathPart::Rest(2), PathPart::Group(1)]
                .map(|part| Parameter { name: "p".into(), part })
                .into(),
            ..Matcher::default()
        };
        let rewrite = Rewrite { path: Some(change), host: None };
        let route = route("r".to_owned(), matcher, Some(rewrite));
        let made = path(&route, &sent.parse().unwrap())?;
        Ok(made.map(|made| made.to_string()))
    }

    #[test]
    fn a_prefix_or_an_exact_path_is_replaced_and_the_query_stays() {
        let prefix = |text: &str| Some(PathMatch::Prefix(text.into()));
        for (matched, new, sent, expected) in [
            (prefix("/api"), "/v2", "/api/x?y=1", "/v2/x?y=1"),
            (prefix("/api"), "/v2", "/api", "/v2"),
            (prefix("/api"), "", "/api/x", "/x"),
            (prefix("/api"), "", "/api?y", "/?y"),
            (prefix(""), "/v2", "/x", "/v2/x"),
            (None, "/v2", "/x", "/v2/x"),
            (Some(PathMatch::Exact("/a".into())), "/b", "/a?y", "/b?y"),
        ] {
            let made = changed(PathChange::Prefix(new.into()), matched, sent).unwrap();
            assert_eq!(made.as_deref(), Some(expected), "{sent}");
        }
        let long = format!("/{}", "x".repeat(65_000));
        let too_long = changed(PathChange::Prefix("/abcdefghi".repeat(60).into()), prefix(""), &long);
        assert!(matches!(too_long, Err(Unwritable::Invalid(_))), "{too_long:?}");
    }

    #[test]
    fn a_template_has_parameters_as_they_were_written() {
        let template = |replaced| PathChange::Template { parts: vec![text("/v2/"), Part::Value(0)], replaced };
        for (replaced, sent, expected) in [
            (None, "/users/7/orders?y=%20", "/v2/7?y=%20"),
            (Some(2), "/users/7/orders/8/", "/v2/7/orders/8/"),
            (Some(2), "/users/7", "/v2/7"),
            (None, "/users/a%2Fb%3F%23%20%0A", "/v2/a%2Fb%3F%23%20%0A"),
        ] {
            let made = changed(template(replaced), None, sent).unwrap();
            assert_eq!(made.as_deref(), Some(expected), "{sent}");
        }
        let nothing = PathChange::Template { parts: Vec::new(), replaced: Some(2) };
        assert_eq!(changed(nothing, None, "/a/b").unwrap().as_deref(), Some("/"));
    }

    #[test]
    fn what_was_matched_cannot_become_dots_or_half_an_escape() {
        let of_group = || PathChange::Template { parts: vec![text("/a/"), Part::Value(2)], replaced: None };
        assert_eq!(changed(of_group(), None, "/xy").unwrap().as_deref(), Some("/a/y"));
        for sent in ["/x..", "/x.", "/x../b", "/x..%2Fb", "/x..;/b"] {
            let made = changed(of_group(), None, sent);
            assert!(matches!(made, Err(Unwritable::Ambiguous(..))), "{sent} {made:?}");
        }
        let half = |pattern: &str, parts| PathChange::Substitution { pattern: Regex::new(pattern).unwrap(), parts };
        for change in [half("%2F", vec![text("%2"), Part::Value(0)]), half("2F", Vec::new())] {
            let made = changed(change, None, "/a%2Fb");
            assert!(matches!(made, Err(Unwritable::Ambiguous(..))), "{made:?}");
        }
    }

    #[test]
    fn all_parts_that_a_pattern_matches_are_replaced() {
        let change = |pattern: &str, parts| PathChange::Substitution { pattern: Regex::new(pattern).unwrap(), parts };
        let swap = || vec![Part::Value(2), text("-"), Part::Value(1)];
        for (made, sent, expected) in [
            (change("([a-z]+)_([a-z]+)", swap()), "/a_b/c_d?e_f", "/b-a/d-c?e_f"),
            (change("^/v1", vec![text("/v2")]), "/v1/v1", "/v2/v1"),
            (change("^/none", vec![text("/v2")]), "/v1", "/v1"),
            (change("^/.*$", Vec::new()), "/v1", "/"),
        ] {
            assert_eq!(changed(made, None, sent).unwrap().as_deref(), Some(expected), "{sent}");
        }
        let no_path = changed(change("^/", Vec::new()), None, "/a");
        assert_eq!(
            no_path.unwrap_err().to_string(),
            r#"rewrite: "a" is no path: it begins with no slash"#
        );
    }

    #[test]
    fn a_host_is_made_of_what_hosts_may_have() {
        let tenants = |port: &str| {
            let matcher = Matcher {
                parameters: vec![Parameter { name: "tenant".into(), part: PathPart::Segment(0) }],
                ..Matcher::default()
            };
            let made = HostChange::Made(vec![Part::Value(0), text(&format!(".internal{port}"))]);
            route("r".to_owned(), matcher, Some(Rewrite { path: None, host: Some(made) }))
        };
        for (sent, port, expected) in [
            ("/Acme/x", "", "acme.internal"),
            ("/a_b.c-1", ":80", "a_b.c-1.internal:80"),
        ] {
            assert_eq!(host(&tenants(port), sent).unwrap().unwrap(), expected);
        }
        for sent in [
            "/",
            "/a%40b",
            "/a@b",
            "/.",
            "/a..b",
            "/.a",
            "/a:1",
            "/a;b",
            "/[::1]",
            &format!("/{}", "a".repeat(250)),
        ] {
            assert!(matches!(host(&tenants(""), sent), Err(Unwritable::NoHost(_))), "{sent}");
        }
    }
}
