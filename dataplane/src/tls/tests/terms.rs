//! What a listener offers: versions, whose certificates are welcome, and when a session may be resumed.

use rustls::client::ClientConfig;
use rustls::pki_types::ServerName;
use rustls::{HandshakeKind, NamedGroup, ProtocolVersion, SupportedProtocolVersion};
use tokio_rustls::TlsConnector;

use super::super::{PROVIDER, Wall};
use super::*;
use crate::clock;

/// One handshake by rustls itself: what the server makes of it, and of which kind it was. The server says "hello", so that
/// the client has read what comes with the end of the handshake.
async fn met(terms: &Terms, client: &Arc<ClientConfig>) -> (Result<Accepted, Error>, Option<HandshakeKind>) {
    let (near, far) = sockets().await;
    tokio::join!(
        async {
            let mut accepted = server::accept(far, Arc::clone(&terms.config), TIMEOUT).await?;
            accepted.io.write_all(b"hello").await.unwrap();
            accepted.io.flush().await.unwrap();
            Ok(accepted)
        },
        async {
            let name = ServerName::try_from("orders.mesh").unwrap();
            let mut stream = TlsConnector::from(Arc::clone(client)).connect(name, near).await.ok()?;
            let mut bytes = [0; 5];
            stream.read_exact(&mut bytes).await.ok()?;
            stream.get_ref().1.handshake_kind()
        }
    )
}

fn caller(secrets: &Secrets) -> Arc<ClientConfig> {
    client::with_sessions(&client::config(&client_tls(&[ORDERS]), Protocol::Http2, secrets).unwrap())
}

/// Certificates of the service and of its caller.
fn pair(authority: &Authority) -> (Secrets, Secrets) {
    let bundle = || authority.bundle(&["mesh.local"]);
    (
        secrets(&[&authority.leaf("leaf", &[ORDERS])], bundle()),
        secrets(&[&authority.leaf("leaf", &[WEB])], bundle()),
    )
}

#[tokio::test]
async fn a_resumed_session_is_still_that_of_the_verified_peer() {
    let (orders, web) = pair(&Authority::new());
    let (terms, client) = (terms(&server_tls(true), &orders), caller(&web));
    for expected in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
        let (accepted, kind) = met(&terms, &client).await;
        assert_eq!(kind, Some(expected));
        assert_eq!(*accepted.unwrap().peer.unwrap().uri, *WEB);
    }
}

#[tokio::test]
async fn an_endpoint_whose_session_is_resumed_must_still_be_the_one_that_is_expected() {
    let (orders, web) = pair(&Authority::new());
    let (terms, config) = (terms(&server_tls(true), &orders), caller(&web));
    let mut refused = None;
    for expected in [&[ORDERS], &[WEB]] {
        let (near, far) = sockets().await;
        let tls = client_tls(expected);
        let ((), connected) = tokio::join!(
            async {
                let mut accepted = server::accept(far, Arc::clone(&terms.config), TIMEOUT).await.unwrap();
                // A client that refuses what it sees is gone.
                let _gone = accepted.io.write_all(b"hello").await;
                let _gone = accepted.io.flush().await;
            },
            async {
                let Connected { mut io, peer, .. } = client::connect(near, &tls, Arc::clone(&config)).await?;
                let mut bytes = [0; 5];
                io.read_exact(&mut bytes).await.unwrap();
                Ok::<_, Error>(peer)
            }
        );
        refused = connected.err();
    }
    // The verifier, which expects `orders`, was not asked again.
    assert_eq!(refused.unwrap().reason, Reason::PeerMismatch);
}

#[tokio::test]
async fn sessions_end_with_what_they_were_verified_by() {
    let authority = Authority::new();
    let (orders, web) = pair(&authority);
    let strict = server_tls(true);
    let before = terms(&strict, &orders);
    let client = caller(&web);
    assert_eq!(met(&before, &client).await.1, Some(HandshakeKind::Full));

    // Sent again, the same secrets change nothing.
    let bundle = || authority.bundle(&["mesh.local"]);
    let leaf = authority.leaf("leaf", &[ORDERS]);
    let held = secrets(&[&leaf], bundle());
    let kept = terms(&strict, &held);
    let mut again = secrets(&[&leaf], bundle());
    assert!(!kept.hold(&strict, &again));
    again.keep(&held);
    assert!(kept.hold(&strict, &again));

    // Another root, trust domain, leaf or rule does.
    let mut rooted = bundle();
    rooted.roots.push(Authority::called("second").0.der().to_vec());
    for (identity, bundle) in [
        (&leaf, rooted),
        (&leaf, authority.bundle(&["mesh.local", "old.local"])),
        (&authority.leaf("leaf", &[ORDERS]), bundle()),
    ] {
        let mut other = secrets(&[identity], bundle);
        other.keep(&held);
        assert!(!kept.hold(&strict, &other));
    }
    assert!(!kept.hold(&server_tls(false), &again));
    let after = terms(&strict, &again);
    assert_eq!(met(&after, &client).await.1, Some(HandshakeKind::Full));
}

