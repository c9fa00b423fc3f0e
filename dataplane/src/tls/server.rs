//! TLS towards clients.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::peer::{Mismatch, Peer, mismatch};
use super::{ALPN_HTTP1, ALPN_HTTP2, Identity, PROVIDER, Secrets, TrustBundle, VERSIONS, Wall};
use crate::error::{Error, Reason};
use crate::net::Io;
use crate::snapshot::model::{Protocol, ServerTls};

/// Builds what a listener needs to accept TLS. Wants every identity and the bundle in `secrets`.
pub fn config(tls: &ServerTls, secrets: &Secrets) -> Result<Arc<ServerConfig>, Error> {
    let identities = tls.identities.iter().map(|name| secrets.identity(name).cloned());
    let identities = Identities(identities.collect::<Result<_, _>>()?);
    let unusable = |cause: String| Error::new(Reason::NoIdentity).because(cause);

    let builder = ServerConfig::builder_with_details(Arc::clone(&PROVIDER), Arc::new(Wall))
        .with_protocol_versions(VERSIONS)
        .map_err(|error| unusable(error.to_string()))?;
    let mut config = match &tls.trust_bundle {
        Some(name) => {
            let bundle = secrets.bundle(name)?;
            let verifier = ClientVerifier::new(bundle, tls.require_client_certificate)
                .map_err(|error| unusable(format!("trust bundle {name:?}: {error}")))?;
            builder.with_client_cert_verifier(Arc::new(verifier))
        }
        None => builder.with_no_client_auth(),
    }
    .with_cert_resolver(Arc::new(identities));

    config.alpn_protocols = vec![ALPN_HTTP2.to_vec(), ALPN_HTTP1.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    if tls.trust_bundle.is_none() {
        // Stateless, so an idle client costs nothing.
        config.ticketer = Ticketer::new().map_err(|error| unusable(error.to_string()))?;
    } else {
        // A resumed session would skip the check of the client's certificate, which may have expired, and whose root may
        // have been taken away, in the meantime.
        config.send_tls13_tickets = 0;
    }
    Ok(Arc::new(config))
}

/// Chooses the certificate by the name the client asked for; the first is for all other names and for none.
#[derive(Debug)]
struct Identities(Vec<Identity>);

impl ResolvesServerCert for Identities {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let host = hello.server_name().map(str::to_ascii_lowercase);
        let named = host.and_then(|host| self.0.iter().find(|identity| identity.serves(&host)));
        named.or(self.0.first()).map(|identity| Arc::clone(&identity.key))
    }
}

/// Verifies chain, validity and usage through webpki, then the SPIFFE id.
#[derive(Debug)]
struct ClientVerifier {
    webpki: Arc<dyn ClientCertVerifier>,
    trust_domains: Vec<Arc<str>>,
}

impl ClientVerifier {
    fn new(bundle: &TrustBundle, required: bool) -> Result<Self, rustls::server::VerifierBuilderError> {
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(&bundle.roots), Arc::clone(&PROVIDER));
        let builder = if required {
            builder
        } else {
            builder.allow_unauthenticated()
        };
        Ok(ClientVerifier { webpki: builder.build()?, trust_domains: bundle.trust_domains.clone() })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        self.webpki.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.webpki.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.webpki.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.webpki.verify_client_cert(leaf, intermediates, now)?;
        let peer = Peer::from_leaf(leaf).map_err(|error| Mismatch(error.to_string().into()))?;
        if !self
            .trust_domains
            .iter()
            .any(|trusted| **trusted == *peer.trust_domain())
        {
            let (uri, trusted) = (&peer.uri, self.trust_domains.join(", "));
            return Err(Mismatch(format!("{uri} is not of a trusted domain ({trusted})").into()).into());
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls12_signature(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct Accepted {
    /// The stream inside TLS.
    pub io: Io,
    /// None: the client showed no certificate.
    pub peer: Option<Peer>,
    /// None: the client did not say.
    pub alpn: Option<Protocol>,
}

/// Does the server's side of the handshake. Errors are the client's: [`Reason::BadRequest`],
/// [`Reason::RequestTimeout`], [`Reason::DownstreamReset`].
pub async fn accept(stream: TcpStream, config: Arc<ServerConfig>, timeout: Duration) -> Result<Accepted, Error> {
    match tokio::time::timeout(timeout, handshake(stream, config)).await {
        Ok(accepted) => accepted,
        Err(_) => Err(Error::new(Reason::RequestTimeout).because("The TLS handshake did not end in time.")),
    }
}

async fn handshake(stream: TcpStream, config: Arc<ServerConfig>) -> Result<Accepted, Error> {
    // rustls would say only that the first message is invalid.
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(0) => {
            return Err(Error::new(Reason::DownstreamReset).because("The client closed before the TLS handshake."));
        }
        Ok(_) if first[0].is_ascii_uppercase() => {
            return Err(
                Error::new(Reason::BadRequest).because("The client speaks cleartext HTTP, this port speaks TLS.")
            );
        }
        Ok(_) => {}
        Err(error) => return Err(Error::new(Reason::DownstreamReset).because(error)),
    }
    let stream = TlsAcceptor::from(config)
        .accept(stream)
        .await
        .map_err(|error| handshake_error(&error))?;
    let session = stream.get_ref().1;
    let peer = match session.peer_certificates().and_then(<[_]>::first) {
        Some(leaf) => Some(Peer::from_leaf(leaf).map_err(|error| Error::new(Reason::BadRequest).because(error))?),
        None => None,
    };
    let alpn = match session.alpn_protocol() {
        Some(ALPN_HTTP2) => Some(Protocol::Http2),
        Some(ALPN_HTTP1) => Some(Protocol::Http1),
        _ => None,
    };
    Ok(Accepted { io: Io::from(stream), peer, alpn })
}

fn handshake_error(error: &io::Error) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => match mismatch(tls) {
            Some(mismatch) => Error::new(Reason::BadRequest).because(format_args!("TLS handshake: {mismatch}.")),
            None => Error::new(Reason::BadRequest).because(format_args!("TLS handshake: {tls}.")),
        },
        None => Error::new(Reason::DownstreamReset).because(format_args!("TLS handshake: {error}.")),
    }
}
