//! What the handles of one downstream connection share: the socket, its buffers, and how far the exchange is.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::chunked::{Decoder, Step};
use super::head::{Framing, Head, HeadLimits};
use super::reply::Reply;
use crate::http::body::{Frame, StreamError};
use crate::net::{self, Io};

/// Bytes of one read while a head is expected. They land on the stack first, so that a connection that waits owns no
/// buffer.
const HEAD_READ: usize = 8 * 1024;

/// Bytes of one read of content: four HTTP/2 frames of default size, so that a large body costs few system calls.
const CONTENT_READ: usize = 64 * 1024;

/// Free space below which a new buffer is taken for content.
const CONTENT_SPACE: usize = 4 * 1024;

/// Bytes of later requests that are read while a client's disconnect is watched for.
const READ_AHEAD: usize = HEAD_READ;

/// Bytes up to which content is copied behind the head instead of handed to the kernel apart: one short copy is cheaper
/// than one more buffer.
const COPIED: usize = 4 * 1024;

/// Bytes of a response that may wait for a slow client before its sender is stopped.
const OUTPUT_BOUND: usize = 64 * 1024;

/// Buffers of one vectored write.
const SLICES: usize = 16;

/// The content of the current request, as far as it is not yet read.
#[derive(Debug)]
pub(super) enum Content {
    Length(u64),
    Chunked(Decoder),
    Failed(StreamError),
}

pub(super) const NO_CONTENT: Content = Content::Length(0);

/// One connection.
pub(super) struct Wire {
    /// Gone after the connection was broken off.
    io: Option<Io>,
    pub(super) input: BytesMut,
    pub(super) output: Output,
    /// The number of the current exchange; a handle of an earlier one finds nothing here.
    pub(super) exchange: u64,
    pub(super) content: Content,
    pub(super) reply: Reply,
    /// Serve another request after this one.
    pub(super) persistent: bool,
    /// The client takes trailers.
    pub(super) takes_trailers: bool,
    /// The client waits for 100 before it sends content.
    pub(super) expects_continue: bool,
    /// The request was HEAD.
    pub(super) is_head: bool,
    /// The client speaks HTTP/1.1, so it knows the chunked coding.
    pub(super) knows_chunked: bool,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the buffers: they hold what people send.
        f.debug_struct("Wire")
            .field("exchange", &self.exchange)
            .field("reply", &self.reply)
            .finish_non_exhaustive()
    }
}

pub(super) fn closed(error: &io::Error) -> StreamError {
    StreamError::Closed(error.to_string().into())
}

pub(super) fn gone() -> StreamError {
    StreamError::Closed("the client disconnected".into())
}

impl Wire {
    pub(super) fn new(io: Io) -> Self {
        Wire {
            io: Some(io),
            input: BytesMut::new(),
            output: Output::default(),
            exchange: 0,
            content: NO_CONTENT,
            reply: Reply::Done,
            persistent: true,
            takes_trailers: false,
            expects_continue: false,
            is_head: false,
            knows_chunked: true,
        }
    }

    /// Starts the exchange of a request.
    pub(super) fn begin(&mut self, head: &Head, limits: HeadLimits) {
        self.exchange += 1;
        self.content = match head.framing {
            Framing::Nothing => NO_CONTENT,
            Framing::Length(length) => Content::Length(length),
            Framing::Chunked => Content::Chunked(Decoder::new(limits)),
        };
        self.reply = Reply::Waiting;
        self.persistent &= head.persistent;
        self.takes_trailers = head.takes_trailers;
        self.expects_continue = head.expects_continue;
        self.is_head = head.request.method() == http::Method::HEAD;
        self.knows_chunked = head.request.version() == http::Version::HTTP_11;
    }

    /// True when the current request is read to its end.
    pub(super) fn is_content_end(&self) -> bool {
        match &self.content {
            Content::Length(left) => *left == 0,
            Content::Chunked(decoder) => decoder.is_end(),
            Content::Failed(_) => false,
        }
    }

