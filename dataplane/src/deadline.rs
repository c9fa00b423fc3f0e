//! How long an exchange may take.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::clock::{self, Instant, Sleep};
use crate::error::{Error, Reason};

/// When the exchange must be over: the route's timeout or the caller's, whichever is earlier.
#[derive(Debug, Default)]
pub struct Deadline {
    at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// The shorter of the two.
    pub fn new(timeout: Option<Duration>, asked: Option<Duration>) -> Self {
        let shortest = match (timeout, asked) {
            (Some(timeout), Some(asked)) => Some(timeout.min(asked)),
            (timeout, asked) => timeout.or(asked),
        };
        let at = shortest.map(|shortest| clock::now() + shortest);
        Deadline { at, timer: None }
    }

    /// The time that is left; `None`: no limit.
    pub fn left(&self) -> Option<Duration> {
        self.at.map(|at| at.saturating_duration_since(clock::now()))
    }

    /// An endpoint knows the deadline too: when it breaks off at that time, the time is why.
    pub fn explain(&self, error: Error) -> Error {
        match error.reason {
            Reason::UpstreamReset if self.left().is_some_and(|left| left.is_zero()) => Error::new(Reason::Timeout),
            _ => error,
        }
    }

    /// Ready when it is over.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let Some(at) = self.at else {
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(clock::sleep_until(at)));
        timer.as_mut().poll(cx).map(|()| Error::new(Reason::Timeout))
    }
}
