//! What routes ask of requests beside host, path, method and headers, and what they change.

use super::*;
use crate::proto::header_change;
use crate::snapshot::model::{Change, HeaderChange, Network, Value};

fn value(name: &str, kind: value_match::Kind) -> proto::ValueMatch {
    proto::ValueMatch { name: name.into(), kind: Some(kind), invert: false }
}

fn change(name: &str, kind: header_change::Kind) -> proto::HeaderChange {
    proto::HeaderChange { name: name.into(), kind: Some(kind) }
}

#[test]
fn conditions_and_changes_are_read() {
    let mut message = smallest();
    let route = &mut message.route_tables[0].routes[0];
    let asked = route.r#match.get_or_insert_default();
    asked.query = vec![value("page", value_match::Kind::Exact("1".into()))];
    asked.cookies = vec![value("Beta", value_match::Kind::Present(true))];
    asked.sources = vec!["10.0.0.0/8".into(), "fd00::/8".into()];
    let mut inverted = value("x-user", value_match::Kind::Regex("a|b".into()));
    inverted.invert = true;
    asked.headers = vec![inverted];
    route.destinations[0].request_headers = vec![
        change("x-a", header_change::Kind::Remove(true)),
        change("x-a", header_change::Kind::Set("1".into())),
    ];
    route.destinations[0].response_headers = vec![change("x-b", header_change::Kind::Add("a b".into()))];

    let route = &accepted(&message).route_tables["mesh"].http[0];
    assert!(matches!(&route.matcher.query[0].value, ValueMatch::Exact(text) if **text == *"1"));
    assert_eq!(
        (&*route.matcher.cookies[0].name, &*route.matcher.query[0].name),
        ("Beta", "page")
    );
    assert_eq!(
        route.matcher.sources,
        [
            Network { address: "10.0.0.0".parse().unwrap(), length: 8 },
            Network { address: "fd00::".parse().unwrap(), length: 8 }
        ]
    );
    assert!(route.matcher.headers[0].is_inverted);
    let changed = |name: &'static str, change| HeaderChange { name: http::HeaderName::from_static(name), change };
    let to = &route.destinations[0];
    let text = http::HeaderValue::from_static;
    assert_eq!(
        *to.request_headers,
        [
            changed("x-a", Change::Remove),
            changed("x-a", Change::Set(Value::Fixed(text("1"))))
        ]
    );
    assert_eq!(
        *to.response_headers,
        [changed("x-b", Change::Add(Value::Fixed(text("a b"))))]
    );
}

#[test]
fn bad_conditions_are_refused() {
    let exact = || value_match::Kind::Exact("1".into());
    for (name, kind, expected) in [
        ("", exact(), "query \"\" has no name or is inverted"),
        (
            "a",
            value_match::Kind::Regex("(".into()),
            "query a \"(\" is not usable: error: unclosed group",
        ),
    ] {
        assert_eq!(match_refusal(|m| m.query = vec![value(name, kind)]), expected);
    }
    let mut inverted = value("a", exact());
    inverted.invert = true;
    assert_eq!(
        match_refusal(|m| m.cookies = vec![inverted]),
        "cookie \"a\" has no name or is inverted"
    );
    let without = proto::ValueMatch { name: "a".into(), ..Default::default() };
    assert_eq!(
        match_refusal(|m| m.cookies = vec![without]),
        "cookie a has no condition; expected exact, prefix, regex or present"
    );
    for text in ["10.0.0.0", "10.0.0.0/33", "::/129", "a/8", "10.0.0.0/-1"] {
        assert_eq!(
            match_refusal(|m| m.sources = vec![text.into()]),
            format!("source {text:?} is no network; expected one like \"10.0.0.0/8\"")
        );
    }
}

#[test]
fn bad_changes_are_refused() {
    let refused = |name: &str, kind: Option<header_change::Kind>| {
        let change = proto::HeaderChange { name: name.into(), kind };
        let request = route_refusal(|route| route.destinations[0].request_headers = vec![change.clone()]);
        let response = route_refusal(|route| route.destinations[0].response_headers = vec![change.clone()]);
        assert_eq!(request, response);
        request
    };
    let set = |text: &str| Some(header_change::Kind::Set(text.into()));
    for name in ["X-A", ":path", "", "a b"] {
        assert!(refused(name, set("1")).contains("is no header name"), "{name}");
    }
    for name in [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "te",
        "upgrade",
        "trailer",
    ] {
        assert_eq!(
            refused(name, Some(header_change::Kind::Remove(true))),
            format!("header {name} is of the connection and cannot be changed")
        );
    }
    assert_eq!(
        refused("x-a", set("a\r\nb")),
        "header x-a: \"a\\r\\nb\" is no value; expected visible text"
    );
    for kind in [None, Some(header_change::Kind::Remove(false))] {
        assert_eq!(
            refused("x-a", kind),
            "header x-a is not changed; expected set, add or remove"
        );
    }
}
