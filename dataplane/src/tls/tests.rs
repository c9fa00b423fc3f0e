//! Handshakes over real sockets, with an authority of the test's own.

mod term;
mod terms;

use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
    date_time_ymd,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::Connected;
use super::peer::Peer;
use super::server::{Accepted, Terms};
use super::{Secrets, client, server};
use crate::clock;
use crate::error::{Again, Error, Reason};
use crate::net;
use crate::proto;
use crate::snapshot::model::{ClientTls, Protocol, ServerTls, TlsVersion};

const ORDERS: &str = "spiffe://mesh.local/ns/default/dc/dc1/svc/orders";
const WEB: &str = "spiffe://mesh.local/ns/default/dc/dc1/svc/web";
const TIMEOUT: Duration = Duration::from_secs(10);

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        Authority::called("mesh")
    }

    fn called(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, name: &str, adjust: impl FnOnce(&mut CertificateParams)) -> proto::Identity {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        adjust(&mut params);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.0).unwrap();
        proto::Identity {
            name: name.into(),
            certificate_chain: vec![leaf.der().to_vec()],
            private_key: key.serialize_der(),
        }
    }

    /// A leaf with these URIs.
    fn leaf(&self, name: &str, uris: &[&str]) -> proto::Identity {
        self.issue(name, |params| {
            params.subject_alt_names = uris.iter().map(|uri| san_uri(uri)).collect()
        })
    }

    fn bundle(&self, trust_domains: &[&str]) -> proto::TrustBundle {
        proto::TrustBundle {
            name: "mesh".into(),
            roots: vec![self.0.der().to_vec()],
            trust_domains: trust_domains.iter().map(|&domain| domain.into()).collect(),
        }
    }
}

fn san_uri(uri: &str) -> SanType {
    SanType::URI(uri.try_into().unwrap())
}

fn san_dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn secrets(identities: &[&proto::Identity], bundle: proto::TrustBundle) -> Secrets {
    let identities = identities.iter().map(|&identity| identity.clone()).collect();
    Secrets::new(proto::Secrets { version: 7, identities, trust_bundles: vec![bundle], ..Default::default() }).unwrap()
}

fn server_tls(require_client_certificate: bool) -> ServerTls {
    ServerTls {
        offers_http: true,
        identities: vec!["leaf".into()],
        trust_bundle: Some("mesh".into()),
        require_client_certificate,
        min_version: TlsVersion::V12,
        cleartext: false,
        any_client_name: false,
    }
}

fn client_tls(expected: &[&str]) -> ClientTls {
    ClientTls {
        identity: Some("leaf".into()),
        trust_bundle: "mesh".into(),
        spiffe_ids: expected.iter().map(|&id| id.into()).collect(),
        server_name: "orders.mesh".into(),
    }
}

fn terms(tls: &ServerTls, secrets: &Secrets) -> Terms {
    Terms::new(tls, secrets).unwrap()
}

async fn sockets() -> (TcpStream, TcpStream) {
    let listener = net::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let listener = net::register(listener).unwrap();
    let (near, far) = tokio::join!(net::connect(address), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

/// Does one handshake; then the server sends "hello" so that the client learns of a refusal too.
async fn handshake(
    server: (&ServerTls, &Secrets),
    client: (&ClientTls, &Secrets),
    protocol: Protocol,
) -> (Result<Accepted, Error>, Result<Connected, Error>) {
    let server_config = terms(server.0, server.1).config;
    let client_config = client::config(client.0, protocol, client.1).unwrap();
    let (near, far) = sockets().await;
    tokio::join!(
        async {
            let mut accepted = server::accept(far, server_config, TIMEOUT).await?;
            accepted.io.write_all(b"hello").await.unwrap();
            accepted.io.flush().await.unwrap();
            Ok(accepted)
        },
        client::connect(near, client.0, client_config)
    )
}

#[tokio::test]
async fn both_sides_learn_who_the_other_is() {
    let authority = Authority::new();
    let orders = secrets(&[&authority.leaf("leaf", &[ORDERS])], authority.bundle(&["mesh.local"]));
    let web = secrets(&[&authority.leaf("leaf", &[WEB])], authority.bundle(&["mesh.local"]));
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let (accepted, connected) = handshake(
            (&server_tls(true), &orders),
            (&client_tls(&[WEB, ORDERS]), &web),
            protocol,
        )
        .await;
        let accepted = accepted.unwrap();
        let Connected { mut io, peer, chain } = connected.unwrap();
        assert_eq!(chain.len(), 1);
        assert_eq!(*peer.uri, *ORDERS);
        assert_eq!(peer.trust_domain(), "mesh.local");
        assert!(peer.not_after > 0);
        assert_eq!(*accepted.peer.unwrap().uri, *WEB);
        assert_eq!(accepted.alpn, Some(protocol));
        let mut bytes = [0; 5];
        io.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"hello");
    }
}

