//! Which protocol a cleartext connection speaks, by its first bytes.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

use crate::net::Io;
use crate::snapshot::model::Protocol;

/// What the HTTP/2 preface begins with (RFC 9113 section 3.4). No HTTP/1.1 request does, so the rest of the preface is
/// not waited for: whoever started like this and goes on otherwise gets HTTP/2's answer to a broken preface.
const PREFACE_START: &[u8] = b"PRI ";

/// Reads just enough of `io` to tell, and puts it back. `None` when the client closed or sent nothing in time.
pub async fn sniff(io: &mut Io, timeout: Duration) -> Option<Protocol> {
    let mut seen = [0; PREFACE_START.len()];
    let mut len = 0;
    let told = tokio::time::timeout(timeout, poll_fn(|cx| poll_start(io, cx, &mut seen, &mut len))).await;
    io.unread(Bytes::copy_from_slice(&seen[..len]));
    match told {
        Ok(protocol) => protocol,
        // The HTTP/1.1 codec has words for a head that does not come to its end.
        Err(_) => (len > 0).then_some(Protocol::Http1),
    }
}

fn poll_start(io: &mut Io, cx: &mut Context<'_>, seen: &mut [u8], len: &mut usize) -> Poll<Option<Protocol>> {
    loop {
        if !PREFACE_START.starts_with(&seen[..*len]) {
            return Poll::Ready(Some(Protocol::Http1));
        }
        if *len == seen.len() {
            return Poll::Ready(Some(Protocol::Http2));
        }
        let mut read = ReadBuf::new(&mut seen[*len..]);
        let result = ready!(Pin::new(&mut *io).poll_read(cx, &mut read));
        let n = read.filled().len();
        if result.is_err() || n == 0 {
            return Poll::Ready((*len > 0).then_some(Protocol::Http1));
        }
        *len += n;
    }
}
