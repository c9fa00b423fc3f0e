//! Nobody waits longer than the caller and the deadline do.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::request::Parts;

use super::Call;
use crate::clock;
use crate::error::{Error, Reason};
use crate::verdict::Verdict;

impl Call {
    /// Waits for `work` no longer than the caller and the deadline do.
    pub(super) async fn patiently<F: Future + Unpin>(
        &mut self,
        mut work: F,
        parts: &Parts,
    ) -> Result<F::Output, Error> {
        std::future::poll_fn(|cx| match Pin::new(&mut work).poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => {
                self.upload.gather(cx);
                self.poll_patience(cx, parts).map(Err)
            }
        })
        .await
    }

    /// Ready when the caller is gone, the time of one try is over, or as `poll_end`.
    pub(super) fn poll_patience(&mut self, cx: &mut Context<'_>, parts: &Parts) -> Poll<Error> {
        if let Poll::Ready(error) = self.responder.poll_reset(cx) {
            return Poll::Ready(Error::new(Reason::DownstreamReset).because(error));
        }
        if let Some(timer) = &mut self.try_timer
            && timer.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Error::new(Reason::TryTimeout));
        }
        self.poll_end(cx, parts)
    }

    /// Ready when the deadline is over, the caller may not go on, or its content cannot be held any longer.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>, parts: &Parts) -> Poll<Error> {
        if self.upload.poll_held(cx).is_ready() {
            return Poll::Ready(Error::new(Reason::Overloaded));
        }
        match self.leave.as_mut().map(|leave| leave.poll(cx, Some(parts))) {
            Some(Poll::Ready(error)) => Poll::Ready(error),
            _ => self.deadline.poll(cx),
        }
    }

    /// Waits before the next try.
    pub(super) async fn pause(&mut self, wait: Duration, parts: &Parts) -> Result<(), Error> {
        self.try_timer = None;
        match wait.is_zero() {
            true => Ok(()),
            false => self.patiently(Box::pin(clock::sleep(wait)), parts).await,
        }
    }

    /// Of an attempt that ended before there was an answer. A caller that gives up when its time is over says what the
    /// deadline would have said a moment later.
    pub(super) fn blame(&self, error: &Error) -> Verdict {
        match error.reason {
            Reason::DownstreamReset if self.deadline.is_as_good_as_over() => Verdict::GatewayError,
            _ => Verdict::of(error),
        }
    }
}
