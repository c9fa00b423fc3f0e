//! Rules as the control side writes them, asked about callers and requests.

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, Request};

use super::*;
use crate::http::path;
use crate::snapshot::authorization::Rule;
use crate::snapshot::model::PathMatch;

const WEB: &str = "spiffe://mesh.local/ns/default/dc/dc1/svc/web";

fn verdict(allow: bool, by: &str) -> Verdict {
    Verdict { allow, by: by.into() }
}

fn rule(allow: bool, by: &str, condition: Option<Condition>) -> Arc<Rule> {
    Arc::new(Rule { condition, verdict: verdict(allow, by) })
}

fn any() -> Condition {
    Condition { path: None, methods: Vec::new(), headers: Vec::new() }
}

fn rules(by_source: &[(&str, Vec<Arc<Rule>>)], by_others: Vec<Arc<Rule>>) -> Authorization {
    let by_source: HashMap<Box<str>, Vec<Arc<Rule>>> = by_source
        .iter()
        .map(|(name, rules)| ((*name).into(), rules.clone()))
        .collect();
    let set = RuleSet { by_source, by_others, otherwise: verdict(false, "the default") };
    Authorization {
        trust_domain: "mesh.local".into(),
        rule_sets: vec![set],
        candidates: Vec::new(),
        nameless: false,
    }
}

fn get(path: &str) -> Parts {
    let mut parts = Request::get(path).body(()).unwrap().into_parts().0;
    path::normalise(&mut parts.uri).unwrap();
    parts
}

#[test]
fn the_first_rule_that_takes_the_request_decides() {
    let reading = Condition { methods: vec![Method::GET], ..any() };
    let secret = Condition { path: Some(PathMatch::Begins("/secret".into())), ..any() };
    let of_web = vec![
        rule(false, "secret", Some(secret)),
        rule(true, "reading", Some(reading)),
        rule(false, "the rest of web", None),
    ];
    let rules = rules(&[("web", of_web)], vec![rule(true, "others", None)]);
    let judged = |peer, request: &Parts| {
        judge(&rules, Some(peer), Some(request))
            .err()
            .and_then(|error| error.cause().map(str::to_owned))
    };

    assert_eq!(judged(WEB, &get("/a")), None);
    let refused = judged(WEB, &get("/secrets")).unwrap();
    assert_eq!(*refused, format!("{WEB} is refused by secret."));
    let post = Request::post("/a").body(()).unwrap().into_parts().0;
    assert!(judged(WEB, &post).unwrap().contains("the rest of web"));
    assert_eq!(judged("spiffe://mesh.local/ns/default/dc/dc2/svc/edge", &post), None);
}

#[test]
fn a_path_is_judged_in_both_readings() {
    let begins = |path: &str| Some(Condition { path: Some(PathMatch::Begins(path.into())), ..any() });
    let denying = rules(
        &[],
        vec![rule(false, "secret", begins("/secret")), rule(true, "rest", None)],
    );
    let allowing = rules(&[], vec![rule(true, "open", begins("/open"))]);
    for path in [
        "/secret",
        "/x/../secret",
        "/open/../secret",
        "//secret",
        "/%73ecret",
        "/%2e/secret",
        "/secret%2Fx",
        "/secret;v=1/x",
        "/%252573ecret",
    ] {
        assert!(judge(&denying, Some(WEB), Some(&get(path))).is_err(), "{path}");
        assert!(judge(&allowing, Some(WEB), Some(&get(path))).is_err(), "{path}");
    }
    for path in ["/open", "/open/x", "/open//x", "/open/%20"] {
        assert!(judge(&denying, Some(WEB), Some(&get(path))).is_ok(), "{path}");
        assert!(judge(&allowing, Some(WEB), Some(&get(path))).is_ok(), "{path}");
    }
}

#[test]
fn only_a_service_of_the_trust_domain_is_a_source() {
    let rules = rules(&[("web", vec![rule(true, "web", None)])], vec![rule(true, "any", None)]);
    for (peer, allowed) in [
        (WEB, true),
        ("spiffe://mesh.local/ns/default/dc/dc9/svc/web", true),
        ("spiffe://mesh.local/ns/default/dc/dc1/svc/other", true),
        ("spiffe://other.local/ns/default/dc/dc1/svc/web", false),
        ("spiffe://mesh.local.evil/ns/default/dc/dc1/svc/web", false),
        ("spiffe://mesh.local/ns/blue/dc/dc1/svc/web", false),
        ("spiffe://mesh.local/ns/default/dc/a/b/svc/web", false),
        ("spiffe://mesh.local/ns/default/dc//svc/web", false),
        ("spiffe://mesh.local/ns/default/dc/dc1/svc/web/x", false),
        ("spiffe://mesh.local/ns/default/dc/dc1/svc/", false),
        ("spiffe://mesh.local/gateway/mesh/dc/dc1", false),
        ("web", false),
    ] {
        assert_eq!(judge(&rules, Some(peer), None).is_ok(), allowed, "{peer}");
    }
}

