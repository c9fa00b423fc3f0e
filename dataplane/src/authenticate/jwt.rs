//! JSON Web Tokens (RFC 7519) in compact form (RFC 7515), by the advice of RFC 8725.
//!
//! What may have signed, and how, is said by configuration alone: of a token's header nothing is believed but which of the
//! allowed algorithms and which of the known keys are meant. `jku`, `x5u`, `jwk` and `x5c` are not looked at.

use serde_json::{Map, Value};

use super::strict_json;
use crate::credentials::keys::{KeySet, Unverified};
use crate::http::base64;
use crate::snapshot::model::{Algorithm, Jwt};

/// Larger ones fit into few servers' heads; to read them costs more than they are worth.
const MAX_TOKEN: usize = 16 * 1024;

/// Why a token is not believed.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is of another issuer.
    OtherIssuer,
    /// There are no keys to verify it with.
    NoKeys,
    /// It names a key that there is not.
    UnknownKey,
    /// Its time is over, or has not come.
    Expired(&'static str),
    /// All else.
    Invalid(&'static str),
}

use Refusal::Invalid;

/// What a verified token says.
#[derive(Debug)]
pub struct Claims(Map<String, Value>);

/// Verifies a token; `now` is in seconds since the epoch.
pub fn verify(asked: &Jwt, keys: &KeySet, token: &[u8], now: f64) -> Result<Claims, Refusal> {
    if token.len() > MAX_TOKEN {
        return Err(Invalid("It is larger than 16 KiB."));
    }
    let mut parts = token.split(|byte| *byte == b'.');
    let (Some(header), Some(payload), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Invalid("It is no signed token: it has not three parts."));
    };
    let (algorithm, key) = read_header(asked, header)?;
    let claims = Claims(read_object(payload, "Its claims are not JSON without repetitions.")?);
    // Before the signature, which is another issuer's to verify; nothing is believed yet.
    if claims.text("iss") != Some(&asked.issuer) {
        return Err(Refusal::OtherIssuer);
    }
    let signed = &token[..header.len() + 1 + payload.len()];
    let signature =
        base64::decode_url(signature).map_err(|_| Invalid("Its signature is not in the base64 of URLs."))?;
    keys.verify(key.as_deref(), algorithm, signed, &signature)
        .map_err(|unverified| match unverified {
            Unverified::NoKeys => Refusal::NoKeys,
            Unverified::UnknownKey => Refusal::UnknownKey,
            Unverified::WrongSignature => Invalid("Its signature is not of a key of its issuer for its algorithm."),
        })?;
    claims.check_times(asked, now)?;
    claims.check_audience(asked)?;
    Ok(claims)
}

/// The algorithm and the id of the key that it names.
fn read_header(asked: &Jwt, header: &[u8]) -> Result<(Algorithm, Option<String>), Refusal> {
    let mut header = read_object(header, "Its header is not JSON without repetitions.")?;
    let algorithm = header.get("alg").and_then(Value::as_str).and_then(Algorithm::of);
    let Some(algorithm) = algorithm.filter(|algorithm| asked.algorithms.contains(algorithm)) else {
        return Err(Invalid("Its algorithm (`alg`) is none of those that are allowed."));
    };
    // "If any of the listed extension Header Parameters are not understood [...] the JWS is invalid" (RFC 7515 section
    // 4.1.11), and we understand none.
    if header.contains_key("crit") || header.contains_key("b64") {
        return Err(Invalid("It needs an extension (`crit`) that is not understood here."));
    }
    let key = match header.remove("kid") {
        None => None,
        Some(Value::String(key)) => Some(key),
        Some(_) => return Err(Invalid("The id of its key (`kid`) is no text.")),
    };
    Ok((algorithm, key))
}

fn read_object(text: &[u8], wrong: &'static str) -> Result<Map<String, Value>, Refusal> {
    let bytes = base64::decode_url(text).map_err(|_| Invalid(wrong))?;
    strict_json::object(&bytes).map_err(|_| Invalid(wrong))
}

impl Claims {
    fn check_times(&self, asked: &Jwt, now: f64) -> Result<(), Refusal> {
        let leeway = f64::from(asked.leeway);
        match self.time("exp", "Its end (`exp`) is no number.")? {
            Some(end) if now >= end + leeway => return Err(Refusal::Expired("Its time is over (`exp`).")),
            None if asked.needs_end => return Err(Invalid("It does not say when it ends (`exp`).")),
            _ => {}
        }
        match self.time("nbf", "Its beginning (`nbf`) is no number.")? {
            Some(begin) if now + leeway < begin => Err(Refusal::Expired("Its time has not come yet (`nbf`).")),
            _ => Ok(()),
        }?;
        match self.time("iat", "When it was issued (`iat`) is no number.")? {
            Some(issued) if now + leeway < issued => Err(Refusal::Expired("It was issued in the future (`iat`).")),
            _ => Ok(()),
        }
    }

    fn time(&self, name: &str, wrong: &'static str) -> Result<Option<f64>, Refusal> {
        match self.0.get(name) {
            None => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or(Invalid(wrong)),
        }
    }

    /// One of those asked for must be among the token's; all of those must be texts.
    fn check_audience(&self, asked: &Jwt) -> Result<(), Refusal> {
        if asked.audiences.is_empty() {
            return Ok(());
        }
        let wrong = Invalid("It is not for this audience (`aud`).");
        let is_asked = |value: &Value| {
            value
                .as_str()
                .map(|text| asked.audiences.iter().any(|asked| **asked == *text))
        };
        let is_for_us = match self.0.get("aud") {
            Some(Value::Array(all)) => all.iter().map(is_asked).collect::<Option<Vec<_>>>(),
            Some(one) => is_asked(one).map(|is_ours| vec![is_ours]),
            None => None,
        };
        match is_for_us.is_some_and(|all| all.contains(&true)) {
            true => Ok(()),
            false => Err(wrong),
        }
    }

    /// The claim of this name, or that which its dots lead to.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).or_else(|| {
            let (first, rest) = name.split_once('.')?;
            rest.split('.')
                .try_fold(self.0.get(first)?, |value, part| value.get(part))
        })
    }

    /// The text of a claim; None: it is none.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }
}
