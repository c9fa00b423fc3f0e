//! How much the peer of one HTTP/2 connection may send that nobody has taken yet.
//!
//! - A stream's window is [`STREAM`] at first, so a stalled reader holds no more than that. It doubles, for the whole
//!   connection by SETTINGS (the crate has no window of one stream), when a measurement says that it is what slows a
//!   stream down: between a PING and its answer the stream's reader took two thirds of it, as gRPC estimates the
//!   bandwidth-delay product. Bytes that a stalled reader leaves lying do not count.
//! - All streams of a connection may hold [`STALLED`] and no more: windows grow while few streams are open, and a
//!   connection whose windows have grown is given few. A stream's window never shrinks: the crate would not tell the peer
//!   when it may send again.
//! - The connection's window is [`CONNECTION`] at first and grows in the same way, plus what exchanges hold: what a
//!   stalled reader holds takes nothing from the others.
//! - What goes beyond the start is taken from one [`Budget`] of the process. Windows grow while half of it is left. What
//!   a client's streams hold is made up for while any is left: after that a client with stalled streams slows itself
//!   down, and when the process runs out of memory. Towards a server it is always made up for, since many callers share the connection; the number of requests in
//!   flight bounds it.

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Waker};

use bytes::Bytes;

use super::cork::Corked;
use super::keepalive::Keepalive;
use crate::pressure::{self, Step};

/// Bytes of a stream's window: 64 KiB is what Envoy advises at the edge and what HTTP/2 itself begins with, 1 MiB keeps
/// 100 Mbit/s busy over 80 ms.
const STREAM: RangeInclusive<u32> = 64 << 10..=1 << 20;
/// Bytes that the streams of one connection may hold: 128 at the window that they begin with, 8 at the largest.
const STALLED: u32 = 128 * *STREAM.start();
/// Bytes of a connection's window beside what is held: several streams at full speed.
const CONNECTION: RangeInclusive<u32> = 256 << 10..=4 << 20;
/// Intervals between measurements are this many times longer when windows prove large enough.
const MOST_PATIENCE: u32 = 16;
/// What windows are rounded up to, so that few updates are sent.
const STEP: u32 = 64 << 10;

/// A stream's window before anything is measured.
pub(super) const STREAM_WINDOW: u32 = *STREAM.start();
/// The connection's.
pub(super) const CONNECTION_WINDOW: u32 = *CONNECTION.start();
/// Overhead of small DATA frames that the crate buffers before it takes the peer for an attacker: it counts 256 bytes
/// less the frame's size for each. The window of a connection full of gRPC messages of 8 bytes stays below it.
pub(super) const FRAME_OVERHEAD: usize = CONNECTION_WINDOW as usize / 8 * 256;

/// Bytes of windows beyond their start, the whole process together. As many streams as `max_requests` allows by default
/// (1024) can stall at the window that they begin with.
pub(super) static BUDGET: Budget = Budget::new(1024 * STREAM_WINDOW as u64);

/// Bytes that may be promised to peers.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u64,
    taken: AtomicU64,
}

impl Budget {
    pub(super) const fn new(limit: u64) -> Self {
        Budget { limit, taken: AtomicU64::new(0) }
    }

    /// Takes `bytes` unless more than `limit` would then be taken.
    fn try_take(&self, bytes: u32, limit: u64) -> bool {
        let bytes = u64::from(bytes);
        if self.taken.fetch_add(bytes, Relaxed) + bytes <= limit {
            return true;
        }
        self.taken.fetch_sub(bytes, Relaxed);
        false
    }

    fn take(&self, bytes: u32) {
        self.taken.fetch_add(u64::from(bytes), Relaxed);
    }

    fn give(&self, bytes: u32) {
        self.taken.fetch_sub(u64::from(bytes), Relaxed);
    }
}

/// What the streams of a connection tell its driver.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Bytes that exchanges hold.
    held: Cell<u32>,
    /// Streams with content that is still read.
    readers: Cell<usize>,
    /// A stream's window.
    window: Cell<u32>,
    /// With so many held the driver wants to know.
    alarm: Cell<u32>,
    driver: RefCell<Option<Waker>>,
    /// Number of the round: from one measurement's end to the next one's begin, or a measurement.
    round: Cell<u32>,
    /// Bytes passed on in this round, by all streams and by the fastest.
    passed: Cell<u32>,
    fastest: Cell<u32>,
}

