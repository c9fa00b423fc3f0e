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

/// First byte of a TLS record that carries a ClientHello (RFC 8446 section 5.1).
pub const TLS_HANDSHAKE: u8 = 0x16;

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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::net;

    /// What is made of `pieces`, sent one by one, and what can then still be read.
    async fn sniffed(pieces: &[&[u8]]) -> (Option<Protocol>, Vec<u8>) {
        let listener = net::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = net::register(listener).unwrap();
        let (client, server) = tokio::join!(net::connect(address), listener.accept());
        let (mut client, mut io) = (client.unwrap(), Io::from(server.unwrap().0));
        let writing = async move {
            for piece in pieces {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let (protocol, ()) = tokio::join!(sniff(&mut io, Duration::from_secs(10)), writing);
        let mut rest = Vec::new();
        io.read_to_end(&mut rest).await.unwrap();
        (protocol, rest)
    }

    #[tokio::test]
    async fn the_first_bytes_tell_and_are_put_back() {
        let cases: [(&[&[u8]], Option<Protocol>); 7] = [
            (&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], Some(Protocol::Http2)),
            (&[b"P", b"RI", b" * HTTP/2.0\r\n\r\n"], Some(Protocol::Http2)),
            (&[b"PRI is no preface"], Some(Protocol::Http2)),
            (&[b"GET / HTTP/1.1\r\n"], Some(Protocol::Http1)),
            (&[b"PR", b"INT / HTTP/1.1\r\n"], Some(Protocol::Http1)),
            (&[b"PR"], Some(Protocol::Http1)),
            (&[], None),
        ];
        for (pieces, expected) in cases {
            assert_eq!(sniffed(pieces).await, (expected, pieces.concat()));
        }
    }

    /// The protocol of what is all there at once, or comes in pieces of a byte; and what can then be read.
    async fn sniffed_in_memory(bytes: &[u8], longest: usize) -> (Option<Protocol>, Vec<u8>) {
        let (mut client, end) = net::simulated::pair();
        let mut io = Io::from(end);
        let writing = async move {
            for piece in bytes.chunks(longest) {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let (protocol, ()) = tokio::join!(sniff(&mut io, Duration::from_secs(10)), writing);
        let mut rest = Vec::new();
        io.read_to_end(&mut rest).await.unwrap();
        (protocol, rest)
    }

    #[test]
    fn random_bytes_are_one_protocol_in_any_pieces_and_all_put_back() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.unwrap();
        crate::random::fuzz("beginnings", |bytes| {
            let protocol = match bytes {
                [] => None,
                bytes if bytes.starts_with(PREFACE_START) => Some(Protocol::Http2),
                _ => Some(Protocol::Http1),
            };
            let whole = runtime.block_on(sniffed_in_memory(bytes, usize::MAX));
            assert_eq!(whole, (protocol, bytes.to_vec()));
            assert_eq!(runtime.block_on(sniffed_in_memory(bytes, 1)), whole);
        });
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_not_waited_out() {
        let listener = net::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = net::register(listener).unwrap();
        let (_client, server) = tokio::join!(net::connect(address), listener.accept());
        let mut io = Io::from(server.unwrap().0);
        assert_eq!(sniff(&mut io, Duration::from_secs(10)).await, None);
    }
}
