//! The parsers see the same in any pieces, whatever the bytes, and never panic.

use bytes::{Bytes, BytesMut};
use http::uri::Scheme;

use super::super::chunked::{Decoder, Step};
use super::super::head::{HeadLimits, Scan, parse};
use crate::random;

const ROUNDS: usize = 5_000;

const HEADS: [&[u8]; 3] = [
    b"GET /a?b HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n",
    b"POST http://b:80/ HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 5\r\nConnection: close, x\r\n\r\n",
    b"PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
];

const CHUNKS: [&[u8]; 2] = [
    b"5\r\nhello\r\n1;a=b\r\n!\r\n0\r\nX: 1\r\n\r\n",
    b"0a\r\n0123456789\r\n0\r\n\r\n",
];

fn limits() -> HeadLimits {
    HeadLimits { bytes: 200, fields: 5 }
}

/// A sample with up to three bytes replaced by bytes that matter to the grammar.
fn mutated(samples: &[&[u8]]) -> Vec<u8> {
    const BYTES: &[u8] = b"\r\n\0 :;,/@#%[]\"\\aF09-\x7f\xff\x16";
    let mut bytes = samples[random::below(samples.len())].to_vec();
    for _ in 0..random::below(4) {
        let place = random::below(bytes.len());
        bytes[place] = BYTES[random::below(BYTES.len())];
    }
    bytes
}

/// Feeds `bytes` to `step` in pieces of up to `longest` bytes; `None` when it wants more than there is.
fn fed<T>(bytes: &[u8], longest: usize, mut step: impl FnMut(&mut BytesMut) -> Option<T>) -> Option<T> {
    let mut input = BytesMut::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(rest.len().min(1 + random::below(longest)));
        input.extend_from_slice(piece);
        rest = later;
        if let Some(end) = step(&mut input) {
            return Some(end);
        }
    }
    None
}

#[test]
fn heads_end_at_the_same_place_in_any_pieces() {
    random::seed(1);
    let mut found = 0;
    for _ in 0..ROUNDS {
        let bytes = mutated(&HEADS);
        let whole = Scan::default().section_end(&bytes).transpose();
        let mut scan = Scan::default();
        assert_eq!(fed(&bytes, 7, |input| scan.section_end(input).transpose()), whole);
        if let Some(Ok(end)) = whole {
            found += usize::from(parse(Bytes::copy_from_slice(&bytes[..end]), limits(), Scheme::HTTP).is_ok());
        }
    }
    assert!((1..ROUNDS).contains(&found), "{found} heads passed");
}

/// What a chunked body comes to: its content and whether it ended well.
fn decoded(bytes: &[u8], longest: usize) -> (Vec<u8>, Option<bool>) {
    let mut decoder = Decoder::new(limits());
    let mut content = Vec::new();
    let end = fed(bytes, longest, |input| {
        loop {
            match decoder.step(input) {
                Ok(Step::Data(data)) => content.extend_from_slice(&data),
                Ok(Step::Trailers(_)) => {}
                Ok(Step::End) => return Some(true),
                Ok(Step::More) => return None,
                Err(_) => return Some(false),
            }
        }
    });
    (content, end)
}

#[test]
fn chunks_come_to_the_same_in_any_pieces() {
    random::seed(2);
    let mut ended = 0;
    for _ in 0..ROUNDS {
        let bytes = mutated(&CHUNKS);
        let whole = decoded(&bytes, usize::MAX);
        assert_eq!(decoded(&bytes, 3), whole);
        ended += usize::from(whole.1 == Some(true));
    }
    assert!((1..ROUNDS).contains(&ended), "{ended} bodies ended well");
}
