//! Why a route does not take a request, for people. Whether it does is [`super::table`]'s and [`super::matcher`]'s to say.

use http::request::Parts;

use super::fields;
use super::matcher::{Asked, header_matches, path_matches, request_matches, value_matches};
use crate::snapshot::model::{HeaderMatch, Matcher, NamedMatch, PathMatch, PathPart, ValueMatch};

/// The conditions of a route beside its hosts that do not hold, in words; empty: it takes the request.
pub fn conditions(matcher: &Matcher, asked: &Asked<'_>) -> Vec<String> {
    let Asked { parts, path, source } = *asked;
    let mut missed = Vec::new();
    if let Some(condition) = &matcher.path
        && !path_matches(condition, path)
    {
        missed.push(format!("path {path} is not {}", path_in_words(condition, matcher)));
    }
    let regexes = matcher.path_regexes.iter().filter(|regex| !regex.is_match(path));
    missed.extend(regexes.map(|regex| format!("path {path} is not one of {}", unanchored(regex.as_str()))));
    if !matcher.methods.is_empty() && !matcher.methods.contains(&parts.method) {
        let methods: Vec<_> = matcher.methods.iter().map(http::Method::as_str).collect();
        missed.push(format!("method {} is not {}", parts.method, methods.join(" or ")));
    }
    let headers = matcher.headers.iter();
    missed.extend(
        headers
            .filter(|condition| !header_matches(condition, &parts.headers))
            .map(|condition| header_in_words(condition, parts)),
    );
    for NamedMatch { name, value } in &matcher.query {
        let sent = parts.uri.query().and_then(|query| fields::parameter(query, name));
        if !value_matches(value, sent) {
            missed.push(in_words(&format!("parameter {name}"), sent, "should be", value));
        }
    }
    for NamedMatch { name, value } in &matcher.cookies {
        let sent = fields::cookie(&parts.headers, name);
        if !value_matches(value, sent) {
            missed.push(in_words(&format!("cookie {name}"), sent, "should be", value));
        }
    }
    if !matcher.sources.is_empty() && !matcher.sources.iter().any(|network| network.contains(source)) {
        let networks: Vec<_> = matcher
            .sources
            .iter()
            .map(|network| format!("{}/{}", network.address, network.length))
            .collect();
        missed.push(format!("the client {source} is not in {}", networks.join(" or ")));
    }
    if missed.is_empty() && !request_matches(matcher, asked) {
        missed.push("another of its conditions does not hold".to_owned());
    }
    missed
}

fn path_in_words(condition: &PathMatch, matcher: &Matcher) -> String {
    match condition {
        PathMatch::Template { segments, is_open } => {
            let segments = segments.iter().enumerate().map(|(number, segment)| match segment {
                Some(text) => format!("/{text}"),
                None => format!("/{{{}}}", name_of(PathPart::Segment(number), matcher)),
            });
            let star = if *is_open { "/*" } else { "" };
            segments.chain([star.to_owned()]).collect()
        }
        PathMatch::Exact(exact) => exact.to_string(),
        PathMatch::Prefix(prefix) => format!("{prefix}/*"),
        PathMatch::Begins(begins) => format!("one that begins with {begins}"),
        PathMatch::Regex(regex) => format!("one of {}", unanchored(regex.as_str())),
    }
}

fn name_of(part: PathPart, matcher: &Matcher) -> &str {
    let parameter = matcher.parameters.iter().find(|parameter| parameter.part == part);
    parameter.map_or("", |parameter| &parameter.name)
}

fn header_in_words(condition: &HeaderMatch, parts: &Parts) -> String {
    let name = &condition.name;
    let values = parts.headers.get_all(name).iter();
    let sent: Vec<_> = values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    let (what, sent) = (format!("header {name}"), (!sent.is_empty()).then(|| sent.join(", ")));
    let should = match condition.is_inverted {
        true => "should be there and not be",
        false => "should be",
    };
    in_words(&what, sent.as_deref(), should, &condition.value)
}

