//! What callers prove with who they are: consumers with their keys and passwords, and the keys of those who issue tokens.
//! The control side tells all of it at once; nothing of it is ever logged.

pub mod keys;
pub mod passwords;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use http::HeaderValue;
use prost::Message;

use crate::proto;
use crate::snapshot::decode::consumer_limit;
use crate::snapshot::model::RateLimit;
use keys::KeySet;
use passwords::Passwords;

/// Of SHA-256.
const DIGEST: usize = 32;

/// Who may call.
#[derive(Debug)]
pub struct Consumer {
    /// Unique.
    pub name: Arc<str>,
    /// Of which rules may speak.
    pub groups: Vec<Box<str>>,
    /// The name as a field says it.
    pub told_name: HeaderValue,
    /// Of all its requests; None: any number.
    pub limit: Option<Arc<RateLimit>>,
    /// The groups likewise, separated by commas; None: it has none.
    pub told_groups: Option<HeaderValue>,
}

/// The digest of a key, and whose it is.
type Keyed = ([u8; DIGEST], Arc<Consumer>);

/// All that is known now, replaced as a whole.
#[derive(Default)]
pub struct Credentials {
    /// As the control side wrote it.
    raw: Vec<u8>,
    consumers: HashMap<Box<str>, Arc<Consumer>>,
    /// By the beginning of the digest, so that how long a search takes tells at most that.
    keys: HashMap<[u8; 8], Vec<Keyed>>,
    /// By the name that a caller gives.
    passwords: HashMap<Box<str>, (Arc<str>, Arc<Consumer>)>,
    /// Whose hash is computed for names that nobody has, so that they take as long.
    any_password: Option<Arc<str>>,
    bindings: HashMap<Box<str>, Vec<Bound>>,
    key_sets: HashMap<Arc<str>, Arc<KeySet>>,
    /// Outlives what is known.
    pub checks: Arc<Passwords>,
}

/// The consumers of an issuer's tokens by the values of one claim.
struct Bound {
    claim: Box<str>,
    by_value: HashMap<Box<str>, Arc<Consumer>>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never what proves anything.
        f.debug_struct("Credentials")
            .field("consumers", &self.consumers.len())
            .field("key_sets", &self.key_sets.len())
            .finish_non_exhaustive()
    }
}

/// Credentials that cannot be used. Names the consumer, never what it proves with.
#[derive(Debug, thiserror::Error)]
#[error("credentials: {0}")]
pub struct CredentialsRejected(String);

impl Credentials {
    /// Reads a `Credentials` message; what is the same as `before` is that.
    pub fn read(raw: Vec<u8>, before: &Arc<Credentials>) -> Result<Arc<Credentials>, CredentialsRejected> {
        if raw == before.raw {
            return Ok(Arc::clone(before));
        }
        let message = proto::Credentials::decode(&*raw).map_err(|error| CredentialsRejected(error.to_string()))?;
        let mut made = Credentials { raw, checks: Arc::clone(&before.checks), ..Credentials::default() };
        for consumer in message.consumers {
            made.add(consumer)?;
        }
        for set in message.key_sets {
            let name: Arc<str> = set.name.as_str().into();
            let held = before.key_sets.get(&name).filter(|held| held.is_of(&set));
            let held = held.map_or_else(|| Arc::new(KeySet::new(set)), Arc::clone);
            made.key_sets.insert(name, held);
        }
        Ok(Arc::new(made))
    }

    fn add(&mut self, message: proto::Consumer) -> Result<(), CredentialsRejected> {
        let wrong = |what: &str| CredentialsRejected(format!("consumer {:?}: {what}", message.name));
        let value =
            |text: &str| HeaderValue::try_from(text).map_err(|_| wrong("its name or a group is no field value"));
        let limit = message.rate.clone().map(consumer_limit).transpose();
        let consumer = Arc::new(Consumer {
            limit: limit.map_err(|what| wrong(&what))?.map(Arc::new),
            name: message.name.as_str().into(),
            told_name: value(&message.name)?,
            told_groups: match message.groups.is_empty() {
                true => None,
                false => Some(value(&message.groups.join(","))?),
            },
            groups: message.groups.iter().map(|group| group.as_str().into()).collect(),
        });
        for key in &message.keys {
            let digest: [u8; DIGEST] = key.as_slice().try_into().map_err(|_| wrong("a key is no SHA-256"))?;
            let place = self.keys.entry(beginning(&digest)).or_default();
            place.push((digest, Arc::clone(&consumer)));
        }
        for password in &message.passwords {
            passwords::check(&password.hash).map_err(|what| wrong(&what))?;
            let hash: Arc<str> = password.hash.as_str().into();
            self.any_password.get_or_insert_with(|| Arc::clone(&hash));
            let username = password.username.as_str().into();
            self.passwords.entry(username).or_insert((hash, Arc::clone(&consumer)));
        }
        for binding in message.bindings {
            let of_issuer = self.bindings.entry(binding.issuer.into()).or_default();
            let bound = match of_issuer.iter().position(|bound| *bound.claim == *binding.claim) {
                Some(at) => &mut of_issuer[at],
                None => {
                    of_issuer.push(Bound { claim: binding.claim.into(), by_value: HashMap::new() });
                    of_issuer.last_mut().expect("it was just added")
                }
            };
            let of_value = bound.by_value.entry(binding.value.into());
            of_value.or_insert_with(|| Arc::clone(&consumer));
        }
        self.consumers.insert(message.name.into(), consumer);
        Ok(())
    }

    /// The consumer of this name.
    pub fn consumer(&self, name: &str) -> Option<&Arc<Consumer>> {
        self.consumers.get(name)
    }

    /// Whose key that is.
    pub fn of_key(&self, key: &[u8]) -> Option<&Arc<Consumer>> {
        let digest = digest::digest(&digest::SHA256, key);
        let digest: &[u8; DIGEST] = digest.as_ref().try_into().ok()?;
        let near = self.keys.get(&beginning(digest))?;
        let same = |held: &&Keyed| verify_slices_are_equal(&held.0, digest).is_ok();
        near.iter().find(same).map(|(_, consumer)| consumer)
    }

    /// What the password of this name is held against, and whose it is.
    pub fn of_username(&self, username: &str) -> Option<(&Arc<str>, &Arc<Consumer>)> {
        self.passwords.get(username).map(|(hash, consumer)| (hash, consumer))
    }

    /// The hash of anybody.
    pub fn any_password(&self) -> Option<&Arc<str>> {
        self.any_password.as_ref()
    }

    /// Whose the tokens of an issuer are; `claim` gives a claim's text by its name.
    pub fn of_claims<'a>(&self, issuer: &str, claim: impl Fn(&str) -> Option<&'a str>) -> Option<&Arc<Consumer>> {
        let of_issuer = self.bindings.get(issuer)?;
        of_issuer
            .iter()
            .find_map(|bound| bound.by_value.get(claim(&bound.claim)?))
    }

    /// The keys of this name.
    pub fn key_set(&self, name: &str) -> Option<&Arc<KeySet>> {
        self.key_sets.get(name)
    }
}

fn beginning(digest: &[u8; DIGEST]) -> [u8; 8] {
    let mut beginning = [0; 8];
    beginning.copy_from_slice(&digest[..8]);
    beginning
}

#[cfg(test)]
pub mod samples;
#[cfg(test)]
mod tests;
