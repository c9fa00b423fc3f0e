//! Who is at the other end: the SPIFFE id of a certificate.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::clock;

const SCHEME: &str = "spiffe://";

/// A verified peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// "spiffe://mesh.local/ns/default/dc/dc1/svc/web". Of a client that is not of the mesh: the name that stands first in
    /// its certificate, else its subject.
    pub uri: Arc<str>,
    /// Seconds since the epoch after which its leaf is no longer valid.
    pub not_after: i64,
}

impl Peer {
    /// The identity of a leaf. It does not verify the leaf.
    pub fn from_leaf(leaf: &CertificateDer<'_>) -> Result<Self, Unidentified> {
        let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| Unidentified::Unparsable)?;
        let names = subject_alternative_names(&leaf)?;
        let uris = names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        let uris: Vec<&str> = uris.collect();
        let uri = match uris[..] {
            [] => return Err(Unidentified::NoUri),
            [uri] => uri,
            _ => return Err(Unidentified::SeveralUris(uris.join(", ").into())),
        };
        if !is_spiffe_id(uri) {
            return Err(Unidentified::NotSpiffe(uri.escape_debug().to_string().into()));
        }
        Ok(Peer { uri: uri.into(), not_after: leaf.validity().not_after.timestamp() })
    }

    /// Who a client is, by a leaf that was verified: its SPIFFE id, else what else it is called.
    pub fn of_client(leaf: &CertificateDer<'_>) -> Result<Self, Unidentified> {
        if let Ok(peer) = Peer::from_leaf(leaf) {
            return Ok(peer);
        }
        let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| Unidentified::Unparsable)?;
        let name = subject_alternative_names(&leaf)?.iter().find_map(|name| match name {
            GeneralName::URI(name) | GeneralName::DNSName(name) | GeneralName::RFC822Name(name) => Some(*name),
            _ => None,
        });
        let name = name.map_or_else(|| leaf.subject().to_string(), str::to_owned);
        Ok(Peer { uri: name.into(), not_after: leaf.validity().not_after.timestamp() })
    }

    /// How long its leaf is still valid.
    pub(super) fn left(&self) -> Duration {
        let end = Duration::from_secs(u64::try_from(self.not_after).unwrap_or_default());
        end.saturating_sub(Duration::from_nanos(clock::unix_nanos()))
    }

    /// True when its leaf is no longer valid.
    pub fn has_expired(&self) -> bool {
        let now = Duration::from_nanos(clock::unix_nanos()).as_secs();
        u64::try_from(self.not_after).unwrap_or_default() < now
    }

    /// The authority of its URI.
    pub fn trust_domain(&self) -> &str {
        self.uri
            .strip_prefix(SCHEME)
            .and_then(|rest| rest.split('/').next())
            .unwrap_or_default()
    }
}

/// A certificate that does not tell whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unidentified {
    /// Not X.509, or with malformed names.
    Unparsable,
    /// Without a URI among its names.
    NoUri,
    /// With more than one; a SPIFFE certificate has exactly one.
    SeveralUris(Box<str>),
    /// With a URI that is no SPIFFE id.
    NotSpiffe(Box<str>),
}

impl fmt::Display for Unidentified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unidentified::Unparsable => f.write_str("the certificate is malformed"),
            Unidentified::NoUri => f.write_str("the certificate holds no SPIFFE id"),
            Unidentified::SeveralUris(uris) => write!(f, "the certificate holds more than one URI: {uris}"),
            Unidentified::NotSpiffe(uri) => write!(f, "the certificate's URI {uri} is not a SPIFFE id"),
        }
    }
}

impl std::error::Error for Unidentified {}

/// The DNS names of a leaf, in lower case.
pub(super) fn dns_names(leaf: &CertificateDer<'_>) -> Result<Vec<Box<str>>, Unidentified> {
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| Unidentified::Unparsable)?;
    let names = subject_alternative_names(&leaf)?;
    let names = names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase().into()),
        _ => None,
    });
    Ok(names.collect())
}

fn subject_alternative_names<'a>(leaf: &'a X509Certificate<'a>) -> Result<&'a [GeneralName<'a>], Unidentified> {
    let extension = leaf.subject_alternative_name().map_err(|_| Unidentified::Unparsable)?;
    let names = extension
        .map(|extension| &extension.value.general_names[..])
        .unwrap_or_default();
    // A name that one reader skips another may read.
    match names.iter().any(|name| matches!(name, GeneralName::Invalid(..))) {
        true => Err(Unidentified::Unparsable),
        false => Ok(names),
    }
}

/// Scheme, trust domain and path as the SPIFFE ID standard (section 2) has them.
fn is_spiffe_id(uri: &str) -> bool {
    let Some((trust_domain, path)) = uri.strip_prefix(SCHEME).and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    let is_domain_byte = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    let is_path_byte = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#');
    uri.len() <= 2048
        && !trust_domain.is_empty()
        && trust_domain.bytes().all(is_domain_byte)
        && path.bytes().all(is_path_byte)
        && path.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
}
