//! What a client sends on its connection, and what it makes us send, counted by kinds of frames.
//!
//! The crate gives an unknown frame, a PING or a WINDOW_UPDATE no count, and counts what it does over a connection's
//! whole life, which is longer than any attack. So every byte passes here on its way to it and from it: frames are
//! followed by their heads, and each kind has a [`Meter`]. What a client does beside the work that it has done there,
//! such as PINGs between messages, costs it nothing: work earns. The clock is read when a meter is empty and never
//! else.

#[cfg(test)]
pub(super) mod tests;

use std::io::IoSlice;
use std::time::Duration;

use crate::clock::{self, Instant};
use crate::telemetry::excess::Excess;

/// Bytes of a frame's head (RFC 9113 section 4.1), and of its payload what is looked at: the first field of
/// WINDOW_UPDATE and RST_STREAM.
const HEAD: usize = 9;
const FIRST: usize = 4;
/// What a client says before its first frame (RFC 9113 section 3.4).
const PREFACE: usize = 24;

/// Types of frames (RFC 9113 section 6).
mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Their flags.
mod flag {
    pub const END_STREAM: u8 = 0x1;
    pub const ACK: u8 = 0x1;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

/// Codes with which a stream ends for what its client did on it (RFC 9113 section 7).
mod code {
    pub const PROTOCOL_ERROR: u32 = 0x1;
    pub const FLOW_CONTROL_ERROR: u32 = 0x3;
    pub const STREAM_CLOSED: u32 = 0x5;
    pub const FRAME_SIZE_ERROR: u32 = 0x6;
    pub const REFUSED_STREAM: u32 = 0x7;
}

/// Each meter is filled again after this time, so that in any such time no more than twice as many frames pass as it
/// holds.
const PERIOD: Duration = Duration::from_secs(2);
/// Resets in a period, of a client's streams by the client or by us, or as many as it may have open, if that is more:
/// all of them may end at once. Envoy closes after 500 requests when half of them were reset within a second
/// (`overload.premature_reset_total_stream_count`). 512 a second are five times a client that cancels 100 calls a
/// second, and the work of ten seconds in which the network held such a client up comes at once.
const RESETS: u32 = 1024;
/// Frames that only attackers send in numbers. HAProxy's manual advises hundreds for `tune.h2.fe.glitches-threshold`,
/// and Envoy takes 100 PRIORITY frames a stream (`max_inbound_priority_frames_per_stream`).
const CONTROL: u32 = 200;
/// Frames without content. Envoy takes one in a row (`max_consecutive_inbound_frames_with_empty_payload`), the crate
/// 100 such DATA frames in a connection's life.
const EMPTY: u32 = 50;
/// WINDOW_UPDATEs by less than [`SMALL`] bytes. With them a reader takes 40 bytes a second, fewer than
/// [`crate::http::stall::LEAST`], and ours is the work of a frame for each.
const DRIBBLED: u32 = 20;
/// Five bytes are the smallest message of gRPC: a client that reads gives back no less.
const SMALL: u32 = 5;
/// What a kind may have earned at most: as many as there are messages of gRPC's smallest size in 256 KiB, and their
/// like, which a client may have left unread and take in at once.
const EARNED: u32 = 16 * 1024;

/// What may be sent without limit is not in here.
const METERS: usize = Excess::EmptyHeaders as usize + 1;

/// One direction's place in its frames.
#[derive(Debug)]
struct Frames {
    /// What has come of the frame's beginning.
    begun: [u8; HEAD + FIRST],
    known: usize,
    /// Bytes that no head is in.
    skipped: usize,
}

/// A frame's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    len: u32,
    kind: u8,
    flags: u8,
    /// The payload's first four bytes; what it lacks of them is arbitrary.
    first: u32,
}

impl Frame {
    fn parse(begun: &[u8; HEAD + FIRST]) -> Frame {
        let word = |at: usize| u32::from_be_bytes([begun[at], begun[at + 1], begun[at + 2], begun[at + 3]]);
        Frame { len: word(0) >> 8, kind: begun[3], flags: begun[4], first: word(HEAD) }
    }

    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Bytes of content, or of fields: padding and priority are neither.
    fn content(self) -> u32 {
        let padding = match self.has(flag::PADDED) && self.len > 0 {
            true => 1 + (self.first >> 24),
            false => 0,
        };
        let priority = match self.kind == kind::HEADERS && self.has(flag::PRIORITY) {
            true => 5,
            false => 0,
        };
        self.len.saturating_sub(padding + priority)
    }
}

impl Frames {
    /// After so many bytes that are no frame.
    fn after(skipped: usize) -> Self {
        Frames { begun: [0; HEAD + FIRST], known: 0, skipped }
    }

