//! Content that stands still: whoever began to send it has gone on to something else, or wants to hold us up.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::clock::{self, Sleep};

/// Watches one message's content. The timer is made when it first has to be waited for, and moved on only when it fires,
/// so that content that flows pays for neither: what stands still is noticed after once to twice the patience.
#[derive(Debug)]
pub struct Stall {
    patience: Duration,
    /// The sender waits for our word before its first byte.
    is_asked_first: bool,
    /// How much had come when the timer was set.
    seen: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    /// Nothing is waited for yet.
    pub fn new(patience: Duration, is_asked_first: bool) -> Self {
        Stall { patience, is_asked_first, seen: 0, timer: None }
    }

    /// Called while more is waited for; `taken` bytes have come. Ready when none came for too long.
    pub fn poll(&mut self, cx: &mut Context<'_>, taken: u64) -> Poll<()> {
        if self.is_asked_first && taken == 0 {
            return Poll::Pending;
        }
        loop {
            let timer = self.timer.get_or_insert_with(|| {
                self.seen = taken;
                Box::pin(clock::sleep(self.patience))
            });
            ready!(timer.as_mut().poll(cx));
            if self.seen == taken {
                return Poll::Ready(());
            }
            self.seen = taken;
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
    async fn who_waits_for_a_word_of_ours_does_not_stand_still() {
        let mut stall = Stall::new(PATIENCE, true);
        let waited = tokio::time::timeout(PATIENCE * 3, poll_fn(|cx| stall.poll(cx, 0))).await;
        assert!(waited.is_err());
        poll_fn(|cx| stall.poll(cx, 1)).await;
    }
}
