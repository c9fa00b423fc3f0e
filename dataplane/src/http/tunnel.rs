//! The content of a message and of its answer as one stream of bytes: what a CONNECT on an HTTP/2 stream opens
//! (RFC 9113 section 8.5).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::body::{Body, Frame, ResetCode, Sink, StreamError};
use crate::net::Inner;

/// The tunnel's end on our side. Dropping it before its end resets it.
#[derive(Debug)]
pub struct Tunnel {
    body: Body,
    sink: Sink,
    /// Received and not yet read.
    received: Bytes,
    is_read: bool,
    is_written: bool,
}

impl Tunnel {
    /// The request's content comes in, the answer's goes out.
    pub fn new(body: Body, sink: Sink) -> Self {
        Tunnel { body, sink, received: Bytes::new(), is_read: false, is_written: false }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(self.body.poll_frame(cx)) {
            Some(Ok(Frame::Data(data))) => self.received = data,
            Some(Ok(Frame::Trailers(_))) | None => self.is_read = true,
            Some(Err(error)) => return Poll::Ready(Err(broken(error))),
        }
        Poll::Ready(Ok(()))
    }
}

fn broken(error: StreamError) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error.to_string())
}

impl AsyncRead for Tunnel {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.received.is_empty() && !self.is_read {
            ready!(self.poll_receive(cx))?;
        }
        let n = self.received.len().min(buffer.remaining());
        buffer.put_slice(&self.received[..n]);
        self.received.advance(n);
        self.body.release(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let n = ready!(self.sink.poll_capacity(cx, bytes.len())).map_err(broken)?;
        let sent = self.sink.send_data(Bytes::copy_from_slice(&bytes[..n]), false);
        Poll::Ready(sent.map(|()| n).map_err(broken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.sink.poll_flush(cx).map_err(broken)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_written {
            self.is_written = true;
            self.sink.send_data(Bytes::new(), true).map_err(broken)?;
        }
        self.poll_flush(cx)
    }
}

impl Inner for Tunnel {
    fn abort(&mut self) {
        self.sink.reset(ResetCode::CONNECT_ERROR);
    }
}
