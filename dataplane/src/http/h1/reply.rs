//! The response to one request: its head, its framing, its content.

use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Response, StatusCode, header};

use super::content::{Content, NO_CONTENT, Writing};
use super::handle::Handle;
use super::head::write_field;
use super::is_hop_by_hop;
use super::socket::{COPIED, HEAD_SPACE, gone};
use super::wire::Wire;
use crate::http::body::{Frame, StreamError};
use crate::http::check::{Malformed, content_length};
use crate::http::upgrade::{Upgrade, websocket_accept};

/// The content of a request.
#[derive(Debug)]
pub struct Incoming(pub(super) Handle<Wire>);

impl Incoming {
    /// The next frame; `None` after the last.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        self.0
            .with(|| Poll::Ready(Some(Err(gone()))), |wire| wire.poll_content(cx))
    }

    /// True when it is known, without reading, that nothing more comes.
    pub fn is_end(&self) -> bool {
        self.0.with(|| false, |wire| wire.content.is_end())
    }
}

/// The right to answer a request, once. Dropping it unused breaks the connection off.
#[derive(Debug)]
pub struct Responder(pub(super) Handle<Wire>);

impl Responder {
    /// Writes the head of the response; with `end` there is no content.
    ///
    /// The bytes leave with the first [`Outgoing::poll_flush`], so that a head and short content share one write.
    /// `Content-Length` in the head is kept to. A head that contradicts itself breaks the connection off.
    pub fn respond(&mut self, head: Response<()>, end: bool) -> Result<Outgoing, StreamError> {
        let written = self.0.with(
            || Err(gone()),
            |wire| {
                begin(wire, &head, end).map_err(|malformed| {
                    wire.abort();
                    StreamError::Malformed(malformed.0.into())
                })
            },
        );
        written?;
        Ok(Outgoing(self.0.again()))
    }

    /// Writes an interim response; the response itself is still to come. A client of HTTP/1.0 does not know them, and one
    /// that does not read what was written gets no more of them.
    pub fn inform(&mut self, head: &Response<()>) {
        self.0.with(
            || (),
            |wire| {
                if wire.reply == Writing::Waiting && wire.knows_chunked && !wire.socket.is_full() {
                    write_interim(&mut wire.socket.output.tail, head);
                    wire.expects_continue &= head.status() != StatusCode::CONTINUE;
                }
            },
        );
    }

    /// Breaks the exchange off without an answer.
    pub fn reset(&mut self) {
        self.0.with(|| (), Wire::abort);
    }

    /// Ready when the client has gone.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        self.0.with(|| Poll::Ready(gone()), |wire| wire.poll_gone(cx))
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.0.with(
            || (),
            |wire| {
                if wire.reply == Writing::Waiting {
                    wire.abort();
                }
            },
        );
    }
}

fn begin(wire: &mut Wire, head: &Response<()>, end: bool) -> Result<(), Malformed> {
    let status = head.status();
    let upgrade = wire.upgrade.take();
    if status == StatusCode::SWITCHING_PROTOCOLS
        && let Some(upgrade) = upgrade
    {
        return begin_tunnel(wire, head, &upgrade);
    }
    if status.is_informational() {
        return Err(Malformed("an informational status is not a response"));
    }
    if matches!(wire.content, Content::Upgrading) {
        wire.content = NO_CONTENT;
    }
    let length = content_length(head.headers())?;
    let without_content = wire.is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let reply = match length {
        _ if without_content => Writing::Done,
        Some(1..) if end => return Err(Malformed("Content-Length of a response without content")),
        _ if end => Writing::Done,
        Some(length) => Writing::Length(length),
        None if wire.knows_chunked => Writing::Chunked,
        None => Writing::UntilClose,
    };
    // A client that was not told to continue may send its content or not: nobody knows where its next request starts.
    let undecided = wire.expects_continue && !wire.content.is_end();
    if undecided || reply == Writing::UntilClose || matches!(wire.content, Content::Failed(_)) {
        wire.persistent = false;
    }
    let length = match without_content {
        true if status == StatusCode::NO_CONTENT => None,
        true => length,
        false if end => Some(0),
        false => length,
    };
    write_head(
        &mut wire.socket.output.tail,
        head,
        length,
        reply == Writing::Chunked,
        wire.persistent,
    );
    wire.reply = reply;
    Ok(())
}

