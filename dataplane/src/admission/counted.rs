//! Counters, and whose request counts by which.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::OnceLock;

use http::request::Parts;

use super::is_call;
use crate::authenticate::identified::Identified;
use crate::credentials::Consumer;
use crate::rate::{Bucket, Left, Table, Window};
use crate::route::facts::Known;
use crate::snapshot::model::{Rate, RateKey, RateLimit};

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

impl<'a> Asker<'a> {
    /// That which proves to be one.
    fn consumer(&self) -> Option<&'a Consumer> {
        self.identified.and_then(Identified::proven)
    }

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

/// The counters of one limit, and how their keys are made: with a secret, so that nobody can aim at another's.
#[derive(Debug)]
pub(super) struct Counted {
    /// There once somebody has asked, and the other one not before another document asks for it.
    buckets: OnceLock<Table<Bucket>>,
    windows: OnceLock<Table<Window>>,
    has_keys: bool,
    secret: RandomState,
}

/// What parts of a key are of, so that one of a kind is never another's.
#[derive(Clone, Copy)]
enum Part {
    Named = 1,
    Address,
    Consumer,
    Group,
    Request,
    /// No byte of UTF-8, so that parts do not run into each other.
    End = 0xff,
}

impl Counted {
    pub(super) fn new(by: &[RateKey]) -> Self {
        Counted {
            buckets: OnceLock::new(),
            windows: OnceLock::new(),
            has_keys: !by.is_empty(),
            secret: RandomState::new(),
        }
    }

    /// Lets a request in, where there is room.
    pub(super) fn take(&self, limit: &RateLimit, asker: Asker<'_>, request: &Parts) -> Left {
        let key = self.key(&limit.by, asker, request);
        match limit.rate {
            Rate::Bucket(rate) => self.buckets.get_or_init(|| Table::new(self.has_keys)).take(key, rate),
            Rate::Window(rate) => self.windows.get_or_init(|| Table::new(self.has_keys)).take(key, rate),
        }
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
                RateKey::Consumer => match asker.consumer() {
                    Some(consumer) => add(Part::Consumer, consumer.name.as_bytes()),
                    None => of_address(asker.address, &mut add),
                },
                RateKey::Group => match asker.consumer().map(|consumer| (consumer, consumer.groups.first())) {
                    Some((_, Some(group))) => add(Part::Group, group.as_bytes()),
                    Some((consumer, None)) => add(Part::Consumer, consumer.name.as_bytes()),
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
