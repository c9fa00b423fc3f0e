//! What of a request decides where it goes: the hash of some of its fields, and the session that it belongs to.

use std::fmt::Write as _;
use std::net::IpAddr;

use http::Uri;
use http::header::{HeaderMap, HeaderValue};

use super::session;
use crate::cluster::Endpoint;
use crate::hashing;
use crate::random;
use crate::route::fields;
use crate::snapshot::model::{Balance, Cookie, KeySource};

/// The value of a cookie that we make: 64 bits in hexadecimal.
const DIGITS: usize = 16;

/// A request, as far as a key is made of it. A connection whose bytes nobody reads has a source alone.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    pub headers: Option<&'a HeaderMap>,
    pub uri: Option<&'a Uri>,
    pub source: IpAddr,
}

/// Of one request, the same for all its attempts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Key {
    /// `None`: it has nothing of what is hashed.
    pub hash: Option<u64>,
    /// Whom its cookie names.
    pub session: Option<u64>,
    /// Value of the cookie that it had not, and gets.
    pub(super) made: Option<u64>,
}

impl Key {
    /// Costs nothing where neither hash nor session are asked for.
    pub fn of(balance: &Balance, origin: Origin<'_>) -> Key {
        let mut key = Key::default();
        if let (Some(sticky), Some(headers)) = (&balance.sticky, origin.headers) {
            key.session = fields::cookie(headers, &sticky.name).and_then(parse);
        }
        for part in &balance.keys {
            if let Some(hash) = key.part(&part.source, origin) {
                // As Envoy: the order counts, and equal values do not cancel each other out.
                key.hash = Some(key.hash.map_or(hash, |before| before.rotate_left(1) ^ hash));
            }
            if part.is_terminal && key.hash.is_some() {
                break;
            }
        }
        key
    }

    fn part(&mut self, source: &KeySource, origin: Origin<'_>) -> Option<u64> {
        let hash = |text: &str| hashing::hash(text.as_bytes());
        match source {
            KeySource::Header(name) => origin.headers?.get(name).map(|value| hashing::hash(value.as_bytes())),
            KeySource::Query(name) => fields::parameter(origin.uri?.query()?, name).map(hash),
            KeySource::Address => Some(match origin.source.to_canonical() {
                IpAddr::V4(address) => hashing::hash(&address.octets()),
                IpAddr::V6(address) => hashing::hash(&address.octets()),
            }),
            KeySource::Cookie(wanted) => match fields::cookie(origin.headers?, &wanted.name) {
                Some(value) => Some(hash(value)),
                None if wanted.ttl.is_some() => {
                    let made = random::u64();
                    self.made = Some(made);
                    Some(hash(&text(made)))
                }
                None => None,
            },
        }
    }

    /// The cookies that a client gets with its answer from `endpoint`: the session, when it is a new one, and the key that
    /// it had not.
    pub fn cookies(&self, balance: &Balance, endpoint: &Endpoint, is_tls: bool) -> impl Iterator<Item = HeaderValue> {
        let session = session::digest(endpoint);
        let sticky = balance.sticky.as_ref().filter(|_| self.session != Some(session));
        let sticky = sticky.map(|cookie| set_cookie(cookie, session, is_tls));
        let made = self.made.and_then(|made| {
            let mut sources = balance.keys.iter().map(|part| &part.source);
            sources.find_map(|source| match source {
                KeySource::Cookie(cookie) if cookie.ttl.is_some() => Some(set_cookie(cookie, made, is_tls)),
                _ => None,
            })
        });
        sticky.into_iter().chain(made)
    }
}

fn text(number: u64) -> String {
    format!("{number:016x}")
}

fn parse(text: &str) -> Option<u64> {
    let is_ours = text.len() == DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_ours.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

/// RFC 6265 section 4.1. Scripts need not see it.
fn set_cookie(cookie: &Cookie, value: u64, is_tls: bool) -> HeaderValue {
    let mut text = format!("{}={}; Path={}; HttpOnly", cookie.name, text(value), cookie.path);
    if let Some(ttl) = cookie.ttl.filter(|ttl| !ttl.is_zero()) {
        // Writing to a string does not fail.
        let _always_written = write!(text, "; Max-Age={}", ttl.as_secs().max(1));
    }
    if is_tls {
        text.push_str("; Secure");
    }
    // The snapshot's check has seen to it that name and path can stand there.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}
