//! In turn, by weight.

use std::cell::Cell;

use crate::hashing::greatest_common_divisor;
use crate::random;

/// Turns of one cycle at most; larger weights are scaled down to fit, none below one turn.
const MAX_TURNS: u64 = 4096;

/// A cycle in which each index stands as often as its weight says, spread evenly.
#[derive(Debug)]
pub struct Schedule {
    turns: Vec<u32>,
    position: Cell<usize>,
}

impl Schedule {
    /// One cycle for `weights`, each at least 1. It begins anywhere, so that many proxies do not march in step.
    pub fn new(weights: &[u32]) -> Self {
        let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
        let total: u64 = weights.iter().map(|weight| u64::from(weight / divisor)).sum();
        let scale = total.div_ceil(MAX_TURNS).max(1);
        let shares: Vec<u64> = weights
            .iter()
            .map(|weight| (u64::from(weight / divisor) / scale).max(1))
            .collect();
        let turns = spread(&shares);
        let start = if turns.is_empty() {
            0
        } else {
            random::below(turns.len())
        };
        Schedule { turns, position: Cell::new(start) }
    }

    /// The next in turn. The schedule must not be empty.
    pub fn next(&self) -> usize {
        let position = self.position.get();
        self.position.set(if position + 1 == self.turns.len() {
            0
        } else {
            position + 1
        });
        self.turns[position] as usize
    }

    /// Any, with the same shares.
    pub fn any(&self) -> usize {
        self.turns[random::below(self.turns.len())] as usize
    }
}

/// One whole cycle: the turns of each index stand at equal distances, and each index begins at another phase (multiples
/// of the golden ratio, which spread evenly for any number of indices).
fn spread(shares: &[u64]) -> Vec<u32> {
    const GOLDEN: f64 = 0.618_033_988_749_895;
    let mut turns: Vec<(f64, u32)> = Vec::new();
    for (index, &share) in shares.iter().enumerate() {
        let phase = (index as f64 * GOLDEN).fract();
        turns.extend((0..share).map(|turn| ((turn as f64 + phase) / share as f64, index as u32)));
    }
    turns.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    turns.into_iter().map(|(_, index)| index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_spread_and_not_in_blocks() {
        assert_eq!(spread(&[5, 1, 1]), [0, 0, 2, 0, 0, 1, 0]);
    }

    #[test]
    fn equal_weights_take_one_turn_each_and_huge_ones_stay_bounded() {
        assert_eq!(Schedule::new(&[7, 7, 7]).turns.len(), 3);
        assert!(Schedule::new(&[u32::MAX, 1]).turns.len() as u64 <= MAX_TURNS + 1);
    }
}
