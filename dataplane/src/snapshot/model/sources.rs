//! Whose requests are taken, by the address of the client.

use std::net::IpAddr;

use super::Network;
use crate::snapshot::address_lists::AddressLists;

/// Nobody comes in by a list that is not there.
const UNKNOWN: &str = "A list of addresses that `sources` names is not known.";

/// Networks that may come in, and networks that may not.
#[derive(Debug)]
pub struct Sources {
    /// None: whoever is not denied.
    pub allow: Option<Listed>,
    /// Goes before `allow`.
    pub deny: Listed,
}

/// Networks of a document, and of the files that it names.
#[derive(Debug, Default)]
pub struct Listed {
    /// Those of the document itself.
    pub networks: Networks,
    /// The names of lists.
    pub lists: Vec<Box<str>>,
}

impl Listed {
    /// None: a list is not known that would have to be.
    fn contains(&self, address: IpAddr, known: &AddressLists) -> Option<bool> {
        if self.networks.contain(address) {
            return Some(true);
        }
        for name in &self.lists {
            if known.get(name)?.contain(address) {
                return Some(true);
            }
        }
        Some(false)
    }
}

impl Sources {
    /// Why the address may not come in; None: it may.
    pub fn refusal(&self, address: IpAddr, known: &AddressLists) -> Option<&'static str> {
        let is_allowed = || {
            self.allow
                .as_ref()
                .map_or(Some(true), |allow| allow.contains(address, known))
        };
        match self.deny.contains(address, known) {
            Some(false) => match is_allowed() {
                Some(true) => None,
                Some(false) => Some("The client's address is in no network of `sources.allow`."),
                None => Some(UNKNOWN),
            },
            Some(true) => Some("The client's address is in `sources.deny`."),
            None => Some(UNKNOWN),
        }
    }

    /// It names files.
    pub fn has_lists(&self) -> bool {
        !self.deny.lists.is_empty() || self.allow.as_ref().is_some_and(|allow| !allow.lists.is_empty())
    }
}

/// Any number of networks: a search takes as many steps as their number has binary digits.
#[derive(Debug, Default)]
pub struct Networks {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

impl Networks {
    /// Whether the address, in its shortest form, is in one of them.
    pub fn contain(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.contain(address.into()),
            IpAddr::V6(address) => self.v6.contain(address.into()),
        }
    }
}

impl FromIterator<Network> for Networks {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for Network { address, length } in networks {
            match address {
                IpAddr::V4(address) => {
                    let rest = u32::MAX.checked_shr(length.into()).unwrap_or(0);
                    let first = u32::from(address) & !rest;
                    v4.push((first, first | rest));
                }
                IpAddr::V6(address) => {
                    let rest = u128::MAX.checked_shr(length.into()).unwrap_or(0);
                    let first = u128::from(address) & !rest;
                    v6.push((first, first | rest));
                }
            }
        }
        Networks { v4: Ranges::new(v4), v6: Ranges::new(v6) }
    }
}

/// First and last of each, in order, none within another. Networks overlap in no other way.
#[derive(Debug, Default)]
struct Ranges<T>(Box<[(T, T)]>);

impl<T: Copy + Ord> Ranges<T> {
    fn new(mut ranges: Vec<(T, T)>) -> Self {
        // The widest of those that begin together comes first, and takes in those behind it.
        ranges.sort_unstable_by(|one, other| one.0.cmp(&other.0).then(other.1.cmp(&one.1)));
        let mut kept: Vec<(T, T)> = Vec::with_capacity(ranges.len());
        for range in ranges {
            if kept.last().is_none_or(|last| last.1 < range.0) {
                kept.push(range);
            }
        }
        Ranges(kept.into())
    }

