//! Moves one message's content from a body to a sink, at the speed of the slower.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;

use super::body::{Body, Frame, Sink, StreamError};
use super::grpc;
use crate::error::{Error, Reason};

/// Content under way in one direction.
#[derive(Debug)]
pub struct Pump {
    /// Where it comes from.
    pub body: Body,
    /// Where it goes.
    pub sink: Sink,
    /// Taken from the body, or given to be sent again, and not yet taken by the sink.
    held: VecDeque<Bytes>,
    /// Bytes taken from the body whose room has not been released yet.
    owed: usize,
    /// Everything was handed to the sink.
    done: bool,
    /// And none of it is still held there.
    is_flushed: bool,
    moved: u64,
    /// Bytes taken from the body.
    taken: u64,
    /// Most that may be taken from it.
    most: u64,
}

/// Which end broke.
#[derive(Debug)]
pub enum Broken {
    /// The body ended before its end.
    Body(StreamError),
    /// The sink takes no more.
    Sink(StreamError),
    /// The body holds more than is allowed; none of what is too much was sent.
    TooLarge,
}

impl Pump {
    /// Nothing has moved yet. A body that is known to be empty is taken as sent with its head.
    pub fn new(body: Body, sink: Sink) -> Self {
        let done = matches!(body, Body::Empty);
        Pump {
            body,
            sink,
            held: VecDeque::new(),
            owed: 0,
            done,
            is_flushed: done,
            moved: 0,
            taken: 0,
            most: u64::MAX,
        }
    }

    /// Takes no more than so many bytes from the body.
    pub fn bound(&mut self, most: u64) {
        self.most = most;
    }

    /// Content that was taken from the body before, to be sent first.
    pub fn ahead(&mut self, data: Bytes) {
        self.taken += data.len() as u64;
        self.owed += data.len();
        self.held.push_back(data);
    }

    /// Starts over towards another sink: `again` is sent before what the body still has.
    pub fn restart(&mut self, sink: Sink, again: impl Iterator<Item = Bytes>) {
        self.sink = sink;
        self.held = again.collect();
        self.done = matches!(self.body, Body::Empty);
        self.is_flushed = self.done;
        self.moved = 0;
    }

    /// True when everything, trailers too, has left: whoever drops a sink before loses what its codec still holds.
    pub fn is_done(&self) -> bool {
        self.is_flushed
    }

    /// True when the sink has no room for what came last.
    pub fn is_stalled(&self) -> bool {
        !self.held.is_empty()
    }

    /// True when content has come that the sink has not taken.
    pub fn holds(&self) -> bool {
        self.is_stalled() || self.body.holds()
    }

    /// Bytes of content handed to the sink.
    pub fn moved(&self) -> u64 {
        self.moved
    }

    /// Bytes of content taken from the body.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// True when it is the body that has to go on.
    pub fn waits_for_body(&self) -> bool {
        !self.done && self.held.is_empty()
    }

    /// Moves what can be moved; ready when all is, or an end broke. `observe` sees each piece before it is sent.
    pub fn poll(&mut self, cx: &mut Context<'_>, observe: &mut impl Observe) -> Poll<Result<(), Broken>> {
        while !self.done {
            let data = match self.held.pop_front() {
                Some(data) => data,
                None => match self.body.poll_frame(cx) {
                    Poll::Pending => {
                        // While nothing comes, what the sink's codec holds must not wait.
                        let _flushing = self.sink.poll_flush(cx).map_err(Broken::Sink)?;
                        return Poll::Pending;
                    }
                    Poll::Ready(Some(Ok(Frame::Data(data)))) => self.take(data, observe)?,
                    Poll::Ready(Some(Ok(Frame::Trailers(mut trailers)))) => {
                        observe.trailers(&mut trailers);
                        self.sink.send_trailers(trailers).map_err(Broken::Sink)?;
                        self.done = true;
                        continue;
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(Broken::Body(error))),
                    Poll::Ready(None) => {
                        self.sink.send_data(Bytes::new(), true).map_err(Broken::Sink)?;
                        self.done = true;
                        continue;
                    }
                },
            };
            let Poll::Ready(sent) = self.send(cx, data) else {
                self.body.gather(cx);
                return Poll::Pending;
            };
            sent.map_err(Broken::Sink)?;
        }
        ready!(self.sink.poll_flush(cx)).map_err(Broken::Sink)?;
        self.is_flushed = true;
        Poll::Ready(Ok(()))
    }

    /// Counts what the body gave.
    fn take(&mut self, data: Bytes, observe: &mut impl Observe) -> Result<Bytes, Broken> {
        self.taken += data.len() as u64;
        if self.taken > self.most {
            return Err(Broken::TooLarge);
        }
        observe.data(&data);
        self.owed += data.len();
        Ok(data)
    }

    /// Sends all of `data`; when the sink has no room the rest is held, and the sink wakes us.
    fn send(&mut self, cx: &mut Context<'_>, mut data: Bytes) -> Poll<Result<(), StreamError>> {
        while !data.is_empty() {
            let Poll::Ready(room) = self.sink.poll_capacity(cx, data.len()) else {
                self.held.push_front(data);
                return Poll::Pending;
            };
            let piece = data.split_to(room?.min(data.len()));
            let sent = piece.len();
            self.done = data.is_empty() && self.held.is_empty() && self.body.is_end();
            self.sink.send_data(piece, self.done)?;
            self.moved += sent as u64;
            let released = sent.min(self.owed);
            self.body.release(released);
            self.owed -= released;
        }
        Poll::Ready(Ok(()))
    }
}

impl From<Broken> for Error {
    /// For a response on its way to the caller.
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Sink(StreamError::Cut) => Error::new(Reason::UpstreamProtocol).because(StreamError::Cut),
            Broken::Sink(error) => Error::new(Reason::DownstreamReset).because(error),
            Broken::TooLarge => Error::new(Reason::BodyTooLarge),
            Broken::Body(StreamError::Malformed(words)) => Error::new(Reason::UpstreamProtocol).because(words),
            Broken::Body(StreamError::Reset(code)) => grpc::reset(code).because(StreamError::Reset(code)),
            Broken::Body(error) => Error::new(Reason::UpstreamReset).because(error),
        }
    }
}

/// Sends content that is there as a whole, and with it ends the message.
pub async fn send_whole(sink: &mut Sink, mut data: Bytes) -> Result<(), StreamError> {
    let mut is_sent = false;
    std::future::poll_fn(|cx| {
        while !is_sent {
            let room = ready!(sink.poll_capacity(cx, data.len()))?;
            let piece = data.split_to(room.min(data.len()));
            is_sent = data.is_empty();
            sink.send_data(piece, is_sent)?;
        }
        sink.poll_flush(cx)
    })
    .await
}

/// Sees the content on its way.
pub trait Observe {
    /// A piece of content is about to be sent.
    fn data(&mut self, _data: &Bytes) {}
    /// The trailers are about to be sent, as this leaves them.
    fn trailers(&mut self, _trailers: &mut HeaderMap) {}
}
