//! Who is that? Decided by the credentials that a request shows, as its route asks for them.

pub mod access;
pub mod identified;
mod jwt;
mod shown;
mod strict_json;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::{HeaderValue, WWW_AUTHENTICATE};
use http::request::Parts;
use tokio::sync::oneshot;

use crate::clock;
use crate::credentials::Credentials;
use crate::error::{Error, Reason};
use crate::events::Events;
use crate::proto::{self, event::Kind};
use crate::snapshot::model::{Authentication, Jwt, Method};

use identified::Identified;
use shown::shown;

/// Bytes of a name and password. Browsers and servers take far less.
const MAX_BASIC: usize = 1024;
/// When there may be room again for a check of a password.
const SOON: Duration = Duration::from_secs(1);
const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Whom the exchanges of one worker can know.
#[derive(Debug)]
pub struct Callers {
    credentials: RefCell<Arc<Credentials>>,
    events: Arc<Events>,
}

/// What comes of one method.
enum Found {
    /// Its credentials are not there.
    Nothing,
    /// They are somebody else's to judge: of another issuer.
    NotMine(Error),
    Refused(Error),
    Known(Identified),
}

/// A check of a password on its way.
pub type PasswordCheck = oneshot::Receiver<bool>;

impl Callers {
    /// Nobody yet.
    pub fn new(events: Arc<Events>) -> Self {
        Callers { credentials: RefCell::default(), events }
    }

    /// From now on these.
    pub fn change(&self, credentials: Arc<Credentials>) {
        *self.credentials.borrow_mut() = credentials;
    }

    /// What has to be waited for before `identify` can decide: the check of a password that is not known yet.
    pub fn pending(&self, asked: &Authentication, request: &Parts) -> Result<Option<PasswordCheck>, Error> {
        let credentials = self.credentials.borrow();
        let Some((username, mut password)) = asked.methods().find_map(|method| match method {
            Method::Basic(carriers) => basic(shown(carriers, request).ok()??),
            _ => None,
        }) else {
            return Ok(None);
        };
        let hash = match credentials.of_username(&username) {
            Some((hash, _)) if credentials.checks.is_known(hash, &password) => return Ok(None),
            Some((hash, _)) => hash,
            None => {
                // A name that nobody has takes as long as one that somebody has, and what is tried is nobody's: else how
                // long it takes would tell whether it is somebody's password.
                password.push(0);
                let Some(hash) = credentials.any_password() else {
                    return Ok(None);
                };
                hash
            }
        };
        let check = credentials.checks.check(hash, &password);
        check
            .map(Some)
            .map_err(|_| Error::new(Reason::PasswordsBusy).with_retry_after(SOON))
    }

    /// Who shows these credentials, or why nobody may come in with them. A password is good when it is known, as it is
    /// once what `pending` gave has found it good.
    pub fn identify(&self, asked: &Authentication, request: &Parts) -> Result<Identified, Error> {
        let credentials = self.credentials.borrow();
        let judge = Judge { callers: self, credentials: &credentials, request };
        let (mut not_mine, mut refused) = (None, None);
        for alternative in &asked.alternatives {
            match judge.all(alternative) {
                Found::Known(identified) => return Ok(identified),
                Found::Nothing => {}
                Found::NotMine(error) => not_mine = not_mine.or(Some(error)),
                Found::Refused(error) => refused = refused.or(Some(error)),
            }
        }
        if let Some(error) = refused.or(not_mine) {
            return Err(error);
        }
        let nobody = || Error::new(Reason::NoCredentials);
        let anonymous = asked.anonymous.as_deref().ok_or_else(nobody)?;
        let consumer = credentials.consumer(anonymous).ok_or_else(|| {
            nobody().because(format_args!("There is no consumer {anonymous:?} for who is anonymous."))
        })?;
        Ok(Identified::anonymous(consumer))
    }
}

/// Of one request.
struct Judge<'a> {
    callers: &'a Callers,
    credentials: &'a Credentials,
    request: &'a Parts,
}

