//! Rules about callers, each list sorted by who calls.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderName;

use super::Checked;
use super::matchers::{anchored, method, template};
use crate::proto;
use crate::snapshot::authorization::{Authorization, Condition, FieldTest, Rule, RuleSet, Text, TextTest, Verdict};
use crate::snapshot::model::{Mode, PathMatch, ServerTls};

/// Of a listener that speaks `tls`, in this `mode`.
pub(super) fn authorization(
    message: proto::Authorization,
    tls: Option<&ServerTls>,
    mode: Mode,
) -> Checked<Arc<Authorization>> {
    // Without it callers have no names, and rules would be about nobody.
    if !tls.is_some_and(|tls| tls.require_client_certificate && !tls.any_client_name) {
        return Err("authorization needs tls that requires certificates of the mesh".to_owned());
    }
    if message.trust_domain.is_empty() {
        return Err("authorization names no trust_domain".to_owned());
    }
    let sets = |sets: Vec<proto::RuleSet>| {
        sets.into_iter()
            .map(|set| rule_set(set, mode))
            .collect::<Checked<Vec<_>>>()
    };
    Ok(Arc::new(Authorization {
        trust_domain: message.trust_domain.into(),
        rule_sets: sets(message.rule_sets)?,
        candidates: sets(message.candidates)?,
        nameless: tls.is_some_and(|tls| tls.cleartext),
    }))
}

fn rule_set(message: proto::RuleSet, mode: Mode) -> Checked<RuleSet> {
    let mut by_source: HashMap<Box<str>, Vec<Arc<Rule>>> = message
        .rules
        .iter()
        .filter(|rule| !rule.source.is_empty())
        .map(|rule| (rule.source.as_str().into(), Vec::new()))
        .collect();
    let mut by_others = Vec::new();
    for message in message.rules {
        let verdict = verdict(message.verdict)?;
        if message.condition.is_some() && matches!(mode, Mode::Tcp | Mode::ByAlpn) {
            return Err(format!(
                "rule {:?} is about requests, and nobody reads any here",
                verdict.by
            ));
        }
        let wrong = |wrong: String| format!("rule {:?}: {wrong}", verdict.by);
        let condition = message.condition.map(condition).transpose().map_err(wrong)?;
        let rule = Arc::new(Rule { condition, verdict });
        if message.source.is_empty() {
            for rules in by_source.values_mut().chain([&mut by_others]) {
                rules.push(Arc::clone(&rule));
            }
        } else if let Some(rules) = by_source.get_mut(&*message.source) {
            rules.push(rule);
        }
    }
    Ok(RuleSet { by_source, by_others, otherwise: verdict(message.otherwise)? })
}

fn verdict(message: Option<proto::Verdict>) -> Checked<Verdict> {
    let message = message.ok_or("a rule has no verdict")?;
    Ok(Verdict { allow: message.allow, by: message.by.into() })
}

fn condition(message: proto::Condition) -> Checked<Condition> {
    let methods = message.methods.iter().map(|name| method(name));
    Ok(Condition {
        path: message.path.map(path).transpose()?,
        methods: methods.collect::<Checked<_>>()?,
        headers: message.headers.into_iter().map(field_test).collect::<Checked<_>>()?,
    })
}

/// Any text: one that no path has matches none.
fn path(message: proto::PathMatch) -> Checked<PathMatch> {
    use proto::path_match::Kind;
    match message.kind {
        None => Err("path has no condition; expected exact, prefix, begins or regex".to_owned()),
        Some(Kind::Exact(exact)) => Ok(PathMatch::Exact(exact.into())),
        Some(Kind::Prefix(prefix)) => Ok(PathMatch::Prefix(prefix.trim_end_matches('/').into())),
        Some(Kind::Begins(begins)) => Ok(PathMatch::Begins(begins.into())),
        Some(Kind::Template(text)) => template("path.template", &text, false),
        Some(Kind::TemplatePrefix(text)) => template("path.template_prefix", &text, true),
        Some(Kind::Regex(regex)) => Ok(PathMatch::Regex(anchored("path.regex", &regex)?)),
    }
}

fn field_test(message: proto::FieldTest) -> Checked<FieldTest> {
    use proto::field_test::Kind;
    let name = HeaderName::from_lowercase(message.name.as_bytes())
        .map_err(|_| format!("{:?} is no header name; expected lower case", message.name))?;
    let text = |mut text: String| {
        if message.ignore_case {
            text.make_ascii_lowercase();
        }
        Text { text: text.into(), ignore_case: message.ignore_case }
    };
    let test = match message.kind {
        None => return Err(format!("header {name} has no condition")),
        Some(Kind::Present(_)) => TextTest::Present,
        Some(Kind::Exact(exact)) => TextTest::Exact(text(exact)),
        Some(Kind::Prefix(prefix)) => TextTest::Prefix(text(prefix)),
        Some(Kind::Suffix(suffix)) => TextTest::Suffix(text(suffix)),
        Some(Kind::Contains(contains)) => TextTest::Contains(text(contains)),
        Some(Kind::Regex(regex)) => TextTest::Regex(anchored(&format!("header {name}"), &regex)?),
    };
    Ok(FieldTest { name, test, invert: message.invert })
}
