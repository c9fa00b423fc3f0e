//! What a gateway answers by itself.

use std::ops::RangeInclusive;

use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, StatusCode};

/// How a route answers its requests, so that nobody is called.
#[derive(Debug)]
pub enum Direct {
    /// CORS preflights, by its policy.
    Preflight,
    /// With another place.
    Redirect(Box<Redirect>),
    /// With what the configuration says.
    Respond(Box<Respond>),
}

/// Where clients are sent; what is not said stays as it was.
#[derive(Debug)]
pub struct Redirect {
    /// One of 301, 302, 303, 307 and 308.
    pub status: StatusCode,
    /// http or https.
    pub scheme: Option<Scheme>,
    /// Without port.
    pub host: Option<Box<str>>,
    /// None: that of the scheme where scheme or host is said, else that of the request.
    pub port: Option<u16>,
    /// None: the same.
    pub path: Option<NewPath>,
    /// Without the query of the request.
    pub strip_query: bool,
}

/// What takes the place of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewPath {
    /// Of all of it.
    Whole(Box<str>),
    /// Of what the match matched; without a slash at its end.
    Prefix(Box<str>),
}

/// An answer as it is written.
#[derive(Debug)]
pub struct Respond {
    /// 200 to 599.
    pub status: StatusCode,
    /// With Content-Length.
    pub headers: HeaderMap,
    /// None: an answer without content.
    pub body: Option<Bytes>,
}

/// What takes the place of an explanation.
#[derive(Debug)]
pub struct ErrorPage {
    /// Of answers with one of these.
    pub statuses: Vec<RangeInclusive<u16>>,
    /// What it is.
    pub content_type: HeaderValue,
    /// The page.
    pub body: Bytes,
}

/// What a listener at the edge answers by itself, whatever the route.
#[derive(Debug)]
pub struct Front {
    /// None: requests in the clear are taken.
    pub https_redirect: Option<HttpsRedirect>,
    /// Of answers to requests that came by TLS; None: the application's affair.
    pub hsts: Option<HeaderValue>,
    /// Behind those of the route.
    pub error_pages: Vec<ErrorPage>,
}

/// Where requests in the clear are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpsRedirect {
    /// One of 301, 302, 303, 307 and 308.
    pub status: StatusCode,
    /// Where TLS is spoken.
    pub port: u16,
}