/// The connection goes on in another protocol. A WebSocket client of HTTP/1.1 wants its key proven; an HTTP/2 endpoint
/// had none to prove.
fn begin_tunnel(wire: &mut Wire, head: &Response<()>, upgrade: &Upgrade) -> Result<(), Malformed> {
    let out = &mut wire.socket.output.tail;
    write_status_line(out, head.status());
    write_fields(out, head);
    if upgrade.is_websocket()
        && let Some(key) = &wire.websocket_key
        && !head.headers().contains_key(header::SEC_WEBSOCKET_ACCEPT)
    {
        write_field(out, &header::SEC_WEBSOCKET_ACCEPT, &websocket_accept(key));
    }
    out.put_slice(b"connection: upgrade\r\nupgrade: ");
    out.put_slice(upgrade.name().as_bytes());
    out.put_slice(b"\r\n\r\n");
    wire.persistent = false;
    wire.is_tunnel = true;
    wire.content = Content::UntilClose;
    wire.reply = Writing::Tunnel;
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
    let copied = length.map_or(0, |length| length.min(COPIED as u64) as usize);
    out.reserve(HEAD_SPACE + copied);
    write_status_line(out, head.status());
    write_fields(out, head);
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

fn write_interim(out: &mut BytesMut, head: &Response<()>) {
    write_status_line(out, head.status());
    write_fields(out, head);
    out.put_slice(b"\r\n");
}

fn write_status_line(out: &mut BytesMut, status: StatusCode) {
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(status.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.put_slice(b"\r\n");
}

/// All but what frames the message and what concerns the connection.
fn write_fields(out: &mut BytesMut, head: &Response<()>) {
    for (name, value) in head.headers() {
        if name != header::CONTENT_LENGTH && !is_hop_by_hop(name) {
            write_field(out, name, value);
        }
    }
}

/// The content of a response. Dropping it before the end breaks the connection off.
#[derive(Debug)]
pub struct Outgoing(Handle<Wire>);

impl Outgoing {
    /// Waits until the client has taken enough of what was sent before. All of `wanted` may then be sent: it is in
    /// memory already.
    pub fn poll_capacity(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Result<usize, StreamError>> {
        self.0
            .with(|| Poll::Ready(Err(gone())), |wire| wire.socket.poll_room(cx))
            .map_ok(|()| wanted)
    }

    /// Takes content to send; `end` closes the message.
    pub fn send_data(&mut self, data: Bytes, end: bool) -> Result<(), StreamError> {
        self.0.with(
            || Err(gone()),
            |wire| {
                let sent = wire.reply.data(&mut wire.socket, data, end);
                sent.or_else(|malformed| break_off(wire, malformed))
            },
        )
    }

    /// True when the client would get trailers.
    pub fn takes_trailers(&self) -> bool {
        self.0
            .with(|| false, |wire| wire.takes_trailers && wire.reply == Writing::Chunked)
    }

    /// Closes the message with trailers. They are written if the client asked for them with `TE: trailers` and the
    /// coding is chunked, and dropped otherwise (RFC 9110 section 6.5.1).
    pub fn send_trailers(&mut self, trailers: HeaderMap) -> Result<(), StreamError> {
        self.0.with(
            || Err(gone()),
            |wire| {
                let trailers = wire.takes_trailers.then_some(&trailers);
                let ended = wire.reply.end(&mut wire.socket, trailers);
                ended.or_else(|malformed| break_off(wire, malformed))
            },
        )
    }

    /// Writes what is held; `Ready` when nothing is left.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.0
            .with(|| Poll::Ready(Err(gone())), |wire| wire.socket.poll_flush(cx))
    }

    /// Breaks the connection off, so that the client cannot take the message for a complete one.
    pub fn reset(&mut self) {
        self.0.with(|| (), Wire::abort);
    }

    /// Ready when the client has gone.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        self.0.with(|| Poll::Ready(gone()), |wire| wire.poll_gone(cx))
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.0.with(
            || (),
            |wire| {
                if !wire.reply.is_whole() {
                    wire.abort();
                }
            },
        );
    }
}

fn break_off(wire: &mut Wire, malformed: Malformed) -> Result<(), StreamError> {
    wire.abort();
    Err(StreamError::Malformed(malformed.0.into()))
}
