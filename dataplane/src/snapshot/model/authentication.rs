//! How callers prove who they are.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

/// What a route asks of its callers.
#[derive(Debug)]
pub struct Authentication {
    /// In this order; the first whose credentials a request shows, and that holds, tells who it is. Of each all parts hold.
    pub alternatives: Vec<Vec<Method>>,
    /// The consumer that who shows no credentials is; None: it is refused.
    pub anonymous: Option<Arc<str>>,
    /// `WWW-Authenticate`, one for each scheme.
    pub challenges: Vec<HeaderValue>,
    /// Where credentials stand that the service must not see.
    pub hidden: Vec<Carrier>,
    /// Fields that we alone say to the service.
    pub own_fields: Vec<HeaderName>,
}

impl Authentication {
    /// All that tells how credentials come in.
    pub fn methods(&self) -> impl Iterator<Item = &Method> {
        self.alternatives.iter().flatten()
    }

    /// The names of parameters of a query whose values are credentials.
    pub fn secret_parameters(&self) -> impl Iterator<Item = &str> {
        let carriers = self.methods().flat_map(|method| method.carriers());
        carriers.filter_map(|carrier| match carrier {
            Carrier::Query(name) => Some(&**name),
            _ => None,
        })
    }
}

/// Who of those that are known may use a route: whom any rule takes.
#[derive(Debug, Default)]
pub struct Access {
    /// None of them: nobody.
    pub rules: Vec<AccessRule>,
}

/// All given parts must hold; an empty one says nothing.
#[derive(Debug, Default)]
pub struct AccessRule {
    /// Any of these.
    pub consumers: Vec<Box<str>>,
    /// Any of these is the consumer's.
    pub groups: Vec<Box<str>>,
    /// Claims of the token, each with the values of which it has one.
    pub claims: Vec<(Box<str>, Vec<Box<str>>)>,
}

/// One way to prove it.
#[derive(Debug)]
pub enum Method {
    /// A secret text in one of these places.
    Key(Vec<Carrier>),
    /// A name and a password (RFC 7617).
    Basic(Vec<Carrier>),
    /// A JSON Web Token (RFC 7519).
    Jwt(Box<Jwt>),
}

impl Method {
    /// Where its credentials stand; the first that is there counts.
    pub fn carriers(&self) -> &[Carrier] {
        match self {
            Method::Key(carriers) | Method::Basic(carriers) => carriers,
            Method::Jwt(jwt) => &jwt.carriers,
        }
    }
}

/// Which tokens are good.
#[derive(Debug)]
pub struct Jwt {
    /// Where they stand.
    pub carriers: Vec<Carrier>,
    /// `iss`.
    pub issuer: Box<str>,
    /// One of `aud` must be among them; none: any.
    pub audiences: Vec<Box<str>>,
    /// All others are refused.
    pub algorithms: Vec<Algorithm>,
    /// Name of the keys that may have signed.
    pub key_set: Arc<str>,
    /// Seconds that the clocks may differ.
    pub leeway: u32,
    /// A token must say when it ends.
    pub needs_end: bool,
    /// Claims that the service is told, and by which fields.
    pub headers: Vec<(Box<str>, HeaderName)>,
}

/// Where credentials stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// The value of a field; with a scheme what stands behind that.
    Header(HeaderName, Option<Box<str>>),
    /// A parameter of the query, as it is written.
    Query(Box<str>),
    /// A cookie.
    Cookie(Box<str>),
}

/// How a token is signed (RFC 7518 section 3.1, RFC 8037). "none" is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of RFC 7518")]
pub enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    const NAMES: [(&'static str, Algorithm); 12] = [
        ("HS256", Algorithm::Hs256),
        ("HS384", Algorithm::Hs384),
        ("HS512", Algorithm::Hs512),
        ("RS256", Algorithm::Rs256),
        ("RS384", Algorithm::Rs384),
        ("RS512", Algorithm::Rs512),
        ("PS256", Algorithm::Ps256),
        ("PS384", Algorithm::Ps384),
        ("PS512", Algorithm::Ps512),
        ("ES256", Algorithm::Es256),
        ("ES384", Algorithm::Es384),
        ("EdDSA", Algorithm::EdDsa),
    ];

    /// Exactly as it is written; None: not one of ours.
    pub fn of(name: &str) -> Option<Algorithm> {
        let found = Algorithm::NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, algorithm)| *algorithm)
    }
}