impl Ledger {
    /// Streams that may stall at the same time.
    pub(super) fn max_streams(&self) -> usize {
        (STALLED / self.window.get()) as usize
    }

    /// Streams with content that is still read.
    pub(super) fn readers(&self) -> usize {
        self.readers.get()
    }

    fn hold(&self, bytes: u32) {
        let held = self.held.get() + bytes;
        self.held.set(held);
        if held > self.alarm.get() {
            self.alarm.set(u32::MAX);
            if let Some(driver) = self.driver.borrow_mut().take() {
                driver.wake();
            }
        }
    }

    fn begin_round(&self) {
        self.round.set(self.round.get().wrapping_add(1));
        self.passed.set(0);
        self.fastest.set(0);
    }

    fn watch(&self, cx: &Context<'_>) {
        let mut driver = self.driver.borrow_mut();
        if !driver.as_ref().is_some_and(|driver| driver.will_wake(cx.waker())) {
            *driver = Some(cx.waker().clone());
        }
    }
}

/// One stream's part of the ledger.
#[derive(Debug)]
pub(super) struct Account {
    ledger: Rc<Ledger>,
    held: u32,
    round: u32,
    passed: u32,
}

impl Account {
    pub(super) fn new(ledger: &Rc<Ledger>) -> Self {
        ledger.readers.set(ledger.readers.get() + 1);
        Account { ledger: Rc::clone(ledger), held: 0, round: 0, passed: 0 }
    }

    /// Content has come.
    pub(super) fn hold(&mut self, data: &Bytes) {
        // No window is larger than 2 GiB.
        let bytes = data.len() as u32;
        self.held += bytes;
        self.ledger.hold(bytes);
    }

    /// It was passed on.
    pub(super) fn release(&mut self, bytes: u32) {
        let ledger = &self.ledger;
        self.held -= bytes;
        ledger.held.set(ledger.held.get() - bytes);
        if self.round != ledger.round.get() {
            (self.round, self.passed) = (ledger.round.get(), 0);
        }
        self.passed += bytes;
        ledger.passed.set(ledger.passed.get().saturating_add(bytes));
        ledger.fastest.set(ledger.fastest.get().max(self.passed));
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.ledger.held.set(self.ledger.held.get() - self.held);
        self.ledger.readers.set(self.ledger.readers.get() - 1);
    }
}

/// The crate's two connections, as far as their windows are concerned.
pub(super) trait Windows {
    /// What the peer may have under way on all streams, read or not.
    fn set_connection(&mut self, bytes: u32);
    /// What it may have under way on each; false while an earlier change is not acknowledged.
    fn set_streams(&mut self, bytes: u32) -> bool;
}

impl Windows for h2::client::Connection<Corked, Bytes> {
    fn set_connection(&mut self, bytes: u32) {
        self.set_target_window_size(bytes);
    }

    fn set_streams(&mut self, bytes: u32) -> bool {
        self.set_initial_window_size(bytes).is_ok()
    }
}

impl Windows for h2::server::Connection<Corked, Bytes> {
    fn set_connection(&mut self, bytes: u32) {
        self.set_target_window_size(bytes);
    }

    fn set_streams(&mut self, bytes: u32) -> bool {
        self.set_initial_window_size(bytes).is_ok()
    }
}

/// The windows of one connection.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) ledger: Rc<Ledger>,
    budget: &'static Budget,
    /// Made up for whatever the budget says.
    is_shared: bool,
    /// A stream's window as the peer was told last.
    announced: u32,
    /// What of the connection's window is free when nothing is held, and what is added for what is held.
    free: u32,
    cover: u32,
    is_measuring: bool,
    patience: u32,
}

impl Flow {
    /// Of a connection that many callers share, or of one client's.
    pub(super) fn new(budget: &'static Budget, is_shared: bool) -> Self {
        let flow = Flow {
            ledger: Rc::default(),
            budget,
            is_shared,
            announced: STREAM_WINDOW,
            free: CONNECTION_WINDOW,
            cover: 0,
            is_measuring: false,
            patience: 1,
        };
        flow.ledger.window.set(STREAM_WINDOW);
        flow.set_alarm();
        flow
    }

