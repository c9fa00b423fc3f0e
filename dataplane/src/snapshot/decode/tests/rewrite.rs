//! Parameters of paths, and what is made of them.

use super::*;
use crate::snapshot::model::{HostChange, Part, PathPart};
use proto::path_parameter::Kind as Where;

fn parameter(name: &str, kind: Where) -> proto::PathParameter {
    proto::PathParameter { name: name.into(), kind: Some(kind) }
}

/// Matches "/users/{id}/*".
fn of_users(message: &mut proto::Match) {
    message.path = Some(proto::PathMatch { kind: Some(path_match::Kind::TemplatePrefix("/users/{}".into())) });
    message.parameters = vec![parameter("id", Where::Segment(1)), parameter("rest", Where::Rest(2))];
}

fn changed(rewrite: proto::PathRewrite, host: &str) -> Result<Snapshot, String> {
    let mut message = smallest();
    let route = &mut message.route_tables[0].routes[0];
    of_users(route.r#match.get_or_insert_default());
    route.rewrite = (rewrite != proto::PathRewrite::default()).then_some(rewrite);
    route.rewrite_host = host.into();
    decode(&message.encode_to_vec()).map_err(|error| error.to_string())
}

fn template(text: &str) -> proto::PathRewrite {
    proto::PathRewrite { template: text.into(), replaced: Some(2), ..Default::default() }
}

fn substitution(regex: &str, by: &str) -> proto::PathRewrite {
    proto::PathRewrite { regex: regex.into(), substitution: by.into(), ..Default::default() }
}

#[test]
fn a_rewrite_is_read_once() {
    let text = |text: &str| Part::Text(text.into());
    let snapshot = changed(template("/v2/{id}/x"), "{id}.internal").unwrap();
    let route = &snapshot.route_tables["mesh"].http[0];
    assert_eq!(route.matcher.parameters[1].part, PathPart::Rest(2));
    let rewrite = route.rewrite.as_ref().unwrap();
    let Some(PathChange::Template { parts, replaced: Some(2) }) = &rewrite.path else {
        panic!("{rewrite:?}")
    };
    assert_eq!(parts[..], [text("/v2/"), Part::Value(0), text("/x")]);
    let Some(HostChange::Made(parts)) = &rewrite.host else {
        panic!("{rewrite:?}")
    };
    assert_eq!(parts[..], [Part::Value(0), text(".internal")]);

    let snapshot = changed(template(""), "").unwrap();
    let rewrite = snapshot.route_tables["mesh"].http[0].rewrite.as_ref().unwrap();
    assert!(matches!(&rewrite.path, Some(PathChange::Template { parts, .. }) if parts.is_empty()));

    let snapshot = changed(substitution("(a)(b)", r"\2-\1\0"), "a.internal:8080").unwrap();
    let rewrite = snapshot.route_tables["mesh"].http[0].rewrite.as_ref().unwrap();
    let Some(PathChange::Substitution { parts, .. }) = &rewrite.path else {
        panic!("{rewrite:?}")
    };
    assert_eq!(parts[..], [Part::Value(2), text("-"), Part::Value(1), Part::Value(0)]);
    assert!(matches!(&rewrite.host, Some(HostChange::Fixed(host)) if *host == "a.internal:8080"));
}

#[test]
fn a_bad_rewrite_is_refused() {
    let prefix = |prefix: &str| proto::PathRewrite { prefix: prefix.into(), ..Default::default() };
    for (rewrite, host, words) in [
        (
            prefix("/b"),
            "",
            "rewrite.prefix needs a path prefix or an exact path to replace",
        ),
        (
            prefix("b"),
            "",
            "rewrite.prefix \"b\" is no path; expected one like \"/api\"",
        ),
        (
            prefix("/b?c"),
            "",
            "rewrite.prefix \"/b?c\" is no path; expected one like \"/api\"",
        ),
        (
            template("/{name}"),
            "",
            "rewrite.template \"/{name}\": the match has no parameter \"name\"",
        ),
        (
            template("/{id"),
            "",
            "rewrite.template \"/{id\" has a brace that is not closed",
        ),
        (
            template("/{id}?"),
            "",
            "rewrite.template \"/x?/\" is no path; expected one like \"/api\"",
        ),
        (
            substitution("(a", "/"),
            "",
            "rewrite.regex \"(a\" is not usable: error: unclosed group",
        ),
        (
            substitution("(a)", r"\2"),
            "",
            r#"rewrite.substitution "\\2" names a group that the pattern has not"#,
        ),
        (
            substitution("(a)", r"\x"),
            "",
            r#"rewrite.substitution "\\x" names a group that the pattern has not"#,
        ),
        (
            substitution("(a)", "?"),
            "",
            "rewrite.substitution \"/?\" is no path; expected one like \"/api\"",
        ),
        (
            Default::default(),
            "a b",
            "rewrite_host \"a b\" is no host; expected one like \"a.example\"",
        ),
        (
            Default::default(),
            "a@b",
            "rewrite_host \"a@b\" is no host; expected one like \"a.example\"",
        ),
        (
            Default::default(),
            "{b}",
            "rewrite_host \"{b}\": the match has no parameter \"b\"",
        ),
    ] {
        let refused = changed(rewrite, host).unwrap_err();
        assert!(refused.ends_with(words), "{refused} is not {words}");
    }
}

#[test]
fn a_parameter_must_be_somewhere() {
    let of_group = |message: &mut proto::Match| {
        message.path_regexes = vec!["/(?P<id>.*)".into()];
        message.parameters = vec![
            parameter("id", Where::Group(true)),
            parameter("other", Where::Group(true)),
        ];
    };
    assert_eq!(match_refusal(of_group), "path_regex has no group \"other\"");
    let nowhere = proto::PathParameter { name: "id".into(), kind: None };
    assert_eq!(
        match_refusal(|message| message.parameters = vec![nowhere]),
        "parameter \"id\" is nowhere"
    );
}
