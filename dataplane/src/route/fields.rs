//! Parts of a request that stand inside a field: parameters of its query, and cookies.

use http::header::{COOKIE, HeaderMap};

/// The value of the first cookie of this name (RFC 6265 section 4.2).
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let fields = headers
        .get_all(COOKIE)
        .into_iter()
        .filter_map(|field| field.to_str().ok());
    fields
        .flat_map(|field| field.split(';'))
        .filter_map(|pair| pair.trim_ascii().split_once('='))
        .find_map(|(key, value)| (key == name).then(|| value.trim_matches('"')))
}

/// The value of the first parameter of this name, as it is written; that of one without `=` is empty.
pub fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find_map(|(key, value)| (key == name).then_some(value))
}
