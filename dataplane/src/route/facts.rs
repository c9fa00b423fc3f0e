//! What is known of a request, and values made of it.
//!
//! What a request says is text of strangers: wherever it is put it stays one value. A field holds no control characters, so
//! with one of them there is no value; what would end a parameter or a cookie is escaped.

use std::borrow::Cow;
use std::net::IpAddr;

use http::HeaderValue;
use http::request::Parts;
use http::uri::Authority;

use super::fields;
use crate::snapshot::model::{Fact, Template, TemplatePart};
use crate::telemetry::finished::RequestId;

/// Bytes of a value; with more there is none. Servers take 8 KiB of a field.
const MOST: usize = 8 * 1024;

/// What is known of who has shown credentials.
pub trait Known: std::fmt::Debug {
    /// Its name; None: it is no consumer.
    fn consumer(&self) -> Option<&str>;
    /// What its token says by this name.
    fn claim(&self, name: &str) -> Option<Cow<'_, str>>;
}

/// What is known of one request.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// As it came.
    pub parts: &'a Parts,
    /// The client.
    pub client: IpAddr,
    /// What its certificate proves.
    pub peer: Option<&'a str>,
    /// Who it is; None: nobody was asked.
    pub known: Option<&'a dyn Known>,
    /// Names the exchange.
    pub request_id: &'a RequestId,
    /// The name of the route.
    pub route: &'a str,
}

impl<'a> Facts<'a> {
    /// None: there is no such thing.
    fn tell(&self, fact: &Fact) -> Option<Cow<'a, [u8]>> {
        let text = match fact {
            Fact::Method => self.parts.method.as_str(),
            Fact::Scheme => return Some(self.parts.headers.get("x-forwarded-proto")?.as_bytes().into()),
            Fact::Authority => self.parts.uri.authority().map(Authority::as_str)?,
            Fact::Host => self.parts.uri.host()?,
            Fact::Path => self.parts.uri.path(),
            Fact::Query => self.parts.uri.query()?,
            Fact::Parameter(name) => fields::parameter(self.parts.uri.query()?, name)?,
            Fact::Header(name) => return Some(self.parts.headers.get(name)?.as_bytes().into()),
            Fact::Cookie(name) => fields::cookie(&self.parts.headers, name)?,
            Fact::Client => return Some(self.client.to_canonical().to_string().into_bytes().into()),
            Fact::Peer => self.peer?,
            Fact::Consumer => self.known?.consumer()?,
            Fact::Claim(name) => {
                return Some(match self.known?.claim(name)? {
                    Cow::Borrowed(text) => text.as_bytes().into(),
                    Cow::Owned(text) => text.into_bytes().into(),
                });
            }
            Fact::RequestId => return Some(self.request_id.to_string().into_bytes().into()),
            Fact::Route => self.route,
        };
        Some(text.as_bytes().into())
    }

    /// A field's value. None: a fact of it is not there, it is empty, or no field can hold it.
    pub fn field(&self, template: &Template) -> Option<HeaderValue> {
        let made = self.made(template, |made, told, _| made.extend_from_slice(told))?;
        HeaderValue::from_bytes(&made).ok()
    }

    /// The value of a parameter of a query.
    pub fn parameter(&self, template: &Template) -> Option<String> {
        // RFC 3986 section 2.3.
        self.escaped(template, |byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
    }

    /// The value of a cookie.
    pub fn cookie(&self, template: &Template) -> Option<String> {
        // RFC 6265 section 4.1.1.
        self.escaped(template, |byte| byte.is_ascii_graphic() && !b"\",;\\%".contains(&byte))
    }

    fn escaped(&self, template: &Template, stays: impl Fn(u8) -> bool) -> Option<String> {
        let made = self.made(template, |made, told, is_escaped| {
            for byte in told {
                match *byte {
                    byte if stays(byte) || byte == b'%' && is_escaped => made.push(byte),
                    byte => made.extend_from_slice(format!("%{byte:02X}").as_bytes()),
                }
            }
        })?;
        String::from_utf8(made).ok()
    }

    /// `put` adds what is told to a value; true: it has escapes already.
    fn made(&self, template: &Template, put: impl Fn(&mut Vec<u8>, &[u8], bool)) -> Option<Vec<u8>> {
        let mut made = Vec::new();
        for part in &template.0 {
            match part {
                TemplatePart::Text(text) => made.extend_from_slice(text.as_bytes()),
                TemplatePart::Fact(fact) => {
                    let is_escaped = matches!(fact, Fact::Path | Fact::Query | Fact::Parameter(_) | Fact::Cookie(_));
                    put(&mut made, &self.tell(fact)?, is_escaped);
                }
            }
            if made.len() > MOST {
                return None;
            }
        }
        (!made.is_empty()).then_some(made)
    }
}

