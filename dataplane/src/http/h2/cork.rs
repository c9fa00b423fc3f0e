//! Small writes of one connection, put together; and the place where a [`Scanner`] sees both ways of it.
//!
//! The crate hands each DATA frame of 256 bytes or more to the socket by itself, and a system call costs far more than
//! a copy. So what it writes is held here until the connection has been polled; whoever polls it then calls
//! [`Cork::poll_flush`].

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::scan::Scanner;
use crate::net::Io;
use crate::telemetry::excess::Excess;

/// Bytes up to which one write is copied; larger ones go to the socket as they are, behind what is held.
const COPIED: usize = 4 * 1024;
/// Bytes that are held at most: a TLS record (RFC 8446 section 5.1).
const HELD: usize = 16 * 1024;
/// Pieces of one write: what is held, and the crate's two.
const SLICES: usize = 4;
/// Bytes of one read of what nobody wants any more, and how many such reads there are at most: a MiB, which is more
/// than was on its way, unless it is a flood.
const UNWANTED: usize = 8 * 1024;
const MOST_UNWANTED: usize = 128;

/// The side of the crate.
pub(super) struct Corked(Rc<RefCell<Line>>);

/// The side of whoever polls the connection.
pub(super) struct Cork(Rc<RefCell<Line>>);

struct Line {
    io: Io,
    held: BytesMut,
    /// Nothing was written since the last flush.
    is_flushed: bool,
    /// None: the peer is trusted.
    scanner: Option<Box<Scanner>>,
    /// Reads of what nobody wants any more.
    unwanted: usize,
}

/// Both sides of `io`.
pub(super) fn corked(io: Io, scanner: Option<Scanner>) -> (Cork, Corked) {
    let scanner = scanner.map(Box::new);
    let line = Line { io, held: BytesMut::new(), is_flushed: true, scanner, unwanted: 0 };
    let line = Rc::new(RefCell::new(line));
    (Cork(Rc::clone(&line)), Corked(line))
}

impl Cork {
    /// Writes what is held. To be called after each poll of the connection that leaves it waiting; what the socket does
    /// not take wakes the connection when it does.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut line = self.0.borrow_mut();
        if line.is_flushed {
            return Poll::Ready(Ok(()));
        }
        ready!(line.poll_empty(cx))?;
        // A connection that waits owns no buffer.
        line.held = BytesMut::new();
        ready!(Pin::new(&mut line.io).poll_flush(cx))?;
        line.is_flushed = true;
        Poll::Ready(Ok(()))
    }

    /// What the peer has had too much of: the crate is given no more of what it sends.
    pub(super) fn excess(&self) -> Option<Excess> {
        self.0.borrow().scanner.as_ref().and_then(|scanner| scanner.excess())
    }

    /// Is it fields that the peer sends now?
    pub(super) fn is_at_fields(&self) -> bool {
        self.0
            .borrow()
            .scanner
            .as_ref()
            .is_some_and(|scanner| scanner.is_at_fields())
    }

    /// The end comes at once: what the peer does not read would keep the socket for minutes.
    pub(super) fn abort_on_close(&self) {
        self.0.borrow_mut().io.abort_on_close();
    }

    /// Reads on behalf of nobody; ready when the peer ends, or has sent too much. A socket that is closed with
    /// something unread is reset, and the peer may then not see what it was told last.
    pub(super) fn poll_discard(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut line = self.0.borrow_mut();
        let mut unwanted = [0; UNWANTED];
        while line.unwanted < MOST_UNWANTED {
            let mut buffer = ReadBuf::new(&mut unwanted);
            let read = ready!(Pin::new(&mut line.io).poll_read(cx, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
            line.unwanted += 1;
        }
        Poll::Ready(())
    }

    /// Carries out `work`, which writes.
    pub(super) async fn during<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|cx| {
            let done = work.as_mut().poll(cx);
            // What breaks shows again when the connection is polled.
            let _flushed = self.poll_flush(cx);
            done
        })
        .await
    }
}

impl Line {
    fn poll_empty(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let n = ready!(Pin::new(&mut self.io).poll_write(cx, &self.held))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.advance(n);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let len = ready!(self.poll_take(cx, slices))?;
        if let Some(scanner) = &mut self.scanner {
            scanner.wrote(slices, len);
        }
        Poll::Ready(Ok(len))
    }

    fn poll_take(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.is_flushed = false;
        let len: usize = slices.iter().map(|slice| slice.len()).sum();
        if len > COPIED {
            return self.poll_write_through(cx, slices);
        }
        if self.held.len() + len > HELD {
            ready!(self.poll_empty(cx))?;
        }
        if self.held.is_empty() {
            self.held.reserve(HELD);
        }
        for slice in slices {
            self.held.extend_from_slice(slice);
        }
        Poll::Ready(Ok(len))
    }

