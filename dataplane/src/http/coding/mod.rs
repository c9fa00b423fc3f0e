//! Codings of content: which a client takes, which it has used, and content that is coded or decoded as it passes.

mod compress;
mod decompress;

#[cfg(test)]
mod tests;

use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, HeaderName};

use crate::snapshot::model::Coding;

pub use compress::Compressed;
pub use decompress::Decompressed;

/// A hash of content as it is coded (RFC 9530).
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// A weight of 1 (RFC 9110 section 12.4.2), in thousandths.
const FULL: u16 = 1000;

/// The coding of `ours` that the client likes best; `None`: content as it is.
pub fn best(headers: &HeaderMap, ours: &[Coding]) -> Option<Coding> {
    let mut wanted = Wanted::default();
    for field in headers.get_all(ACCEPT_ENCODING) {
        field
            .as_bytes()
            .split(|byte| *byte == b',')
            .for_each(|element| wanted.read(element));
    }
    wanted.best(ours)
}

/// What `Accept-Encoding` says; `None`: nothing.
#[derive(Debug, Default)]
struct Wanted {
    /// Beside `Coding::ALL`.
    codings: [Option<u16>; Coding::ALL.len()],
    identity: Option<u16>,
    /// All that are not named.
    others: Option<u16>,
}

impl Wanted {
    /// One element, such as `gzip;q=0.5`. What is malformed says nothing.
    fn read(&mut self, element: &[u8]) {
        let mut parts = element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let Some(weight) = parts.next().map_or(Some(FULL), weight) else {
            return;
        };
        let place = match Coding::named(name) {
            Some(coding) => &mut self.codings[coding as usize],
            None if name == b"*" => &mut self.others,
            None if name.eq_ignore_ascii_case(b"identity") => &mut self.identity,
            None => return,
        };
        place.get_or_insert(weight);
    }

    fn weight(&self, coding: Coding) -> u16 {
        self.codings[coding as usize].or(self.others).unwrap_or(0)
    }

    /// Of those of equal weight the first.
    fn best(&self, ours: &[Coding]) -> Option<Coding> {
        let least = self.identity.unwrap_or(0).max(1);
        let mut best = None;
        for coding in ours.iter().copied().filter(|coding| self.weight(*coding) >= least) {
            if best.is_none_or(|best| self.weight(coding) > self.weight(best)) {
                best = Some(coding);
            }
        }
        best
    }
}

/// The thousandths of `q=0.5`.
fn weight(parameter: &[u8]) -> Option<u16> {
    let [b'q' | b'Q', b'=', whole @ (b'0' | b'1'), rest @ ..] = parameter else {
        return None;
    };
    let digits = match rest {
        [] => rest,
        [b'.', digits @ ..] if digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit) => digits,
        _ => return None,
    };
    let places = digits.iter().chain([b'0'; 3].iter()).take(3);
    let thousandths = places.fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    let weight = u16::from(whole - b'0') * FULL + thousandths;
    (weight <= FULL).then_some(weight)
}

/// Content is coded in a way that nobody here understands, or in several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUnderstood;

/// The coding of a message's content; `None`: it has none.
pub fn applied(headers: &HeaderMap) -> Result<Option<Coding>, NotUnderstood> {
    let fields = headers.get_all(CONTENT_ENCODING).into_iter();
    let mut names = fields
        .flat_map(|field| field.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case(b"identity"));
    match (names.next(), names.next()) {
        (None, _) => Ok(None),
        (Some(name), None) => Coding::named(name).map(Some).ok_or(NotUnderstood),
        (Some(_), Some(_)) => Err(NotUnderstood),
    }
}

/// Takes away what is no longer true of content that was coded or decoded.
pub fn forget(headers: &mut HeaderMap) {
    headers.remove(CONTENT_ENCODING);
    headers.remove(CONTENT_LENGTH);
    headers.remove(CONTENT_DIGEST);
}
