//! The content of a request on its way to `hyper`: handed over piece by piece, so that a slow server stops the sender.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;

use crate::http::body::StreamError;

/// Where one piece of a request's content, and its trailers, wait until hyper takes them.
#[derive(Default)]
pub(super) struct Slot {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
    /// Content that `Content-Length` still asks for.
    pub(super) left: Option<u64>,
    /// Nothing follows what stands here.
    pub(super) ended: bool,
    broken_off: bool,
    /// hyper no longer wants content.
    gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the content: it is what people send.
        f.debug_struct("Slot")
            .field("ended", &self.ended)
            .field("broken_off", &self.broken_off)
            .finish_non_exhaustive()
    }
}

impl Slot {
    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn break_off(&mut self) {
        if !self.ended {
            self.broken_off = true;
            self.data = None;
            self.wake_reader();
        }
    }
}

/// The content of a request. Dropping it before the end breaks the connection off.
#[derive(Debug)]
pub struct Outgoing(pub(super) Rc<RefCell<Slot>>);

fn not_wanted() -> StreamError {
    StreamError::Closed("the endpoint takes no more content".into())
}

impl Outgoing {
    /// Waits until the piece before was written. All of `wanted` may then be sent.
    pub fn poll_capacity(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Result<usize, StreamError>> {
        let mut slot = self.0.borrow_mut();
        if slot.gone || slot.broken_off {
            return Poll::Ready(Err(not_wanted()));
        }
        if slot.data.is_none() {
            return Poll::Ready(Ok(wanted));
        }
        slot.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Takes content to send; `end` closes the message. `Content-Length` is kept to.
    pub fn send_data(&mut self, data: Bytes, end: bool) -> Result<(), StreamError> {
        let mut slot = self.0.borrow_mut();
        if slot.gone || slot.broken_off {
            return Err(not_wanted());
        }
        let left = slot.left.map(|left| left.checked_sub(data.len() as u64));
        match left {
            Some(None) => {
                slot.break_off();
                return Err(StreamError::Malformed(
                    "there is more content than Content-Length says".into(),
                ));
            }
            Some(Some(1..)) if end => {
                slot.break_off();
                return Err(StreamError::Malformed(
                    "there is less content than Content-Length says".into(),
                ));
            }
            Some(left) => slot.left = left,
            None => {}
        }
        slot.ended = end;
        if !data.is_empty() {
            slot.data = Some(data);
        }
        slot.wake_reader();
        Ok(())
    }

    /// Closes the message with trailers. A message with a length has no place for them: they are dropped.
    pub fn send_trailers(&mut self, trailers: HeaderMap) -> Result<(), StreamError> {
        let mut slot = self.0.borrow_mut();
        if slot.gone || slot.broken_off {
            return Err(not_wanted());
        }
        if matches!(slot.left, Some(1..)) {
            slot.break_off();
            return Err(StreamError::Malformed(
                "there is less content than Content-Length says".into(),
            ));
        }
        slot.ended = true;
        slot.trailers = slot.left.is_none().then_some(trailers);
        slot.wake_reader();
        Ok(())
    }

    /// Breaks the connection off, so that the server cannot take the request for a complete one.
    pub fn reset(&mut self) {
        self.0.borrow_mut().break_off();
    }

    /// Ready when the endpoint wants no more content: it answered early, or the connection is gone.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        let mut slot = self.0.borrow_mut();
        if slot.gone && !slot.ended {
            return Poll::Ready(not_wanted());
        }
        slot.writer = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.0.borrow_mut().break_off();
    }
}

/// What hyper reads of an [`Outgoing`].
#[derive(Debug)]
pub(super) struct Content(pub(super) Rc<RefCell<Slot>>);

impl http_body::Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, io::Error>>> {
        let mut slot = self.0.borrow_mut();
        if slot.broken_off {
            return Poll::Ready(Some(Err(io::Error::other("the request was broken off"))));
        }
        if let Some(data) = slot.data.take() {
            if let Some(writer) = slot.writer.take() {
                writer.wake();
            }
            return Poll::Ready(Some(Ok(http_body::Frame::data(data))));
        }
        if let Some(trailers) = slot.trailers.take() {
            return Poll::Ready(Some(Ok(http_body::Frame::trailers(trailers))));
        }
        if slot.ended {
            return Poll::Ready(None);
        }
        slot.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        let slot = self.0.borrow();
        slot.ended && slot.data.is_none() && slot.trailers.is_none() && !slot.broken_off
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        let mut slot = self.0.borrow_mut();
        slot.gone = true;
        if let Some(writer) = slot.writer.take() {
            writer.wake();
        }
    }
}
