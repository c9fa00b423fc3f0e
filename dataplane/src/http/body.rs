//! One stream of a message's content, whatever protocol carries it. `exchange` sees only these types.
//!
//! A message is a head, then a [`Body`] to read and a [`Sink`] to write. Backpressure is in the types: a body gives the
//! next frame only when asked, a sink says how much it takes.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Response};

use super::coding::{Compressed, Decompressed};
use super::{grpc_web, h1, h2};
use crate::error::{Error, Reason};

/// A piece of a message's content.
#[derive(Debug)]
pub enum Frame {
    /// Content; never empty.
    Data(Bytes),
    /// The trailer section; nothing follows.
    Trailers(HeaderMap),
}

/// An HTTP/2 error code (RFC 9113 section 7), also for streams that HTTP/1.1 carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetCode(pub u32);

impl ResetCode {
    /// Ends a stream without blame.
    pub const NO_ERROR: ResetCode = ResetCode(0x0);
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: ResetCode = ResetCode(0x1);
    /// Our mistake.
    pub const INTERNAL_ERROR: ResetCode = ResetCode(0x2);
    /// Not processed at all.
    pub const REFUSED_STREAM: ResetCode = ResetCode(0x7);
    /// No longer wanted.
    pub const CANCEL: ResetCode = ResetCode(0x8);
    /// What a tunnel leads to broke.
    pub const CONNECT_ERROR: ResetCode = ResetCode(0xa);
    /// More than is allowed; gRPC reads it as RESOURCE_EXHAUSTED.
    pub const ENHANCE_YOUR_CALM: ResetCode = ResetCode(0xb);
    /// TLS is too weak.
    pub const INADEQUATE_SECURITY: ResetCode = ResetCode(0xc);

    /// What a caller is told when its response breaks off for `error`.
    pub fn of(error: &Error) -> ResetCode {
        match error.reason {
            Reason::DownstreamReset | Reason::Timeout | Reason::NotAllowed | Reason::ReaderStalled => ResetCode::CANCEL,
            Reason::UpstreamProtocol => ResetCode::PROTOCOL_ERROR,
            Reason::BodyTooLarge | Reason::Overloaded => ResetCode::ENHANCE_YOUR_CALM,
            _ => ResetCode::INTERNAL_ERROR,
        }
    }
}

/// Why a stream of content ended before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamError {
    /// The peer reset the stream.
    Reset(ResetCode),
    /// The connection ended or broke; the words are the operating system's or the library's.
    Closed(Box<str>),
    /// The peer broke the protocol.
    Malformed(Box<str>),
    /// It is more than is allowed.
    TooLarge(Box<str>),
    /// The content ends inside a message.
    Cut,
}

impl std::fmt::Display for StreamError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StreamError::Reset(code) => write!(f, "stream reset with code {:#x}", code.0),
            StreamError::Closed(words) => write!(f, "connection closed: {words}"),
            StreamError::Malformed(words) => write!(f, "malformed message: {words}"),
            StreamError::TooLarge(words) => f.write_str(words),
            StreamError::Cut => f.write_str("the content ends inside a message"),
        }
    }
}

/// What comes of a response before its content.
#[derive(Debug)]
pub enum Head {
    /// 1xx: another head follows.
    Interim(Response<()>),
    /// The response's own, with its content. Status 101 only where it was asked for with [`super::upgrade::Upgrade`].
    Final(Response<()>, Body),
}

/// Content to read.
#[derive(Debug)]
pub enum Body {
    /// Nothing, and no trailers.
    Empty,
    /// From an HTTP/1.1 client.
    H1Request(h1::server::Incoming),
    /// From an HTTP/1.1 server.
    H1Response(h1::client::Incoming),
    /// From an HTTP/2 peer, either side.
    H2(h2::Incoming),
    /// One of the others, in base64.
    Text(Box<grpc_web::Text>),
    /// The trailer section alone, which has come already.
    Trailers(Box<HeaderMap>),
    /// One of the others, compressed.
    Compressed(Box<Compressed>),
    /// One of the others, decompressed.
    Decompressed(Box<Decompressed>),
    /// Other content than the one that comes, which is read to its end.
    Instead(Box<Instead>),
}

/// Content that takes the place of another body's.
#[derive(Debug)]
pub struct Instead {
    of: Body,
    content: Option<Bytes>,
}

impl Body {
    /// `content` in the place of this body's.
    pub fn instead(self, content: Bytes) -> Body {
        Body::Instead(Box::new(Instead { of: self, content: Some(content) }))
    }