    /// Writes `slices` behind what is held, in one call where the socket takes it.
    fn poll_write_through(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        while !self.held.is_empty() {
            let mut all = [IoSlice::new(&[]); SLICES];
            all[0] = IoSlice::new(&self.held);
            for (place, slice) in all[1..].iter_mut().zip(slices) {
                *place = IoSlice::new(slice);
            }
            let n = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &all))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_held = n.min(self.held.len());
            self.held.advance(of_held);
            if n > of_held {
                return Poll::Ready(Ok(n - of_held));
            }
        }
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }
}

impl AsyncRead for Corked {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let line = &mut *self.0.borrow_mut();
        let Some(scanner) = &mut line.scanner else {
            return Pin::new(&mut line.io).poll_read(cx, buffer);
        };
        if scanner.excess().is_some() {
            // Whoever polls the connection ends it.
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut line.io).poll_read(cx, buffer))?;
        let come = buffer.filled().len() - before;
        let seen = scanner.read(&buffer.filled()[before..]);
        if seen == 0 && come > 0 {
            buffer.set_filled(before);
            return Poll::Pending;
        }
        buffer.set_filled(before + seen);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Corked {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Leaves what is held to [`Cork::poll_flush`].
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut line = self.0.borrow_mut();
        ready!(line.poll_empty(cx))?;
        Pin::new(&mut line.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::net::Inner;

    /// Writes as they come, as long as there is room.
    #[derive(Debug, Default)]
    struct Peer {
        writes: Rc<RefCell<Vec<Vec<u8>>>>,
        room: Rc<RefCell<usize>>,
    }

    impl AsyncRead for Peer {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Peer {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let mut bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            let mut room = self.room.borrow_mut();
            bytes.truncate(*room);
            if bytes.is_empty() {
                return Poll::Pending;
            }
            *room -= bytes.len();
            let n = bytes.len();
            self.writes.borrow_mut().push(bytes);
            Poll::Ready(Ok(n))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.writes.borrow_mut().push(b"end".to_vec());
            Poll::Ready(Ok(()))
        }
    }

    impl Inner for Peer {
        fn abort(&mut self) {}
    }

    type Shared<T> = Rc<RefCell<T>>;

    fn with_room(room: usize) -> (Cork, Corked, Shared<Vec<Vec<u8>>>, Shared<usize>) {
        let peer = Peer { writes: Rc::default(), room: Rc::new(RefCell::new(room)) };
        let (writes, room) = (Rc::clone(&peer.writes), Rc::clone(&peer.room));
        let inner: Box<dyn Inner> = Box::new(peer);
        let (cork, crates) = corked(Io::from(inner), None);
        (cork, crates, writes, room)
    }

    fn cx() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    fn write(crates: &mut Corked, bytes: &[u8]) -> Option<usize> {
        match Pin::new(crates).poll_write(&mut cx(), bytes) {
            Poll::Ready(n) => Some(n.unwrap()),
            Poll::Pending => None,
        }
    }

    #[test]
    fn small_writes_leave_together_when_the_poll_is_over() {
        let (cork, mut crates, writes, _) = with_room(usize::MAX);
        for _ in 0..3 {
            assert_eq!(write(&mut crates, b"frame"), Some(5));
            assert!(Pin::new(&mut crates).poll_flush(&mut cx()).is_ready());
        }
        assert!(writes.borrow().is_empty());
        assert!(cork.poll_flush(&mut cx()).is_ready());
        assert!(cork.poll_flush(&mut cx()).is_ready());
        assert_eq!(*writes.borrow(), [b"frameframeframe"]);
    }

    #[test]
    fn a_large_write_takes_along_what_is_held_and_is_not_copied() {
        let (_cork, mut crates, writes, _) = with_room(usize::MAX);
        let large = vec![b'x'; COPIED + 1];
        assert_eq!(write(&mut crates, b"head"), Some(4));
        assert_eq!(write(&mut crates, &large), Some(large.len()));
        assert_eq!(*writes.borrow(), [[&b"head"[..], &large].concat()]);
    }

    #[test]
    fn a_socket_without_room_holds_the_writer_up_and_order_is_kept() {
        let (cork, mut crates, writes, room) = with_room(0);
        let piece = vec![b'a'; COPIED];
        let held = std::iter::from_fn(|| write(&mut crates, &piece)).take(100).count();
        assert_eq!(held, HELD / COPIED);
        assert!(cork.poll_flush(&mut cx()).is_pending());
        assert_eq!(write(&mut crates, &vec![b'b'; COPIED + 1]), None);

        *room.borrow_mut() = HELD + 3;
        assert_eq!(write(&mut crates, &vec![b'b'; COPIED + 1]), Some(3));
        let sent = writes.borrow().concat();
        assert_eq!(sent, [vec![b'a'; HELD], vec![b'b'; 3]].concat());
    }

    #[test]
    fn the_end_comes_behind_everything() {
        let (_cork, mut crates, writes, _) = with_room(usize::MAX);
        assert_eq!(write(&mut crates, b"goaway"), Some(6));
        assert!(Pin::new(&mut crates).poll_shutdown(&mut cx()).is_ready());
        assert_eq!(*writes.borrow(), [&b"goaway"[..], b"end"]);
    }
}
