//! Clients that flood, in their own bytes.

use std::future::poll_fn;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::scan::tests::frame;
use super::*;
use crate::http::h1::tests::limits;
use crate::net::simulated::pair;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// GET http://a/
const GET: &[u8] = b"\x82\x86\x84\x41\x01a";
const END_HEADERS: u8 = 0x4;
const COMPLETE: u8 = 0x5;
const GOAWAY: u8 = 7;
const RST_STREAM: u8 = 3;
/// Longer than any flood takes, shorter than it takes to find a client silent.
const WHILE: Duration = Duration::from_secs(10);

/// How a connection ended, and what the client was told: kind, stream and first four bytes of each frame.
struct Ended {
    excess: Option<Excess>,
    is_open: bool,
    told: Vec<(u8, u32, u32)>,
}

impl Ended {
    fn codes(&self, kind: u8) -> Vec<u32> {
        // GOAWAY names a stream first.
        self.told
            .iter()
            .filter(|told| told.0 == kind)
            .map(|told| told.2)
            .collect()
    }
}

fn frames(mut bytes: &[u8]) -> Vec<(u8, u32, u32)> {
    let word = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    let mut told = Vec::new();
    while let Some(head) = bytes.first_chunk::<9>() {
        let len = word(&[0, head[0], head[1], head[2]]) as usize;
        let payload = &bytes[9..9 + len];
        let first = payload.get(if head[3] == GOAWAY { 4..8 } else { 0..4 }).map_or(0, word);
        told.push((head[3], word(&head[5..9]), first));
        bytes = &bytes[9 + len..];
    }
    told
}

/// What becomes of a client that sends this, reads all, and waits.
async fn sent(bytes: &[u8], scans: bool) -> Ended {
    let limits = ListenerLimits { max_streams: 100, ..limits() };
    let (client, far) = pair();
    let (mut reads, mut writes) = tokio::io::split(client);
    let serving = async {
        let mut server = match scans {
            true => Server::handshake(Io::from(far), &limits).await,
            false => Server::begin(Io::from(far), &limits, None).await,
        }
        .unwrap();
        let mut calls = Vec::new();
        let serving = async {
            while let Some(Ok(call)) = poll_fn(|cx| server.poll_accept(cx)).await {
                calls.push(call);
            }
        };
        let is_open = tokio::time::timeout(WHILE, serving).await.is_err();
        (server.excess(), is_open)
    };
    let sending = async {
        // The server may have had enough of it.
        let _sent = writes.write_all(&[PREFACE, bytes].concat()).await;
    };
    let reading = async {
        let mut told = Vec::new();
        let _read = reads.read_to_end(&mut told).await;
        told
    };
    let ((excess, is_open), (), told) = tokio::join!(serving, sending, reading);
    Ended { excess, is_open, told: frames(&told) }
}

fn each(count: u32, frames: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..count).flat_map(|number| frames(2 * number + 1)).collect()
}

fn ask(stream: u32, flags: u8) -> Vec<u8> {
    frame(1, flags, stream, GET)
}

/// Floods that the crate takes without a word.
fn unseen() -> Vec<(Excess, Vec<u8>)> {
    vec![
        (Excess::Ping, frame(6, 0, 0, &[0; 8]).repeat(5000)),
        (Excess::Settings, frame(4, 0, 0, &[]).repeat(5000)),
        (Excess::Priority, frame(2, 0, 1, &[0, 0, 0, 0, 16]).repeat(5000)),
        (Excess::SmallWindowUpdate, frame(8, 0, 0, &[0, 0, 0, 1]).repeat(5000)),
        (Excess::WindowUpdate, frame(8, 0, 0, &[0, 0, 0, 100]).repeat(5000)),
        (Excess::Unknown, frame(0xfa, 0, 0, b"what").repeat(5000)),
    ]
}

