//! What a route asks of requests.

use std::net::IpAddr;

use http::{HeaderName, Method};
use regex::Regex;

/// The conditions of a route; all must hold.
#[derive(Debug, Default)]
pub struct Matcher {
    /// Lower case; empty: any.
    pub hosts: Vec<HostMatch>,
    /// None: any.
    pub path: Option<PathMatch>,
    /// Empty: any.
    pub methods: Vec<Method>,
    /// All must hold.
    pub headers: Vec<HeaderMatch>,
    /// Of parameters of the query; all must hold.
    pub query: Vec<NamedMatch>,
    /// All must hold.
    pub cookies: Vec<NamedMatch>,
    /// Where the client is; empty: anywhere.
    pub sources: Vec<Network>,
    /// Anchored at both ends; all must hold, beside `path`.
    pub path_regexes: Vec<Regex>,
    /// What has a name in the paths that are matched.
    pub parameters: Vec<Parameter>,
}

/// A part of a path that has a name.
#[derive(Debug)]
pub struct Parameter {
    /// Its name.
    pub name: Box<str>,
    /// Where it is.
    pub part: PathPart,
}

/// Where a part of a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathPart {
    /// The segment of this number, from 0.
    Segment(usize),
    /// That one and all that follow.
    Rest(usize),
    /// This group of the first of the expressions.
    Group(usize),
}

/// A host name condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostMatch {
    /// "orders.mesh".
    Exact(Box<str>),
    /// Holds ".example.com"; written "*.example.com".
    Suffix(Box<str>),
}

/// A path condition; the query is not part of the path.
#[derive(Debug)]
pub enum PathMatch {
    /// The whole path.
    Exact(Box<str>),
    /// Without a trailing slash: the path itself or anything below it. Empty: everything.
    Prefix(Box<str>),
    /// Segments; `None` is any that is not empty. `is_open`: or anything below.
    Template {
        /// At least one.
        segments: Box<[Option<Box<str>>]>,
        /// Not the whole path.
        is_open: bool,
    },
    /// Its beginning, whatever follows. Of rules about callers only, as the next.
    Begins(Box<str>),
    /// Anchored at both ends.
    Regex(Regex),
}

/// A header condition.
#[derive(Debug)]
pub struct HeaderMatch {
    /// The field.
    pub name: HeaderName,
    /// What must hold of one of its values.
    pub value: ValueMatch,
    /// The field must be there, and that must hold of none.
    pub is_inverted: bool,
}

/// A condition on the first parameter, or the first cookie, of a name.
#[derive(Debug)]
pub struct NamedMatch {
    /// As requests write it.
    pub name: Box<str>,
    /// What must hold of its value.
    pub value: ValueMatch,
}

/// A condition on one value.
#[derive(Debug)]
pub enum ValueMatch {
    /// There is one (true) or none (false).
    Present(bool),
    /// The whole value.
    Exact(Box<str>),
    /// Its beginning.
    Prefix(Box<str>),
    /// Anchored at both ends.
    Regex(Regex),
}

/// Addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// One of them.
    pub address: IpAddr,
    /// How many bits; not more than an address has.
    pub length: u8,
}

impl Network {
    /// Of "10.0.0.0/8", "fd00::/8".
    pub fn parse(text: &str) -> Option<Network> {
        let (address, length) = text.split_once('/')?;
        let (address, length): (IpAddr, u8) = (address.parse().ok()?, length.parse().ok()?);
        let most = if address.is_ipv4() { 32 } else { 128 };
        (length <= most).then_some(Network { address, length })
    }

    /// Whether the address, in its shortest form, is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let unlike = u32::from(network) ^ u32::from(address);
                unlike.leading_zeros() >= u32::from(self.length)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let unlike = u128::from(network) ^ u128::from(address);
                unlike.leading_zeros() >= u32::from(self.length)
            }
            _ => false,
        }
    }
}
