//! Rewrites of path and host.

use http::uri::Authority;
use regex::Regex;

use super::Checked;
use super::matchers::{path, regex};
use crate::proto;
use crate::snapshot::model::{HostChange, Matcher, Part, PathChange, PathMatch, Rewrite};

/// `host`: "" stays.
pub(super) fn rewrite(message: Option<proto::PathRewrite>, host: &str, matcher: &Matcher) -> Checked<Option<Rewrite>> {
    let path = message.map(|message| path_change(message, matcher)).transpose()?;
    let host = (!host.is_empty()).then(|| host_change(host, matcher)).transpose()?;
    Ok((path.is_some() || host.is_some()).then_some(Rewrite { path, host }))
}

fn path_change(message: proto::PathRewrite, matcher: &Matcher) -> Checked<PathChange> {
    if !message.regex.is_empty() {
        let pattern = regex("rewrite.regex", &message.regex)?;
        let parts = substitution(&message.substitution, &pattern)?;
        return Ok(PathChange::Substitution { pattern, parts });
    }
    if !message.template.is_empty() || message.replaced.is_some() {
        let parts = parts("rewrite.template", &message.template, matcher)?;
        // With what stays behind it, nothing is "/".
        path("rewrite.template", format!("{}/", text_of(&parts)))?;
        let replaced = message.replaced.map(|count| count as usize);
        return Ok(PathChange::Template { parts, replaced });
    }
    Ok(PathChange::Prefix(prefix(message.prefix, matcher)?))
}

/// Without a trailing slash behind a prefix, as the matcher holds prefixes.
fn prefix(prefix: String, matcher: &Matcher) -> Checked<Box<str>> {
    let prefix = if prefix.is_empty() {
        prefix
    } else {
        path("rewrite.prefix", prefix)?
    };
    match matcher.path {
        Some(PathMatch::Exact(_)) => Ok(prefix.into()),
        Some(PathMatch::Prefix(_)) => Ok(prefix.trim_end_matches('/').into()),
        None if matcher.path_regexes.is_empty() => Ok(prefix.trim_end_matches('/').into()),
        _ => Err("rewrite.prefix needs a path prefix or an exact path to replace".to_owned()),
    }
}

fn host_change(text: &str, matcher: &Matcher) -> Checked<HostChange> {
    let parts = parts("rewrite_host", text, matcher)?;
    let authority = Authority::try_from(text_of(&parts)).ok();
    let authority = authority.filter(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'));
    let authority =
        authority.ok_or_else(|| format!("rewrite_host {text:?} is no host; expected one like \"a.example\""))?;
    match parts.iter().any(|part| matches!(part, Part::Value(_))) {
        true => Ok(HostChange::Made(parts)),
        false => Ok(HostChange::Fixed(authority)),
    }
}

/// What is made where every value is "x".
fn text_of(parts: &[Part]) -> String {
    let text = |part: &Part| match part {
        Part::Text(text) => text.to_string(),
        Part::Value(_) => "x".to_owned(),
    };
    parts.iter().map(text).collect()
}

/// Of "/v2/{id}", where `{id}` is a parameter of the match.
fn parts(field: &str, text: &str, matcher: &Matcher) -> Checked<Vec<Part>> {
    let mut made = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            return Err(format!("{field} {text:?} has a brace that is not closed"));
        };
        let Some(parameter) = matcher.parameters.iter().position(|parameter| *parameter.name == *name) else {
            return Err(format!("{field} {text:?}: the match has no parameter {name:?}"));
        };
        if !before.is_empty() {
            made.push(Part::Text(before.into()));
        }
        made.push(Part::Value(parameter));
        rest = after;
    }
    if !rest.is_empty() {
        made.push(Part::Text(rest.into()));
    }
    Ok(made)
}

/// Of "/v2/\\1", where `\\1` is the first group of the pattern.
fn substitution(text: &str, pattern: &Regex) -> Checked<Vec<Part>> {
    let mut made = Vec::new();
    let mut pieces = text.split('\\');
    let first = pieces.next().unwrap_or_default();
    if !first.is_empty() {
        made.push(Part::Text(first.into()));
    }
    for piece in pieces {
        let group = piece.chars().next().and_then(|digit| digit.to_digit(10));
        let group = group
            .map(|group| group as usize)
            .filter(|group| *group < pattern.captures_len());
        let Some(group) = group else {
            return Err(format!(
                "rewrite.substitution {text:?} names a group that the pattern has not"
            ));
        };
        made.push(Part::Value(group));
        if piece.len() > 1 {
            made.push(Part::Text(piece[1..].into()));
        }
    }
    path("rewrite.substitution", format!("/{}", text_of(&made)))?;
    Ok(made)
}
