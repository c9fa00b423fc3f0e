//! Input for parsers: what is known to be hard, and random changes of it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use super::{below, seed, u64};

/// `bytes` with a few places cut, doubled, or overwritten.
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

/// As [`fuzz_from`], of a file in `tests/corpus`: what `check` panics on is printed as a line for it.
pub fn fuzz(corpus: &str, check: impl Fn(&[u8])) {
    fuzz_from(&inputs(corpus), check);
}

/// Calls `check` with each of these inputs, and then with random changes of them, a few thousand or FUZZ_ROUNDS.
pub fn fuzz_from(known: &[Vec<u8>], check: impl Fn(&[u8])) {
    let asked = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (rounds, seed_of_run) = (
        asked("FUZZ_ROUNDS").unwrap_or(5000),
        asked("FUZZ_SEED").unwrap_or_else(u64),
    );
    println!("FUZZ_SEED={seed_of_run}");
    seed(seed_of_run);
    let check = |bytes: &[u8]| {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(bytes))) {
            println!("the input: {}", bytes.escape_ascii());
            resume_unwind(panic);
        }
    };
    for input in known {
        check(input);
    }
    for _ in 0..rounds {
        check(&mutated(&known[below(known.len())]));
    }
}

/// Each line of a corpus, as `escape_ascii` writes bytes; a line of `#` is for people.
fn inputs(corpus: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(corpus);
    let path = path.with_extension("txt");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let inputs: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).map(read).collect();
    assert!(!inputs.is_empty(), "{} has no input", path.display());
    inputs
}

fn read(line: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(line.len());
    let mut rest = line.bytes();
    while let Some(byte) = rest.next() {
        let digit = |digit: Option<u8>| {
            let digit = digit.and_then(|digit| char::from(digit).to_digit(16));
            digit.unwrap_or_else(|| panic!("`{line}` has \\x without two digits")) as u8
        };
        bytes.push(match byte {
            b'\\' => match rest.next() {
                Some(b't') => b'\t',
                Some(b'r') => b'\r',
                Some(b'n') => b'\n',
                Some(b'x') => digit(rest.next()) << 4 | digit(rest.next()),
                Some(quoted @ (b'\\' | b'\'' | b'"')) => quoted,
                other => panic!("`{line}` has \\ before {other:?}"),
            },
            plain => plain,
        });
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_again() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(read(&all.escape_ascii().to_string()), all);
    }

    #[test]
    fn each_input_of_a_corpus_is_tried_as_it_is() {
        let tried = std::cell::RefCell::new(Vec::new());
        fuzz("beginnings", |bytes| tried.borrow_mut().push(bytes.to_vec()));
        let known = inputs("beginnings");
        assert_eq!(tried.borrow()[..known.len()], known);
        assert!(known.contains(&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()));
        assert!(tried.borrow()[known.len()..].iter().any(|input| !known.contains(input)));
    }

    #[test]
    #[should_panic(expected = "a parser that fails")]
    fn a_parser_that_fails_at_one_input_fails() {
        fuzz("beginnings", |bytes| assert_ne!(bytes, b"PRI", "a parser that fails"));
    }
}