impl Judge<'_> {
    /// All methods of one alternative hold, and speak of one consumer.
    fn all(&self, methods: &[Method]) -> Found {
        let mut whole: Option<Identified> = None;
        let mut has_nothing = false;
        for method in methods {
            let identified = match self.one(method) {
                Found::Nothing => {
                    has_nothing = true;
                    continue;
                }
                Found::Known(identified) => identified,
                other => return other,
            };
            whole = match whole {
                None => Some(identified),
                Some(before) => match before.and(identified) {
                    Some(both) => Some(both),
                    None => return Found::Refused(Error::new(Reason::CredentialsDiffer)),
                },
            };
        }
        match whole {
            None => Found::Nothing,
            Some(_) if has_nothing => {
                let words = "Of the credentials that are asked for together some are not there.";
                Found::Refused(Error::new(Reason::NoCredentials).because(words))
            }
            Some(whole) => Found::Known(whole),
        }
    }

    fn one(&self, method: &Method) -> Found {
        let text = match shown(method.carriers(), self.request) {
            Ok(Some(text)) => text,
            Ok(None) => return Found::Nothing,
            Err(error) => return Found::Refused(error),
        };
        match method {
            Method::Key(_) => match self.credentials.of_key(text) {
                Some(consumer) => Found::Known(Identified::consumer(consumer)),
                None => Found::Refused(Error::new(Reason::UnknownKey)),
            },
            Method::Basic(_) => self.password(text),
            Method::Jwt(jwt) => self.token(jwt, text),
        }
    }

    fn password(&self, text: &[u8]) -> Found {
        let wrong = |words: &str| Found::Refused(Error::new(Reason::WrongPassword).because(words));
        let Some((username, password)) = basic(text) else {
            return wrong("It is not a name and a password as RFC 7617 has them.");
        };
        let Some((hash, consumer)) = self.credentials.of_username(&username) else {
            return wrong("No consumer has this name.");
        };
        match self.credentials.checks.is_known(hash, &password) {
            true => Found::Known(Identified::consumer(consumer)),
            false => wrong("It is not the password of this name."),
        }
    }

    fn token(&self, jwt: &Jwt, text: &[u8]) -> Found {
        let Some(keys) = self.credentials.key_set(&jwt.key_set) else {
            return Found::Refused(no_keys(jwt, "they have not arrived"));
        };
        let now = (clock::unix_nanos() / NANOS_PER_SECOND) as f64;
        match jwt::verify(jwt, keys, text, now) {
            Ok(claims) => {
                let consumer = self.credentials.of_claims(&jwt.issuer, |name| claims.text(name));
                Found::Known(Identified::token(consumer, claims, jwt))
            }
            Err(jwt::Refusal::OtherIssuer) => Found::NotMine(
                Error::new(Reason::TokenInvalid).because("Its issuer (`iss`) is none that is asked for here."),
            ),
            Err(jwt::Refusal::NoKeys) => Found::Refused(no_keys(jwt, keys.problem())),
            Err(jwt::Refusal::UnknownKey) => {
                if keys.is_wanted() {
                    let key_set = jwt.key_set.to_string();
                    self.callers.events.push(Kind::KeyWanted(proto::KeyWanted { key_set }));
                }
                Found::Refused(
                    Error::new(Reason::TokenInvalid).because("No key of its issuer has the id (`kid`) that it names."),
                )
            }
            Err(jwt::Refusal::Expired(words)) => Found::Refused(Error::new(Reason::TokenExpired).because(words)),
            Err(jwt::Refusal::Invalid(words)) => Found::Refused(Error::new(Reason::TokenInvalid).because(words)),
        }
    }
}

fn no_keys(jwt: &Jwt, problem: &str) -> Error {
    Error::new(Reason::KeysUnavailable).because(format_args!("Of issuer {}: {problem}.", jwt.issuer))
}

/// A name and a password (RFC 7617 section 2).
fn basic(text: &[u8]) -> Option<(String, Vec<u8>)> {
    if text.len() > MAX_BASIC {
        return None;
    }
    let mut decoder = crate::http::base64::Decoder::default();
    let bytes = decoder.decode(text).ok().filter(|_| decoder.is_whole())?;
    let colon = bytes.iter().position(|byte| *byte == b':')?;
    let username = String::from_utf8(bytes[..colon].to_vec()).ok()?;
    Some((username, bytes[colon + 1..].to_vec()))
}

/// Tells in an answer that refuses for want of credentials which are asked for.
pub fn challenge(asked: &Authentication, error: &Error, answer: &mut HeaderMap) {
    if error.status() != 401 {
        return;
    }
    let is_of_token = matches!(error.reason, Reason::TokenInvalid | Reason::TokenExpired);
    for challenge in &asked.challenges {
        let mut told = challenge.clone();
        // RFC 6750 section 3.1.
        if is_of_token && challenge.as_bytes().starts_with(b"Bearer ") {
            let whole = [challenge.as_bytes(), b", error=\"invalid_token\""].concat();
            told = HeaderValue::from_bytes(&whole).unwrap_or(told);
        }
        answer.append(WWW_AUTHENTICATE, told);
    }
}

#[cfg(test)]
mod tests;
