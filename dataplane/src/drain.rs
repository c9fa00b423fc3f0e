//! The end of a worker's life: stop taking work, let what runs end, say when it has.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

/// One worker's drain state, shared by its listeners, connections and exchanges.
#[derive(Debug, Default)]
pub struct Drain {
    begun: Cell<bool>,
    active: Cell<usize>,
    changed: Notify,
}

impl Drain {
    /// Begins draining: everyone who waits in `begun` wakes up.
    pub fn begin(&self) {
        self.begun.set(true);
        self.changed.notify_waiters();
    }

    /// True once draining has begun.
    pub fn has_begun(&self) -> bool {
        self.begun.get()
    }

    /// Waits for draining to begin.
    pub async fn begun(&self) {
        self.until(|| self.begun.get()).await;
    }

    /// Waits until no guard is alive.
    pub async fn idle(&self) {
        self.until(|| self.active.get() == 0).await;
    }

    /// Exchanges in flight.
    pub fn active(&self) -> usize {
        self.active.get()
    }

    /// Counts an exchange as in flight until the guard is dropped.
    pub fn guard(self: &Rc<Self>) -> Guard {
        self.active.set(self.active.get() + 1);
        Guard { drain: Rc::clone(self) }
    }

    async fn until(&self, holds: impl Fn() -> bool) {
        loop {
            let changed = self.changed.notified();
            if holds() {
                return;
            }
            changed.await;
        }
    }
}

/// An exchange in flight.
#[derive(Debug)]
pub struct Guard {
    drain: Rc<Drain>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let left = self.drain.active.get() - 1;
        self.drain.active.set(left);
        if left == 0 && self.drain.begun.get() {
            self.drain.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn idle_waits_for_the_last_guard() {
        let drain = Rc::new(Drain::default());
        let guard = drain.guard();
        drain.begin();
        drain.begun().await;
        let idle = drain.idle();
        tokio::pin!(idle);
        assert!(tokio::select! { biased; () = &mut idle => false, () = std::future::ready(()) => true });
        drop(guard);
        idle.await;
        assert_eq!(drain.active(), 0);
    }
}