#[tokio::test]
async fn an_endpoint_that_is_not_the_expected_one_is_refused() {
    let authority = Authority::new();
    let web = secrets(&[&authority.leaf("leaf", &[WEB])], authority.bundle(&["mesh.local"]));
    let other = "spiffe://mesh.local/ns/default/dc/dc1/svc/other";
    let foreign = "spiffe://evil.local/ns/default/dc/dc1/svc/orders";
    let longer = "spiffe://mesh.local/ns/default/dc/dc1/svc/orders2";
    let cases: [(&[&str], &[&str], &str); 6] = [
        (&[other], &[ORDERS], other),
        (&[foreign], &[ORDERS], foreign),
        (&[longer], &[ORDERS], longer),
        (&[ORDERS, other], &[ORDERS], "more than one URI"),
        (&[], &[ORDERS], "no SPIFFE id"),
        (&[ORDERS], &[], "Expected none"),
    ];
    for (shown, expected, words) in cases {
        let leaf = authority.issue("leaf", |params| {
            params.subject_alt_names = shown.iter().map(|uri| san_uri(uri)).collect();
            params.subject_alt_names.push(san_dns("orders.mesh"));
        });
        let endpoint = secrets(&[&leaf], authority.bundle(&["mesh.local"]));
        let (accepted, connected) = handshake(
            (&server_tls(true), &endpoint),
            (&client_tls(expected), &web),
            Protocol::Http2,
        )
        .await;
        let error = connected.unwrap_err();
        assert_eq!(
            (error.reason, error.again),
            (Reason::PeerMismatch, Again::Unprocessed),
            "{shown:?}"
        );
        let cause = error.cause().unwrap();
        assert!(cause.contains(words), "{cause}");
        assert!(expected.iter().all(|id| cause.contains(id)), "{cause}");
        assert!(accepted.is_err());
    }
}

#[tokio::test]
async fn a_certificate_that_does_not_verify_is_refused_before_its_name_is_read() {
    let authority = Authority::new();
    let stranger = Authority::called("stranger");
    let bundle = || authority.bundle(&["mesh.local"]);
    let expired = |params: &mut CertificateParams| {
        params.subject_alt_names = vec![san_uri(ORDERS)];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 2);
    };
    let for_email = |params: &mut CertificateParams| {
        params.subject_alt_names = vec![san_uri(ORDERS)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection];
    };
    let good = secrets(&[&authority.leaf("leaf", &[ORDERS])], bundle());
    let early = |params: &mut CertificateParams| {
        params.subject_alt_names = vec![san_uri(ORDERS)];
        begins_in(params, Duration::from_secs(2 * 3600));
    };
    let for_anything = |params: &mut CertificateParams| {
        params.subject_alt_names = vec![san_uri(ORDERS)];
        params.extended_key_usages = vec![];
    };
    let cases = [
        (authority.issue("leaf", expired), "has expired"),
        (authority.issue("leaf", early), "begins in"),
        (authority.issue("leaf", for_email), "extended key usage"),
        (authority.issue("leaf", for_anything), "extended key usage"),
        (stranger.leaf("leaf", &[ORDERS]), "its issuer is CN=stranger"),
    ];
    for (leaf, words) in cases {
        let bad = secrets(&[&leaf], bundle());
        let client = client_tls(&[ORDERS]);

        let (_, connected) = handshake((&server_tls(true), &bad), (&client, &good), Protocol::Http2).await;
        let error = connected.unwrap_err();
        assert_eq!((error.reason, error.again), (Reason::TlsFailure, Again::Unprocessed));
        let cause = error.cause().unwrap();
        let named = format!("Expected {ORDERS}, seen {ORDERS}: ");
        assert!(cause.starts_with(&named) && cause.contains(words), "{cause}");

        // The other way round; also where a certificate is optional.
        for required in [true, false] {
            let (accepted, _) = handshake((&server_tls(required), &good), (&client, &bad), Protocol::Http2).await;
            let error = accepted.unwrap_err();
            assert_eq!(error.reason, Reason::ClientUntrusted);
            let cause = error.cause().unwrap();
            let named = format!("Expected a service of mesh.local, seen {ORDERS}: ");
            assert!(cause.starts_with(&named) && cause.contains(words), "{cause}");
        }
    }
}

fn begins_in(params: &mut CertificateParams, after: Duration) {
    params.not_before = date_time_ymd(1970, 1, 1) + Duration::from_nanos(clock::unix_nanos()) + after;
}

