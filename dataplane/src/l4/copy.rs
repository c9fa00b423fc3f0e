//! Bytes between two connections, both ways at once, at the speed of the slower.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::Io;

/// Bytes of one read, two TLS records at their largest; also the most that waits for a slow reader in our memory. They
/// land on the stack, so that a connection on which nothing waits owns no buffer.
const PIECE: usize = 32 * 1024;

/// One direction. The end of one half is passed on, and the other direction goes on.
#[derive(Debug, Default)]
pub struct Way {
    /// Read and not yet written.
    held: Bytes,
    is_read: bool,
    is_over: bool,
    moved: u64,
    refused: Option<io::Error>,
}

impl Way {
    /// True when nothing more moves.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Bytes written.
    pub fn moved(&self) -> u64 {
        self.moved
    }

    /// Why the receiver takes no more.
    pub fn refused(&self) -> Option<&io::Error> {
        self.refused.as_ref()
    }

    /// Moves what can be moved; ready when the direction is over. Fails when the sender broke off. A receiver that takes
    /// no more ends the direction: it may have more to say, so it is the other one that tells.
    pub fn poll(&mut self, cx: &mut Context<'_>, from: &mut Io, to: &mut Io) -> Poll<io::Result<()>> {
        while !self.is_over {
            if let Err(error) = ready!(self.poll_write(cx, to)) {
                self.refused = Some(error);
                self.is_over = true;
                break;
            }
            ready!(self.poll_read(cx, from, to))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what is held, and behind it the end.
    fn poll_write(&mut self, cx: &mut Context<'_>, to: &mut Io) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let n = ready!(Pin::new(&mut *to).poll_write(cx, &self.held))?;
            self.wrote(n)?;
            self.held.advance(n);
        }
        if self.is_read {
            ready!(Pin::new(to).poll_shutdown(cx))?;
            self.is_over = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once and writes what the receiver takes at once; the rest is held.
    fn poll_read(&mut self, cx: &mut Context<'_>, from: &mut Io, to: &mut Io) -> Poll<io::Result<()>> {
        if self.is_over {
            return Poll::Ready(Ok(()));
        }
        let mut space = [const { MaybeUninit::uninit() }; PIECE];
        let mut read = ReadBuf::uninit(&mut space);
        if Pin::new(from).poll_read(cx, &mut read)?.is_pending() {
            // While nothing comes, what TLS holds must not wait. An error shows at the next write.
            let _flushing = Pin::new(to).poll_flush(cx);
            return Poll::Pending;
        }
        let mut rest = read.filled();
        self.is_read = rest.is_empty();
        while !rest.is_empty() {
            match Pin::new(&mut *to).poll_write(cx, rest) {
                Poll::Ready(Ok(n)) if self.wrote(n).is_ok() => rest = &rest[n..],
                // The next write of what is held shows what is wrong.
                _ => {
                    self.held = Bytes::copy_from_slice(rest);
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn wrote(&mut self, n: usize) -> io::Result<()> {
        self.moved += n as u64;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::net;

    /// Two ends of one connection.
    async fn pair() -> (TcpStream, Io) {
        let listener = net::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = net::register(listener).unwrap();
        let (far, near) = tokio::join!(net::connect(address), listener.accept());
        (far.unwrap(), Io::from(near.unwrap().0))
    }

    #[tokio::test]
    async fn a_slow_reader_stops_the_sender_and_costs_one_piece() {
        let ((mut sender, mut from), (mut receiver, mut to)) = (pair().await, pair().await);
        let mut way = Way::default();
        let content = vec![7; 8 << 20];
        let sending = tokio::spawn(async move {
            sender.write_all(&content).await.unwrap();
        });
        // Until the receiver's kernel is full nothing but the kernel holds bytes.
        let is_stuck = poll_fn(|cx| {
            let pending = way.poll(cx, &mut from, &mut to).is_pending();
            match way.held.is_empty() {
                true => Poll::Pending,
                false => Poll::Ready(pending),
            }
        });
        assert!(is_stuck.await);
        assert!(way.held.len() <= PIECE);
        assert!(!sending.is_finished());
        let reading = tokio::spawn(async move {
            let mut got = Vec::new();
            receiver.read_to_end(&mut got).await.unwrap();
            got.len()
        });
        poll_fn(|cx| way.poll(cx, &mut from, &mut to)).await.unwrap();
        sending.await.unwrap();
        assert_eq!((reading.await.unwrap(), way.moved()), (8 << 20, 8 << 20));
        assert!(way.is_over() && way.refused().is_none() && way.held.is_empty());
    }

    #[tokio::test]
    async fn a_sender_that_breaks_off_is_no_end() {
        let ((sender, mut from), (mut receiver, mut to)) = (pair().await, pair().await);
        Io::from(sender).abort_on_close();
        let mut way = Way::default();
        let broken = poll_fn(|cx| way.poll(cx, &mut from, &mut to)).await;
        assert_eq!(broken.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        to.abort_on_close();
        drop(to);
        assert!(
            receiver
                .read_u8()
                .await
                .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
        );
    }
}
