//! Content that stands still: whoever began to send it, or to take it, has gone on to something else or wants to hold
//! us up.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::pump::Pump;
use crate::clock::{self, Sleep};

/// Bytes a second that a reader takes at least. Windows of one byte that are opened again and again make less of it
/// than this: a connection may not open them more often. A quarter of what Kestrel asks of a reader
/// (MinResponseDataRate), since one that is at work on what it has read takes nothing for a while.
pub const LEAST: u64 = 64;

/// Watches one message's content. The timer is made when it first has to be waited for, and moved on only when it
/// fires, so that content that flows pays for neither: what stands still is noticed after once to twice the patience.
#[derive(Debug)]
pub struct Stall {
    patience: Duration,
    /// Fewer bytes in that time are none.
    least: u64,
    /// The sender waits for our word before its first byte.
    is_asked_first: bool,
    /// How much had come when the timer was set.
    seen: u64,
    /// Since then there was a time when nobody was waited for.
    has_rested: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    /// Of a sender. Nothing is waited for yet.
    pub fn new(patience: Duration, is_asked_first: bool) -> Self {
        Stall { patience, least: 1, is_asked_first, seen: 0, has_rested: false, timer: None }
    }

    /// Of a reader, who takes what it is sent at [`LEAST`] at that pace.
    pub fn of_reader(patience: Duration) -> Self {
        let least = (u128::from(LEAST) * patience.as_millis() / 1000).max(1);
        Stall { least: u64::try_from(least).unwrap_or(u64::MAX), ..Stall::new(patience, false) }
    }

    /// Called after content could not be moved on: ready when it is its reader who took next to none for too long.
    pub fn poll_reader(&mut self, cx: &mut Context<'_>, content: &Pump) -> Poll<()> {
        if content.waits_for_body() {
            self.has_rested = true;
            return Poll::Pending;
        }
        self.poll(cx, content.moved())
    }

    /// Called while more is waited for; `taken` bytes have come. Ready when none came for too long.
    pub fn poll(&mut self, cx: &mut Context<'_>, taken: u64) -> Poll<()> {
        if self.is_asked_first && taken == 0 {
            return Poll::Pending;
        }
        loop {
            let timer = self.timer.get_or_insert_with(|| {
                (self.seen, self.has_rested) = (taken, false);
                Box::pin(clock::sleep(self.patience))
            });
            ready!(timer.as_mut().poll(cx));
            if taken - self.seen < self.least && !self.has_rested {
                return Poll::Ready(());
            }
            (self.seen, self.has_rested) = (taken, false);
            timer.as_mut().reset(clock::now() + self.patience);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn what_stands_still_is_noticed_and_what_drips_is_not() {
        let mut stall = Stall::new(PATIENCE, false);
        let taken = Cell::new(0);
        let before = clock::now();
        tokio::select! {
            () = poll_fn(|cx| stall.poll(cx, taken.get())) => {}
            () = async {
                for _ in 0..10 {
                    clock::sleep(PATIENCE / 2).await;
                    taken.set(taken.get() + 1);
                }
                std::future::pending().await
            } => {}
        }
        let stood = clock::now() - before - PATIENCE / 2 * 10;
        assert!((PATIENCE / 2..=PATIENCE * 2).contains(&stood), "{stood:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_next_to_nothing_is_noticed_and_one_that_is_not_waited_for_is_not() {
        let mut stall = Stall::of_reader(PATIENCE);
        let taken = Cell::new(0);
        let before = clock::now();
        // Nearly at the pace, and waited for all the time.
        tokio::select! {
            () = poll_fn(|cx| stall.poll(cx, taken.get())) => {}
            () = async {
                loop {
                    clock::sleep(Duration::from_secs(1)).await;
                    taken.set(taken.get() + LEAST - 1);
                }
            } => {}
        }
        assert!(clock::now() - before <= PATIENCE * 2);

        let mut stall = Stall::of_reader(PATIENCE);
        for _ in 0..10 {
            stall.has_rested = true;
            let waited = tokio::time::timeout(PATIENCE / 2, poll_fn(|cx| stall.poll(cx, 0))).await;
            assert!(waited.is_err());
            clock::sleep(PATIENCE * 2).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_word_of_ours_does_not_stand_still() {
        let mut stall = Stall::new(PATIENCE, true);
        let waited = tokio::time::timeout(PATIENCE * 3, poll_fn(|cx| stall.poll(cx, 0))).await;
        assert!(waited.is_err());
        poll_fn(|cx| stall.poll(cx, 1)).await;
    }
}
