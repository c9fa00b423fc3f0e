//! The response to one request: its head, its framing, its content.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Response, StatusCode, header};

use super::chunked::{write_end, write_size};
use super::head::{Malformed, write_field};
use super::wire::{Content, Wire, gone};
use super::{content_length, is_hop_by_hop};
use crate::http::body::{Frame, StreamError};

/// How far the response to the current request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// Not begun.
    Waiting,
    /// So many bytes of content are still to be written.
    Length(u64),
    /// The end is the last chunk.
    Chunked,
    /// The end is the end of the connection.
    UntilClose,
    /// Written whole.
    Done,
}

/// One exchange's way to the connection.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) wire: Rc<RefCell<Wire>>,
    pub(super) exchange: u64,
}

impl Handle {
    /// Does `act` unless the exchange is over.
    fn with<T>(&self, otherwise: T, act: impl FnOnce(&mut Wire) -> T) -> T {
        let mut wire = self.wire.borrow_mut();
        if wire.exchange == self.exchange {
            act(&mut wire)
        } else {
            otherwise
        }
    }
}

/// The content of a request.
#[derive(Debug)]
pub struct Incoming(pub(super) Handle);

impl Incoming {
    /// The next frame; `None` after the last.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        self.0
            .with(Poll::Ready(Some(Err(gone()))), |wire| wire.poll_content(cx))
    }

    /// True when it is known, without reading, that nothing more comes.
    pub fn is_end(&self) -> bool {
        self.0.with(false, |wire| wire.is_content_end())
    }
}

/// The right to answer a request, once. Dropping it unused breaks the connection off.
#[derive(Debug)]
pub struct Responder(pub(super) Handle);

impl Responder {
    /// Writes the head of the response; with `end` there is no content.
    ///
    /// The bytes leave with the first [`Outgoing::poll_flush`], so that a head and short content share one write.
    /// `Content-Length` in the head is kept to. A head that contradicts itself breaks the connection off.
    pub fn respond(&mut self, head: Response<()>, end: bool) -> Result<Outgoing, StreamError> {
        let written = self.0.with(Err(gone()), |wire| {
            begin(wire, &head, end).map_err(|malformed| {
                wire.abort();
                StreamError::Malformed(malformed.0.into())
            })
        });
        written?;
        Ok(Outgoing(Handle {
            wire: Rc::clone(&self.0.wire),
            exchange: self.0.exchange,
        }))
    }

    /// Breaks the exchange off without an answer.
    pub fn reset(&mut self) {
        self.0.with((), Wire::abort);
    }

    /// Ready when the client has gone.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        self.0.with(Poll::Ready(gone()), |wire| wire.poll_gone(cx))
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.0.with((), |wire| {
            if wire.reply == Reply::Waiting {
                wire.abort();
            }
        });
    }
}

fn begin(wire: &mut Wire, head: &Response<()>, end: bool) -> Result<(), Malformed> {
    let status = head.status();
    if status.is_informational() {
        return Err(Malformed("an informational status is not a response"));
    }
    let length = content_length(head.headers())?;
    let without_content = wire.is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let reply = match length {
        _ if without_content => Reply::Done,
        Some(1..) if end => return Err(Malformed("Content-Length of a response without content")),
        _ if end => Reply::Done,
        Some(length) => Reply::Length(length),
        None if wire.knows_chunked => Reply::Chunked,
        None => Reply::UntilClose,
    };
    // A client that was not told to continue may send its content or not: nobody knows where its next request starts.
    let undecided = wire.expects_continue && !wire.is_content_end();
    if undecided || reply == Reply::UntilClose || matches!(wire.content, Content::Failed(_)) {
        wire.persistent = false;
    }
    let length = match without_content {
        true if status == StatusCode::NO_CONTENT => None,
        true => length,
        false if end => Some(0),
        false => length,
    };
    write_head(
        &mut wire.output.tail,
        head,
        length,
        reply == Reply::Chunked,
        wire.persistent,
    );
    wire.reply = reply;
    Ok(())
}