    /// The next frame of the current request's content.
    pub(super) fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        loop {
            match self.take_content() {
                Ok(Step::Data(data)) => return Poll::Ready(Some(Ok(Frame::Data(data)))),
                Ok(Step::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::Trailers(trailers)))),
                Ok(Step::End) => return Poll::Ready(None),
                Ok(Step::More) => {}
                Err(error) => return Poll::Ready(Some(Err(self.fail(error)))),
            }
            self.poll_continue(cx);
            match ready!(self.poll_read_content(cx)) {
                Ok(0) => {
                    let error = StreamError::Closed("the client disconnected inside its request".into());
                    return Poll::Ready(Some(Err(self.fail(error))));
                }
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(self.fail(closed(&error))))),
            }
        }
    }

    fn take_content(&mut self) -> Result<Step, StreamError> {
        match &mut self.content {
            Content::Length(0) => Ok(Step::End),
            Content::Length(_) if self.input.is_empty() => Ok(Step::More),
            Content::Length(left) => {
                let n = self.input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= n as u64;
                Ok(Step::Data(self.input.split_to(n).freeze()))
            }
            Content::Chunked(decoder) => decoder
                .step(&mut self.input)
                .map_err(|malformed| StreamError::Malformed(malformed.0.into())),
            Content::Failed(error) => Err(error.clone()),
        }
    }

    fn fail(&mut self, error: StreamError) -> StreamError {
        self.content = Content::Failed(error.clone());
        self.persistent = false;
        error
    }

    /// Tells a client that waits for it to send its content, unless the answer has already begun.
    fn poll_continue(&mut self, cx: &mut Context<'_>) {
        if !matches!(self.reply, Reply::Waiting) {
            return;
        }
        if std::mem::take(&mut self.expects_continue) {
            self.output.tail.put_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        if !self.output.is_empty() {
            // An error shows again at the read that follows.
            let _ = self.poll_flush(cx);
        }
    }

    fn poll_read_content(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(io) = &mut self.io else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if self.input.capacity() - self.input.len() < CONTENT_SPACE {
            let wanted = match self.content {
                Content::Length(left) => usize::try_from(left)
                    .unwrap_or(usize::MAX)
                    .clamp(CONTENT_SPACE, CONTENT_READ),
                _ => CONTENT_READ / 4,
            };
            self.input.reserve(wanted);
        }
        // The future keeps no state between polls.
        pin!(io.read_buf(&mut self.input)).poll(cx)
    }

    /// Reads what stands in the socket while a head is expected.
    pub(super) fn poll_read_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(io) = &mut self.io else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let mut space = [const { MaybeUninit::uninit() }; HEAD_READ];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(Pin::new(io).poll_read(cx, &mut read))?;
        self.input.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }

    /// Gives the buffers' memory back while nothing is going on.
    pub(super) fn rest(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        if self.output.is_empty() {
            self.output = Output::default();
        }
    }

    /// Ready when the client has gone. A client that closed only its sending half counts as gone, as with nginx and
    /// Envoy: over TCP the two look the same until bytes are sent.
    ///
    /// Watched for once the request is read whole: before, whoever reads the content finds out.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        if self.io.is_none() {
            return Poll::Ready(gone());
        }
        while self.is_content_end() && self.input.len() < READ_AHEAD {
            match ready!(self.poll_read_head(cx)) {
                Ok(0) => {
                    self.persistent = false;
                    return Poll::Ready(gone());
                }
                Ok(_) => {}
                Err(error) => {
                    self.persistent = false;
                    return Poll::Ready(closed(&error));
                }
            }
        }
        Poll::Pending
    }

    /// Waits until the client has taken enough of what was written.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        if self.output.len() >= OUTPUT_BOUND {
            let flushed = self.poll_flush(cx)?;
            if flushed.is_pending() && self.output.len() >= OUTPUT_BOUND {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes until nothing is left.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        let Some(io) = &mut self.io else {
            return Poll::Ready(Err(gone()));
        };
        self.output.poll_write(io, cx).map_err(|error| closed(&error))
    }

    /// Closes at once with RST, so that the client cannot take what it got for a complete message.
    pub(super) fn abort(&mut self) {
        self.persistent = false;
        if let Some(io) = self.io.take() {
            // Where it fails the socket is already broken.
            let _ = net::abort_on_close(io.tcp());
        }
    }

    /// Takes the socket away to close it.
    pub(super) fn take_io(&mut self) -> Option<Io> {
        self.persistent = false;
        self.io.take()
    }
}

/// Bytes on their way to the client, in order: whole buffers, then one that small pieces are copied into.
#[derive(Default)]
pub(super) struct Output {
    whole: VecDeque<Bytes>,
    whole_len: usize,
    pub(super) tail: BytesMut,
}

impl Output {
    pub(super) fn len(&self) -> usize {
        self.whole_len + self.tail.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn push(&mut self, bytes: Bytes) {
        if bytes.len() <= COPIED {
            self.tail.put_slice(&bytes);
            return;
        }
        if !self.tail.is_empty() {
            let tail = self.tail.split().freeze();
            self.whole_len += tail.len();
            self.whole.push_back(tail);
        }
        self.whole_len += bytes.len();
        self.whole.push_back(bytes);
    }

    fn poll_write(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let n = if self.whole.is_empty() {
                ready!(Pin::new(&mut *io).poll_write(cx, &self.tail))?
            } else {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let mut count = 0;
                let pieces = self
                    .whole
                    .iter()
                    .map(Bytes::as_ref)
                    .chain(std::iter::once(self.tail.as_ref()));
                for (slice, piece) in slices.iter_mut().zip(pieces) {
                    *slice = IoSlice::new(piece);
                    count += 1;
                }
                ready!(Pin::new(&mut *io).poll_write_vectored(cx, &slices[..count]))?
            };
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.consume(n);
        }
        // Moves on what TLS holds.
        Pin::new(io).poll_flush(cx)
    }

    fn consume(&mut self, mut n: usize) {
        while let Some(front) = self.whole.front_mut() {
            if n < front.len() {
                front.advance(n);
                self.whole_len -= n;
                return;
            }
            n -= front.len();
            self.whole_len -= front.len();
            self.whole.pop_front();
        }
        self.tail.advance(n);
    }
}
