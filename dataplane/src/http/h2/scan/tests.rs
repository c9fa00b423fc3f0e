//! What the scanner makes of bytes; the clock stands still, or jumps.

use super::*;
use crate::random;

const STREAMS: u32 = 100;
const PIECES: u32 = 7;

/// A frame of a stream.
pub(in crate::http::h2) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn rst(code: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, 1, &code.to_be_bytes())
}

fn window_update(bytes: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, 0, &bytes.to_be_bytes())
}

fn ping() -> Vec<u8> {
    frame(kind::PING, 0, 0, &[0; 8])
}

/// After the preface.
fn scanner() -> Scanner {
    let mut scanner = Scanner::new(STREAMS, PIECES);
    assert_eq!(scanner.read(&[0; PREFACE]), PREFACE);
    scanner
}

impl Scanner {
    fn sends(&mut self, bytes: &[u8]) {
        self.wrote(&[IoSlice::new(bytes)], bytes.len());
    }

    /// How many of these pass before there are too many; at most ten thousand.
    fn passed(&mut self, frame: &[u8]) -> usize {
        (0..10_000).take_while(|_| self.read(frame) == frame.len()).count()
    }
}

#[tokio::test(start_paused = true)]
async fn each_kind_has_a_budget_of_its_own() {
    let request = frame(kind::HEADERS, 0x5, 1, b"\x82");
    let control = CONTROL as usize;
    let floods = [
        (ping(), Excess::Ping, control),
        (frame(kind::PING, flag::ACK, 0, &[0; 8]), Excess::Ping, control),
        (frame(kind::SETTINGS, 0, 0, &[]), Excess::Settings, control),
        (frame(kind::PRIORITY, 0, 1, &[0; 5]), Excess::Priority, control),
        (frame(kind::GOAWAY, 0, 0, &[0; 8]), Excess::GoAway, control),
        (frame(0xfa, 0, 0, b"anything"), Excess::Unknown, control),
        (window_update(SMALL), Excess::WindowUpdate, control),
        (window_update(1), Excess::SmallWindowUpdate, DRIBBLED as usize),
        (frame(kind::DATA, 0, 1, &[]), Excess::SmallData, EMPTY as usize),
        (
            frame(kind::DATA, flag::PADDED, 1, &[2, 0, 0]),
            Excess::SmallData,
            EMPTY as usize,
        ),
        (frame(kind::HEADERS, 0x4, 1, &[]), Excess::EmptyHeaders, EMPTY as usize),
        (
            frame(kind::HEADERS, flag::PRIORITY | flag::PADDED, 1, &[1, 0, 0, 0, 0, 0, 0]),
            Excess::EmptyHeaders,
            EMPTY as usize,
        ),
        (rst(8), Excess::Resets, RESETS as usize),
        (
            frame(kind::CONTINUATION, 0, 1, b"\x82"),
            Excess::Continuation,
            PIECES as usize,
        ),
    ];
    for (flood, excess, most) in floods {
        let mut scanner = scanner();
        assert_eq!(scanner.passed(&flood), most, "{}", excess.name());
        assert_eq!(scanner.excess(), Some(excess));
    }
    assert_eq!(scanner().passed(&request), 10_000);
    assert_eq!(scanner().passed(&frame(kind::DATA, 0, 1, b"x")), 10_000);
    // The crate ends it at the first.
    assert_eq!(scanner().passed(&window_update(0)), 10_000);
    assert_eq!(scanner().passed(&frame(kind::DATA, flag::END_STREAM, 1, &[])), 10_000);
}

