//! Randomness, the only module that makes it. Not for secrets: picks, jitter and trace ids.

#![allow(clippy::disallowed_methods, reason = "this is the module that may")]

#[cfg(test)]
mod fuzz;

#[cfg(test)]
pub use fuzz::{fuzz, fuzz_from, mutated};

/// A uniformly random number.
pub fn u64() -> u64 {
    fastrand::u64(..)
}

/// A uniformly random number below `bound`, which must not be 0.
pub fn below(bound: usize) -> usize {
    fastrand::usize(..bound)
}

/// A uniformly random part of `most`, which it never reaches.
pub fn part_of(most: u64) -> u64 {
    ((u128::from(u64()) * u128::from(most)) >> 64) as u64
}

/// Makes this thread's sequence repeatable.
#[cfg(test)]
pub fn seed(seed: u64) {
    fastrand::seed(seed);
}
