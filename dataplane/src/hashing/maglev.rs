//! Maglev (Eisenbud et al., NSDI 2016): each member takes slots of a table in an order of its own, in turn.

use super::{Member, mix};

/// Both are the paper's, which wants a hundred slots for each member. The first is Envoy's default too.
const SMALL: usize = 65_537;
const LARGE: usize = 655_373;
const SLOTS: usize = 100;

/// Slots, each with its owner.
#[derive(Debug)]
pub struct Maglev {
    slots: Vec<u32>,
}

impl Maglev {
    /// By weight: the heaviest takes a slot in each round, the others as often as their share of that.
    pub fn new(members: &[Member]) -> Self {
        const FREE: u32 = u32::MAX;
        let size = if members.len() * SLOTS <= SMALL { SMALL } else { LARGE };
        let heaviest = members.iter().map(|member| u64::from(member.weight)).max().unwrap_or(1);
        let mut takers: Vec<Taker> = members.iter().map(|member| Taker::new(*member, size)).collect();
        let mut slots = vec![FREE; size];
        let mut free = size;
        'rounds: loop {
            for taker in &mut takers {
                taker.due += u64::from(taker.member.weight);
                if taker.due < heaviest {
                    continue;
                }
                taker.due -= heaviest;
                while slots[taker.slot] != FREE {
                    taker.go_on(size);
                }
                slots[taker.slot] = taker.member.index;
                free -= 1;
                if free == 0 {
                    break 'rounds;
                }
            }
        }
        Maglev { slots }
    }

    /// The owner of a key's slot.
    pub fn find(&self, hash: u64) -> u32 {
        self.slots[(hash % self.slots.len() as u64) as usize]
    }

    #[cfg(test)]
    pub fn size(&self) -> usize {
        self.slots.len() * 4
    }
}

/// A member on its way through the slots; their number is prime, so that any step leads to all of them.
struct Taker {
    member: Member,
    slot: usize,
    step: usize,
    /// What its weight has earned since its last slot.
    due: u64,
}

impl Taker {
    fn new(member: Member, size: usize) -> Self {
        let size = size as u64;
        let slot = (member.hash % size) as usize;
        let step = (mix(member.hash) % (size - 1)) as usize + 1;
        Taker { member, slot, step, due: 0 }
    }

    fn go_on(&mut self, size: usize) {
        self.slot = (self.slot + self.step) % size;
    }
}