/// Those that it knows of.
fn seen() -> Vec<(Excess, Vec<u8>)> {
    let block = |pieces: usize, piece: &[u8]| [frame(1, 0, 1, GET), frame(9, 0, 1, piece).repeat(pieces)].concat();
    // A field of 1000 bytes in the table, and then one byte for each time that it comes.
    let bomb = [GET, b"\x40\x01x\x7f\xe9\x06", &[b'y'; 1000], &[0xbe; 8000]].concat();
    vec![
        (
            Excess::Resets,
            each(3000, |stream| {
                [ask(stream, COMPLETE), frame(3, 0, stream, &[0, 0, 0, 8])].concat()
            }),
        ),
        (
            Excess::ProvokedResets,
            each(3000, |stream| {
                let too_much = frame(8, 0, stream, &[0x7f, 0xff, 0xff, 0xff]);
                [ask(stream, END_HEADERS), too_much].concat()
            }),
        ),
        (
            Excess::ProvokedResets,
            each(3000, |stream| {
                let on_itself = [&stream.to_be_bytes()[..], &[16]].concat();
                [ask(stream, COMPLETE), frame(2, 0, stream, &on_itself)].concat()
            }),
        ),
        (Excess::Streams, each(3000, |stream| ask(stream, END_HEADERS))),
        (Excess::Continuation, block(5000, &[])),
        (Excess::Continuation, block(5000, &b"\0\x01x\x01y".repeat(78))),
        (
            Excess::SmallData,
            [ask(1, END_HEADERS), frame(0, 0, 1, &[]).repeat(5000)].concat(),
        ),
        (
            Excess::EmptyHeaders,
            each(3000, |stream| frame(1, COMPLETE, stream, &[])),
        ),
        (
            Excess::HeaderList,
            each(200, |stream| frame(1, COMPLETE, stream, &bomb)),
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn every_flood_ends_with_goaway_and_is_named() {
    for (excess, bytes) in [unseen(), seen()].concat() {
        let ended = sent(&bytes, true).await;
        let name = excess.name();
        // A stream that we have reset counts as open until the client is told, which is when nothing more comes at
        // once.
        let is_its_own = ended.excess == Some(excess);
        let is_too_many = (excess, ended.excess) == (Excess::ProvokedResets, Some(Excess::Streams));
        assert!(is_its_own || is_too_many, "{name}: {:?}", ended.excess);
        assert!(!ended.is_open, "{name}");
        let calm = u32::from(h2::Reason::ENHANCE_YOUR_CALM);
        assert_eq!(ended.codes(GOAWAY), [calm], "{name}");
    }
}

/// The proof that it is the scanner, and that these tests see a flood that nobody ends.
#[tokio::test(start_paused = true)]
async fn without_a_scanner_floods_go_on_that_the_crate_does_not_count() {
    for (excess, bytes) in unseen() {
        let ended = sent(&bytes, false).await;
        assert!(ended.is_open && ended.codes(GOAWAY).is_empty(), "{}", excess.name());
    }
}

#[tokio::test(start_paused = true)]
async fn who_breaks_the_protocol_is_told_so_and_counted() {
    let late = [ask(1, COMPLETE), frame(0, 0, 1, b"more")].concat();
    for bytes in [frame(8, 0, 0, &[0; 4]), late] {
        let ended = sent(&bytes, true).await;
        assert_eq!(ended.excess, Some(Excess::Protocol));
        assert_eq!(ended.codes(GOAWAY), [u32::from(h2::Reason::PROTOCOL_ERROR)]);
    }
}

#[tokio::test(start_paused = true)]
async fn one_stream_too_many_is_refused_and_the_others_go_on() {
    let ended = sent(&each(101, |stream| ask(stream, COMPLETE)), true).await;
    assert!(ended.is_open);
    let refused: Vec<_> = ended.told.iter().filter(|told| told.0 == RST_STREAM).collect();
    assert_eq!(refused, [&(RST_STREAM, 201, u32::from(h2::Reason::REFUSED_STREAM))]);
}

/// Neither the scanner nor a count of the crate's that lasts as long as the connection.
#[tokio::test(start_paused = true)]
async fn a_client_that_gives_up_a_hundred_calls_a_second_is_never_sent_away() {
    let (mut client, far) = pair();
    let serving = async {
        let mut server = Server::handshake(Io::from(far), &limits()).await.unwrap();
        let mut calls = 0;
        while let Some(Ok(_call)) = poll_fn(|cx| server.poll_accept(cx)).await {
            calls += 1;
        }
        (calls, server.excess())
    };
    let calling = async {
        client.write_all(PREFACE).await.unwrap();
        for number in 0..10_000 {
            let stream = 2 * number + 1;
            client.write_all(&ask(stream, END_HEADERS)).await.unwrap();
            if number % 2 == 0 {
                clock::sleep(Duration::from_millis(5)).await;
            }
            let unwanted = [frame(0, 0, stream, b"late"), frame(3, 0, stream, &[0, 0, 0, 8])].concat();
            client.write_all(&unwanted).await.unwrap();
            clock::sleep(Duration::from_millis(10 - 5 * u64::from(number % 2 == 0))).await;
            // PINGs of ours are answered, whatever else we said.
            let mut told = [0; 4096];
            let Ok(Ok(n)) = tokio::time::timeout(Duration::ZERO, client.read(&mut told)).await else {
                continue;
            };
            for (kind, ..) in frames(&told[..n]) {
                assert_ne!(kind, GOAWAY, "after {number} calls");
                if kind == 6 {
                    let ours = told[..n].windows(9).position(|head| head[..4] == [0, 0, 8, 6]).unwrap() + 9;
                    client.write_all(&frame(6, 1, 0, &told[ours..ours + 8])).await.unwrap();
                }
            }
        }
        drop(client);
    };
    let ((calls, excess), ()) = tokio::join!(serving, calling);
    assert_eq!((calls, excess), (10_000, None));
}
