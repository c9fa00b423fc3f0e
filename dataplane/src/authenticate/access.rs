//! May this caller use the route? Decided by what its credentials tell of it.

use serde_json::Value;

use super::identified::Identified;
use crate::error::{Error, Reason};
use crate::snapshot::model::{Access, AccessRule};

/// Fails unless a rule takes the caller; `None`: nobody was asked who it is.
pub fn allow(access: &Access, caller: Option<&Identified>) -> Result<(), Error> {
    if access
        .rules
        .iter()
        .any(|rule| caller.is_some_and(|caller| takes(rule, caller)))
    {
        return Ok(());
    }
    let consumer = caller.and_then(|caller| caller.consumer.as_ref());
    let error = Error::new(Reason::NotAllowed);
    Err(match consumer {
        Some(consumer) => error.because(format_args!("No rule of the route's `allow` takes {}.", consumer.name)),
        None => error.because("No rule of the route's `allow` takes who is no consumer."),
    })
}

fn takes(rule: &AccessRule, caller: &Identified) -> bool {
    let consumer = caller.consumer.as_deref();
    let is_named = |name: &str| rule.consumers.iter().any(|one| **one == *name);
    let is_in = |groups: &[Box<str>]| rule.groups.iter().any(|group| groups.contains(group));
    (rule.consumers.is_empty() || consumer.is_some_and(|consumer| is_named(&consumer.name)))
        && (rule.groups.is_empty() || consumer.is_some_and(|consumer| is_in(&consumer.groups)))
        && rule.claims.iter().all(|(claim, values)| {
            let said = caller.claims.as_ref().and_then(|claims| claims.get(claim));
            said.is_some_and(|said| has_one(claim, said, values))
        })
}

/// The claim itself is one of the values, or has one.
fn has_one(claim: &str, said: &Value, values: &[Box<str>]) -> bool {
    let is_value = |text: &str| values.iter().any(|value| **value == *text);
    match said {
        // "A JSON string containing a space-separated list of scopes" (RFC 8693 section 4.2).
        Value::String(text) if claim == "scope" => text.split(' ').any(is_value),
        Value::String(text) => is_value(text),
        Value::Bool(_) | Value::Number(_) => is_value(&said.to_string()),
        Value::Array(items) => items.iter().filter_map(Value::as_str).any(is_value),
        Value::Null | Value::Object(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::credentials::samples::{consumer, credentials};

    fn of(name: &str, groups: &[&str]) -> Identified {
        let known = credentials(vec![consumer(name, groups, "https://id.test")], Vec::new());
        Identified::consumer(&Arc::clone(known.consumer(name).expect("known")))
    }

    fn rule(consumers: &[&str], groups: &[&str]) -> AccessRule {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).into()).collect();
        AccessRule { consumers: texts(consumers), groups: texts(groups), claims: Vec::new() }
    }

    #[test]
    fn one_rule_that_takes_the_caller_is_enough_and_all_parts_of_it_must() {
        let access = |rules: Vec<AccessRule>| Access { rules };
        let (ann, bob) = (of("ann", &["a", "b"]), of("bob", &[]));
        let rules = || access(vec![rule(&["cid"], &[]), rule(&[], &["x", "b"])]);
        assert!(allow(&rules(), Some(&ann)).is_ok());
        let error = allow(&rules(), Some(&bob)).unwrap_err();
        assert!(
            error.reason == Reason::NotAllowed && error.to_string().contains("takes bob"),
            "{error}"
        );
        let both = access(vec![rule(&["bob"], &["b"])]);
        assert!(allow(&both, Some(&ann)).is_err() && allow(&both, Some(&bob)).is_err());
        assert!(allow(&access(Vec::new()), Some(&ann)).is_err(), "no rule takes nobody");
        assert!(allow(&rules(), None).is_err());
        assert!(allow(&access(vec![rule(&[], &[])]), Some(&bob)).is_ok());
        assert!(
            allow(&access(vec![rule(&[], &[])]), None).is_err(),
            "who is not known is taken by no rule"
        );
    }

    #[test]
    fn a_claim_is_a_value_or_has_it() {
        for (claim, said, expected) in [
            ("role", json!("admin"), true),
            ("role", json!("admin writer"), false),
            ("scope", json!("read admin"), true),
            ("scope", json!("read administrator"), false),
            ("role", json!(["x", "admin"]), true),
            ("role", json!([["admin"]]), false),
            ("role", json!({"admin": true}), false),
            ("role", json!(null), false),
            ("role", json!(7), true),
            ("role", json!(true), false),
        ] {
            assert_eq!(
                has_one(claim, &said, &["admin".into(), "7".into()]),
                expected,
                "{claim} {said}"
            );
        }
    }
}