    /// Brings the windows up to date; to be called at each poll of the connection, before it is polled itself. `open`
    /// streams may have content.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut impl Windows,
        keepalive: Option<&mut Keepalive>,
        open: usize,
    ) {
        self.ledger.watch(cx);
        if let Some(keepalive) = keepalive {
            self.measure(cx, connection, keepalive, open);
        }
        self.make_up(connection);
        let window = self.ledger.window.get();
        if self.announced != window && connection.set_streams(window) {
            self.announced = window;
        }
    }

    fn measure(&mut self, cx: &mut Context<'_>, connection: &mut impl Windows, keepalive: &mut Keepalive, open: usize) {
        let (passed, fastest) = (self.ledger.passed.get(), self.ledger.fastest.get());
        if self.is_measuring {
            if keepalive.take_answer() {
                self.is_measuring = false;
                self.judge(connection, open, passed, fastest);
                self.ledger.begin_round();
            }
            return;
        }
        let is_due = fastest / self.patience >= self.ledger.window.get() / 2 || passed / self.patience >= self.free / 2;
        if is_due && self.could_grow(open) && keepalive.ask_now(cx) {
            self.is_measuring = true;
            self.ledger.begin_round();
        }
    }

    fn could_grow(&self, open: usize) -> bool {
        pressure::step() == Step::Calm && (self.streams_could_grow(open) || self.free < *CONNECTION.end())
    }

    fn streams_could_grow(&self, open: usize) -> bool {
        self.ledger.window.get() < *STREAM.end() && 2 * open <= self.ledger.max_streams()
    }

    /// Lets a window grow of which two thirds were used in one round trip.
    fn judge(&mut self, connection: &mut impl Windows, open: usize, passed: u32, fastest: u32) {
        let is_short = |window: u32, used: u32| used >= window / 3 * 2;
        let window = self.ledger.window.get();
        let before = (window, self.free);
        if is_short(self.free, passed)
            && self.free < *CONNECTION.end()
            && self.budget.try_take(self.free, self.budget.limit / 2)
        {
            self.free *= 2;
            self.announce(connection);
        }
        // The connection's window has been paid for, and what a stream holds is paid for when it does.
        if is_short(window, fastest)
            && self.streams_could_grow(open)
            && self.budget.taken.load(Relaxed) <= self.budget.limit / 2
        {
            self.ledger.window.set(2 * window);
        }
        self.patience = match before == (self.ledger.window.get(), self.free) {
            true => (self.patience * 2).min(MOST_PATIENCE),
            false => 1,
        };
    }

    /// Adds to the connection's window what is held of it, in large steps.
    fn make_up(&mut self, connection: &mut impl Windows) {
        let held = self.ledger.held.get();
        if held > self.cover + self.free / 4 {
            let more = (held - self.cover).next_multiple_of(STEP);
            if self.is_shared {
                self.budget.take(more);
            } else if pressure::step() >= Step::Sparing || !self.budget.try_take(more, self.budget.limit) {
                return;
            }
            self.cover += more;
        } else if self.cover > held + self.free {
            let less = (self.cover - held) / STEP * STEP;
            self.budget.give(less);
            self.cover -= less;
        } else {
            // What had raised the alarm may have been passed on since.
            self.set_alarm();
            return;
        }
        self.announce(connection);
    }

    fn announce(&self, connection: &mut impl Windows) {
        connection.set_connection(self.free + self.cover);
        self.set_alarm();
    }

    fn set_alarm(&self) {
        self.ledger.alarm.set(self.cover + self.free / 4);
    }

    /// Gives back what was taken, for a connection without streams.
    pub(super) fn rest(&mut self, connection: &mut impl Windows) {
        self.budget.give(self.taken());
        (self.free, self.cover, self.patience) = (CONNECTION_WINDOW, 0, 1);
        self.announce(connection);
    }

    fn taken(&self) -> u32 {
        self.free - CONNECTION_WINDOW + self.cover
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.budget.give(self.taken());
    }
}