    /// Shows the frames that begin in `bytes` until one is not liked; then says how many bytes stand before it.
    #[inline]
    fn follow(&mut self, bytes: &[u8], mut like: impl FnMut(Frame) -> bool) -> Result<(), usize> {
        let mut at = 0;
        loop {
            let skipped = self.skipped.min(bytes.len() - at);
            self.skipped -= skipped;
            at += skipped;
            let begin = at;
            let frame = match bytes[at..].first_chunk() {
                Some(begun) if self.known == 0 => {
                    let frame = Frame::parse(begun);
                    at += HEAD;
                    self.skipped = frame.len as usize;
                    frame
                }
                _ => match self.gather(&bytes[at..]) {
                    (taken, Some(frame)) => {
                        at += taken;
                        frame
                    }
                    (_, None) => return Ok(()),
                },
            };
            if !like(frame) {
                return Err(begin);
            }
        }
    }

    /// Takes a beginning that comes in pieces; says how much of it was there, and the frame when it is whole.
    fn gather(&mut self, bytes: &[u8]) -> (usize, Option<Frame>) {
        let mut taken = 0;
        loop {
            let whole = match self.known {
                0..HEAD => HEAD,
                _ => HEAD + FIRST.min(Frame::parse(&self.begun).len as usize),
            };
            if self.known == whole {
                let frame = Frame::parse(&self.begun);
                self.skipped = frame.len as usize - (whole - HEAD);
                self.known = 0;
                return (taken, Some(frame));
            }
            let piece = &bytes[taken..];
            if piece.is_empty() {
                return (taken, None);
            }
            let n = piece.len().min(whole - self.known);
            self.begun[self.known..self.known + n].copy_from_slice(&piece[..n]);
            self.known += n;
            taken += n;
        }
    }
}

/// How many frames of a kind may still come.
#[derive(Clone, Copy, Debug)]
struct Meter {
    left: u32,
    filled: Instant,
    /// The work that has been paid for.
    paid: u32,
}

/// What has been done on a connection; counts wrap.
#[derive(Clone, Copy, Debug, Default)]
struct Work {
    /// HEADERS that came.
    asked: u32,
    /// Streams that we ended with the answer's end.
    answered: u32,
    /// HEADERS and DATA that we sent, and PINGs, which are answered.
    sent: u32,
    /// WINDOW_UPDATEs that a reader of what we sent has use for.
    to_read: u32,
}

/// Watches one client's connection.
#[derive(Debug)]
pub(super) struct Scanner {
    read: Frames,
    written: Frames,
    meters: [Meter; METERS],
    work: Work,
    /// CONTINUATION frames of the header block that comes, and how many it may have.
    pieces: u32,
    max_pieces: u32,
    /// The type of the frame that came last.
    last: u8,
    /// Resets in a period.
    resets: u32,
    excess: Option<Excess>,
}

impl Scanner {
    /// Of a client that may have so many streams open, and send its fields in so many frames.
    pub(super) fn new(max_streams: u32, max_pieces: u32) -> Self {
        let resets = max_resets(max_streams);
        let filled = clock::now();
        let meter = |excess: &Excess| Meter { left: budget(*excess, resets), filled, paid: 0 };
        Scanner {
            read: Frames::after(PREFACE),
            written: Frames::after(0),
            meters: std::array::from_fn(|index| meter(&Excess::ALL[index])),
            work: Work::default(),
            pieces: 0,
            max_pieces,
            last: kind::SETTINGS,
            resets,
            excess: None,
        }
    }

    /// What there was too much of; nothing more may be read then.
    pub(super) fn excess(&self) -> Option<Excess> {
        self.excess
    }

    /// Does it send fields now?
    pub(super) fn is_at_fields(&self) -> bool {
        matches!(self.last, kind::HEADERS | kind::CONTINUATION)
    }

    /// The client has sent `bytes`. Says how many of them the crate may see.
    pub(super) fn read(&mut self, bytes: &[u8]) -> usize {
        let Scanner { read, meters, work, pieces, max_pieces, last, resets, .. } = self;
        let mut excess = None;
        let followed = read.follow(bytes, |frame| {
            *last = frame.kind;
            let Some(kind) = came(frame, work, pieces, *max_pieces) else {
                return true;
            };
            let may = *pieces <= *max_pieces && spend(meters, work, kind, *resets);
            excess = (!may).then_some(kind);
            may
        });
        self.excess = self.excess.or(excess);
        followed.map_or_else(|before| before, |()| bytes.len())
    }