#[cfg(test)]
pub mod samples {
    //! A request that says hostile things.

    use super::*;

    /// Knows one caller.
    #[derive(Debug)]
    pub struct Ann;

    impl Known for Ann {
        fn consumer(&self) -> Option<&str> {
            Some("ann")
        }

        fn claim(&self, name: &str) -> Option<Cow<'_, str>> {
            match name {
                "sub" => Some("ann & bob; \"100%\"".into()),
                "evil" => Some("a\r\nset-cookie: b=c".into()),
                "null" => Some("a\0b".into()),
                "long" => Some("a".repeat(MOST + 1).into()),
                "empty" => Some("".into()),
                "name" => Some("Jürgen".into()),
                _ => None,
            }
        }
    }

    /// What is known of this request.
    pub fn facts<'a>(parts: &'a Parts, request_id: &'a RequestId) -> Facts<'a> {
        Facts {
            parts,
            client: "::ffff:192.0.2.7".parse().expect("an address"),
            peer: None,
            known: Some(&Ann),
            request_id,
            route: "api",
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::snapshot::model::Value;

    fn template(text: &str) -> Template {
        match Value::parse(text, |_| Ok(())) {
            Ok(Value::Made(template)) => template,
            other => panic!("{text}: {other:?}"),
        }
    }

    /// What a template becomes as a field, a parameter and a cookie.
    fn made(text: &str) -> [Option<String>; 3] {
        let request = Request::builder()
            .method("PUT")
            .uri("http://shop.test:8080/a%2Fb/c=d&e?page=1%202&x=%3D&y=a=b&empty=")
            .header("x-user", "ann")
            .header("x-user", "bob")
            .header("cookie", "s=1; t=\"2\"")
            .header("x-forwarded-proto", "https");
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let id = RequestId::Given(HeaderValue::from_static("r-1"));
        let facts = samples::facts(&parts, &id);
        let template = template(text);
        let field = facts.field(&template);
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        [
            field.as_ref().map(text),
            facts.parameter(&template),
            facts.cookie(&template),
        ]
    }

    #[test]
    fn facts_become_values() {
        for (text, expected) in [
            ("%METHOD%", "PUT"),
            ("%SCHEME%", "https"),
            ("%HOST%", "shop.test"),
            ("%HEADER(x-user)%", "ann"),
            ("%COOKIE(s)%%COOKIE(t)%", "12"),
            ("%CLIENT%", "192.0.2.7"),
            ("%CONSUMER%-%ROUTE%", "ann-api"),
            ("%REQUEST_ID%", "r-1"),
            ("%QUERY(page)%", "1%202"),
        ] {
            assert_eq!(made(text), [0; 3].map(|_| Some(expected.to_owned())), "{text}");
        }
        let [field, parameter, cookie] = made("%AUTHORITY% %PATH%");
        assert_eq!(field.as_deref(), Some("shop.test:8080 /a%2Fb/c=d&e"));
        assert_eq!(parameter.as_deref(), Some("shop.test%3A8080 %2Fa%2Fb%2Fc%3Dd%26e"));
        assert_eq!(cookie.as_deref(), Some("shop.test:8080 /a%2Fb/c=d&e"));
        assert_eq!(made("%QUERY(x)%|%QUERY(y)%")[1].as_deref(), Some("%3D|a%3Db"));
    }

    #[test]
    fn hostile_text_stays_one_value() {
        let [field, parameter, cookie] = made("%CLAIM(sub)%");
        assert_eq!(field.as_deref(), Some("ann & bob; \"100%\""));
        assert_eq!(parameter.as_deref(), Some("ann%20%26%20bob%3B%20%22100%25%22"));
        assert_eq!(cookie.as_deref(), Some("ann%20&%20bob%3B%20%22100%25%22"));
        let [field, parameter, cookie] = made("%CLAIM(evil)%");
        assert_eq!(field, None);
        assert_eq!(parameter.as_deref(), Some("a%0D%0Aset-cookie%3A%20b%3Dc"));
        assert_eq!(cookie.as_deref(), Some("a%0D%0Aset-cookie:%20b=c"));
        assert_eq!(
            made("x%CLAIM(null)%"),
            [None, Some("xa%00b".into()), Some("xa%00b".into())]
        );
        assert_eq!(made("%CLAIM(name)%")[0].as_deref(), Some("Jürgen"));
    }

    #[test]
    fn without_a_fact_there_is_no_value() {
        for text in [
            "by %CLAIM(none)%",
            "%CLAIM(empty)%",
            "%CLAIM(long)%",
            "%PEER%",
            "%HEADER(x-none)%",
            "%COOKIE(none)%",
            "%QUERY(none)%",
            "%QUERY(empty)%",
        ] {
            assert_eq!(made(text), [None, None, None], "{text}");
        }
    }
}
