//! Consistent hashing: a table that leads every key to one of a list's members, and few keys elsewhere when the list
//! changes. Built by the control side, once for all workers, and read by each of them.

mod maglev;
mod ring;

use maglev::Maglev;
use ring::Ring;

use crate::snapshot::model::Hashing;

/// 64 bits of `bytes`, the same in every proxy and version: FNV-1a (RFC 9923 section 2), and [`mix`] since its upper
/// bits change little with the last bytes.
pub fn hash(bytes: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    mix(bytes
        .iter()
        .fold(OFFSET, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME)))
}

/// Another number, of which each bit depends on all of `hash` (the finalizer of MurmurHash3).
pub fn mix(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// By which both can be divided.
pub fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// The table of one list.
#[derive(Debug)]
pub struct Table {
    hashing: Hashing,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Ring(Ring),
    Maglev(Maglev),
}

impl Table {
    /// For members with these names and weights, in any order: the names alone decide. `None` without members.
    pub fn new<'a>(hashing: Hashing, members: impl Iterator<Item = (&'a str, u32)>) -> Option<Self> {
        let mut members: Vec<Member> = members
            .enumerate()
            .map(|(index, (name, weight))| Member { hash: hash(name.as_bytes()), index: index as u32, weight })
            .collect();
        members.sort_unstable_by_key(|member| member.hash);
        let form = match hashing {
            _ if members.is_empty() => return None,
            Hashing::Ring { least, most } => Form::Ring(Ring::new(&members, least, most)),
            Hashing::Maglev => Form::Maglev(Maglev::new(&members)),
        };
        Some(Table { hashing, form })
    }

    /// How it was asked for.
    pub fn hashing(&self) -> Hashing {
        self.hashing
    }

    /// The place in the list of the member that a key leads to.
    pub fn find(&self, hash: u64) -> usize {
        let index = match &self.form {
            Form::Ring(ring) => ring.find(hash),
            Form::Maglev(maglev) => maglev.find(hash),
        };
        index as usize
    }

    /// Bytes that it takes.
    #[cfg(test)]
    pub fn size(&self) -> usize {
        match &self.form {
            Form::Ring(ring) => ring.size(),
            Form::Maglev(maglev) => maglev.size(),
        }
    }
}

/// One of a list.
#[derive(Clone, Copy, Debug)]
struct Member {
    /// Of its name.
    hash: u64,
    /// Its place in the list.
    index: u32,
    weight: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMS: [Hashing; 2] = [Hashing::Ring { least: 1024, most: 8 << 20 }, Hashing::Maglev];
    const KEYS: u64 = 100_000;

    fn names(count: usize) -> Vec<String> {
        (0..count)
            .map(|n| format!("10.0.{}.{}:21000", n / 256, n % 256))
            .collect()
    }

    fn table(hashing: Hashing, names: &[String], weight: impl Fn(usize) -> u32) -> Table {
        let members = names.iter().enumerate();
        Table::new(hashing, members.map(|(n, name)| (name.as_str(), weight(n)))).unwrap()
    }

    fn keys() -> impl Iterator<Item = u64> {
        (0..KEYS).map(|n| hash(&n.to_le_bytes()))
    }

    fn shares(table: &Table, count: usize) -> Vec<f64> {
        let mut counts = vec![0u32; count];
        keys().for_each(|key| counts[table.find(key)] += 1);
        counts.into_iter().map(|count| f64::from(count) / KEYS as f64).collect()
    }

    #[test]
    fn the_hash_is_the_same_in_every_version() {
        assert_eq!(hash(b""), 0xefd0_1f60_ba99_2926);
        assert_eq!(hash(b"10.0.0.1:21000"), hash(b"10.0.0.1:21000"));
        assert_ne!(hash(b"10.0.0.1:21000"), hash(b"10.0.0.2:21000"));
    }

    #[test]
    fn keys_spread_over_the_members_by_weight() {
        for hashing in FORMS {
            // A ring of 512 points a member deviates by 1/sqrt(512) = 4.4 % of a share; maglev by less than 1 %.
            let bound = if hashing == Hashing::Maglev { 0.01 } else { 0.25 };
            for (index, share) in shares(&table(hashing, &names(3), |_| 1), 3).into_iter().enumerate() {
                assert!(
                    (share * 3.0 - 1.0).abs() < bound,
                    "{hashing:?}: member {index} has {share}"
                );
            }
            let weighted = shares(&table(hashing, &names(3), |n| if n == 0 { 2 } else { 1 }), 3);
            assert!((weighted[0] * 2.0 - 1.0).abs() < bound, "{hashing:?}: {weighted:?}");
        }
    }

    #[test]
    fn few_keys_move_when_a_member_leaves() {
        for hashing in FORMS {
            for count in [3, 100] {
                let all = names(count);
                let (before, after) = (table(hashing, &all, |_| 1), table(hashing, &all[1..], |_| 1));
                let owners: Vec<usize> = keys().map(|key| before.find(key)).collect();
                let left = owners.iter().filter(|&&owner| owner == 0).count();
                let moved = keys()
                    .zip(&owners)
                    .filter(|&(key, &owner)| owner != after.find(key) + 1)
                    .count();
                // On a ring nobody else's keys move. Maglev moves some more (section 5.3 of its paper: a few per cent).
                let more = if hashing == Hashing::Maglev {
                    KEYS as usize / 50
                } else {
                    0
                };
                println!("{hashing:?}: {count} members, {left} keys lost their owner, {moved} moved");
                assert!(
                    left > 0 && (left..=left + more).contains(&moved),
                    "{hashing:?} of {count}: {left}, {moved}"
                );
            }
        }
    }

    #[test]
    fn the_order_of_the_list_does_not_matter() {
        let (names, mut turned) = (names(7), names(7));
        turned.reverse();
        for hashing in FORMS {
            let (one, other) = (table(hashing, &names, |_| 1), table(hashing, &turned, |_| 1));
            assert!(
                keys()
                    .take(1000)
                    .all(|key| names[one.find(key)] == turned[other.find(key)]),
                "{hashing:?}"
            );
        }
    }

    #[test]
    fn huge_weights_and_lists_stay_bounded() {
        let ring = Hashing::Ring { least: 1024, most: 4096 };
        assert!(table(ring, &names(3), |n| if n == 0 { u32::MAX } else { 1 }).size() <= 4200 * 24);
        assert!(table(ring, &names(300), |_| 1).size() <= 4500 * 24);
        assert!(Table::new(ring, std::iter::empty()).is_none());
        for count in [1, 100, 10_000] {
            for hashing in FORMS {
                let size = table(hashing, &names(count), |_| 1).size();
                println!("{hashing:?}: {count} members, {} bytes each", size / count);
                assert!(size <= 3 << 20 || size / count <= 4096);
            }
        }
    }
}