#[test]
fn who_has_no_name_may_where_cleartext_is_taken() {
    let mut rules = rules(&[], Vec::new());
    let error = judge(&rules, None, None).unwrap_err();
    assert!(
        error.to_string().contains("showed no certificate of the mesh"),
        "{error}"
    );
    rules.nameless = true;
    assert!(judge(&rules, None, None).is_ok());
    assert!(judge(&rules, Some(WEB), None).is_err(), "a name is judged all the same");
}

#[test]
fn a_candidate_is_asked_and_not_obeyed() {
    let mut both = rules(&[], vec![rule(true, "any", None)]);
    assert!(!would_refuse(&both, WEB, None));
    both.candidates = rules(&[("web", Vec::new())], vec![rule(true, "others", None)]).rule_sets;
    assert!(judge(&both, Some(WEB), None).is_ok());
    assert!(would_refuse(&both, WEB, None));
    assert!(!would_refuse(
        &both,
        "spiffe://mesh.local/ns/default/dc/dc1/svc/edge",
        None
    ));
}

#[test]
fn every_rule_set_must_allow() {
    let mut both = rules(&[], vec![rule(true, "intention", None)]);
    both.rule_sets.push(RuleSet {
        by_source: HashMap::new(),
        by_others: Vec::new(),
        otherwise: verdict(false, "allow"),
    });
    let error = judge(&both, Some(WEB), None).unwrap_err();
    assert_eq!((error.reason, error.grpc_status()), (Reason::NotAllowed, 7));
    assert!(error.cause().unwrap().contains("allow"));
}

#[test]
fn a_rule_about_requests_takes_no_connection() {
    let rules = rules(&[], vec![rule(true, "requests", Some(any()))]);
    assert!(judge(&rules, Some(WEB), Some(&get("/"))).is_ok());
    assert!(judge(&rules, Some(WEB), None).is_err());
}

#[test]
fn one_of_several_headers_is_enough_and_inverted_none_may_be() {
    let text = |text: &str| Text { text: text.into(), ignore_case: false };
    let folded = |text: &str| Text { text: text.into(), ignore_case: true };
    let regex = regex::Regex::new(r"\A(?:a\d)\z").unwrap();
    for (values, test, expected) in [
        (&["a1"][..], TextTest::Present, true),
        (&[], TextTest::Present, false),
        (&["a1"], TextTest::Exact(text("a1")), true),
        (&["A1"], TextTest::Exact(text("a1")), false),
        (&["A1"], TextTest::Exact(folded("a1")), true),
        (&["a1", "b"], TextTest::Exact(text("a1")), true),
        (&["b", "a1"], TextTest::Exact(text("a1")), true),
        (&["a1", "b"], TextTest::Exact(text("a1,b")), false),
        (&["a1"], TextTest::Prefix(text("a")), true),
        (&["a"], TextTest::Prefix(text("a1")), false),
        (&["xA1"], TextTest::Suffix(folded("a1")), true),
        (&["1"], TextTest::Suffix(text("a1")), false),
        (&["xA1x"], TextTest::Contains(folded("a1")), true),
        (&["xA1x"], TextTest::Contains(text("a1")), false),
        (&["a"], TextTest::Contains(text("")), true),
        (&["a1"], TextTest::Regex(regex.clone()), true),
        (&["a1x"], TextTest::Regex(regex.clone()), false),
    ] {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("x-a", HeaderValue::from_static(value));
        }
        let words = format!("{values:?} {test:?}");
        let is_absent = values.is_empty();
        let is_present = matches!(test, TextTest::Present);
        let mut field = FieldTest { name: HeaderName::from_static("x-a"), test, invert: false };
        assert_eq!(field_holds(&field, &headers), expected, "{words}");
        field.invert = true;
        // Of a header that is not there nothing is known, but that it is not there.
        assert_eq!(
            field_holds(&field, &headers),
            if is_absent { is_present } else { !expected },
            "{words}, inverted"
        );
    }
}
