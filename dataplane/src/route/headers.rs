//! The changes that a route makes in the fields of its requests and answers.

use http::{HeaderMap, HeaderValue};

use super::facts::Facts;
use crate::snapshot::model::{Change, HeaderChange, Value};

/// Makes the changes in their order. What a value is made of that is not there must not be what the caller likes: the field
/// is taken away then.
pub fn modify(changes: &[HeaderChange], headers: &mut HeaderMap, facts: &Facts<'_>) {
    for HeaderChange { name, change } in changes {
        match change {
            Change::Set(value) => match made(value, facts) {
                Some(value) => drop(headers.insert(name, value)),
                None => drop(headers.remove(name)),
            },
            Change::Add(value) => drop(made(value, facts).map(|value| headers.append(name, value))),
            Change::Remove => drop(headers.remove(name)),
        }
    }
}

fn made(value: &Value<HeaderValue>, facts: &Facts<'_>) -> Option<HeaderValue> {
    match value {
        Value::Fixed(value) => Some(value.clone()),
        Value::Made(template) => facts.field(template),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, Request};

    use super::super::facts::samples::facts;
    use super::*;
    use crate::telemetry::finished::RequestId;

    fn change(name: &'static str, change: Change) -> HeaderChange {
        HeaderChange { name: HeaderName::from_static(name), change }
    }

    fn text(value: &'static str) -> HeaderValue {
        HeaderValue::from_static(value)
    }

    fn fixed(value: &'static str) -> Value<HeaderValue> {
        Value::Fixed(text(value))
    }

    fn of(template: &str) -> Value<HeaderValue> {
        Value::parse(template, |text| Ok(HeaderValue::from_str(text).expect("a value"))).expect("a template")
    }

    /// What is left after the changes.
    fn modified(changes: &[HeaderChange], mut headers: HeaderMap) -> HeaderMap {
        let (parts, ()) = Request::get("/").body(()).expect("a request").into_parts();
        let id = RequestId::Given(text("r-1"));
        modify(changes, &mut headers, &facts(&parts, &id));
        headers
    }

    #[test]
    fn a_field_that_is_made_of_what_is_not_there_is_not_the_callers() {
        let brought = ["x-user", "x-evil", "x-none"].map(|name| (HeaderName::from_static(name), text("mallory")));
        let left = modified(
            &[
                change("x-user", Change::Set(of("%CONSUMER% at %METHOD%"))),
                change("x-evil", Change::Set(of("%CLAIM(evil)%"))),
                change("x-none", Change::Set(of("%CLAIM(none)%"))),
                change("x-add", Change::Add(of("%CLAIM(none)%"))),
            ],
            HeaderMap::from_iter(brought),
        );
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(left["x-user"], "ann at GET");
    }

    #[test]
    fn fields_are_set_added_and_removed_in_order() {
        let mut headers = HeaderMap::new();
        for value in ["1", "2"] {
            headers.append("x-set", text(value));
            headers.append("x-add", text(value));
            headers.append("x-remove", text(value));
            headers.append("x-again", text(value));
        }
        let changes = [
            change("x-remove", Change::Remove),
            change("x-again", Change::Remove),
            change("x-set", Change::Set(fixed("3"))),
            change("x-set", Change::Set(fixed("4"))),
            change("x-add", Change::Add(fixed("3"))),
            change("x-again", Change::Add(fixed("3"))),
            change("x-new", Change::Add(fixed("3"))),
            change("x-none", Change::Remove),
        ];
        let headers = modified(&changes, headers);
        let told = |name: &str| -> Vec<_> {
            headers
                .get_all(name)
                .iter()
                .map(|value| value.to_str().unwrap())
                .collect()
        };
        assert_eq!(told("x-set"), ["4"]);
        assert_eq!(told("x-add"), ["1", "2", "3"]);
        assert_eq!(told("x-again"), ["3"]);
        assert_eq!(told("x-new"), ["3"]);
        assert_eq!(headers.len(), 6);
    }
}
