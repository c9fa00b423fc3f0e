//! `hyper`'s client reads what a server sent beside ours: where both take it, both read the same.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Request;
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use super::{read, sockets};
use crate::http::body::Head;
use crate::http::h1::client::Client;
use crate::net::Io;
use crate::random;

const ROUNDS: usize = 1_000;

const ANSWERS: [&[u8]; 5] = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 7\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
    b"HTTP/1.0 200 OK\r\nContent-Type: a/b\r\n\r\nuntil the end",
    b"HTTP/1.1 204 No Content\r\nDate: today\r\n\r\n",
];

/// Status and content.
type Seen = Option<(u16, Vec<u8>)>;

/// What our client reads of `answer`; `None` when it refuses it.
async fn ours(answer: &[u8]) -> Seen {
    let (near, mut far) = sockets().await;
    far.write_all(answer).await.unwrap();
    far.shutdown().await.unwrap();
    let mut client = Client::new(Io::from(near));
    let (mut response, _outgoing) = client.send(&Request::get("http://a/").body(()).unwrap(), true).ok()?;
    let (head, mut body) = loop {
        match super::head(&mut response).await.ok()? {
            Head::Interim(_) => {}
            Head::Final(head, body) => break (head, body),
        }
    };
    Some((head.status().as_u16(), read(&mut body).await.ok()?.0))
}

/// What hyper's reads.
async fn hypers(answer: &[u8]) -> Seen {
    let (near, mut far) = sockets().await;
    far.write_all(answer).await.unwrap();
    far.shutdown().await.unwrap();
    let (mut requests, connection) = hyper::client::conn::http1::handshake(Transport(near)).await.ok()?;
    tokio::task::spawn_local(async move {
        let _ended = connection.await;
    });
    let request = Request::get("/").header("host", "a").body(Empty).unwrap();
    let (parts, mut body) = requests.send_request(request).await.ok()?.into_parts();
    let mut content = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame.ok()?.into_data() {
            content.extend_from_slice(&data);
        }
    }
    drop(far);
    Some((parts.status.as_u16(), content))
}

/// An answer with up to two bytes replaced by bytes that matter to the grammar.
fn mutated() -> Vec<u8> {
    const BYTES: &[u8] = b"\r\n\0 :;,/05aF-\x7f";
    let mut bytes = ANSWERS[random::below(ANSWERS.len())].to_vec();
    for _ in 0..random::below(3) {
        let place = random::below(bytes.len());
        bytes[place] = BYTES[random::below(BYTES.len())];
    }
    bytes
}

#[tokio::test]
async fn both_clients_read_the_same() {
    random::seed(3);
    let run = async {
        let mut taken = 0;
        for _ in 0..ROUNDS {
            let answer = mutated();
            if let (Some(ours), Some(hypers)) = (ours(&answer).await, hypers(&answer).await) {
                assert_eq!(ours, hypers, "{:?}", String::from_utf8_lossy(&answer));
                taken += 1;
            }
        }
        assert!(taken > ROUNDS / 4, "only {taken} answers were taken by both");
    };
    LocalSet::new().run_until(run).await;
}

/// A request without content, as hyper wants it.
struct Empty;

impl http_body::Body for Empty {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, io::Error>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}

/// A socket as hyper wants it.
struct Transport(TcpStream);

impl hyper::rt::Read for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut space = [const { MaybeUninit::uninit() }; 1024];
        let room = buffer.remaining().min(space.len());
        let mut read = ReadBuf::uninit(&mut space[..room]);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut read))?;
        buffer.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Transport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