/// Writes a head with its framing; `persistent` is false when the connection ends after the message.
pub(super) fn write_head(
    out: &mut BytesMut,
    head: &Response<()>,
    length: Option<u64>,
    chunked: bool,
    persistent: bool,
) {
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(head.status().as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(head.status().canonical_reason().unwrap_or_default().as_bytes());
    out.put_slice(b"\r\n");
    for (name, value) in head.headers() {
        if name != header::CONTENT_LENGTH && !is_hop_by_hop(name) {
            write_field(out, name, value);
        }
    }
    if let Some(length) = length {
        out.put_slice(b"content-length: ");
        out.put_slice(itoa::Buffer::new().format(length).as_bytes());
        out.put_slice(b"\r\n");
    }
    if chunked {
        out.put_slice(b"transfer-encoding: chunked\r\n");
    }
    if !persistent {
        out.put_slice(b"connection: close\r\n");
    }
    out.put_slice(b"\r\n");
}

/// The content of a response. Dropping it before the end breaks the connection off.
#[derive(Debug)]
pub struct Outgoing(Handle);

impl Outgoing {
    /// Waits until the client has taken enough of what was sent before. All of `wanted` may then be sent: it is in
    /// memory already.
    pub fn poll_capacity(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Result<usize, StreamError>> {
        self.0
            .with(Poll::Ready(Err(gone())), |wire| wire.poll_room(cx))
            .map_ok(|()| wanted)
    }

    /// Takes content to send; `end` closes the message.
    pub fn send_data(&mut self, data: Bytes, end: bool) -> Result<(), StreamError> {
        self.0.with(Err(gone()), |wire| {
            send_data(wire, data, end).or_else(|malformed| break_off(wire, malformed))
        })
    }

    /// Closes the message with trailers. They are written if the client asked for them with `TE: trailers` and the
    /// coding is chunked, and dropped otherwise (RFC 9110 section 6.5.1).
    pub fn send_trailers(&mut self, trailers: HeaderMap) -> Result<(), StreamError> {
        self.0.with(Err(gone()), |wire| {
            let trailers = wire.takes_trailers.then_some(&trailers);
            end(wire, trailers).or_else(|malformed| break_off(wire, malformed))
        })
    }

    /// Writes what is held; `Ready` when nothing is left.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.0.with(Poll::Ready(Err(gone())), |wire| wire.poll_flush(cx))
    }

    /// Breaks the connection off, so that the client cannot take the message for a complete one.
    pub fn reset(&mut self) {
        self.0.with((), Wire::abort);
    }

    /// Ready when the client has gone.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        self.0.with(Poll::Ready(gone()), |wire| wire.poll_gone(cx))
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.0.with((), |wire| {
            if !matches!(wire.reply, Reply::Done | Reply::Length(0)) {
                wire.abort();
            }
        });
    }
}

fn break_off(wire: &mut Wire, malformed: Malformed) -> Result<(), StreamError> {
    wire.abort();
    Err(StreamError::Malformed(malformed.0.into()))
}

fn send_data(wire: &mut Wire, data: Bytes, is_end: bool) -> Result<(), Malformed> {
    match &mut wire.reply {
        // HEAD, 204 and 304 have none, whatever the sender believes.
        Reply::Done | Reply::Waiting => return Ok(()),
        Reply::Length(left) => {
            *left = left
                .checked_sub(data.len() as u64)
                .ok_or(Malformed("there is more content than Content-Length says"))?;
            wire.output.push(data);
        }
        Reply::Chunked if data.is_empty() => {}
        Reply::Chunked => {
            write_size(&mut wire.output.tail, data.len());
            wire.output.push(data);
            wire.output.tail.put_slice(b"\r\n");
        }
        Reply::UntilClose => wire.output.push(data),
    }
    if is_end { end(wire, None) } else { Ok(()) }
}

fn end(wire: &mut Wire, trailers: Option<&HeaderMap>) -> Result<(), Malformed> {
    match wire.reply {
        Reply::Length(1..) => return Err(Malformed("there is less content than Content-Length says")),
        Reply::Chunked => write_end(&mut wire.output.tail, trailers),
        _ => {}
    }
    wire.reply = Reply::Done;
    Ok(())
}