    /// The next frame; `None` after the last.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        match self {
            Body::Empty => Poll::Ready(None),
            Body::H1Request(incoming) => incoming.poll_frame(cx),
            Body::H1Response(incoming) => incoming.poll_frame(cx),
            Body::H2(incoming) => incoming.poll_frame(cx),
            Body::Text(text) => text.poll_frame(cx),
            Body::Trailers(trailers) => {
                let trailers = std::mem::take(&mut **trailers);
                *self = Body::Empty;
                Poll::Ready(Some(Ok(Frame::Trailers(trailers))))
            }
            Body::Compressed(compressed) => compressed.poll_frame(cx),
            Body::Decompressed(decompressed) => decompressed.poll_frame(cx),
            Body::Instead(instead) => instead.poll_frame(cx),
        }
    }

    /// Waits for that.
    pub async fn next(&mut self) -> Option<Result<Frame, StreamError>> {
        std::future::poll_fn(|cx| self.poll_frame(cx)).await
    }

    /// True when it is known, without reading, that nothing more comes.
    pub fn is_end(&self) -> bool {
        match self {
            Body::Empty => true,
            Body::H1Request(incoming) => incoming.is_end(),
            Body::H1Response(incoming) => incoming.is_end(),
            Body::H2(incoming) => incoming.is_end(),
            Body::Text(text) => text.is_end(),
            Body::Trailers(_) => false,
            Body::Compressed(compressed) => compressed.is_end(),
            Body::Decompressed(decompressed) => decompressed.is_end(),
            Body::Instead(instead) => instead.content.is_none(),
        }
    }

    /// True when some has come, and was taken, that nobody has read.
    pub fn holds(&self) -> bool {
        match self {
            Body::H2(incoming) => incoming.holds(),
            Body::Text(text) => text.holds(),
            Body::Compressed(compressed) => compressed.holds(),
            Body::Decompressed(decompressed) => decompressed.holds(),
            Body::Instead(instead) => instead.of.holds(),
            Body::Empty | Body::H1Request(_) | Body::H1Response(_) | Body::Trailers(_) => false,
        }
    }

    /// Takes what has come while nobody reads, so that it is known how much that is. Nothing is taken that a window does
    /// not bound. Whoever holds a body and does not read it calls this at each poll.
    pub fn gather(&mut self, cx: &mut Context<'_>) {
        match self {
            Body::H2(incoming) => incoming.gather(cx),
            Body::Text(text) => text.gather(cx),
            Body::Compressed(compressed) => compressed.gather(cx),
            Body::Decompressed(decompressed) => decompressed.gather(cx),
            Body::Instead(instead) => instead.of.gather(cx),
            Body::Empty | Body::H1Request(_) | Body::H1Response(_) | Body::Trailers(_) => {}
        }
    }

    /// Tells the sender that `n` bytes given out by `poll_frame` have been passed on, so that it may send as many more.
    pub fn release(&mut self, n: usize) {
        if let Body::H2(incoming) = self {
            incoming.release(n);
        }
    }
}

impl Instead {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        while self.content.is_some() {
            match ready!(self.of.poll_frame(cx)) {
                Some(Ok(Frame::Data(data))) => self.of.release(data.len()),
                Some(Ok(Frame::Trailers(_))) => {}
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(self.content.take().map(|content| Ok(Frame::Data(content)))),
            }
        }
        Poll::Ready(None)
    }
}

/// Content to write. Dropping it before the end resets the stream with CANCEL.
#[derive(Debug)]
pub enum Sink {
    /// The whole message was sent with its head.
    Closed,
    /// To an HTTP/1.1 client.
    H1Response(h1::server::Outgoing),
    /// To an HTTP/1.1 server.
    H1Request(h1::client::Outgoing),
    /// To an HTTP/2 peer, either side.
    H2(h2::Outgoing),
    /// To one of the others, whose caller speaks gRPC-Web.
    GrpcWeb(Box<grpc_web::Outgoing>),
}

