//! Credentials that tests prove something with.

use std::sync::Arc;

use argon2::password_hash::{PasswordHasher, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::digest;
use prost::Message;

use super::Credentials;
use crate::proto;

/// A hash of the least cost, for tests wait for it.
pub fn hash_of(password: &str) -> String {
    let cheap = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap());
    let salt = SaltString::from_b64("c29tZXNhbHRzb21lc2FsdA").unwrap();
    cheap.hash_password(password.as_bytes(), &salt).unwrap().to_string()
}

/// A consumer with one key, `<name>-key`, one password, `<name>-password`, and the tokens of `issuer` with its name as `sub`.
pub fn consumer(name: &str, groups: &[&str], issuer: &str) -> proto::Consumer {
    let key = digest::digest(&digest::SHA256, format!("{name}-key").as_bytes());
    proto::Consumer {
        name: name.into(),
        groups: groups.iter().map(|group| (*group).into()).collect(),
        keys: vec![key.as_ref().to_vec()],
        passwords: vec![proto::Password { username: name.into(), hash: hash_of(&format!("{name}-password")) }],
        rate: None,
        bindings: vec![proto::Binding { issuer: issuer.into(), claim: "sub".into(), value: name.into() }],
    }
}

/// All of these, and nothing from before.
pub fn credentials(consumers: Vec<proto::Consumer>, key_sets: Vec<proto::KeySet>) -> Arc<Credentials> {
    let message = proto::Credentials { consumers, key_sets };
    Credentials::read(message.encode_to_vec(), &Arc::default()).expect("valid")
}
