//! Values that are made of what a request says: "%METHOD% by %CLAIM(sub)%".

use http::{HeaderName, HeaderValue};

/// A value that is written, or made for each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<T> {
    /// As it is.
    Fixed(T),
    /// Of what the request says.
    Made(Template),
}

/// Text and facts, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(pub Box<[Part]>);

/// A part of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// As it is.
    Text(Box<str>),
    /// Of the request.
    Fact(Fact),
}

/// What is known of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// `%METHOD%`.
    Method,
    /// `%SCHEME%`: by which the client came.
    Scheme,
    /// `%AUTHORITY%`: host and port as the client wrote them.
    Authority,
    /// `%HOST%`: without port.
    Host,
    /// `%PATH%`, as routes see it.
    Path,
    /// `%QUERY%`: all of it.
    Query,
    /// `%QUERY(name)%`: the first parameter of the name, as it is written.
    Parameter(Box<str>),
    /// `%HEADER(name)%`: the first field of the name.
    Header(HeaderName),
    /// `%COOKIE(name)%`: the first of the name.
    Cookie(Box<str>),
    /// `%CLIENT%`: the client's address.
    Client,
    /// `%PEER%`: what the client's certificate proves.
    Peer,
    /// `%CONSUMER%`: its name.
    Consumer,
    /// `%CLAIM(name)%`: what the token says.
    Claim(Box<str>),
    /// `%REQUEST_ID%`.
    RequestId,
    /// `%ROUTE%`: the route's name.
    Route,
}

impl Fact {
    /// "HEADER(x-user)"; None: there is none of this name.
    fn named(text: &str) -> Option<Fact> {
        let Some((kind, rest)) = text.split_once('(') else {
            return Some(match text {
                "METHOD" => Fact::Method,
                "SCHEME" => Fact::Scheme,
                "AUTHORITY" => Fact::Authority,
                "HOST" => Fact::Host,
                "PATH" => Fact::Path,
                "QUERY" => Fact::Query,
                "CLIENT" => Fact::Client,
                "PEER" => Fact::Peer,
                "CONSUMER" => Fact::Consumer,
                "REQUEST_ID" => Fact::RequestId,
                "ROUTE" => Fact::Route,
                _ => return None,
            });
        };
        let name = rest.strip_suffix(')').filter(|name| !name.is_empty())?;
        match kind {
            "QUERY" => Some(Fact::Parameter(name.into())),
            "HEADER" => HeaderName::from_lowercase(name.as_bytes()).ok().map(Fact::Header),
            "COOKIE" => Some(Fact::Cookie(name.into())),
            "CLAIM" => Some(Fact::Claim(name.into())),
            _ => None,
        }
    }
}

impl<T> Value<T> {
    /// Reads a text with facts between percent signs; `%%` is one of them. `fixed` makes a value of each text that stands
    /// between facts, or of the whole.
    pub fn parse(text: &str, fixed: impl Fn(&str) -> Result<T, String>) -> Result<Value<T>, String> {
        if !text.contains('%') {
            return fixed(text).map(Value::Fixed);
        }
        if text.matches('%').count() % 2 == 1 {
            return Err(format!("{text:?}: a percent sign is not closed; %% writes one"));
        }
        let (mut parts, mut written) = (Vec::new(), String::new());
        // Every second part stands between percent signs.
        for (index, piece) in text.split('%').enumerate() {
            match (index % 2, piece) {
                (0, text) => written.push_str(text),
                (_, "") => written.push('%'),
                (_, name) => {
                    let fact = Fact::named(name).ok_or_else(|| format!("{text:?}: there is no fact %{name}%"))?;
                    if !written.is_empty() {
                        fixed(&written)?;
                        parts.push(Part::Text(std::mem::take(&mut written).into()));
                    }
                    parts.push(Part::Fact(fact));
                }
            }
        }
        if parts.is_empty() {
            return fixed(&written).map(Value::Fixed);
        }
        if !written.is_empty() {
            fixed(&written)?;
            parts.push(Part::Text(written.into()));
        }
        Ok(Value::Made(Template(parts.into())))
    }
}

/// One change of what stands in the query, or in cookies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedChange {
    /// As requests write it.
    pub name: Box<str>,
    /// What becomes of it.
    pub change: Change<Box<str>>,
}

/// What becomes of a field, a parameter or a cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<T = HeaderValue> {
    /// It is the one of its name, with this value; without a value there is none.
    Set(Value<T>),
    /// One more of its name.
    Add(Value<T>),
    /// None of its name is left.
    Remove,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Value<String>, String> {
        Value::parse(text, |text| match text.contains('!') {
            true => Err(format!("{text:?} is loud")),
            false => Ok(text.to_owned()),
        })
    }

    #[test]
    fn a_value_is_text_and_facts() {
        let text = |text: &str| Part::Text(text.into());
        assert_eq!(parse("plain"), Ok(Value::Fixed("plain".into())));
        assert_eq!(parse("100%%"), Ok(Value::Fixed("100%".into())));
        let parts = [
            text("a "),
            Part::Fact(Fact::Method),
            text(" 100% "),
            Part::Fact(Fact::Header(HeaderName::from_static("x-user"))),
            Part::Fact(Fact::Claim("sub".into())),
            text("."),
        ];
        let parsed = parse("a %METHOD% 100%% %HEADER(x-user)%%CLAIM(sub)%.");
        assert_eq!(parsed, Ok(Value::Made(Template(parts.into()))));
        for wrong in [
            "%METHOD",
            "%METHOD%%",
            "%method%",
            "%HEADER%",
            "%HEADER()%",
            "%HEADER(X-User)%",
            "%HEADER(a b)%",
            "%HEADER(a%",
            "%METHOD(a)%",
            "loud! %METHOD%",
            "%METHOD% loud!",
            "loud!",
            "%%loud!",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
