//! The conditions of routes.

use http::uri::PathAndQuery;
use http::{HeaderName, Method};
use regex::{Regex, RegexBuilder};

use super::Checked;
use crate::proto;
use crate::snapshot::model::{
    HeaderMatch, HostMatch, Matcher, NamedMatch, Network, Parameter, PathMatch, PathPart, ValueMatch,
};

/// Bytes that one compiled regular expression may take; `\w{100}` fits, `\w{10000}` does not.
const REGEX_SIZE: usize = 1 << 20;
/// Bytes that the lazy automaton of one regular expression may take in each thread.
const REGEX_CACHE: usize = 1 << 18;
/// A DNS name has at most 253 characters (RFC 1035 section 2.3.4).
const MAX_HOST: usize = 253;

pub(super) fn matcher(message: proto::Match) -> Checked<Matcher> {
    let regexes = message
        .path_regexes
        .iter()
        .map(|pattern| anchored("path_regex", pattern));
    let path_regexes: Vec<_> = regexes.collect::<Checked<_>>()?;
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
        parameters: parameters(message.parameters, path_regexes.first())?,
        path_regexes,
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
        None => Err("path has no condition; expected exact, prefix or a template".to_owned()),
        Some(Kind::Exact(exact)) => Ok(PathMatch::Exact(path("path.exact", exact)?.into())),
        Some(Kind::Prefix(prefix)) => Ok(PathMatch::Prefix(
            path("path.prefix", prefix)?.trim_end_matches('/').into(),
        )),
        Some(Kind::Template(template)) => self::template("path.template", &template, false),
        Some(Kind::TemplatePrefix(template)) => self::template("path.template_prefix", &template, true),
        Some(Kind::Begins(_) | Kind::Regex(_)) => {
            Err("path.begins and path.regex are of rules about callers".to_owned())
        }
    }
}

/// Of "/users/{}/orders".
pub(super) fn template(field: &str, template: &str, is_open: bool) -> Checked<PathMatch> {
    let template = if is_open {
        template.trim_end_matches('/')
    } else {
        template
    };
    let segments: Box<[_]> = template
        .split('/')
        .skip(1)
        .map(|segment| (segment != "{}").then(|| Box::from(segment)))
        .collect();
    let is_text = |text: &str| path(field, format!("/{text}")).is_ok() && !text.contains(['{', '}']);
    if !template.starts_with('/') || !segments.iter().flatten().all(|text| is_text(text)) {
        return Err(format!(
            "{field} {template:?} is no path; expected one like \"/api\", and \"{{}}\" for a segment"
        ));
    }
    Ok(PathMatch::Template { segments, is_open })
}

fn parameters(messages: Vec<proto::PathParameter>, regex: Option<&Regex>) -> Checked<Vec<Parameter>> {
    use proto::path_parameter::Kind;
    let parameter = |message: proto::PathParameter| {
        let name = message.name;
        let part = match message.kind {
            Some(Kind::Segment(number)) => PathPart::Segment(number as usize),
            Some(Kind::Rest(number)) => PathPart::Rest(number as usize),
            Some(Kind::Group(_)) => {
                let group = regex.and_then(|regex| regex.capture_names().position(|group| group == Some(&*name)));
                PathPart::Group(group.ok_or_else(|| format!("path_regex has no group {name:?}"))?)
            }
            None => return Err(format!("parameter {name:?} is nowhere")),
        };
        Ok(Parameter { name: name.into(), part })
    };
    messages.into_iter().map(parameter).collect()
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
    // By itself first: "a)|(b" is no expression, but it would become one between the anchors.
    regex(field, pattern)?;
    regex(field, &format!(r"\A(?:{pattern})\z"))
}

/// One that matches parts, too.
pub(super) fn regex(field: &str, pattern: &str) -> Checked<Regex> {
    let built = RegexBuilder::new(pattern)
        .size_limit(REGEX_SIZE)
        .dfa_size_limit(REGEX_CACHE)
        .build();
    built.map_err(|error| {
        let error = error.to_string();
        let words = error.lines().last().unwrap_or(&error).trim();
        format!("{field} {pattern:?} is not usable: {words}")
    })
}
