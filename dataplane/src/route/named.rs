//! The changes that a route makes in the query of its requests, and in their cookies.

use http::header::COOKIE;
use http::uri::{InvalidUri, PathAndQuery};
use http::{HeaderMap, HeaderValue};

use super::facts::Facts;
use crate::snapshot::model::{Change, NamedChange, Template, Value};

/// The target with the changes made, in their order; `None`: there are none. Fails when it is too long for a target.
pub fn modify_query(
    changes: &[NamedChange],
    target: &PathAndQuery,
    facts: &Facts<'_>,
) -> Result<Option<PathAndQuery>, InvalidUri> {
    if changes.is_empty() {
        return Ok(None);
    }
    let before = target
        .query()
        .unwrap_or("")
        .split('&')
        .map(|pair| pair.as_bytes().to_vec());
    let query = changed(changes, before.collect(), &|template| facts.parameter(template)).join(&b'&');
    let mut made = target.path().to_owned();
    if !query.is_empty() {
        made.push('?');
        made.push_str(&String::from_utf8_lossy(&query));
    }
    PathAndQuery::try_from(made).map(Some)
}

/// Makes the changes, in their order, in what is one field then.
pub fn modify_cookies(changes: &[NamedChange], headers: &mut HeaderMap, facts: &Facts<'_>) {
    if changes.is_empty() {
        return;
    }
    let before = headers.get_all(COOKIE).into_iter();
    let before = before.flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
    let before = before.map(|pair| pair.trim_ascii().to_vec()).collect();
    let cookies = changed(changes, before, &|template| facts.cookie(template)).join(&b"; "[..]);
    headers.remove(COOKIE);
    if !cookies.is_empty()
        && let Ok(field) = HeaderValue::from_bytes(&cookies)
    {
        headers.insert(COOKIE, field);
    }
}

/// The pairs of a name and a value, without empty ones.
fn changed(
    changes: &[NamedChange],
    mut pairs: Vec<Vec<u8>>,
    make: &dyn Fn(&Template) -> Option<String>,
) -> Vec<Vec<u8>> {
    pairs.retain(|pair| !pair.is_empty());
    for NamedChange { name, change } in changes {
        let (value, is_only) = match change {
            Change::Set(value) => (Some(value), true),
            Change::Add(value) => (Some(value), false),
            Change::Remove => (None, true),
        };
        if is_only {
            pairs.retain(|pair| pair.split(|byte| *byte == b'=').next() != Some(name.as_bytes()));
        }
        let made = value.and_then(|value| match value {
            Value::Fixed(text) => Some(text.to_string()),
            Value::Made(template) => make(template),
        });
        pairs.extend(made.map(|value| format!("{name}={value}").into_bytes()));
    }
    pairs
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http::request::Parts;

    use super::super::facts::samples::facts;
    use super::*;
    use crate::telemetry::finished::RequestId;

    fn fixed(text: &str) -> Value<Box<str>> {
        Value::Fixed(text.into())
    }

    fn of(text: &str) -> Value<Box<str>> {
        Value::parse(text, |text| Ok(text.into())).expect("a template")
    }

    fn changes(changes: Vec<(&str, Change<Box<str>>)>) -> Vec<NamedChange> {
        let named = |(name, change): (&str, _)| NamedChange { name: name.into(), change };
        changes.into_iter().map(named).collect()
    }

    fn asked(uri: &str, cookies: &[&str]) -> Parts {
        let mut request = Request::get(uri);
        for field in cookies {
            request = request.header(COOKIE, *field);
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn id() -> RequestId {
        RequestId::Given(HeaderValue::from_static("r-1"))
    }

    #[test]
    fn parameters_are_set_added_and_removed() {
        let changes = changes(vec![
            ("debug", Change::Remove),
            ("user", Change::Set(of("%CLAIM(evil)%"))),
            ("none", Change::Set(of("%CLAIM(none)%"))),
            ("tag", Change::Add(fixed("new"))),
        ]);
        for (sent, expected) in [
            (
                "/a?x=1&debug&user=me&user=you&tag=old&none=1",
                "/a?x=1&tag=old&user=a%0D%0Aset-cookie%3A%20b%3Dc&tag=new",
            ),
            ("/a", "/a?user=a%0D%0Aset-cookie%3A%20b%3Dc&tag=new"),
            (
                "/a?&debug=1&&debugger=1",
                "/a?debugger=1&user=a%0D%0Aset-cookie%3A%20b%3Dc&tag=new",
            ),
        ] {
            let (parts, id) = (asked(sent, &[]), id());
            let target = parts.uri.path_and_query().expect("a target");
            let made = modify_query(&changes, target, &facts(&parts, &id)).expect("a target");
            assert_eq!(made.expect("changes").as_str(), expected);
        }
        let (parts, id) = (asked("/a?debug=1", &[]), id());
        let target = parts.uri.path_and_query().expect("a target");
        let facts = facts(&parts, &id);
        assert_eq!(
            modify_query(&changes[..1], target, &facts)
                .expect("a target")
                .expect("changes"),
            "/a"
        );
        assert!(modify_query(&[], target, &facts).expect("a target").is_none());
    }

    #[test]
    fn cookies_are_set_added_and_removed_in_one_field() {
        let changes = changes(vec![
            ("secret", Change::Remove),
            ("user", Change::Set(of("%CLAIM(sub)%"))),
            ("tag", Change::Add(fixed("new"))),
        ]);
        let (parts, id) = (
            asked("/", &["a=1; secret=2;user=eve", "b=2; secrets=3; user=mallory"]),
            id(),
        );
        let mut headers = parts.headers.clone();
        modify_cookies(&changes, &mut headers, &facts(&parts, &id));
        let told: Vec<_> = headers.get_all(COOKIE).into_iter().collect();
        assert_eq!(
            told,
            ["a=1; b=2; secrets=3; user=ann%20&%20bob%3B%20%22100%25%22; tag=new"]
        );

        let mut none = HeaderMap::from_iter([(COOKIE, HeaderValue::from_static("secret=2"))]);
        modify_cookies(&changes[..1], &mut none, &facts(&parts, &id));
        assert!(none.is_empty());
    }
}
