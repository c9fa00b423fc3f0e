//! TLS: key material as the control side gave it, and connections that prove with it who is who.

pub mod client;
pub mod peer;
pub mod server;
pub mod term;
mod verify;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{RootCertStore, SupportedProtocolVersion};

use crate::error::{Error, Reason};
use crate::{clock, proto};

/// Older versions are broken (RFC 8996).
const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
const ONLY_1_3: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

const ALPN_HTTP1: &[u8] = b"http/1.1";
const ALPN_HTTP2: &[u8] = b"h2";

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// Validity is judged by our clock module.
#[derive(Debug)]
struct Wall;

impl TimeProvider for Wall {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_nanos(clock::unix_nanos())))
    }
}

/// A certificate chain with its private key.
#[derive(Clone)]
pub struct Identity {
    /// What configuration calls it.
    pub name: Arc<str>,
    /// The chain, leaf first, and what signs for it.
    key: Arc<CertifiedKey>,
    /// DNS names of the leaf, in lower case; "*.example.com" matches one label.
    dns_names: Vec<Box<str>>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the key.
        f.debug_struct("Identity")
            .field("name", &self.name)
            .field("dns_names", &self.dns_names)
            .finish_non_exhaustive()
    }
}

/// Whom to believe.
#[derive(Clone, Debug)]
pub struct TrustBundle {
    /// What configuration calls it.
    pub name: Arc<str>,
    /// Any of them may have signed.
    pub roots: Arc<RootCertStore>,
    /// A client's SPIFFE id must be of one of these.
    pub trust_domains: Vec<Arc<str>>,
}

/// All key material of the process, replaced as a whole.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// Number given by the control side.
    pub version: u64,
    identities: HashMap<Arc<str>, Identity>,
    bundles: HashMap<Arc<str>, TrustBundle>,
}

/// Key material that cannot be used. Names the entry, never its content.
#[derive(Debug, thiserror::Error)]
#[error("{kind} {name:?}: {problem}")]
pub struct SecretsRejected {
    kind: &'static str,
    name: Box<str>,
    problem: Box<str>,
}

impl Secrets {
    /// Checks key material: names are unique, certificates parse, each key belongs to its leaf.
    pub fn new(message: proto::Secrets) -> Result<Self, SecretsRejected> {
        let mut secrets = Secrets { version: message.version, ..Secrets::default() };
        for identity in message.identities {
            let identity = Identity::new(identity)?;
            if let Some(twin) = secrets.identities.insert(Arc::clone(&identity.name), identity) {
                return Err(refused("identity", &twin.name, "the name is given twice"));
            }
        }
        for bundle in message.trust_bundles {
            let bundle = TrustBundle::new(bundle)?;
            if let Some(twin) = secrets.bundles.insert(Arc::clone(&bundle.name), bundle) {
                return Err(refused("trust bundle", &twin.name, "the name is given twice"));
            }
        }
        Ok(secrets)
    }

    /// Goes on with the entries of `before` that say the same, so that [`Identity::is`] and [`TrustBundle::is`] tell what has
    /// changed.
    pub fn keep(&mut self, before: &Secrets) {
        for (name, identity) in &mut self.identities {
            if let Some(held) = before.identities.get(name)
                && held.key.cert == identity.key.cert
            {
                // A leaf belongs to one key.
                *identity = held.clone();
            }
        }
        for (name, bundle) in &mut self.bundles {
            if let Some(held) = before.bundles.get(name)
                && held.roots.roots == bundle.roots.roots
                && held.trust_domains == bundle.trust_domains
            {
                *bundle = held.clone();
            }
        }
    }

    /// The identity of this name, or [`Reason::NoIdentity`].
    pub fn identity(&self, name: &str) -> Result<&Identity, Error> {
        self.identities.get(name).ok_or_else(|| {
            Error::unprocessed(Reason::NoIdentity).because(format_args!("No certificate {name:?} has arrived."))
        })
    }

    /// The trust bundle of this name, or [`Reason::NoIdentity`].
    pub fn bundle(&self, name: &str) -> Result<&TrustBundle, Error> {
        self.bundles.get(name).ok_or_else(|| {
            Error::unprocessed(Reason::NoIdentity).because(format_args!("No trust bundle {name:?} has arrived."))
        })
    }
}

fn refused(kind: &'static str, name: &str, problem: impl fmt::Display) -> SecretsRejected {
    SecretsRejected { kind, name: name.into(), problem: problem.to_string().into() }
}

impl Identity {
    fn new(message: proto::Identity) -> Result<Self, SecretsRejected> {
        let name: Arc<str> = message.name.into();
        let problem = |problem: String| refused("identity", &name, problem);
        let chain: Vec<_> = message
            .certificate_chain
            .into_iter()
            .map(CertificateDer::from)
            .collect();
        let leaf = chain
            .first()
            .ok_or_else(|| problem("it has no certificate".to_owned()))?;
        let dns_names = peer::dns_names(leaf).map_err(|error| problem(format!("its leaf is unusable: {error}")))?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(message.private_key));
        let key = PROVIDER
            .key_provider
            .load_private_key(key)
            .map_err(|_| problem("its private key is not a PKCS#8 key of a known kind".to_owned()))?;
        let key = CertifiedKey::new(chain, key);
        key.keys_match()
            .map_err(|_| problem("its private key does not belong to its leaf".to_owned()))?;
        Ok(Identity { key: Arc::new(key), dns_names, name })
    }

    /// True when the other is this very one, kept.
    pub fn is(&self, other: &Identity) -> bool {
        Arc::ptr_eq(&self.key, &other.key)
    }
}

impl TrustBundle {
    /// True when the other is this very one, kept.
    pub fn is(&self, other: &TrustBundle) -> bool {
        Arc::ptr_eq(&self.roots, &other.roots) && self.trust_domains == other.trust_domains
    }

    /// True when a root of the other one is none of its own.
    fn lacks_root_of(&self, other: &TrustBundle) -> bool {
        !Arc::ptr_eq(&self.roots, &other.roots) && other.roots.roots.iter().any(|root| !self.roots.roots.contains(root))
    }

    fn new(message: proto::TrustBundle) -> Result<Self, SecretsRejected> {
        let name: Arc<str> = message.name.into();
        let mut roots = RootCertStore::empty();
        for (number, root) in message.roots.into_iter().enumerate() {
            roots.add(CertificateDer::from(root)).map_err(|error| {
                refused(
                    "trust bundle",
                    &name,
                    format_args!("root {} is unusable: {error}", number + 1),
                )
            })?;
        }
        if roots.is_empty() {
            return Err(refused("trust bundle", &name, "it has no root"));
        }
        let trust_domains = message.trust_domains.into_iter().map(Arc::from).collect();
        Ok(TrustBundle { name, roots: Arc::new(roots), trust_domains })
    }
}
