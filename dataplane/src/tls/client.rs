//! TLS towards endpoints. Whom we reach is proved by SPIFFE id, not by host name.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, InvalidMessage, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::peer::Peer;
use super::verify::{self, By, refusal};
use super::{ALPN_HTTP1, ALPN_HTTP2, PROVIDER, Secrets, VERSIONS, Wall};
use crate::error::{Error, Reason};
use crate::net::Io;
use crate::snapshot::model::{ClientTls, Protocol};

/// Builds what a cluster's connections need. Wants the identity and the bundle in `secrets`.
pub fn config(tls: &ClientTls, protocol: Protocol, secrets: &Secrets) -> Result<Arc<ClientConfig>, Error> {
    let bundle = secrets.bundle(&tls.trust_bundle)?;
    let verifier = ServerVerifier { roots: Arc::clone(&bundle.roots), expected: tls.spiffe_ids.clone() };
    let builder = ClientConfig::builder_with_details(Arc::clone(&PROVIDER), Arc::new(Wall))
        .with_protocol_versions(VERSIONS)
        .map_err(|error| Error::unprocessed(Reason::NoIdentity).because(error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &tls.identity {
        Some(name) => {
            let key = Arc::clone(&secrets.identity(name)?.key);
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = match protocol {
        Protocol::Http1 => vec![ALPN_HTTP1.to_vec()],
        Protocol::Http2 => vec![ALPN_HTTP2.to_vec()],
        // As Envoy under Consul: the other side is asked for bytes and nothing else.
        Protocol::Tcp => Vec::new(),
    };
    // Each endpoint has its own: see `with_sessions`.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Sessions of one endpoint that are kept; it gives one with each connection.
const SESSIONS: usize = 8;

/// The same for the connections to one endpoint, which then resume each other's sessions. Nobody else could: an endpoint
/// reads the tickets that it wrote.
pub fn with_sessions(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    Arc::new(config)
}

/// Verifies chain, validity and usage through webpki, then that the SPIFFE id is one of those expected.
#[derive(Debug)]
struct ServerVerifier {
    roots: Arc<RootCertStore>,
    expected: Vec<Arc<str>>,
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let expected = || match self.expected.is_empty() {
            true => "none".to_owned(),
            false => self.expected.join(" or "),
        };
        verify::chain(leaf, now, expected, |at| {
            let parsed = ParsedCertificate::try_from(leaf)?;
            let algorithms = PROVIDER.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, at, algorithms)
        })?;
        verify::identity(leaf, By::Server, expected, |peer| self.expected.contains(&peer.uri))?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, leaf, signature, &PROVIDER.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signature, &PROVIDER.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER.signature_verification_algorithms.supported_schemes()
    }
}

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct Connected {
    /// The stream inside TLS.
    pub io: Io,
    /// The endpoint.
    pub peer: Peer,
    /// What it has shown, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
}

/// Does the client's side of the handshake. Errors are [`Reason::PeerMismatch`] and [`Reason::TlsFailure`]; nothing was
/// sent then. In TLS 1.3 it ends before the endpoint has judged our certificate: a refusal shows at the first read.
pub async fn connect(stream: TcpStream, tls: &ClientTls, config: Arc<ClientConfig>) -> Result<Connected, Error> {
    let failed = |cause: String| Error::unprocessed(Reason::TlsFailure).because(cause);
    let name = match tls.server_name.is_empty() {
        // An address is never sent as SNI (RFC 6066 section 3).
        true => stream
            .peer_addr()
            .map(|address| ServerName::from(address.ip()))
            .map_err(|error| failed(error.to_string()))?,
        false => ServerName::try_from(String::from(tls.server_name.clone()))
            .map_err(|_| failed(format!("{:?} is not a server name.", tls.server_name)))?,
    };
    let stream = TlsConnector::from(config)
        .connect(name, stream)
        .await
        .map_err(|error| handshake_error(&error))?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
    let leaf = chain
        .first()
        .ok_or_else(|| failed("The endpoint showed no certificate.".to_owned()))?;
    let mismatch = |cause: String| Error::unprocessed(Reason::PeerMismatch).because(cause);
    let peer = Peer::from_leaf(leaf).map_err(|error| mismatch(error.to_string()))?;
    // A resumed session comes with the certificate that it began with, which is not verified again.
    if !tls.spiffe_ids.contains(&peer.uri) {
        return Err(mismatch(format!(
            "Expected {}, seen {}.",
            tls.spiffe_ids.join(" or "),
            peer.uri
        )));
    }
    if peer.has_expired() {
        return Err(failed(format!("The certificate of {} has expired.", peer.uri)));
    }
    Ok(Connected { io: Io::from(stream), peer, chain })
}

fn handshake_error(error: &io::Error) -> Error {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if let Some(refusal) = tls.and_then(refusal) {
        let reason = match refusal.is_mismatch {
            true => Reason::PeerMismatch,
            false => Reason::TlsFailure,
        };
        return Error::unprocessed(reason).because(refusal);
    }
    let failure = Error::unprocessed(Reason::TlsFailure);
    match tls {
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            failure.because("The endpoint does not speak TLS.")
        }
        _ => failure.because(error),
    }
}