    fn contain(&self, address: T) -> bool {
        let after = self.0.partition_point(|range| range.0 <= address);
        after > 0 && self.0[after - 1].1 >= address
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    fn network(text: &str) -> Network {
        let (address, length) = text.split_once('/').expect("a network");
        Network {
            address: address.parse().expect("an address"),
            length: length.parse().expect("a length"),
        }
    }

    fn networks(texts: &[&str]) -> Networks {
        texts.iter().map(|text| network(text)).collect()
    }

    fn is_in(networks: &Networks, address: &str) -> bool {
        networks.contain(address.parse().expect("an address"))
    }

    #[test]
    fn a_network_has_its_addresses_and_no_others() {
        let known = networks(&["10.0.0.0/8", "10.1.0.0/16", "192.0.2.1/32", "2001:db8::/32", "::1/128"]);
        for address in [
            "10.0.0.0",
            "10.255.255.255",
            "192.0.2.1",
            "::ffff:10.2.3.4",
            "2001:db8:ffff::",
            "::1",
        ] {
            assert!(is_in(&known, address), "{address}");
        }
        for address in [
            "9.255.255.255",
            "11.0.0.0",
            "192.0.2.0",
            "192.0.2.2",
            "2001:db9::",
            "::",
            "::2",
        ] {
            assert!(!is_in(&known, address), "{address}");
        }
        assert_eq!(known.v4.0.len(), 2, "one within another is the other");
    }

    #[test]
    fn all_and_none() {
        let all = networks(&["0.0.0.0/0", "::/0"]);
        let none = networks(&[]);
        for address in [
            "0.0.0.0",
            "255.255.255.255",
            "::",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ] {
            assert!(is_in(&all, address) && !is_in(&none, address), "{address}");
        }
        assert!(!is_in(&networks(&["0.0.0.0/0"]), "2001:db8::1"));
    }

    #[test]
    fn a_hundred_thousand_say_what_each_of_them_says() {
        let drawn: Vec<Network> = (0..100_000)
            .map(|_| {
                let address = std::net::Ipv4Addr::from(random::u64() as u32);
                Network { address: address.into(), length: 16 + random::below(17) as u8 }
            })
            .collect();
        let known: Networks = drawn.iter().cloned().collect();
        for network in drawn.iter().step_by(100) {
            assert!(known.contain(network.address), "{network:?}");
        }
        for _ in 0..200 {
            let address = IpAddr::from(std::net::Ipv4Addr::from(random::u64() as u32));
            let expected = drawn.iter().any(|network| network.contains(address));
            assert_eq!(known.contain(address), expected, "{address}");
        }
    }

    #[test]
    fn who_is_denied_is_refused_even_where_it_is_allowed() {
        let texts = |texts: &[&str]| Listed { networks: networks(texts), lists: Vec::new() };
        let none = AddressLists::default();
        let sources = Sources { allow: Some(texts(&["10.0.0.0/8"])), deny: texts(&["10.9.0.0/16"]) };
        let refusal = |sources: &Sources, address: &str| sources.refusal(address.parse().expect("an address"), &none);
        assert_eq!(refusal(&sources, "10.1.2.3"), None);
        assert!(refusal(&sources, "10.9.2.3").is_some_and(|words| words.contains("deny")));
        assert!(refusal(&sources, "192.0.2.1").is_some_and(|words| words.contains("allow")));
        let open = Sources { allow: None, deny: texts(&["10.9.0.0/16"]) };
        assert!(refusal(&open, "192.0.2.1").is_none() && refusal(&open, "10.9.0.1").is_some());
        let closed = Sources { allow: Some(texts(&[])), deny: texts(&[]) };
        assert!(refusal(&closed, "10.1.2.3").is_some(), "no network is nobody");
        let listed = || Listed { networks: networks(&["10.0.0.0/8"]), lists: vec!["blocked.txt".into()] };
        let unknown = Sources { allow: None, deny: listed() };
        assert_eq!(refusal(&unknown, "192.0.2.1"), Some(UNKNOWN));
        let unknown = Sources { allow: Some(listed()), deny: Listed::default() };
        assert_eq!(
            (refusal(&unknown, "192.0.2.1"), refusal(&unknown, "10.1.2.3")),
            (Some(UNKNOWN), None)
        );
    }
}