#[tokio::test]
async fn a_session_does_not_outlive_the_certificate_that_it_began_with() {
    let authority = Authority::new();
    let bundle = || authority.bundle(&["mesh.local"]);
    let orders = secrets(&[&authority.leaf("leaf", &[ORDERS])], bundle());
    let brief = authority.issue("leaf", |params| {
        params.subject_alt_names = vec![san_uri(WEB)];
        params.not_after =
            date_time_ymd(1970, 1, 1) + Duration::from_nanos(clock::unix_nanos()) + Duration::from_secs(2);
    });
    let client = caller(&secrets(&[&brief], bundle()));
    let terms = terms(&server_tls(true), &orders);
    let mut last = None;
    let error = loop {
        match met(&terms, &client).await {
            (Ok(_), kind) => last = kind,
            (Err(error), _) => break error,
        }
        clock::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(last, Some(HandshakeKind::Resumed));
    let cause = error.cause().unwrap();
    assert!(cause.contains("expired"), "{cause}");
}

#[tokio::test]
async fn without_client_certificates_sessions_are_resumed_too() {
    let authority = Authority::new();
    let held = secrets(&[&authority.leaf("leaf", &[ORDERS])], authority.bundle(&["mesh.local"]));
    let public = terms(&ServerTls { trust_bundle: None, ..server_tls(false) }, &held);
    let client = caller(&held);
    assert_eq!(met(&public, &client).await.1, Some(HandshakeKind::Full));
    let (accepted, kind) = met(&public, &client).await;
    assert_eq!((kind, accepted.unwrap().peer), (Some(HandshakeKind::Resumed), None));
}

#[tokio::test]
async fn the_oldest_version_is_the_listeners_to_say() {
    let authority = Authority::new();
    let held = secrets(&[&authority.leaf("leaf", &[ORDERS])], authority.bundle(&["mesh.local"]));
    let client = |versions: &[&'static SupportedProtocolVersion]| {
        let builder = ClientConfig::builder_with_details(Arc::clone(&PROVIDER), Arc::new(Wall));
        let roots = Arc::clone(&held.bundle("mesh").unwrap().roots);
        Arc::new(
            builder
                .with_protocol_versions(versions)
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth(),
        )
    };
    let named = authority.issue("leaf", |params| params.subject_alt_names = vec![san_dns("orders.mesh")]);
    let shown = secrets(&[&named], authority.bundle(&["mesh.local"]));
    let public = |min_version| ServerTls { trust_bundle: None, min_version, ..server_tls(false) };
    let cases = [
        (TlsVersion::V12, &rustls::version::TLS12, true),
        (TlsVersion::V12, &rustls::version::TLS13, true),
        (TlsVersion::V13, &rustls::version::TLS12, false),
        (TlsVersion::V13, &rustls::version::TLS13, true),
    ];
    for (min_version, spoken, is_welcome) in cases {
        let (accepted, _) = met(&terms(&public(min_version), &shown), &client(&[spoken])).await;
        assert_eq!(accepted.is_ok(), is_welcome, "{min_version:?} {spoken:?}");
    }
}

#[tokio::test]
async fn at_the_edge_a_client_may_have_any_name_that_a_root_vouches_for() {
    let authority = Authority::new();
    let orders = secrets(&[&authority.leaf("leaf", &[ORDERS])], authority.bundle(&[]));
    let server = ServerTls { any_client_name: true, ..server_tls(true) };
    let shown = |issuer: &Authority, names: Vec<SanType>| {
        let leaf = issuer.issue("leaf", |params| {
            params.subject_alt_names = names;
            params.distinguished_name.push(DnType::CommonName, "alice");
        });
        secrets(&[&leaf], authority.bundle(&["mesh.local"]))
    };
    let cases = [
        (vec![san_uri(WEB)], WEB),
        (vec![san_dns("client.test"), san_dns("second.test")], "client.test"),
        (
            vec![SanType::Rfc822Name("alice@shop.test".try_into().unwrap())],
            "alice@shop.test",
        ),
    ];
    for (names, expected) in cases {
        let (accepted, _) = met(&terms(&server, &orders), &caller(&shown(&authority, names))).await;
        assert_eq!(*accepted.unwrap().peer.unwrap().uri, *expected);
    }
    let (accepted, _) = met(&terms(&server, &orders), &caller(&shown(&authority, vec![]))).await;
    let name = accepted.unwrap().peer.unwrap().uri;
    assert!(name.contains("CN=alice"), "{name}");

    let stranger = Authority::called("stranger");
    let (accepted, _) = met(&terms(&server, &orders), &caller(&shown(&stranger, vec![san_uri(WEB)]))).await;
    assert_eq!(accepted.unwrap_err().reason, Reason::ClientUntrusted);
}

#[tokio::test]
async fn what_is_recorded_today_cannot_be_read_by_a_quantum_computer() {
    let (orders, web) = pair(&Authority::new());
    let (near, far) = sockets().await;
    let config = terms(&server_tls(true), &orders).config;
    let name = ServerName::try_from("orders.mesh").unwrap();
    let (accepted, connected) = tokio::join!(
        server::accept(far, config, TIMEOUT),
        TlsConnector::from(caller(&web)).connect(name, near)
    );
    accepted.unwrap();
    let stream = connected.unwrap();
    let session = stream.get_ref().1;
    assert_eq!(
        session.negotiated_key_exchange_group().map(|group| group.name()),
        Some(NamedGroup::X25519MLKEM768)
    );
    assert_eq!(session.protocol_version(), Some(ProtocolVersion::TLSv1_3));
}

#[test]
fn every_suite_is_forward_secret_and_authenticates_what_it_encrypts() {
    for suite in &PROVIDER.cipher_suites {
        let name = format!("{:?}", suite.suite());
        let is_forward_secret = name.starts_with("TLS13_") || name.starts_with("TLS_ECDHE_");
        assert!(
            is_forward_secret && (name.contains("GCM") || name.contains("POLY1305")),
            "{name}"
        );
    }
}