#[tokio::test]
async fn a_certificate_that_begins_within_the_hour_is_taken_for_our_clock_may_be_behind() {
    let authority = Authority::new();
    let bundle = || authority.bundle(&["mesh.local"]);
    let soon = |uri: &'static str| {
        authority.issue("leaf", move |params| {
            params.subject_alt_names = vec![san_uri(uri)];
            begins_in(params, Duration::from_secs(3500));
        })
    };
    let (orders, web) = (secrets(&[&soon(ORDERS)], bundle()), secrets(&[&soon(WEB)], bundle()));
    let (accepted, connected) = handshake(
        (&server_tls(true), &orders),
        (&client_tls(&[ORDERS]), &web),
        Protocol::Http2,
    )
    .await;
    assert_eq!(*accepted.unwrap().peer.unwrap().uri, *WEB);
    assert_eq!(*connected.unwrap().peer.uri, *ORDERS);
}

#[tokio::test]
async fn a_client_must_be_of_a_trusted_domain() {
    let authority = Authority::new();
    let orders = secrets(
        &[&authority.leaf("leaf", &[ORDERS])],
        authority.bundle(&["mesh.local", "old.local"]),
    );
    let cases: [(&[&str], Result<(), &str>); 6] = [
        (&["spiffe://old.local/web"], Ok(())),
        (
            &["spiffe://evil.local/web"],
            Err("Expected a service of mesh.local or old.local, seen spiffe://evil.local/web."),
        ),
        (
            &["spiffe://mesh.local.evil/web"],
            Err("seen spiffe://mesh.local.evil/web."),
        ),
        (&[WEB, "spiffe://mesh.local/admin"], Err("more than one URI")),
        (&["https://mesh.local/web"], Err("not a SPIFFE id")),
        (&[], Err("no SPIFFE id")),
    ];
    for (shown, expected) in cases {
        let web = secrets(&[&authority.leaf("leaf", shown)], authority.bundle(&["mesh.local"]));
        let (accepted, connected) = handshake(
            (&server_tls(true), &orders),
            (&client_tls(&[ORDERS]), &web),
            Protocol::Http2,
        )
        .await;
        match (accepted, expected) {
            (Ok(accepted), Ok(())) => assert_eq!(*accepted.peer.unwrap().uri, *shown[0]),
            (Err(error), Err(words)) => {
                assert!(error.cause().unwrap().contains(words), "{error}");
                // The client may have been let go before the server judged it.
                if let Ok(Connected { mut io, .. }) = connected {
                    assert!(io.read_u8().await.is_err());
                }
            }
            (accepted, _) => panic!("{shown:?}: {accepted:?}"),
        }
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_welcome_only_where_it_is_optional() {
    let authority = Authority::new();
    let orders = secrets(&[&authority.leaf("leaf", &[ORDERS])], authority.bundle(&["mesh.local"]));
    let anonymous = ClientTls { identity: None, ..client_tls(&[ORDERS]) };

    let (accepted, _) = handshake((&server_tls(true), &orders), (&anonymous, &orders), Protocol::Http1).await;
    let error = accepted.unwrap_err();
    assert!(error.cause().unwrap().contains("showed no certificate"));

    let (accepted, _) = handshake((&server_tls(false), &orders), (&anonymous, &orders), Protocol::Http1).await;
    assert_eq!(accepted.unwrap().peer, None);
}

#[tokio::test]
async fn the_certificate_is_chosen_by_the_name_asked_for() {
    let authority = Authority::new();
    let leaf = |name: &str, dns: &str| {
        authority.issue(name, |params| {
            params.subject_alt_names = vec![san_uri(&format!("spiffe://mesh.local/{name}")), san_dns(dns)]
        })
    };
    let (first, exact, wildcard) = (
        leaf("first", "first.example"),
        leaf("exact", "Shop.Example"),
        leaf("wildcard", "*.example"),
    );
    let held = secrets(&[&first, &exact, &wildcard], authority.bundle(&["mesh.local"]));
    // The exact name counts for more, although it stands behind.
    let names = ["first", "wildcard", "exact"].map(Arc::from).to_vec();
    let server = ServerTls { identities: names, trust_bundle: None, ..server_tls(false) };
    let any = [
        "spiffe://mesh.local/first",
        "spiffe://mesh.local/exact",
        "spiffe://mesh.local/wildcard",
    ];
    let cases = [
        ("shop.example", "exact"),
        ("SHOP.example", "exact"),
        ("other.example", "wildcard"),
        ("a.b.example", "first"),
        ("example", "first"),
        ("", "first"),
    ];
    for (asked, chosen) in cases {
        let client = ClientTls { identity: None, server_name: asked.into(), ..client_tls(&any) };
        let (_, connected) = handshake((&server, &held), (&client, &held), Protocol::Http1).await;
        assert_eq!(
            *connected.unwrap().peer.uri,
            format!("spiffe://mesh.local/{chosen}"),
            "{asked}"
        );
    }
}

#[tokio::test]
async fn peers_that_do_not_speak_tls_are_named_as_such() {
    let authority = Authority::new();
    let held = secrets(&[&authority.leaf("leaf", &[ORDERS])], authority.bundle(&["mesh.local"]));
    let config = terms(&server_tls(true), &held).config;

    let (mut near, far) = sockets().await;
    near.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let error = server::accept(far, Arc::clone(&config), TIMEOUT).await.unwrap_err();
    assert_eq!(error.reason, Reason::BadRequest);
    assert!(error.cause().unwrap().contains("cleartext HTTP"));

    let (near, far) = sockets().await;
    drop(near);
    let error = server::accept(far, config, TIMEOUT).await.unwrap_err();
    assert_eq!(error.reason, Reason::DownstreamReset);

    let (near, mut far) = sockets().await;
    let tls = client_tls(&[ORDERS]);
    let config = client::config(&tls, Protocol::Http1, &held).unwrap();
    far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let error = client::connect(near, &tls, config).await.unwrap_err();
    assert_eq!(error.reason, Reason::TlsFailure);
    assert!(error.cause().unwrap().contains("does not speak TLS"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_not_waited_for() {
    let authority = Authority::new();
    let held = secrets(&[&authority.leaf("leaf", &[ORDERS])], authority.bundle(&["mesh.local"]));
    let config = terms(&server_tls(true), &held).config;
    let (_near, far) = sockets().await;
    let error = server::accept(far, config, TIMEOUT).await.unwrap_err();
    assert_eq!(error.reason, Reason::RequestTimeout);
}

#[test]
fn unusable_secrets_are_refused_by_name() {
    let authority = Authority::new();
    let good = authority.leaf("leaf", &[ORDERS]);
    let other = authority.leaf("other", &[WEB]);
    let with = |adjust: fn(&mut proto::Identity)| {
        let mut identity = good.clone();
        adjust(&mut identity);
        identity
    };
    let swapped = proto::Identity { private_key: other.private_key, ..good.clone() };
    let bundle = authority.bundle(&["mesh.local"]);
    let rootless = proto::TrustBundle { roots: vec![], ..bundle.clone() };
    let garbled = proto::TrustBundle { roots: vec![b"not a root".to_vec()], ..bundle.clone() };
    let cases = [
        (
            vec![swapped],
            vec![],
            r#"identity "leaf": its private key does not belong to its leaf"#,
        ),
        (
            vec![with(|identity| identity.certificate_chain.clear())],
            vec![],
            r#"identity "leaf": it has no certificate"#,
        ),
        (
            vec![with(|identity| identity.certificate_chain[0].truncate(40))],
            vec![],
            r#"identity "leaf": its leaf is unusable"#,
        ),
        (
            vec![with(|identity| identity.private_key.clear())],
            vec![],
            r#"identity "leaf": its private key is not"#,
        ),
        (
            vec![good.clone(), good.clone()],
            vec![],
            r#"identity "leaf": the name is given twice"#,
        ),
        (vec![], vec![rootless], r#"trust bundle "mesh": it has no root"#),
        (vec![], vec![garbled], r#"trust bundle "mesh": root 1 is unusable"#),
        (
            vec![],
            vec![bundle.clone(), bundle],
            r#"trust bundle "mesh": the name is given twice"#,
        ),
    ];
    for (identities, trust_bundles, words) in cases {
        let error = Secrets::new(proto::Secrets { version: 1, identities, trust_bundles, ..Default::default() })
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(words), "{error}");
    }
}

#[test]
fn missing_key_material_is_named_and_shown_never() {
    let authority = Authority::new();
    let held = secrets(&[&authority.leaf("leaf", &[ORDERS])], authority.bundle(&["mesh.local"]));
    let mut tls = client_tls(&[ORDERS]);
    tls.trust_bundle = "absent".into();
    let error = client::config(&tls, Protocol::Http1, &held).unwrap_err();
    assert_eq!(error.reason, Reason::NoIdentity);
    assert!(error.cause().unwrap().contains("\"absent\""));

    let shown = format!("{:?}", held.identity("leaf").unwrap());
    assert_eq!(shown, r#"Identity { name: "leaf", dns_names: [], .. }"#);
}
