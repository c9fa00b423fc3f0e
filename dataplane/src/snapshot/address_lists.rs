//! Networks that stand in files: far more than a document holds. The control side tells them beside the snapshot.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::model::{Network, Networks};
use crate::proto;

/// All that are known now, replaced as a whole.
#[derive(Default)]
pub struct AddressLists(HashMap<Box<str>, Arc<AddressList>>);

/// One file.
struct AddressList {
    /// As the control side wrote it.
    raw: Vec<u8>,
    networks: Networks,
}

/// A list that is none.
#[derive(Debug, thiserror::Error)]
#[error("address list {name:?}, line {line}: expected a network such as \"10.0.0.0/8\"")]
pub struct AddressListRejected {
    name: String,
    line: usize,
}

impl fmt::Debug for AddressLists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A hundred thousand networks help nobody.
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl AddressLists {
    /// What is the same as `before` is that.
    pub fn read(messages: Vec<proto::AddressList>, before: &Self) -> Result<Self, AddressListRejected> {
        let read = messages.into_iter().map(|proto::AddressList { name, networks: raw }| {
            let held = before.0.get(&*name).filter(|held| held.raw == raw);
            let list = match held {
                Some(held) => Arc::clone(held),
                None => Arc::new(AddressList { networks: networks(&name, &raw)?, raw }),
            };
            Ok((name.into(), list))
        });
        Ok(AddressLists(read.collect::<Result<_, _>>()?))
    }

    /// The networks of a list; None: there is none of this name.
    pub fn get(&self, name: &str) -> Option<&Networks> {
        self.0.get(name).map(|list| &list.networks)
    }
}

fn networks(name: &str, raw: &[u8]) -> Result<Networks, AddressListRejected> {
    let lines = raw.split(|byte| *byte == b'\n').enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty());
    lines
        .map(|(index, line)| {
            let network = std::str::from_utf8(line).ok().and_then(Network::parse);
            network.ok_or_else(|| AddressListRejected { name: name.into(), line: index + 1 })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, before: &AddressLists) -> Result<AddressLists, AddressListRejected> {
        let message = proto::AddressList { name: "blocked.txt".into(), networks: text.into() };
        AddressLists::read(vec![message], before)
    }

    #[test]
    fn what_is_the_same_is_not_read_again_and_what_is_none_is_named() {
        let first = read("10.0.0.0/8\n2001:db8::/32\n", &AddressLists::default()).expect("valid");
        let same = read("10.0.0.0/8\n2001:db8::/32\n", &first).expect("valid");
        let list = |lists: &AddressLists| Arc::clone(&lists.0["blocked.txt"]);
        assert!(Arc::ptr_eq(&list(&first), &list(&same)));
        let other = read("10.0.0.0/9", &same).expect("valid");
        let networks = other.get("blocked.txt").expect("there");
        assert!(networks.contain([10, 1, 2, 3].into()) && !networks.contain([10, 128, 0, 0].into()));
        assert!(other.get("other.txt").is_none());

        let error = read("10.0.0.0/8\nhost\n", &other).unwrap_err();
        assert!(error.to_string().contains("\"blocked.txt\", line 2"), "{error}");
    }
}
