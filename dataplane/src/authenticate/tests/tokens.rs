//! Forged tokens, each beside the good one that it was made of.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
};
use aws_lc_rs::{hmac, rsa};

use super::super::jwt::{Refusal, verify};
use super::*;
use crate::credentials::keys::KeySet;
use crate::proto::verification_key::Kind as KeyKind;
use crate::snapshot::model::Algorithm;

const NOW: f64 = 1_800_000_000.0;
const SECRET: &[u8] = b"a secret of at least thirty-two bytes";

/// Those who sign.
struct Issuer {
    rsa: rsa::KeyPair,
    p256: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum With {
    Rs256,
    Ps256,
    Es256,
    EdDsa,
    Hs256,
    /// HMAC, with the public key of RSA as the secret.
    PublicAsSecret,
    Nothing,
}

impl Issuer {
    fn new() -> Self {
        let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let ed25519 = Ed25519KeyPair::generate().unwrap();
        Issuer { rsa: rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap(), p256, ed25519 }
    }

    fn rsa_key(&self) -> proto::RsaKey {
        // RSAPublicKey (RFC 8017 appendix A.1.1) of 2048 bits: the head of a sequence, and of two integers.
        let der = self.rsa.public_key().as_ref();
        assert_eq!(
            (der.len(), &der[4..9], &der[265..267]),
            (270, &[2, 0x82, 1, 1, 0][..], &[2, 3][..])
        );
        proto::RsaKey { modulus: der[9..265].to_vec(), exponent: der[267..].to_vec() }
    }

    /// Its public keys, each by the name of its kind.
    fn key_set(&self) -> proto::KeySet {
        let key = |id: &str, kind| proto::VerificationKey { id: id.into(), algorithm: String::new(), kind: Some(kind) };
        proto::KeySet {
            name: "keys".into(),
            keys: vec![
                key("rsa", KeyKind::Rsa(self.rsa_key())),
                key("p256", KeyKind::P256(self.p256.public_key().as_ref().to_vec())),
                key("ed25519", KeyKind::Ed25519(self.ed25519.public_key().as_ref().to_vec())),
            ],
            problem: String::new(),
        }
    }

    fn sign(&self, with: With, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let rsa = |padding| {
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            self.rsa.sign(padding, &random, message, &mut signature).unwrap();
            signature
        };
        let hmac = |secret: &[u8]| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            hmac::sign(&key, message).as_ref().to_vec()
        };
        match with {
            With::Rs256 => rsa(&RSA_PKCS1_SHA256),
            With::Ps256 => rsa(&RSA_PSS_SHA256),
            With::Es256 => self.p256.sign(&random, message).unwrap().as_ref().to_vec(),
            With::EdDsa => self.ed25519.sign(message).as_ref().to_vec(),
            With::Hs256 => hmac(SECRET),
            With::PublicAsSecret => hmac(&self.rsa_key().modulus),
            With::Nothing => Vec::new(),
        }
    }

    /// A token of this header and these claims.
    fn token(&self, with: With, header: &str, claims: &str) -> Vec<u8> {
        let signed = format!("{}.{}", url(header.as_bytes()), url(claims.as_bytes()));
        let signature = self.sign(with, signed.as_bytes());
        format!("{signed}.{}", url(&signature)).into_bytes()
    }
}

/// In the base64 of URLs.
fn url(bytes: &[u8]) -> String {
    let text = String::from_utf8(crate::http::base64::encode(bytes)).unwrap();
    text.trim_end_matches('=').replace('+', "-").replace('/', "_")
}

fn jwt(algorithms: &[Algorithm]) -> Jwt {
    Jwt {
        carriers: vec![header("authorization", Some("Bearer"))],
        issuer: ISSUER.into(),
        audiences: vec!["shop".into(), "stock".into()],
        algorithms: algorithms.to_vec(),
        key_set: "keys".into(),
        leeway: 60,
        needs_end: true,
        headers: vec![
            ("mail".into(), http::HeaderName::from_static("x-mail")),
            ("realm.roles".into(), http::HeaderName::from_static("x-roles")),
        ],
    }
}

const PUBLIC: [Algorithm; 4] = [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa];

