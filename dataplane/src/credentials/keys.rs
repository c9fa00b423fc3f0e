//! The keys that tokens are signed with, each ready for the algorithms that fit its kind: a public key is never a secret of
//! HMAC, whatever a token says.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents};

use crate::clock;
use crate::proto::{self, verification_key::Kind};
use crate::snapshot::model::Algorithm;

/// Signatures that one token may cost which does not say by which key it is signed.
const MAX_TRIES: usize = 8;
/// A key set is asked for anew at most so often because of tokens with unknown keys.
const WANTED_EVERY_MS: u64 = 10_000;

/// The keys of one issuer.
#[derive(Debug)]
pub struct KeySet {
    /// As the control side wrote it.
    message: proto::KeySet,
    keys: Vec<VerificationKey>,
    /// When it was asked for last; 0: never.
    wanted_at: AtomicU64,
}

/// Why a signature is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unverified {
    /// There are no keys.
    NoKeys,
    /// None has the id.
    UnknownKey,
    /// None of those that could have signed has.
    WrongSignature,
}

#[derive(Debug)]
struct VerificationKey {
    id: Box<str>,
    /// Ready, for each algorithm that it may be used with.
    verifiers: Vec<(Algorithm, Verifier)>,
}

#[derive(Debug)]
enum Verifier {
    Public(ParsedPublicKey),
    /// More than a kilobyte: boxed.
    Secret(Box<hmac::Key>),
}

impl KeySet {
    /// A key that cannot be used is as if it were not there (RFC 7517 section 5).
    pub fn new(message: proto::KeySet) -> Self {
        let keys = message.keys.iter().map(VerificationKey::new).collect();
        KeySet { message, keys, wanted_at: AtomicU64::new(0) }
    }

    /// True when it was made of that.
    pub fn is_of(&self, message: &proto::KeySet) -> bool {
        self.message == *message
    }

    /// Why there are no keys, for people.
    pub fn problem(&self) -> &str {
        &self.message.problem
    }

    /// Fails unless a key of it has signed. `id`: that key alone may have.
    pub fn verify(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Unverified> {
        if self.keys.is_empty() {
            return Err(Unverified::NoKeys);
        }
        let meant = |key: &&VerificationKey| id.is_none_or(|id| *key.id == *id);
        if !self.keys.iter().any(|key| meant(&key)) {
            return Err(Unverified::UnknownKey);
        }
        let fitting = self.keys.iter().filter(meant).filter_map(|key| key.verifier(algorithm));
        let mut tried = fitting.take(MAX_TRIES);
        match tried.any(|verifier| verifier.verify(message, signature)) {
            true => Ok(()),
            false => Err(Unverified::WrongSignature),
        }
    }

    /// True when it should be asked for anew: now and then.
    pub fn is_wanted(&self) -> bool {
        let (now, last) = (clock::millis().max(1), self.wanted_at.load(Relaxed));
        (last == 0 || now >= last + WANTED_EVERY_MS)
            && self.wanted_at.compare_exchange(last, now, Relaxed, Relaxed).is_ok()
    }
}

impl VerificationKey {
    fn new(message: &proto::VerificationKey) -> Self {
        let only = Algorithm::of(&message.algorithm);
        let is_meant = |algorithm: &Algorithm| message.algorithm.is_empty() || only == Some(*algorithm);
        let fits = fitting(message.kind.as_ref()).iter().copied().filter(is_meant);
        let verifiers = fits.filter_map(|algorithm| Some((algorithm, verifier(message.kind.as_ref()?, algorithm)?)));
        VerificationKey { id: message.id.as_str().into(), verifiers: verifiers.collect() }
    }

    fn verifier(&self, algorithm: Algorithm) -> Option<&Verifier> {
        let found = self.verifiers.iter().find(|(known, _)| *known == algorithm);
        found.map(|(_, verifier)| verifier)
    }
}

impl Verifier {
    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Verifier::Public(key) => key.verify_sig(message, signature).is_ok(),
            // In constant time.
            Verifier::Secret(key) => hmac::verify(key, message, signature).is_ok(),
        }
    }
}

/// What a kind of key can be used with.
fn fitting(kind: Option<&Kind>) -> &'static [Algorithm] {
    use Algorithm as A;
    match kind {
        None => &[],
        Some(Kind::Rsa(_)) => &[A::Rs256, A::Rs384, A::Rs512, A::Ps256, A::Ps384, A::Ps512],
        Some(Kind::P256(_)) => &[A::Es256],
        Some(Kind::P384(_)) => &[A::Es384],
        Some(Kind::Ed25519(_)) => &[A::EdDsa],
        Some(Kind::Secret(_)) => &[A::Hs256, A::Hs384, A::Hs512],
    }
}

/// None: the key is unusable for it.
fn verifier(kind: &Kind, algorithm: Algorithm) -> Option<Verifier> {
    let public = |parsed: Result<ParsedPublicKey, _>| parsed.ok().map(Verifier::Public);
    match kind {
        Kind::Rsa(key) => {
            let components = RsaPublicKeyComponents { n: &key.modulus, e: &key.exponent };
            public(components.to_parsed_public_key(rsa(algorithm)?))
        }
        Kind::P256(point) => public(ParsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)),
        Kind::P384(point) => public(ParsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point)),
        Kind::Ed25519(key) => public(ParsedPublicKey::new(&signature::ED25519, key)),
        Kind::Secret(secret) => {
            let (hash, least) = match algorithm {
                Algorithm::Hs256 => (hmac::HMAC_SHA256, 32),
                Algorithm::Hs384 => (hmac::HMAC_SHA384, 48),
                Algorithm::Hs512 => (hmac::HMAC_SHA512, 64),
                _ => return None,
            };
            // "A key of the same size as the hash output [...] or larger MUST be used" (RFC 7518 section 3.2).
            (secret.len() >= least).then(|| Verifier::Secret(Box::new(hmac::Key::new(hash, secret))))
        }
    }
}

fn rsa(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}
