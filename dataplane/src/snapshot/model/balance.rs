//! How the endpoints of a cluster share its requests.

use std::time::Duration;

use http::HeaderName;

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BalancePolicy {
    /// In turn, by weight.
    RoundRobin,
    /// The least loaded of so many random ones.
    LeastRequest {
        /// At least 2. Default 2, as Envoy.
        choices: u32,
    },
    /// Any, by weight.
    Random,
    /// Of two random ones that where a request is expected to take less.
    PeakEwma,
    /// By what the request has, so that the same goes to the same.
    Hash(Hashing),
}

/// Which table leads keys to endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hashing {
    /// A ring of so many points at least and, by weights, at most. Default 1024 and 8 Mi, as Envoy.
    Ring {
        /// Points at least.
        least: u32,
        /// Points at most.
        most: u32,
    },
    /// A table of 65537 slots, or ten times that for many endpoints.
    Maglev,
}

/// How the endpoints of a cluster share its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// How one is chosen.
    pub policy: BalancePolicy,
    /// What is hashed, for [`BalancePolicy::Hash`].
    pub keys: Vec<HashKey>,
    /// The cookie that keeps a client with its endpoint.
    pub sticky: Option<Cookie>,
    /// How long a new endpoint gets less than its share.
    pub slow_start: Option<Duration>,
    /// Per cent of a priority's endpoints that must be available for it to be picked from. Default 50, as Envoy.
    pub panic_threshold: u32,
}

impl Balance {
    /// What table the endpoints need.
    pub fn hashing(&self) -> Option<Hashing> {
        match self.policy {
            BalancePolicy::Hash(hashing) => Some(hashing),
            _ => None,
        }
    }
}

/// A part of a request that decides where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashKey {
    /// Where it stands.
    pub source: KeySource,
    /// Later parts count only when nothing was found up to here.
    pub is_terminal: bool,
}

/// Where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The first of these fields; of gRPC it is metadata.
    Header(HeaderName),
    /// The cookie.
    Cookie(Cookie),
    /// The first of these parameters.
    Query(Box<str>),
    /// The client's address.
    Address,
}

/// A cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// A token.
    pub name: Box<str>,
    /// Of those requests that carry it.
    pub path: Box<str>,
    /// Who has not got it gets one for so long; zero: until the client's session ends.
    pub ttl: Option<Duration>,
}