/// Good ones; others are made of them.
fn claims(change: &str) -> String {
    let good = r#""iss":"https://id.test","aud":"shop","sub":"ann","exp":1800000100"#;
    match change {
        "" => format!("{{{good}}}"),
        change => format!("{{{good},{change}}}"),
    }
}

#[test]
fn each_allowed_algorithm_verifies_with_its_key_by_id_and_without() {
    let (issuer, asked) = (Issuer::new(), jwt(&PUBLIC));
    let keys = KeySet::new(issuer.key_set());
    for (with, alg, id) in [
        (With::Rs256, "RS256", "rsa"),
        (With::Ps256, "PS256", "rsa"),
        (With::Es256, "ES256", "p256"),
        (With::EdDsa, "EdDSA", "ed25519"),
    ] {
        for header in [
            format!(r#"{{"alg":"{alg}","kid":"{id}"}}"#),
            format!(r#"{{"typ":"JWT","alg":"{alg}"}}"#),
        ] {
            let token = issuer.token(with, &header, &claims(""));
            assert_eq!(
                verify(&asked, &keys, &token, NOW).expect("good").text("sub"),
                Some("ann")
            );
            // One bit of it changed anywhere is another token.
            for at in [10, token.len() / 2, token.len() - 30] {
                let mut other = token.clone();
                other[at] ^= 1;
                assert!(verify(&asked, &keys, &other, NOW).is_err(), "{header} {at}");
            }
        }
    }
}

#[test]
fn a_shared_secret_signs_where_it_is_allowed_and_long_enough() {
    let issuer = Issuer::new();
    let set = |secret: &[u8]| {
        let kind = Some(KeyKind::Secret(secret.to_vec()));
        let key = proto::VerificationKey { id: String::new(), algorithm: String::new(), kind };
        KeySet::new(proto::KeySet { name: "keys".into(), keys: vec![key], problem: String::new() })
    };
    let token = issuer.token(With::Hs256, r#"{"alg":"HS256"}"#, &claims(""));
    assert!(verify(&jwt(&[Algorithm::Hs256]), &set(SECRET), &token, NOW).is_ok());
    assert!(verify(&jwt(&[Algorithm::Hs256]), &set(&SECRET[..31]), &token, NOW).is_err());
    assert!(verify(&jwt(&PUBLIC), &set(SECRET), &token, NOW).is_err(), "not allowed");
    assert!(
        verify(
            &jwt(&[Algorithm::Hs256]),
            &set(b"another secret of thirty-two bytes."),
            &token,
            NOW
        )
        .is_err()
    );
}

#[test]
fn a_forged_header_is_refused_whatever_it_says() {
    let (issuer, eve) = (Issuer::new(), Issuer::new());
    let keys = KeySet::new(issuer.key_set());
    // HMAC is allowed, too: what must not be is a public key as its secret.
    let asked = jwt(&[&PUBLIC[..], &[Algorithm::Hs256]].concat());
    let good = r#"{"alg":"RS256","kid":"rsa"}"#;
    assert!(
        verify(&asked, &keys, &issuer.token(With::Rs256, good, &claims("")), NOW).is_ok(),
        "the control"
    );
    let eves_key = url(&eve.rsa_key().modulus);
    for (signer, with, header) in [
        (&issuer, With::Nothing, r#"{"alg":"none"}"#.to_owned()),
        (&issuer, With::Nothing, r#"{"alg":"None","kid":"rsa"}"#.to_owned()),
        (&issuer, With::Rs256, r#"{"alg":"none","kid":"rsa"}"#.to_owned()),
        (&issuer, With::Nothing, good.to_owned()),
        (
            &issuer,
            With::PublicAsSecret,
            r#"{"alg":"HS256","kid":"rsa"}"#.to_owned(),
        ),
        (&issuer, With::PublicAsSecret, r#"{"alg":"HS256"}"#.to_owned()),
        (&issuer, With::PublicAsSecret, good.to_owned()),
        (&issuer, With::Rs256, r#"{"alg":"PS256","kid":"rsa"}"#.to_owned()),
        (&issuer, With::Es256, r#"{"alg":"ES384","kid":"p256"}"#.to_owned()),
        (&issuer, With::Rs256, r#"{"alg":["RS256"],"kid":"rsa"}"#.to_owned()),
        (&issuer, With::Rs256, r#"{"kid":"rsa"}"#.to_owned()),
        (&issuer, With::Rs256, r#"{"alg":"RS256","kid":"p256"}"#.to_owned()),
        (&issuer, With::Rs256, r#"{"alg":"RS256","kid":"other"}"#.to_owned()),
        (
            &issuer,
            With::Rs256,
            r#"{"alg":"RS256","kid":"../../dev/null"}"#.to_owned(),
        ),
        (
            &issuer,
            With::Rs256,
            r#"{"alg":"RS256","kid":"' OR 1=1 --"}"#.to_owned(),
        ),
        (&issuer, With::Rs256, r#"{"alg":"RS256","kid":""}"#.to_owned()),
        (&issuer, With::Rs256, r#"{"alg":"RS256","kid":7}"#.to_owned()),
        (&issuer, With::Rs256, r#"{"alg":"RS256","kid":null}"#.to_owned()),
        (
            &issuer,
            With::Rs256,
            r#"{"alg":"RS256","alg":"RS256","kid":"rsa"}"#.to_owned(),
        ),
        (
            &issuer,
            With::Rs256,
            r#"{"alg":"none","alg":"RS256","kid":"rsa"}"#.to_owned(),
        ),
        (
            &issuer,
            With::Rs256,
            r#"{"alg":"RS256","kid":"rsa","crit":["exp"]}"#.to_owned(),
        ),
        (
            &issuer,
            With::Rs256,
            r#"{"alg":"RS256","kid":"rsa","crit":[]}"#.to_owned(),
        ),
        (
            &issuer,
            With::Rs256,
            r#"{"alg":"RS256","kid":"rsa","b64":false}"#.to_owned(),
        ),
        (&issuer, With::Rs256, r#"{"alg":"RS256","kid":"rsa"}x"#.to_owned()),
        (&issuer, With::Rs256, r#"["RS256"]"#.to_owned()),
        (&eve, With::Rs256, good.to_owned()),
        (&eve, With::Rs256, r#"{"alg":"RS256"}"#.to_owned()),
        (
            &eve,
            With::Rs256,
            r#"{"alg":"RS256","jku":"https://eve.test/keys"}"#.to_owned(),
        ),
        (
            &eve,
            With::Rs256,
            r#"{"alg":"RS256","x5u":"https://eve.test/pem"}"#.to_owned(),
        ),
        (
            &eve,
            With::Rs256,
            format!(r#"{{"alg":"RS256","jwk":{{"kty":"RSA","n":"{eves_key}","e":"AQAB"}}}}"#),
        ),
        (&eve, With::Rs256, r#"{"alg":"RS256","x5c":["MIIB"]}"#.to_owned()),
        (&eve, With::Es256, r#"{"alg":"ES256"}"#.to_owned()),
        (&eve, With::EdDsa, r#"{"alg":"EdDSA"}"#.to_owned()),
    ] {
        let token = signer.token(with, &header, &claims(""));
        assert!(verify(&asked, &keys, &token, NOW).is_err(), "{with:?} {header}");
    }
    // What they point to is not looked at: with the right signature they are good.
    let pointing = r#"{"alg":"RS256","kid":"rsa","jku":"https://eve.test/keys","x5u":"https://eve.test/pem"}"#;
    assert!(verify(&asked, &keys, &issuer.token(With::Rs256, pointing, &claims("")), NOW).is_ok());
}

#[test]
fn signed_claims_must_say_who_for_whom_and_when() {
    let (issuer, asked) = (Issuer::new(), jwt(&PUBLIC));
    let keys = KeySet::new(issuer.key_set());
    let with = |claims: &str| {
        let token = issuer.token(With::EdDsa, r#"{"alg":"EdDSA"}"#, claims);
        verify(&asked, &keys, &token, NOW).map(drop)
    };
    let (iss, aud, exp) = (
        r#""iss":"https://id.test""#,
        r#""aud":["x","stock"]"#,
        r#""exp":1800000100"#,
    );
    assert_eq!(with(&format!("{{{iss},{aud},{exp}}}")), Ok(()), "the control");
    let over = 1_800_000_000u64 - 60;
    for (claims, expected) in [
        (format!("{{{iss},{aud},\"exp\":{}}}", over + 1), true),
        (format!("{{{iss},{aud},\"exp\":{over}}}"), false),
        (format!("{{{iss},{aud},\"exp\":{over}.5}}"), true),
        (format!("{{{iss},{aud}}}"), false),
        (format!("{{{iss},{aud},\"exp\":\"1900000000\"}}"), false),
        (format!("{{{iss},{aud},\"exp\":null}}"), false),
        (format!("{{{iss},{aud},\"exp\":-1}}"), false),
        (format!("{{{iss},{aud},\"exp\":1e999}}"), false),
        (format!("{{{iss},{aud},{exp},\"exp\":1900000000}}"), false),
        (format!("{{{iss},{aud},{exp},\"nbf\":1800000060}}"), true),
        (format!("{{{iss},{aud},{exp},\"nbf\":1800000061}}"), false),
        (format!("{{{iss},{aud},{exp},\"nbf\":\"0\"}}"), false),
        (format!("{{{iss},{aud},{exp},\"iat\":1800000061}}"), false),
        (format!("{{{iss},{aud},{exp},\"iat\":{{}}}}"), false),
        (format!("{{{iss},{exp}}}"), false),
        (format!("{{{iss},{exp},\"aud\":\"shop \"}}"), false),
        (format!("{{{iss},{exp},\"aud\":\"Shop\"}}"), false),
        (format!("{{{iss},{exp},\"aud\":[]}}"), false),
        (format!("{{{iss},{exp},\"aud\":[\"shop\",7]}}"), false),
        (format!("{{{iss},{exp},\"aud\":[[\"shop\"]]}}"), false),
        (format!("{{{iss},{exp},\"aud\":{{\"shop\":1}}}}"), false),
        (format!("{{{iss},{iss},{aud},{exp}}}"), false),
        (format!("{{{aud},{exp}}}"), false),
        (format!("{{\"iss\":\"https://id.test/\",{aud},{exp}}}"), false),
        (format!("{{\"iss\":[\"https://id.test\"],{aud},{exp}}}"), false),
        (format!("{{\"ISS\":\"https://id.test\",{aud},{exp}}}"), false),
        (format!("{{{iss},{aud},{exp}}} "), true),
        (format!("{{{iss},{aud},{exp}}}{{}}"), false),
        ("".to_owned(), false),
        ("null".to_owned(), false),
    ] {
        assert_eq!(with(&claims).is_ok(), expected, "{claims}");
    }
    assert!(matches!(
        with(&format!("{{{iss},{aud},\"exp\":1}}")),
        Err(Refusal::Expired(_))
    ));
}

#[test]
fn the_form_of_a_token_is_exact_and_its_size_bounded() {
    let (issuer, asked) = (Issuer::new(), jwt(&PUBLIC));
    let keys = KeySet::new(issuer.key_set());
    let token = issuer.token(With::EdDsa, r#"{"alg":"EdDSA"}"#, &claims(""));
    assert!(verify(&asked, &keys, &token, NOW).is_ok(), "the control");
    let text = String::from_utf8(token).unwrap();
    let (signed, signature) = text.rsplit_once('.').unwrap();
    let long = format!("\"x\":\"{}\"", "x".repeat(1 << 20));
    for other in [
        String::new(),
        "..".to_owned(),
        format!("{text}."),
        format!(".{text}"),
        format!("{text}.{signature}"),
        signed.to_owned(),
        format!("{signed}."),
        format!("{text}="),
        format!("{text}A"),
        text.replace('.', ". "),
        format!("{signed}.{}", signature.replace(['-', '_'], "+")) + "+",
        String::from_utf8(issuer.token(With::EdDsa, r#"{"alg":"EdDSA"}"#, &claims(&long))).unwrap(),
        "a".repeat(1 << 20),
        ".".repeat(1 << 20),
    ] {
        assert!(verify(&asked, &keys, other.as_bytes(), NOW).is_err(), "{:.80}", other);
    }
    // Just inside the bound, so that it is the bound that refuses.
    let near = format!("\"x\":\"{}\"", "x".repeat(11_000));
    let near = issuer.token(With::EdDsa, r#"{"alg":"EdDSA"}"#, &claims(&near));
    assert!(verify(&asked, &keys, &near, NOW).is_ok());
}

#[test]
fn random_changes_of_a_token_are_refused() {
    let (issuer, asked) = (Issuer::new(), jwt(&PUBLIC));
    let keys = KeySet::new(issuer.key_set());
    let token = issuer.token(With::EdDsa, r#"{"alg":"EdDSA"}"#, &claims(""));
    crate::random::fuzz_from(std::slice::from_ref(&token), |bytes| {
        assert!(bytes == token || verify(&asked, &keys, bytes, NOW).is_err());
    });
}

#[test]
fn a_key_for_one_algorithm_verifies_no_other() {
    let (issuer, asked) = (Issuer::new(), jwt(&PUBLIC));
    let mut set = issuer.key_set();
    set.keys[0].algorithm = "RS256".into();
    let keys = KeySet::new(set);
    let header = |alg: &str| format!(r#"{{"alg":"{alg}","kid":"rsa"}}"#);
    assert!(
        verify(
            &asked,
            &keys,
            &issuer.token(With::Rs256, &header("RS256"), &claims("")),
            NOW
        )
        .is_ok()
    );
    assert!(
        verify(
            &asked,
            &keys,
            &issuer.token(With::Ps256, &header("PS256"), &claims("")),
            NOW
        )
        .is_err()
    );
}

#[test]
fn what_a_token_says_is_told_to_the_service_and_whose_it_is() {
    let issuer = Issuer::new();
    let callers = callers(vec![issuer.key_set()]);
    let mut of_jwt = jwt(&PUBLIC);
    (of_jwt.leeway, of_jwt.needs_end) = (u32::MAX, false);
    let asked = asked(vec![vec![Method::Jwt(Box::new(of_jwt))]], None);
    let with = |change: &str| {
        let token = issuer.token(With::EdDsa, r#"{"alg":"EdDSA"}"#, &claims(change));
        let field = format!("Bearer {}", String::from_utf8(token).unwrap());
        let parts = request("/", &[("authorization", &field), ("x-mail", "forged@id.test")]);
        let identified = callers.identify(&asked, &parts).unwrap();
        let mut headers = parts.headers.clone();
        identified.apply(&asked, &mut headers);
        assert!(!headers.contains_key("authorization"));
        let told = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        (told("x-consumer-username"), told("x-mail"), told("x-roles"))
    };
    let told = |name: &str, mail: &str, roles: &str| (name.to_owned(), mail.to_owned(), roles.to_owned());
    assert_eq!(
        with(r#""mail":"ann@id.test","realm":{"roles":["a","b"]}"#),
        told("ann", "ann@id.test", "a,b")
    );
    assert_eq!(
        with(r#""mail":true,"realm":{"roles":["a,b"]}"#),
        told("ann", "true", "")
    );
    assert_eq!(with(r#""mail":"a\nx: y","realm":7"#), told("ann", "", ""));
}

#[test]
fn an_unknown_key_is_told_now_and_then_and_missing_keys_are_our_affair() {
    let issuer = Issuer::new();
    let (with_keys, without) = (
        callers(vec![issuer.key_set()]),
        callers(vec![proto::KeySet {
            name: "keys".into(),
            keys: Vec::new(),
            problem: "https://id.test/keys cannot be reached".into(),
        }]),
    );
    let asked = asked(vec![vec![Method::Jwt(Box::new(jwt(&PUBLIC)))]], None);
    let token = issuer.token(With::EdDsa, r#"{"alg":"EdDSA","kid":"new"}"#, &claims(""));
    let field = format!("Bearer {}", String::from_utf8(token).unwrap());
    let parts = request("/", &[("authorization", &field)]);
    for _ in 0..3 {
        assert_eq!(
            with_keys.identify(&asked, &parts).unwrap_err().reason,
            Reason::TokenInvalid
        );
    }
    let events = with_keys.events.poll(10, std::time::Duration::ZERO).events;
    let wanted: Vec<_> = events.into_iter().map(|event| event.kind.unwrap()).collect();
    assert_eq!(wanted, [Kind::KeyWanted(proto::KeyWanted { key_set: "keys".into() })]);
    let error = without.identify(&asked, &parts).unwrap_err();
    assert_eq!(error.reason, Reason::KeysUnavailable);
    assert!(error.to_string().contains("cannot be reached"), "{error}");
}
