//! TLS towards clients.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::peer::Peer;
use super::verify::{self, By, refusal};
use super::{ALPN_HTTP1, ALPN_HTTP2, Identity, ONLY_1_3, PROVIDER, Secrets, TrustBundle, VERSIONS, Wall};
use crate::error::{Error, Reason};
use crate::net::Io;
use crate::snapshot::model::{Protocol, ServerTls, TlsVersion};

/// Sessions that clients of a verified identity get with a connection; each holds their certificate. One is enough to
/// come back with.
const TICKETS_WITH_IDENTITY: usize = 1;
/// The first byte of a TLS connection (RFC 8446 section 5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// How a listener accepts TLS, and what that was made of. A session is resumed only under the terms that it began under:
/// they stay while nothing that they were made of changes, and a change of it ends every session.
#[derive(Debug)]
pub struct Terms {
    /// For rustls.
    pub config: Arc<ServerConfig>,
    tls: ServerTls,
    identities: Vec<Identity>,
    bundle: Option<TrustBundle>,
}

impl Terms {
    /// Wants every identity and the bundle in `secrets`.
    pub fn new(tls: &ServerTls, secrets: &Secrets) -> Result<Terms, Error> {
        let (identities, bundle) = named(tls, secrets)?;
        let config = config(tls, &identities, bundle.as_ref())?;
        Ok(Terms { config: Arc::new(config), tls: tls.clone(), identities, bundle })
    }

    /// Whose certificates are welcome; `None`: nobody is asked for one.
    pub fn bundle(&self) -> Option<&Arc<str>> {
        self.bundle.as_ref().map(|bundle| &bundle.name)
    }

    /// True when new ones would say the same.
    pub fn hold(&self, tls: &ServerTls, secrets: &Secrets) -> bool {
        let Ok((identities, bundle)) = named(tls, secrets) else {
            return false;
        };
        let is_same_bundle = match (&self.bundle, &bundle) {
            (Some(held), Some(bundle)) => held.is(bundle),
            (held, bundle) => held.is_none() && bundle.is_none(),
        };
        self.tls == *tls && is_same_bundle && {
            // The names are those of `tls`, so there are as many.
            self.identities
                .iter()
                .zip(&identities)
                .all(|(held, identity)| held.is(identity))
        }
    }
}

/// What `tls` names.
fn named(tls: &ServerTls, secrets: &Secrets) -> Result<(Vec<Identity>, Option<TrustBundle>), Error> {
    let identities = tls.identities.iter().map(|name| secrets.identity(name).cloned());
    let bundle = tls.trust_bundle.as_ref().map(|name| secrets.bundle(name).cloned());
    Ok((identities.collect::<Result<_, _>>()?, bundle.transpose()?))
}

fn config(tls: &ServerTls, identities: &[Identity], bundle: Option<&TrustBundle>) -> Result<ServerConfig, Error> {
    let unusable = |cause: String| Error::new(Reason::NoIdentity).because(cause);
    let versions = match tls.min_version {
        TlsVersion::V12 => VERSIONS,
        TlsVersion::V13 => ONLY_1_3,
    };
    let builder = ServerConfig::builder_with_details(Arc::clone(&PROVIDER), Arc::new(Wall))
        .with_protocol_versions(versions)
        .map_err(|error| unusable(error.to_string()))?;
    let builder = match bundle {
        Some(bundle) => {
            let verifier = ClientVerifier::new(bundle, tls)
                .map_err(|error| unusable(format!("trust bundle {:?}: {error}", bundle.name)))?;
            builder.with_client_cert_verifier(Arc::new(verifier))
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(ByName::new(identities)));
    if tls.offers_http {
        config.alpn_protocols = vec![ALPN_HTTP2.to_vec(), ALPN_HTTP1.to_vec()];
    }
    // Stateless, so an idle client costs nothing; its keys change every six hours and end with the terms.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Ticketer::new().map_err(|error| unusable(error.to_string()))?;
    if bundle.is_some() {
        config.send_tls13_tickets = TICKETS_WITH_IDENTITY;
    }
    Ok(config)
}

/// Chooses the certificate by the name the client asked for: one for this very name, else one for any name beside it
/// ("*.example.com"); the first is for all others and for none.
#[derive(Debug)]
struct ByName {
    first: Option<Arc<CertifiedKey>>,
    by_name: HashMap<Box<str>, Arc<CertifiedKey>>,
}

impl ByName {
    fn new(identities: &[Identity]) -> Self {
        let mut by_name = HashMap::new();
        for identity in identities {
            for name in &identity.dns_names {
                // The first that was written.
                by_name.entry(name.clone()).or_insert_with(|| Arc::clone(&identity.key));
            }
        }
        ByName { first: identities.first().map(|identity| Arc::clone(&identity.key)), by_name }
    }

    fn named(&self, host: &str) -> Option<&Arc<CertifiedKey>> {
        let host = host.to_ascii_lowercase();
        self.by_name.get(&*host).or_else(|| {
            let (_, parent) = host.split_once('.')?;
            self.by_name.get(&*format!("*.{parent}"))
        })
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|host| self.named(host));
        named.or(self.first.as_ref()).cloned()
    }
}

