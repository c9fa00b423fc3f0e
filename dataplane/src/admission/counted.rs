//! Buckets, and whose request takes from which.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::OnceLock;

use http::request::Parts;

use super::is_call;
use crate::authenticate::identified::Identified;
use crate::rate::{Buckets, Left};
use crate::route::facts::Known;
use crate::snapshot::model::{RateKey, RateLimit};

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The verified SPIFFE id, at the edge another name perhaps; `None` without one.
    pub peer: Option<&'a str>,
    /// The client.
    pub address: IpAddr,
    /// What its credentials say; `None` where nobody has asked.
    pub identified: Option<&'a Identified>,
}

impl Asker<'_> {
    /// Counts a network of IPv6 as one client: whoever has an address there has 2^64 of them (RFC 6177 section 2).
    pub fn of_network(self) -> Self {
        const REST: u128 = u64::MAX as u128;
        let address = match self.address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !REST)),
            address @ IpAddr::V4(_) => address,
        };
        Asker { address, ..self }
    }
}

/// The buckets of one limit, and how their keys are made: with a secret, so that nobody can aim at another's.
#[derive(Debug)]
pub(super) struct Counted {
    /// There once somebody has asked.
    buckets: OnceLock<Buckets>,
    has_keys: bool,
    secret: RandomState,
}

/// What parts of a key are of, so that one of a kind is never another's.
#[derive(Clone, Copy)]
enum Part {
    Named = 1,
    Address,
    Consumer,
    Request,
    /// No byte of UTF-8, so that parts do not run into each other.
    End = 0xff,
}

impl Counted {
    pub(super) fn new(by: &[RateKey]) -> Self {
        Counted { buckets: OnceLock::new(), has_keys: !by.is_empty(), secret: RandomState::new() }
    }

    /// Takes a token, where there is one.
    pub(super) fn take(&self, limit: &RateLimit, asker: Asker<'_>, request: &Parts) -> Left {
        let buckets = self.buckets.get_or_init(|| Buckets::new(self.has_keys));
        buckets.take(self.key(&limit.by, asker, request), limit.rate)
    }

    fn key(&self, by: &[RateKey], asker: Asker<'_>, request: &Parts) -> u64 {
        let mut hasher = self.secret.build_hasher();
        let mut add = |part: Part, bytes: &[u8]| {
            hasher.write_u8(part as u8);
            hasher.write(bytes);
        };
        for part in by {
            match part {
                RateKey::Source => match asker.peer {
                    Some(peer) => add(Part::Named, peer.as_bytes()),
                    None => of_address(asker.address, &mut add),
                },
                RateKey::Method if is_call(&request.headers) => add(Part::Request, request.uri.path().as_bytes()),
                RateKey::Method => add(Part::Request, request.method.as_str().as_bytes()),
                RateKey::Header(name) => {
                    if let Some(value) = request.headers.get(name) {
                        add(Part::Request, value.as_bytes());
                    }
                }
                RateKey::Consumer => match asker.identified.and_then(Identified::proven) {
                    Some(consumer) => add(Part::Consumer, consumer.name.as_bytes()),
                    None => of_address(asker.address, &mut add),
                },
                RateKey::Claim(name) => {
                    let said = asker.identified.and_then(|identified| identified.claim(name));
                    if let Some(said) = said.as_deref().map(str::as_bytes) {
                        add(Part::Request, said);
                    }
                }
            }
            add(Part::End, b"");
        }
        hasher.finish()
    }
}

fn of_address(address: IpAddr, add: &mut impl FnMut(Part, &[u8])) {
    match address {
        IpAddr::V4(address) => add(Part::Address, &address.octets()),
        IpAddr::V6(address) => add(Part::Address, &address.octets()),
    }
}
