//! What requests of a route must be like.

use http::{HeaderValue, Method};

/// What is asked of them beside a match: who is not like that is told so.
#[derive(Debug)]
pub struct Shape {
    /// Any of these; none: any.
    pub methods: Vec<Method>,
    /// The same as a field says it.
    pub allow: HeaderValue,
    /// Any of these; none: any.
    pub content_types: Vec<ContentType>,
}

/// A kind of content, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContentType {
    /// "application/json".
    Exact(Box<str>),
    /// "image/": written "image/*".
    Of(Box<str>),
}

impl ContentType {
    /// Whether a `Content-Type` is one, whatever its parameters. Case does not count (RFC 9110 section 8.3.1).
    pub fn takes(&self, field: &[u8]) -> bool {
        let end = field.iter().position(|byte| *byte == b';').unwrap_or(field.len());
        let said = field[..end].trim_ascii();
        match self {
            ContentType::Exact(whole) => said.eq_ignore_ascii_case(whole.as_bytes()),
            ContentType::Of(beginning) => said
                .split_at_checked(beginning.len())
                .is_some_and(|(first, rest)| first.eq_ignore_ascii_case(beginning.as_bytes()) && !rest.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_content_is_known_whatever_its_case_and_parameters() {
        let json = ContentType::Exact("application/json".into());
        for said in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json ;x",
        ] {
            assert!(json.takes(said.as_bytes()), "{said}");
        }
        for said in [
            "",
            ";",
            "application/jsonp",
            "application",
            "text/plain;application/json",
            "application/json,text/html",
        ] {
            assert!(!json.takes(said.as_bytes()), "{said}");
        }
        let image = ContentType::Of("image/".into());
        assert!(
            image.takes(b"IMAGE/png")
                && !image.takes(b"image/")
                && !image.takes(b"image")
                && !image.takes(b"x/image/png")
        );
    }
}