#[tokio::test(start_paused = true)]
async fn resets_that_it_makes_us_send_are_its_own() {
    for (code, excess) in [
        (code::REFUSED_STREAM, Some(Excess::Streams)),
        (code::PROTOCOL_ERROR, Some(Excess::ProvokedResets)),
        (code::STREAM_CLOSED, Some(Excess::ProvokedResets)),
        // What we have no more use for, or break off ourselves.
        (0, None),
        (2, None),
        (8, None),
    ] {
        let mut scanner = scanner();
        for _ in 0..RESETS {
            scanner.sends(&rst(code));
        }
        assert_eq!(scanner.excess(), None);
        scanner.sends(&rst(code));
        assert_eq!(scanner.excess(), excess, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_came_before_the_flood_may_be_seen_and_nothing_else() {
    let mut scanner = scanner();
    let bytes = [ping().repeat(CONTROL as usize + 1), frame(kind::DATA, 0, 1, b"x")].concat();
    assert_eq!(scanner.read(&bytes), CONTROL as usize * ping().len());

    let mut scanner = self::scanner();
    let (first, rest) = bytes.split_at(CONTROL as usize * ping().len() + 5);
    assert_eq!(scanner.read(first), first.len());
    assert_eq!(scanner.read(rest), 0);
}

#[tokio::test(start_paused = true)]
async fn a_meter_is_filled_again_in_time_and_never_twice_at_once() {
    let mut scanner = scanner();
    for _ in 0..100 {
        for _ in 0..CONTROL {
            assert_eq!(scanner.read(&ping()), ping().len());
        }
        clock::sleep(PERIOD).await;
    }
    clock::sleep(PERIOD * 100).await;
    assert_eq!(scanner.passed(&ping()), CONTROL as usize);
}

#[tokio::test(start_paused = true)]
async fn work_earns_what_belongs_to_it() {
    // A message out, a PING in, as gRPC measures; and a reader gives back what it has read.
    let message = frame(kind::DATA, 0, 1, b"\0\0\0\0\0");
    let mut scanner = scanner();
    for _ in 0..10_000 {
        scanner.sends(&message);
        for answer in [ping(), window_update(5), window_update(5)] {
            assert_eq!(scanner.read(&answer), answer.len(), "{scanner:?}");
        }
    }
    // A reader of large frames in pieces of 4 KiB, late by a few.
    let large = frame(kind::DATA, 0, 1, &[0; 16 * 1024]);
    let mut scanner = self::scanner();
    for _ in 0..50 {
        (0..20).for_each(|_| scanner.sends(&large));
        for _ in 0..20 * 8 {
            let answer = window_update(4096);
            assert_eq!(scanner.read(&answer), answer.len());
        }
    }
    // Each request with its PRIORITY_UPDATE and window; each answered, and reset all the same.
    let mut scanner = self::scanner();
    for _ in 0..10_000 {
        let request = [
            frame(kind::HEADERS, 0x4, 1, b"\x82"),
            frame(0x10, 0, 0, b"\0\0\0\x01u=1"),
        ]
        .concat();
        let asked = [request, window_update(1 << 20), rst(0)].concat();
        assert_eq!(scanner.read(&asked), asked.len());
        scanner.sends(&frame(kind::HEADERS, 0x5, 1, b"\x88"));
    }
    // What is earned is no licence for ever.
    assert!(scanner.passed(&rst(8)) <= 2 * RESETS as usize);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_gives_up_a_hundred_calls_a_second_may_go_on() {
    let call = [frame(kind::HEADERS, 0x4, 1, b"\x82"), rst(8)].concat();
    let mut scanner = scanner();
    for number in 0..10_000 {
        assert_eq!(scanner.read(&call), call.len(), "{number}");
        clock::sleep(Duration::from_millis(10)).await;
    }
    // The network held it up for ten seconds.
    assert_eq!(scanner.read(&call.repeat(1000)), call.len() * 1000);
}

#[tokio::test(start_paused = true)]
async fn frames_are_followed_in_any_pieces() {
    let frames = [
        frame(kind::HEADERS, 0x4, 1, b"\x82"),
        frame(kind::DATA, 0, 1, &[]),
        frame(kind::DATA, 0, 1, &[7; 300]),
        frame(kind::SETTINGS, 0, 0, &[]),
        frame(0xfa, 0, 0, b"ab"),
        window_update(1),
        rst(8),
        ping(),
    ];
    let (count, bytes) = (frames.len(), frames.concat());
    for step in 1..=bytes.len() {
        let mut followed = Vec::new();
        let mut place = Frames::after(0);
        for piece in bytes.chunks(step) {
            let liked = place.follow(piece, |frame| {
                followed.push(frame);
                true
            });
            assert_eq!(liked, Ok(()));
        }
        let lens: Vec<usize> = followed.iter().map(|frame| frame.len as usize + HEAD).collect();
        assert_eq!(lens, frames.iter().map(Vec::len).collect::<Vec<_>>(), "by {step}");
        assert_eq!(
            (followed[count - 3].first, followed[count - 2].first),
            (1, 8),
            "by {step}"
        );
    }
}

/// Frame by frame, from the whole of it.
fn followed_simply(mut bytes: &[u8]) -> Vec<(u32, u8, u8, Option<u32>)> {
    let mut frames = Vec::new();
    while bytes.len() >= HEAD {
        let len = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
        let payload = &bytes[HEAD..];
        if payload.len() < FIRST.min(len as usize) {
            break;
        }
        let first = (len as usize >= FIRST).then(|| u32::from_be_bytes(payload[..FIRST].try_into().unwrap()));
        frames.push((len, bytes[3], bytes[4], first));
        bytes = payload.get(len as usize..).unwrap_or_default();
    }
    frames
}

#[test]
fn random_bytes_never_confuse_who_follows_frames() {
    random::fuzz("frames", |bytes| {
        let mut followed = Vec::new();
        let mut place = Frames::after(0);
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, others) = rest.split_at(1 + random::below(rest.len()));
            let liked = place.follow(piece, |frame| {
                followed.push((
                    frame.len,
                    frame.kind,
                    frame.flags,
                    (frame.len >= 4).then_some(frame.first),
                ));
                true
            });
            assert_eq!(liked, Ok(()));
            rest = others;
        }
        assert_eq!(followed, followed_simply(bytes));
    });
}

#[test]
fn random_bytes_are_passed_on_up_to_a_whole_frame() {
    // Any input, of a client that has nothing left.
    random::fuzz("frames", |bytes| {
        let mut scanner = scanner();
        for meter in &mut scanner.meters {
            meter.left = 1;
        }
        let seen = scanner.read(bytes);
        assert_eq!(seen < bytes.len(), scanner.excess().is_some());
        let before: usize = followed_simply(bytes)
            .iter()
            .scan(0, |at, (len, ..)| {
                Some(std::mem::replace(at, *at + HEAD + *len as usize))
            })
            .filter(|at| *at == seen)
            .count();
        assert!(seen == bytes.len() || before > 0, "{seen} is no frame's begin");
    });
}