    /// So many bytes of `slices` have been sent to it.
    pub(super) fn wrote(&mut self, slices: &[IoSlice<'_>], mut len: usize) {
        let Scanner { written, meters, work, resets, .. } = self;
        let mut excess = None;
        for slice in slices {
            let bytes = &slice[..len.min(slice.len())];
            len -= bytes.len();
            let liked = written.follow(bytes, |frame| {
                if let Some(kind) = left(frame, work)
                    && !spend(meters, work, kind, *resets)
                {
                    excess = Some(kind);
                }
                true
            });
            debug_assert!(liked.is_ok(), "what we write is followed to its end");
        }
        self.excess = self.excess.or(excess);
    }
}

/// Resets that a client may have in a period, of which each may be in the crate's hands before it is counted here.
pub(super) fn max_resets(max_streams: u32) -> u32 {
    RESETS.max(max_streams)
}

/// What a frame of a client counts for; notes what work it is.
#[inline]
fn came(frame: Frame, work: &mut Work, pieces: &mut u32, max_pieces: u32) -> Option<Excess> {
    match frame.kind {
        kind::DATA => (frame.content() == 0 && !frame.has(flag::END_STREAM)).then_some(Excess::SmallData),
        kind::HEADERS => {
            work.asked = work.asked.wrapping_add(1);
            *pieces = 0;
            (frame.content() == 0).then_some(Excess::EmptyHeaders)
        }
        kind::WINDOW_UPDATE => match frame.first & (u32::MAX >> 1) {
            // A mistake, which the crate answers.
            0 => None,
            1..SMALL => Some(Excess::SmallWindowUpdate),
            SMALL.. => Some(Excess::WindowUpdate),
        },
        kind::RST_STREAM => Some(Excess::Resets),
        kind::PING => Some(Excess::Ping),
        kind::SETTINGS => Some(Excess::Settings),
        kind::PRIORITY => Some(Excess::Priority),
        kind::GOAWAY => Some(Excess::GoAway),
        kind::CONTINUATION => {
            *pieces = pieces.saturating_add(1).min(max_pieces + 1);
            Some(Excess::Continuation)
        }
        // Only servers send it, and the crate says so.
        kind::PUSH_PROMISE => None,
        _ => Some(Excess::Unknown),
    }
}

/// What a frame of ours counts for.
#[inline]
fn left(frame: Frame, work: &mut Work) -> Option<Excess> {
    match frame.kind {
        kind::DATA | kind::HEADERS => {
            work.sent = work.sent.wrapping_add(1);
            work.answered = work.answered.wrapping_add(u32::from(frame.has(flag::END_STREAM)));
            if frame.kind == kind::DATA {
                // A stream's window and the connection's, for each KiB: more often than Go's client, which waits for 4
                // KiB.
                work.to_read = work.to_read.wrapping_add(2 * (1 + frame.len / 1024));
            }
            None
        }
        kind::PING if !frame.has(flag::ACK) => {
            work.sent = work.sent.wrapping_add(1);
            None
        }
        kind::RST_STREAM => match frame.first {
            code::REFUSED_STREAM => Some(Excess::Streams),
            code::PROTOCOL_ERROR | code::FLOW_CONTROL_ERROR | code::STREAM_CLOSED | code::FRAME_SIZE_ERROR => {
                Some(Excess::ProvokedResets)
            }
            _ => None,
        },
        _ => None,
    }
}

/// Takes one from its meter; false when nothing is left.
#[inline]
fn spend(meters: &mut [Meter; METERS], work: &Work, kind: Excess, resets: u32) -> bool {
    let meter = &mut meters[kind as usize];
    if meter.left == 0 {
        fill(meter, work, kind, resets);
    }
    let may = meter.left > 0;
    meter.left = meter.left.saturating_sub(1);
    may
}

/// Adds what the client has earned, and once in a period the budget.
#[cold]
fn fill(meter: &mut Meter, work: &Work, kind: Excess, resets: u32) {
    let done = done(work, kind);
    let most = if kind == Excess::Resets { resets } else { EARNED };
    meter.left = done.wrapping_sub(meter.paid).min(most);
    meter.paid = done;
    let now = clock::now();
    if now - meter.filled >= PERIOD {
        meter.left += budget(kind, resets);
        meter.filled = now;
    }
}

/// Frames of a kind in a period, whatever the client does beside.
fn budget(kind: Excess, resets: u32) -> u32 {
    match kind {
        Excess::Resets | Excess::ProvokedResets | Excess::Streams => resets,
        Excess::SmallData | Excess::EmptyHeaders => EMPTY,
        Excess::SmallWindowUpdate => DRIBBLED,
        _ => CONTROL,
    }
}

/// Frames of a kind that the client's work has earned.
fn done(work: &Work, kind: Excess) -> u32 {
    match kind {
        // Whoever has its answer and wants to send no more of its request resets the stream.
        Excess::Resets => work.answered,
        // gRPC measures by PINGs between messages, one at a time.
        Excess::Ping => work.sent,
        // One for the stream and one for the connection at the begin, and two for what is read.
        Excess::WindowUpdate => work.to_read.wrapping_add(work.asked.wrapping_mul(2)),
        // PRIORITY, and PRIORITY_UPDATE (RFC 9218) in its place, come with a request and when its rank changes.
        Excess::Priority | Excess::Unknown => work.asked.wrapping_mul(4),
        Excess::Continuation => work.asked,
        _ => 0,
    }
}
