//! Rules about callers: where they may stand, and that each caller has those that are about it, in order.

use super::*;
use crate::snapshot::authorization::Authorization;

fn rule(source: &str, by: &str) -> proto::Rule {
    let verdict = Some(proto::Verdict { allow: true, by: by.into() });
    proto::Rule { source: source.into(), condition: None, verdict }
}

fn about_requests(condition: proto::Condition) -> proto::Rule {
    proto::Rule { condition: Some(condition), ..rule("web", "requests") }
}

/// What becomes of these rules on a listener that asks for certificates of the mesh, after `change`.
fn listener(rules: Vec<proto::Rule>, change: impl FnOnce(&mut proto::Listener)) -> Result<Arc<Authorization>, String> {
    let mut message = smallest();
    let listener = &mut message.listeners[0];
    listener.tls = Some(proto::ServerTls {
        identities: vec!["mesh".into()],
        trust_bundle: "mesh".into(),
        require_client_certificate: true,
        ..Default::default()
    });
    let otherwise = Some(proto::Verdict { allow: false, by: "default".into() });
    listener.authorization = Some(proto::Authorization {
        trust_domain: "mesh.local".into(),
        rule_sets: vec![proto::RuleSet { rules, otherwise }],
        ..Default::default()
    });
    change(listener);
    let decoded = decode(&message.encode_to_vec()).map_err(|rejected| rejected.to_string())?;
    Ok(decoded.listeners[0].authorization.clone().expect("it was given"))
}

#[test]
fn each_caller_has_its_rules_and_those_of_all_in_the_order_written() {
    let written = vec![
        rule("web", "1"),
        rule("", "2"),
        rule("edge", "3"),
        rule("web", "4"),
        rule("", "5"),
    ];
    let made = listener(written, |_| {}).unwrap();
    let set = &made.rule_sets[0];
    let names = |rules: &[Arc<_>]| -> String {
        rules
            .iter()
            .map(|rule: &Arc<crate::snapshot::authorization::Rule>| &*rule.verdict.by)
            .collect()
    };
    assert_eq!(names(&set.by_source["web"]), "1245");
    assert_eq!(names(&set.by_source["edge"]), "235");
    assert_eq!(names(&set.by_others), "25");
}

#[test]
fn rules_stand_only_where_callers_have_names() {
    for change in [
        (|listener: &mut proto::Listener| listener.tls = None) as fn(&mut proto::Listener),
        |listener| listener.tls.as_mut().unwrap().require_client_certificate = false,
        |listener| listener.tls.as_mut().unwrap().any_client_name = true,
    ] {
        let told = listener(Vec::new(), change).unwrap_err();
        assert!(
            told.contains("needs tls that requires certificates of the mesh"),
            "{told}"
        );
    }
}

#[test]
fn rules_about_requests_stand_only_where_requests_are_read() {
    let rules = || vec![about_requests(proto::Condition::default())];
    assert!(listener(rules(), |_| {}).is_ok());
    for mode in [proto::ListenerMode::Tcp, proto::ListenerMode::ByAlpn] {
        let told = listener(rules(), |listener| listener.mode = mode.into()).unwrap_err();
        assert!(told.contains("rule \"requests\" is about requests"), "{told}");
    }
}

#[test]
fn what_is_wrong_in_a_rule_is_told_with_its_name() {
    let test = |test: proto::FieldTest| proto::Condition { headers: vec![test], ..Default::default() };
    for (condition, words) in [
        (
            test(proto::FieldTest { name: "X-A".into(), ..Default::default() }),
            "no header name",
        ),
        (
            test(proto::FieldTest { name: "x-a".into(), ..Default::default() }),
            "header x-a has no condition",
        ),
        (
            proto::Condition { path: Some(proto::PathMatch::default()), ..Default::default() },
            "path has no condition",
        ),
        (
            proto::Condition { methods: vec!["G T".into()], ..Default::default() },
            "is no method",
        ),
    ] {
        let told = listener(vec![about_requests(condition)], |_| {}).unwrap_err();
        assert!(told.contains("rule \"requests\": ") && told.contains(words), "{told}");
    }
    let told = listener(vec![proto::Rule { verdict: None, ..rule("web", "") }], |_| {}).unwrap_err();
    assert!(told.contains("a rule has no verdict"), "{told}");
}
