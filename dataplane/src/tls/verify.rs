//! What a peer's certificate has to prove, and the words in which one is refused: whom we expected, and whom we saw.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{CertificateError, OtherError};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::peer::Peer;

/// So long before its beginning a certificate is taken. Authorities backdate by a minute (Consul, SPIRE: ten seconds), so a
/// clock that is behind calls new certificates early; an hour is what a host with the wrong daylight saving is off. Who
/// holds a key early could as well wait. Its end has no leeway: what has ended has ended.
const EARLY: Duration = Duration::from_secs(3600);

/// Characters of a text in a certificate that are repeated: it may be long, and is not ours.
const QUOTED: usize = 256;

/// Which side shows a certificate, and has to be allowed to by its extended key usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum By {
    Client,
    Server,
}

/// A peer that was refused.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Its certificate is good, and another's.
    pub(super) is_mismatch: bool,
    words: Box<str>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for rustls::Error {
    fn from(refusal: Refusal) -> Self {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refusal))))
    }
}

/// The [`Refusal`] inside an error of rustls.
pub(super) fn refusal(error: &rustls::Error) -> Option<&Refusal> {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(error))) => error.downcast_ref(),
        _ => None,
    }
}

/// Judges the chain at `now`, and where it has not begun yet as early as [`EARLY`] allows. `expected` tells whom.
pub(super) fn chain<T>(
    leaf: &CertificateDer<'_>,
    now: UnixTime,
    expected: impl Fn() -> String,
    judge: impl Fn(UnixTime) -> Result<T, rustls::Error>,
) -> Result<T, rustls::Error> {
    let latest = now.as_secs() + EARLY.as_secs();
    let mut at = now;
    loop {
        match judge(at) {
            // Each turn is at the beginning of another certificate of the chain, and later than the one before.
            Err(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. }))
                if at < not_before && not_before.as_secs() <= latest =>
            {
                at = not_before;
            }
            Err(error) => {
                let words = format!("Expected {}, seen {}: {}.", expected(), seen(leaf), why(&error, leaf));
                return Err(Refusal { is_mismatch: false, words: words.into() }.into());
            }
            Ok(judged) => return Ok(judged),
        }
    }
}

/// Judges who a leaf is whose chain is good: one that `welcome` knows, and allowed to be shown `by` this side. A
/// certificate without any extended key usage is none of a mesh: Consul, SPIRE and the local CA name both.
pub(super) fn identity(
    leaf: &CertificateDer<'_>,
    by: By,
    expected: impl Fn() -> String,
    welcome: impl Fn(&Peer) -> bool,
) -> Result<(), rustls::Error> {
    let is_mismatch = true;
    match Peer::from_leaf(leaf) {
        Ok(peer) if !welcome(&peer) => {
            let words = format!("Expected {}, seen {}.", expected(), peer.uri);
            Err(Refusal { is_mismatch, words: words.into() }.into())
        }
        Ok(peer) if !is_for(leaf, by) => {
            let words = format!("Expected {}, seen {}: {}.", expected(), peer.uri, unfit(by));
            Err(Refusal { is_mismatch: false, words: words.into() }.into())
        }
        Ok(_) => Ok(()),
        Err(error) => {
            let words = format!("Expected {}, seen {}: {error}.", expected(), seen(leaf));
            Err(Refusal { is_mismatch, words: words.into() }.into())
        }
    }
}

fn is_for(leaf: &CertificateDer<'_>, by: By) -> bool {
    let Ok((_, leaf)) = X509Certificate::from_der(leaf) else {
        return false;
    };
    let usage = leaf.extended_key_usage().ok().flatten();
    usage.is_some_and(|usage| match by {
        By::Client => usage.value.client_auth,
        By::Server => usage.value.server_auth,
    })
}

fn unfit(by: By) -> &'static str {
    match by {
        By::Client => "its extended key usage does not name client authentication",
        By::Server => "its extended key usage does not name server authentication",
    }
}

/// Whose a certificate says that it is, verified or not.
fn seen(leaf: &CertificateDer<'_>) -> String {
    let Ok((_, leaf)) = X509Certificate::from_der(leaf) else {
        return "a certificate that is malformed".to_owned();
    };
    let names = leaf.subject_alternative_name().ok().flatten();
    let names = names.map(|names| &names.value.general_names[..]).unwrap_or_default();
    let mut uris = String::new();
    for name in names {
        if let GeneralName::URI(uri) = name {
            let between = if uris.is_empty() { "" } else { " and " };
            // Writing to a text does not fail.
            let _written = write!(uris, "{between}{}", quoted(uri));
        }
    }
    match uris.is_empty() {
        true => format!("a certificate of {} without a URI", quoted(&leaf.subject().to_string())),
        false => uris,
    }
}

fn why(error: &rustls::Error, leaf: &CertificateDer<'_>) -> String {
    let rustls::Error::InvalidCertificate(error) = error else {
        return error.to_string();
    };
    match error {
        CertificateError::UnknownIssuer => {
            format!("no trusted authority has signed it, its issuer is {}", issuer(leaf))
        }
        CertificateError::ExpiredContext { time, not_after } => {
            let ago = time.as_secs().saturating_sub(not_after.as_secs());
            format!("its certificate has expired, {ago} s ago by the clock of this host")
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            let left = not_before.as_secs().saturating_sub(time.as_secs());
            format!("its certificate begins in {left} s by the clock of this host: compare the clocks")
        }
        error => error.to_string(),
    }
}

fn issuer(leaf: &CertificateDer<'_>) -> String {
    X509Certificate::from_der(leaf).map_or_else(
        |_| "unreadable".to_owned(),
        |(_, leaf)| match leaf.issuer() == leaf.subject() {
            true => "itself".to_owned(),
            false => quoted(&leaf.issuer().to_string()),
        },
    )
}

fn quoted(text: &str) -> String {
    let mut shown: String = text.escape_debug().take(QUOTED).collect();
    if shown.is_empty() {
        shown.push_str("nobody");
    }
    shown
}
