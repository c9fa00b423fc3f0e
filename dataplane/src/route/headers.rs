//! The changes that a route makes in the fields of its requests and answers.

use http::HeaderMap;

use crate::snapshot::model::{Change, HeaderChange};

/// Makes the changes in their order.
pub fn modify(changes: &[HeaderChange], headers: &mut HeaderMap) {
    for HeaderChange { name, change } in changes {
        match change {
            Change::Set(value) => drop(headers.insert(name, value.clone())),
            Change::Add(value) => drop(headers.append(name, value.clone())),
            Change::Remove => drop(headers.remove(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn change(name: &'static str, change: Change) -> HeaderChange {
        HeaderChange { name: HeaderName::from_static(name), change }
    }

    fn text(value: &'static str) -> HeaderValue {
        HeaderValue::from_static(value)
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
            change("x-set", Change::Set(text("3"))),
            change("x-set", Change::Set(text("4"))),
            change("x-add", Change::Add(text("3"))),
            change("x-again", Change::Add(text("3"))),
            change("x-new", Change::Add(text("3"))),
            change("x-none", Change::Remove),
        ];
        modify(&changes, &mut headers);
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
