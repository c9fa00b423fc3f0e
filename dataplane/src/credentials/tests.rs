//! What is known of consumers, and how it changes.

use std::sync::Arc;

use prost::Message;

use super::samples::{consumer, credentials};
use super::*;

const ISSUER: &str = "https://id.test";

#[test]
fn a_consumer_is_found_by_each_of_its_credentials_and_by_no_other() {
    let known = credentials(
        vec![consumer("ann", &["a", "b"], ISSUER), consumer("bob", &[], ISSUER)],
        Vec::new(),
    );
    let ann = known.of_key(b"ann-key").expect("a key");
    assert_eq!(
        (&*ann.name, ann.told_groups.as_ref().unwrap().as_bytes()),
        ("ann", &b"a,b"[..])
    );
    assert_eq!(&*known.of_key(b"bob-key").unwrap().name, "bob");
    for key in [&b"bob-kez"[..], b"", b"ann-key ", b"Ann-key"] {
        assert!(known.of_key(key).is_none());
    }
    assert_eq!(&*known.of_username("bob").unwrap().1.name, "bob");
    assert!(known.of_username("eve").is_none() && known.any_password().is_some());
    let claims = |sub: &'static str| move |name: &str| (name == "sub").then_some(sub);
    assert_eq!(&*known.of_claims(ISSUER, claims("ann")).unwrap().name, "ann");
    assert!(known.of_claims(ISSUER, claims("eve")).is_none());
    assert!(known.of_claims("https://other.test", claims("ann")).is_none());
}

#[test]
fn two_keys_that_begin_alike_are_two_keys() {
    let mut ann = consumer("ann", &[], ISSUER);
    let mut twin = ann.keys[0].clone();
    twin[31] ^= 1;
    ann.keys.insert(0, twin);
    assert_eq!(
        &*credentials(vec![ann], Vec::new()).of_key(b"ann-key").unwrap().name,
        "ann"
    );
}

#[test]
fn what_has_not_changed_is_what_was_known() {
    let message = |consumers| proto::Credentials { consumers, key_sets: Vec::new() }.encode_to_vec();
    let first = Credentials::read(message(vec![consumer("ann", &[], ISSUER)]), &Arc::default()).unwrap();
    let same = Credentials::read(message(vec![consumer("ann", &[], ISSUER)]), &first).unwrap();
    assert!(Arc::ptr_eq(&first, &same));
    let other = Credentials::read(message(vec![consumer("bob", &[], ISSUER)]), &first).unwrap();
    assert!(other.of_key(b"ann-key").is_none());
    assert!(
        Arc::ptr_eq(&first.checks, &other.checks),
        "what passwords are known outlives it"
    );
}

#[test]
fn what_cannot_be_used_is_refused_and_never_repeated() {
    let with = |change: fn(&mut proto::Consumer)| {
        let mut ann = consumer("ann", &[], ISSUER);
        change(&mut ann);
        let message = proto::Credentials { consumers: vec![ann], key_sets: Vec::new() };
        Credentials::read(message.encode_to_vec(), &Arc::default())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        with(|ann| ann.keys.push(vec![1])),
        "credentials: consumer \"ann\": a key is no SHA-256"
    );
    let error = with(|ann| ann.passwords[0].hash = "open sesame".into());
    assert!(error.contains("\"ann\"") && !error.contains("sesame"), "{error}");
    assert!(with(|ann| ann.name = "a\nb".into()).contains("no field value"));
}

#[test]
fn nothing_of_it_is_ever_printed() {
    let known = credentials(vec![consumer("ann", &[], ISSUER)], Vec::new());
    let printed = format!("{known:?}");
    assert_eq!(printed, "Credentials { consumers: 1, key_sets: 0, .. }");
}
