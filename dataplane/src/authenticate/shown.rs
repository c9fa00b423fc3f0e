//! The credentials that a request shows.

use http::HeaderMap;
use http::header::COOKIE;
use http::request::Parts;

use crate::error::{Error, Reason};
use crate::snapshot::model::Carrier;

/// What the first of these places has where there is something. Fails when it is there twice: the service might take the
/// other one.
pub fn shown<'a>(carriers: &[Carrier], request: &'a Parts) -> Result<Option<&'a [u8]>, Error> {
    for carrier in carriers {
        let (mut first, mut is_twice) = (None, false);
        each_in(carrier, request, |text| {
            is_twice = first.is_some();
            first = first.or(Some(text));
        });
        if is_twice {
            let words = "They stand there twice, and it is not clear which ones count.";
            return Err(Error::new(Reason::AmbiguousCredentials).because(words));
        }
        if first.is_some() {
            return Ok(first);
        }
    }
    Ok(None)
}

fn each_in<'a>(carrier: &Carrier, request: &'a Parts, mut found: impl FnMut(&'a [u8])) {
    match carrier {
        Carrier::Header(name, scheme) => {
            let fields = request.headers.get_all(name).into_iter().map(|field| field.as_bytes());
            match scheme {
                None => fields.for_each(found),
                Some(scheme) => fields.filter_map(|field| behind(scheme, field)).for_each(found),
            }
        }
        Carrier::Query(name) => {
            for pair in request.uri.query().unwrap_or("").split('&') {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                if *key == **name {
                    found(value.as_bytes());
                }
            }
        }
        Carrier::Cookie(name) => {
            let values = cookies(&request.headers).filter(|(key, _)| *key == name.as_bytes());
            values.for_each(|(_, value)| found(value));
        }
    }
}

/// What stands behind a scheme of authentication, whose case does not count (RFC 9110 section 11.1).
pub fn behind<'a>(scheme: &str, field: &'a [u8]) -> Option<&'a [u8]> {
    let (named, rest) = field.split_at_checked(scheme.len())?;
    let text = rest.strip_prefix(b" ")?.trim_ascii();
    named.eq_ignore_ascii_case(scheme.as_bytes()).then_some(text)
}

/// RFC 6265 section 4.2.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    let fields = headers.get_all(COOKIE).into_iter();
    let pairs = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
    pairs.filter_map(|pair| {
        let pair = pair.trim_ascii();
        let at = pair.iter().position(|byte| *byte == b'=')?;
        Some((&pair[..at], &pair[at + 1..]))
    })
}