impl Sink {
    /// Waits until at least one byte may be sent; returns how many of `wanted`.
    pub fn poll_capacity(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Result<usize, StreamError>> {
        match self {
            Sink::Closed => Poll::Ready(Ok(wanted)),
            Sink::H1Response(outgoing) => outgoing.poll_capacity(cx, wanted),
            Sink::H1Request(outgoing) => outgoing.poll_capacity(cx, wanted),
            Sink::H2(outgoing) => outgoing.poll_capacity(cx, wanted),
            Sink::GrpcWeb(outgoing) => outgoing.poll_capacity(cx, wanted),
        }
    }

    /// Sends content for which `poll_capacity` gave room; `end` closes the message.
    pub fn send_data(&mut self, data: Bytes, end: bool) -> Result<(), StreamError> {
        match self {
            Sink::Closed => Ok(()),
            Sink::H1Response(outgoing) => outgoing.send_data(data, end),
            Sink::H1Request(outgoing) => outgoing.send_data(data, end),
            Sink::H2(outgoing) => outgoing.send_data(data, end),
            Sink::GrpcWeb(outgoing) => outgoing.send_data(data, end),
        }
    }

    /// Closes the message with trailers.
    pub fn send_trailers(&mut self, trailers: HeaderMap) -> Result<(), StreamError> {
        match self {
            Sink::Closed => Ok(()),
            Sink::H1Response(outgoing) => outgoing.send_trailers(trailers),
            Sink::H1Request(outgoing) => outgoing.send_trailers(&trailers),
            Sink::H2(outgoing) => outgoing.send_trailers(trailers),
            Sink::GrpcWeb(outgoing) => outgoing.send_trailers(trailers),
        }
    }

    /// Closes a gRPC call with its status, which for a gRPC-Web caller is content. Fails, with nothing sent, where the
    /// status would not arrive.
    pub fn conclude(&mut self, trailers: HeaderMap) -> Result<(), StreamError> {
        match self {
            Sink::GrpcWeb(outgoing) => outgoing.conclude(&trailers),
            Sink::H1Response(outgoing) if !outgoing.takes_trailers() => Err(StreamError::Cut),
            sink => sink.send_trailers(trailers),
        }
    }

    /// Moves bytes that a codec still holds towards the peer; `Ready` when none are left. HTTP/2 connections do that on
    /// their own.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        match self {
            Sink::Closed | Sink::H2(_) => Poll::Ready(Ok(())),
            Sink::H1Response(outgoing) => outgoing.poll_flush(cx),
            Sink::H1Request(outgoing) => outgoing.poll_flush(cx),
            Sink::GrpcWeb(outgoing) => outgoing.poll_flush(cx),
        }
    }

    /// Breaks the message off so that the peer cannot take it for a complete one.
    pub fn reset(&mut self, code: ResetCode) {
        match self {
            Sink::Closed => {}
            Sink::H1Response(outgoing) => outgoing.reset(),
            Sink::H1Request(outgoing) => outgoing.reset(),
            Sink::H2(outgoing) => outgoing.reset(code),
            Sink::GrpcWeb(outgoing) => outgoing.reset(code),
        }
    }

    /// Ready when the peer no longer wants the message: it reset the stream or the connection is gone.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        match self {
            Sink::Closed => Poll::Pending,
            Sink::H1Response(outgoing) => outgoing.poll_reset(cx),
            Sink::H1Request(outgoing) => outgoing.poll_reset(cx),
            Sink::H2(outgoing) => outgoing.poll_reset(cx),
            Sink::GrpcWeb(outgoing) => outgoing.poll_reset(cx),
        }
    }
}

/// The right to answer one request, once.
#[derive(Debug)]
pub enum Responder {
    /// An HTTP/1.1 client asked.
    H1(h1::server::Responder),
    /// An HTTP/2 client asked.
    H2(h2::Responder),
}

impl Responder {
    /// Sends the head of the response. With `end` there is no content; the sink is then closed.
    pub fn respond(&mut self, head: Response<()>, end: bool) -> Result<Sink, StreamError> {
        match self {
            Responder::H1(responder) => responder.respond(head, end).map(Sink::H1Response),
            Responder::H2(responder) => responder.respond(head, end).map(Sink::H2),
        }
    }

    /// Sends an interim head (1xx); the response itself is still to come. Where the client cannot take it, it is dropped:
    /// interim responses are hints.
    pub fn inform(&mut self, head: Response<()>) {
        match self {
            Responder::H1(responder) => responder.inform(&head),
            Responder::H2(responder) => responder.inform(head),
        }
    }

    /// Breaks the exchange off without an answer.
    pub fn reset(&mut self, code: ResetCode) {
        match self {
            Responder::H1(responder) => responder.reset(),
            Responder::H2(responder) => responder.reset(code),
        }
    }

    /// Ready when the client no longer wants the answer.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        match self {
            Responder::H1(responder) => responder.poll_reset(cx),
            Responder::H2(responder) => responder.poll_reset(cx),
        }
    }
}
