//! The socket of one connection and its buffers, towards either side.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::http::body::StreamError;
use crate::net::Io;

/// Bytes of one read while a head is expected. They land on the stack first, so that a connection that waits owns no
/// buffer.
pub(super) const HEAD_READ: usize = 8 * 1024;

/// Bytes of one read of content: four HTTP/2 frames of default size, so that a large body costs few system calls.
pub(super) const CONTENT_READ: usize = 64 * 1024;

/// Free space below which a new buffer is taken for content.
const CONTENT_SPACE: usize = 4 * 1024;

/// Bytes up to which content is copied behind the head instead of handed to the kernel apart: one short copy is cheaper
/// than one more buffer.
pub(super) const COPIED: usize = 4 * 1024;

/// Space taken at once for a head: most are shorter, and a buffer that grows with each field is copied each time.
pub(super) const HEAD_SPACE: usize = 1024;

/// Bytes of a message that may wait for a slow reader before their sender is stopped.
const OUTPUT_BOUND: usize = 64 * 1024;

/// Buffers of one vectored write.
const SLICES: usize = 16;

pub(super) fn closed(error: &io::Error) -> StreamError {
    StreamError::Closed(error.to_string().into())
}

pub(super) fn gone() -> StreamError {
    StreamError::Closed("the peer disconnected".into())
}

/// One connection's bytes in both directions.
pub(super) struct Socket {
    /// Gone after the connection was broken off.
    io: Option<Io>,
    pub(super) input: BytesMut,
    pub(super) output: Output,
    /// Close the sending half behind what is written.
    last: bool,
    /// Waits for a peer that closed its sending half to break the connection.
    broken: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Socket {
    pub(super) fn new(io: Io) -> Self {
        Socket {
            io: Some(io),
            input: BytesMut::new(),
            output: Output::default(),
            last: false,
            broken: None,
        }
    }

    /// False after the connection was broken off or taken away.
    pub(super) fn is_open(&self) -> bool {
        self.io.is_some()
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

    /// Reads content, of which about `expected` bytes are still to come.
    pub(super) fn poll_read_content(&mut self, cx: &mut Context<'_>, expected: usize) -> Poll<io::Result<usize>> {
        let Some(io) = &mut self.io else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if self.input.capacity() - self.input.len() < CONTENT_SPACE {
            self.input.reserve(expected.clamp(CONTENT_SPACE, CONTENT_READ));
        }
        // The future keeps no state between polls.
        pin!(io.read_buf(&mut self.input)).poll(cx)
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

    /// Waits until the peer has taken enough of what was written.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        if self.output.len() >= OUTPUT_BOUND {
            let flushed = self.poll_flush(cx)?;
            if flushed.is_pending() && self.output.len() >= OUTPUT_BOUND {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// True when what waits already is all that may wait.
    pub(super) fn is_full(&self) -> bool {
        self.output.len() >= OUTPUT_BOUND
    }

    /// Writes until nothing is left.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        let Some(io) = &mut self.io else {
            return Poll::Ready(Err(gone()));
        };
        ready!(self.output.poll_write(io, cx)).map_err(|error| closed(&error))?;
        if self.last {
            ready!(Pin::new(io).poll_shutdown(cx)).map_err(|error| closed(&error))?;
            self.last = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Closes the sending half once everything is written.
    pub(super) fn close_sending(&mut self) {
        self.last = true;
    }

    /// Ready when the connection is broken, for a peer that has closed its sending half: it can no longer be read to
    /// find out.
    pub(super) fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(io) = &self.io else {
            return Poll::Ready(());
        };
        if self.broken.is_none() {
            // Otherwise it is found out by writing.
            let Ok(broken) = io.broken() else {
                return Poll::Pending;
            };
            self.broken = Some(Box::pin(broken));
        }
        self.broken
            .as_mut()
            .map_or(Poll::Pending, |broken| broken.as_mut().poll(cx))
    }

    /// Closes at once with RST, so that the peer cannot take what it got for a complete message.
    pub(super) fn abort(&mut self) {
        self.broken = None;
        if let Some(mut io) = self.io.take() {
            io.abort_on_close();
        }
    }

    /// Takes the socket away to close it.
    pub(super) fn take_io(&mut self) -> Option<Io> {
        self.broken = None;
        self.io.take()
    }
}

/// Bytes on their way to the peer, in order: whole buffers, then one that small pieces are copied into.
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
