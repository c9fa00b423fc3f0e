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

/// Calls `check` with mutations of the samples: a few thousand times, or as long as FUZZ_SECONDS says. What it panics
/// on can be replayed: the seed is printed.
#[cfg(test)]
pub fn fuzz(samples: &[&[u8]], check: impl Fn(&[u8])) {
    let seconds: Option<u64> = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let seed_of_run = std::env::var("FUZZ_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(u64);
    println!("FUZZ_SEED={seed_of_run}");
    seed(seed_of_run);
    let end = seconds.map(|seconds| crate::clock::now() + std::time::Duration::from_secs(seconds));
    let mut round = 0;
    while end.map_or(round < 5000, |end| crate::clock::now() < end) {
        check(&mutated(samples[round % samples.len()]));
        round += 1;
    }
}
