//! A ring (Karger 1997): each member stands at many points of it, and a key leads to the next one.

use super::{Member, greatest_common_divisor, mix};

/// Points of all members together, where half of the least is not more for each: what a small list needs to be even, a
/// large one has anyway.
const ENOUGH: usize = 65_536;
/// Points of a member, where that is more: shares differ by 1/sqrt(64), an eighth.
const POINTS: usize = 64;

/// Points in the order of their place.
#[derive(Debug)]
pub struct Ring {
    places: Vec<u64>,
    owners: Vec<u32>,
    /// By the upper bits of a place the first point from there on: a search begins where it ends.
    starts: Vec<u32>,
    shift: u32,
}

impl Ring {
    /// With `least` points at least, for two members or more, and about `most` at most; by weight, each one at least.
    /// How many a member has does not depend on the others, up to [`ENOUGH`]: who leaves moves nobody else's keys.
    pub fn new(members: &[Member], least: u32, most: u32) -> Self {
        let unit = members
            .iter()
            .fold(0, |unit, member| greatest_common_divisor(unit, member.weight))
            .max(1);
        let wanted = |member: &Member| f64::from(least.div_ceil(2)) * f64::from(member.weight / unit);
        let total: f64 = members.iter().map(wanted).sum();
        let bound = ENOUGH
            .max(members.len() * POINTS)
            .max(least as usize)
            .min(most as usize);
        let scale = (bound as f64 / total).min(1.0);
        let mut points: Vec<(u64, u32)> = Vec::new();
        for member in members {
            let count = ((wanted(member) * scale) as u64).max(1);
            points.extend((0..count).map(|point| (mix(member.hash ^ mix(point + 1)), member.index)));
        }
        points.sort_unstable();
        let bits = points.len().next_power_of_two().trailing_zeros().max(1);
        let shift = u64::BITS - bits;
        let mut starts = Vec::with_capacity(1 << bits);
        let mut at = 0;
        for bucket in 0..1u64 << bits {
            while at < points.len() && points[at].0 < bucket << shift {
                at += 1;
            }
            starts.push(at as u32);
        }
        let (places, owners) = points.into_iter().unzip();
        Ring { places, owners, starts, shift }
    }

    /// The owner of the next point.
    pub fn find(&self, hash: u64) -> u32 {
        let start = self.starts[(hash >> self.shift) as usize] as usize;
        let next = self.places[start..].iter().position(|&place| place >= hash);
        self.owners[next.map_or(0, |steps| start + steps)]
    }

    #[cfg(test)]
    pub fn size(&self) -> usize {
        self.places.len() * 8 + self.owners.len() * 4 + self.starts.len() * 4
    }
}