/// Verifies chain, validity and usage through webpki, then the SPIFFE id.
#[derive(Debug)]
struct ClientVerifier {
    webpki: Arc<dyn ClientCertVerifier>,
    /// None: any name is welcome.
    trust_domains: Option<Vec<Arc<str>>>,
}

impl ClientVerifier {
    fn new(bundle: &TrustBundle, tls: &ServerTls) -> Result<Self, rustls::server::VerifierBuilderError> {
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(&bundle.roots), Arc::clone(&PROVIDER));
        let builder = if tls.require_client_certificate {
            builder
        } else {
            builder.allow_unauthenticated()
        };
        let trust_domains = (!tls.any_client_name).then(|| bundle.trust_domains.clone());
        Ok(ClientVerifier { webpki: builder.build()?, trust_domains })
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
        let Some(domains) = &self.trust_domains else {
            let expected = || "a client of a trusted authority".to_owned();
            let judge = |at| self.webpki.verify_client_cert(leaf, intermediates, at);
            return verify::chain(leaf, now, expected, judge);
        };
        let expected = || format!("a service of {}", domains.join(" or "));
        let judge = |at| self.webpki.verify_client_cert(leaf, intermediates, at);
        let verified = verify::chain(leaf, now, expected, judge)?;
        let is_welcome = |peer: &Peer| domains.iter().any(|trusted| **trusted == *peer.trust_domain());
        verify::identity(leaf, By::Client, expected, is_welcome)?;
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
    /// What it has shown, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// None: the client did not say.
    pub alpn: Option<Protocol>,
}

/// Does the server's side of the handshake. Errors are the client's: [`Reason::ClientUntrusted`], [`Reason::BadRequest`],
/// [`Reason::RequestTimeout`], [`Reason::DownstreamReset`].
pub async fn accept(stream: TcpStream, config: Arc<ServerConfig>, timeout: Duration) -> Result<Accepted, Error> {
    match tokio::time::timeout(timeout, handshake(stream, config)).await {
        Ok(accepted) => accepted,
        Err(_) => Err(Error::new(Reason::RequestTimeout).because("The TLS handshake did not end in time.")),
    }
}

/// True when the client begins with TLS. One that waits for the server to speak does not.
pub async fn is_begun(stream: &TcpStream, timeout: Duration) -> bool {
    let mut first = [0];
    let peeked = tokio::time::timeout(timeout, stream.peek(&mut first)).await;
    matches!(peeked, Ok(Ok(1..)) if first[0] == HANDSHAKE_RECORD)
}

/// SHA-256 of a certificate, in hexadecimal digits.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let hash = digest::digest(&digest::SHA256, certificate);
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Tells a client in its own words; it is closed whether it has heard or not.
async fn say_that_it_is_tls(mut stream: TcpStream) {
    let text = "This port speaks TLS, and the request came in the clear.\n";
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
    // What it has sent is read, for a close with bytes unread would reset what we say.
    let _unread = stream.try_read(&mut [0; 4096]);
    let _unheard = stream.write_all(answer.as_bytes()).await;
    let _unheard = stream.shutdown().await;
}

async fn handshake(stream: TcpStream, config: Arc<ServerConfig>) -> Result<Accepted, Error> {
    // rustls would say only that the first message is invalid.
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(0) => {
            return Err(Error::new(Reason::DownstreamReset).because("The client closed before the TLS handshake."));
        }
        Ok(_) if first[0].is_ascii_uppercase() => {
            say_that_it_is_tls(stream).await;
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
    let chain = session.peer_certificates().unwrap_or_default().to_vec();
    let peer = chain.first().map(Peer::of_client).transpose();
    let peer = peer.map_err(|error| Error::new(Reason::BadRequest).because(error))?;
    // A resumed session comes with the certificate that it began with, which is not verified again. Its root is one of
    // ours still, for the terms are the same.
    if let Some(peer) = &peer
        && peer.has_expired()
    {
        return Err(
            Error::new(Reason::ClientUntrusted).because(format_args!("The certificate of {} has expired.", peer.uri))
        );
    }
    let alpn = match session.alpn_protocol() {
        Some(ALPN_HTTP2) => Some(Protocol::Http2),
        Some(ALPN_HTTP1) => Some(Protocol::Http1),
        _ => None,
    };
    Ok(Accepted { io: Io::from(stream), peer, chain, alpn })
}

fn handshake_error(error: &io::Error) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => match refusal(tls) {
            Some(refusal) => Error::new(Reason::ClientUntrusted).because(refusal),
            None if *tls == rustls::Error::NoCertificatesPresented => {
                Error::new(Reason::ClientUntrusted).because("The client showed no certificate.")
            }
            None => Error::new(Reason::BadRequest).because(format_args!("TLS handshake: {tls}.")),
        },
        None => Error::new(Reason::DownstreamReset).because(format_args!("TLS handshake: {error}.")),
    }
}
