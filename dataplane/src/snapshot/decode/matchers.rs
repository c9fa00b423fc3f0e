//! The conditions of routes.

use http::uri::PathAndQuery;
use http::{HeaderName, Method};
use regex::{Regex, RegexBuilder};

use super::Checked;
use crate::proto;
use crate::snapshot::model::{HeaderMatch, HostMatch, Matcher, NamedMatch, Network, PathMatch, ValueMatch};

/// Bytes that one compiled regular expression may take; `\w{100}` fits, `\w{10000}` does not.
const REGEX_SIZE: usize = 1 << 20;
/// Bytes that the lazy automaton of one regular expression may take in each thread.
const REGEX_CACHE: usize = 1 << 18;
/// A DNS name has at most 253 characters (RFC 1035 section 2.3.4).
const MAX_HOST: usize = 253;

pub(super) fn matcher(message: proto::Match) -> Checked<Matcher> {
    Ok(Matcher {
        hosts: message
            .hosts
            .iter()
            .map(|host| host_match(host))
            .collect::<Checked<_>>()?,
        path: message.path.map(path_match).transpose()?,
        methods: message
            .methods
            .iter()
            .map(|method| self::method(method))
            .collect::<Checked<_>>()?,
        headers: message.headers.into_iter().map(header_match).collect::<Checked<_>>()?,
        query: named_matches("query", message.query)?,
        cookies: named_matches("cookie", message.cookies)?,
        sources: message
            .sources
            .iter()
            .map(|text| network("source", text))
            .collect::<Checked<_>>()?,
    })
}

pub(super) fn host_match(host: &str) -> Checked<HostMatch> {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let is_ipv6 = name.starts_with('[') && name.ends_with(']');
    // What RFC 3986 allows in a name, but capitals and the star.
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._~%!$&'()+,;=".contains(&byte);
    if name.is_empty() || name.len() > MAX_HOST || name.ends_with('.') || !(is_ipv6 || name.bytes().all(legal)) {
        return Err(format!(
            "host {host:?} is not usable; expected a lower-case name without port, or one like \"*.example.com\""
        ));
    }
    Ok(match host.strip_prefix('*') {
        Some(suffix) => HostMatch::Suffix(suffix.into()),
        None => HostMatch::Exact(host.into()),
    })
}

fn path_match(message: proto::PathMatch) -> Checked<PathMatch> {
    use proto::path_match::Kind;
    match message.kind {
        None => Err("path has no condition; expected exact, prefix or regex".to_owned()),
        Some(Kind::Exact(exact)) => Ok(PathMatch::Exact(path("path.exact", exact)?.into())),
        Some(Kind::Prefix(prefix)) => Ok(PathMatch::Prefix(
            path("path.prefix", prefix)?.trim_end_matches('/').into(),
        )),
        Some(Kind::Begins(_)) => Err("path.begins is of rules about callers".to_owned()),
        Some(Kind::Regex(regex)) => Ok(PathMatch::Regex(anchored("path.regex", &regex)?)),
    }
}

/// An absolute path without a query. Plain ones pass by a glance, the others are parsed.
pub(super) fn path(field: &str, path: String) -> Checked<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    let usable = path.starts_with('/')
        && (path.bytes().all(plain) || PathAndQuery::try_from(path.as_str()).is_ok_and(|parsed| parsed.path() == path));
    if usable {
        Ok(path)
    } else {
        Err(format!("{field} {path:?} is no path; expected one like \"/api\""))
    }
}

pub(super) fn method(method: &str) -> Checked<Method> {
    Method::from_bytes(method.as_bytes()).map_err(|_| format!("{method:?} is no method; expected one like \"GET\""))
}

fn header_match(message: proto::ValueMatch) -> Checked<HeaderMatch> {
    let name = HeaderName::from_lowercase(message.name.as_bytes()).map_err(|_| {
        format!(
            "{:?} is no header name; expected lower case, like \"x-user\"",
            message.name
        )
    })?;
    if name == http::header::HOST {
        return Err("a header condition on \"host\" does not hold in HTTP/2; use hosts".to_owned());
    }
    let value = value_match(&format!("header {name}"), message.kind)?;
    if message.invert && matches!(value, ValueMatch::Present(_)) {
        return Err(format!(
            "header {name} is inverted; expected present with the other value"
        ));
    }
    Ok(HeaderMatch { name, value, is_inverted: message.invert })
}

fn named_matches(what: &str, messages: Vec<proto::ValueMatch>) -> Checked<Vec<NamedMatch>> {
    let named = |message: proto::ValueMatch| {
        let name = message.name;
        if name.is_empty() || message.invert {
            return Err(format!("{what} {name:?} has no name or is inverted"));
        }
        let value = value_match(&format!("{what} {name}"), message.kind)?;
        Ok(NamedMatch { name: name.into(), value })
    };
    messages.into_iter().map(named).collect()
}

fn value_match(field: &str, kind: Option<proto::value_match::Kind>) -> Checked<ValueMatch> {
    use proto::value_match::Kind;
    Ok(match kind {
        None => {
            return Err(format!(
                "{field} has no condition; expected exact, prefix, regex or present"
            ));
        }
        Some(Kind::Exact(exact)) => ValueMatch::Exact(exact.into()),
        Some(Kind::Prefix(prefix)) => ValueMatch::Prefix(prefix.into()),
        Some(Kind::Regex(regex)) => ValueMatch::Regex(anchored(field, &regex)?),
        Some(Kind::Present(present)) => ValueMatch::Present(present),
    })
}

/// Of addresses: "10.0.0.0/8".
pub(super) fn network(field: &str, text: &str) -> Checked<Network> {
    Network::parse(text).ok_or_else(|| format!("{field} {text:?} is no network; expected one like \"10.0.0.0/8\""))
}

/// A regular expression that has to match from the beginning to the end.
pub(super) fn anchored(field: &str, pattern: &str) -> Checked<Regex> {
    let compile = |pattern: &str| {
        RegexBuilder::new(pattern)
            .size_limit(REGEX_SIZE)
            .dfa_size_limit(REGEX_CACHE)
            .build()
            .map_err(|error| {
                let error = error.to_string();
                format!(
                    "{field} {pattern:?} is not usable: {}",
                    error.lines().last().unwrap_or(&error).trim()
                )
            })
    };
    // By itself first: "a)|(b" is no expression, but it would become one between the anchors.
    compile(pattern)?;
    compile(&format!(r"\A(?:{pattern})\z"))
}
