//! Randomness, the only module that makes it. Not for secrets: picks, jitter and trace ids.

#![allow(clippy::disallowed_methods, reason = "this is the module that may")]

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

/// Random input for parsers: `bytes` with a few places cut, doubled, or overwritten.
#[cfg(test)]
pub fn mutated(bytes: &[u8]) -> Vec<u8> {
    const TELLING: &[u8] = b"\r\n \t:;,/?#%.\0\x7f\xff0aA-+";
    let mut bytes = bytes.to_vec();
    for _ in 0..=below(4) {
        let at = below(bytes.len() + 1);
        match below(4) {
            0 if at < bytes.len() => bytes[at] = TELLING[below(TELLING.len())],
            1 => bytes.insert(at, TELLING[below(TELLING.len())]),
            2 => bytes.truncate(at),
            _ => {
                let doubled = bytes[at..].to_vec();
                bytes.splice(at..at, doubled);
                bytes.truncate(4096);
            }
        }
    }
    bytes
}

/// Calls `check` with mutations of the samples, a few thousand or FUZZ_ROUNDS of them. What it panics on can be replayed
/// with the seed that is printed.
#[cfg(test)]
pub fn fuzz(samples: &[&[u8]], check: impl Fn(&[u8])) {
    let asked = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (rounds, seed_of_run) = (
        asked("FUZZ_ROUNDS").unwrap_or(5000),
        asked("FUZZ_SEED").unwrap_or_else(u64),
    );
    println!("FUZZ_SEED={seed_of_run}");
    seed(seed_of_run);
    for round in 0..rounds as usize {
        check(&mutated(samples[round % samples.len()]));
    }
}