/// What `what` is, and what it should be.
fn in_words(what: &str, sent: Option<&str>, should: &str, condition: &ValueMatch) -> String {
    let is = match sent {
        None => format!("{what} is not there, and {should}"),
        Some(sent) => format!("{what} is {sent:?}, and {should}"),
    };
    match condition {
        ValueMatch::Present(true) => is,
        ValueMatch::Present(false) => format!("{what} is there, and should not be"),
        ValueMatch::Exact(exact) => format!("{is} {exact:?}"),
        ValueMatch::Prefix(prefix) => format!("{is} one that begins with {prefix:?}"),
        ValueMatch::Regex(regex) => format!("{is} one of {}", unanchored(regex.as_str())),
    }
}

/// As it was written: without the anchors that the snapshot puts around it.
fn unanchored(regex: &str) -> &str {
    let inner = regex.strip_prefix(r"\A(?:").and_then(|rest| rest.strip_suffix(r")\z"));
    inner.unwrap_or(regex)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use http::{HeaderName, Method, Request};
    use regex::Regex;

    use super::*;
    use crate::snapshot::model::Network;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

    fn missed(matcher: &Matcher, parts: &Parts) -> Vec<String> {
        conditions(matcher, &Asked::of(parts, CLIENT))
    }

    fn parts(path: &str) -> Parts {
        let request = Request::get(path).header("x-user", "ann").header("cookie", "v=1; w=2");
        request.body(()).unwrap().into_parts().0
    }

    fn header(value: ValueMatch) -> Matcher {
        let headers = vec![HeaderMatch { name: HeaderName::from_static("x-user"), value, is_inverted: false }];
        Matcher { headers, ..Matcher::default() }
    }

    #[test]
    fn each_condition_that_does_not_hold_is_named() {
        let api = || Some(PathMatch::Prefix("/api".into()));
        let both = Matcher { path: api(), methods: vec![Method::PUT, Method::POST], ..Matcher::default() };
        assert_eq!(
            missed(&both, &parts("/apis?x=/api")),
            ["path /apis is not /api/*", "method GET is not PUT or POST"]
        );
        assert!(missed(&Matcher { path: api(), ..Matcher::default() }, &parts("/api/x")).is_empty());
        for (value, words) in [
            (
                ValueMatch::Exact("bob".into()),
                r#"header x-user is "ann", and should be "bob""#,
            ),
            (ValueMatch::Present(false), "header x-user is there, and should not be"),
            (
                ValueMatch::Regex(Regex::new(r"\A(?:b.b)\z").unwrap()),
                r#"header x-user is "ann", and should be one of b.b"#,
            ),
        ] {
            assert_eq!(missed(&header(value), &parts("/")), [words]);
        }
        let mut without = parts("/");
        without.headers.clear();
        assert_eq!(
            missed(&header(ValueMatch::Prefix("b".into())), &without),
            [r#"header x-user is not there, and should be one that begins with "b""#]
        );
    }

    #[test]
    fn so_is_one_that_should_not_hold() {
        let mut matcher = header(ValueMatch::Exact("ann".into()));
        matcher.headers[0].is_inverted = true;
        let words = r#"header x-user is "ann", and should be there and not be "ann""#;
        assert_eq!(missed(&matcher, &parts("/")), [words]);
        matcher.headers[0].value = ValueMatch::Exact("bob".into());
        assert!(missed(&matcher, &parts("/")).is_empty());
        let mut without = parts("/");
        without.headers.clear();
        let words = r#"header x-user is not there, and should be there and not be "bob""#;
        assert_eq!(missed(&matcher, &without), [words]);
    }

    #[test]
    fn so_are_parameters_cookies_and_clients() {
        let named = |value: &str| vec![NamedMatch { name: "v".into(), value: ValueMatch::Exact(value.into()) }];
        let network = Network { address: "10.0.0.0".parse().unwrap(), length: 8 };
        for (matcher, words) in [
            (
                Matcher { query: named("2"), ..Matcher::default() },
                r#"parameter v is "1", and should be "2""#,
            ),
            (
                Matcher { cookies: named("2"), ..Matcher::default() },
                r#"cookie v is "1", and should be "2""#,
            ),
            (
                Matcher { sources: vec![network], ..Matcher::default() },
                "the client 192.0.2.7 is not in 10.0.0.0/8",
            ),
        ] {
            assert_eq!(missed(&matcher, &parts("/?v=1")), [words]);
        }
    }
}
