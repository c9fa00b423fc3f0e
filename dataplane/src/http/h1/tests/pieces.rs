//! The parsers see the same in any pieces, whatever the bytes, and never panic.

use bytes::{Bytes, BytesMut};
use http::Method;
use http::uri::Scheme;
use tokio::io::AsyncWriteExt;

use super::super::chunked::{Decoder, Step};
use super::super::head::{Framing, HeadLimits, Scan, parse};
use super::super::request;
use super::{answer, next, read, server};
use crate::random;

const ROUNDS: usize = 5_000;

const HEADS: [&[u8]; 3] = [
    b"GET /a?b HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n",
    b"POST http://b:80/ HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 5\r\nConnection: close, x\r\n\r\n",
    b"PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
];

const CHUNKS: [&[u8]; 2] = [
    b"5\r\nhello\r\n1;a=b\r\n!\r\n0\r\nX: 1\r\n\r\n",
    b"0a\r\n0123456789\r\n0\r\n\r\n",
];

fn limits() -> HeadLimits {
    HeadLimits { bytes: 200, line: 100, fields: 5 }
}

/// Feeds `bytes` to `step` in pieces of up to `longest` bytes; `None` when it wants more than there is.
fn fed<T>(bytes: &[u8], longest: usize, mut step: impl FnMut(&mut BytesMut) -> Option<T>) -> Option<T> {
    let mut input = BytesMut::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(rest.len().min(1 + random::below(longest)));
        input.extend_from_slice(piece);
        rest = later;
        if let Some(end) = step(&mut input) {
            return Some(end);
        }
    }
    None
}

#[test]
fn heads_end_at_the_same_place_in_any_pieces() {
    random::seed(1);
    let mut found = 0;
    for _ in 0..ROUNDS {
        let bytes = random::mutated(HEADS[random::below(HEADS.len())]);
        let whole = Scan::default().section_end(&bytes).transpose();
        let mut scan = Scan::default();
        assert_eq!(fed(&bytes, 7, |input| scan.section_end(input).transpose()), whole);
        if let Some(Ok(end)) = whole {
            found += usize::from(parse(Bytes::copy_from_slice(&bytes[..end]), limits(), Scheme::HTTP).is_ok());
        }
    }
    assert!((1..ROUNDS).contains(&found), "{found} heads passed");
}

#[test]
fn random_bytes_as_a_head_are_refused_or_leave_one_host_and_clean_fields() {
    random::fuzz("heads", |bytes| {
        let Ok(Some(end)) = Scan::default().section_end(bytes) else {
            return;
        };
        let Ok(head) = parse(Bytes::copy_from_slice(&bytes[..end]), limits(), Scheme::HTTP) else {
            return;
        };
        let request = head.request;
        assert!(!request.headers().contains_key("host") && !request.headers().contains_key("transfer-encoding"));
        let authority = request.uri().authority().map_or("", |authority| authority.as_str());
        assert!(!authority.contains(['@', ' ', '/', '?', '#']), "{authority}");
        let clean = |byte: &u8| !matches!(byte, b'\r' | b'\n' | 0);
        assert!(
            request
                .headers()
                .values()
                .all(|value| value.as_bytes().iter().all(clean))
        );
        assert!(
            request.uri().path().bytes().all(|byte| byte.is_ascii_graphic()),
            "{}",
            request.uri()
        );
    });
}

/// httparse reads what we write, as it does in many servers.
#[test]
fn random_bytes_as_a_head_go_on_as_exactly_one_request() {
    random::fuzz("heads", |bytes| {
        let Ok(Some(end)) = Scan::default().section_end(bytes) else {
            return;
        };
        let Ok(head) = parse(Bytes::copy_from_slice(&bytes[..end]), limits(), Scheme::HTTP) else {
            return;
        };
        let mut out = BytesMut::new();
        if request::write(&mut out, &head.request, head.framing == Framing::Nothing).is_err() {
            return;
        }
        let mut slots = [httparse::EMPTY_HEADER; 16];
        let mut read = httparse::Request::new(&mut slots);
        assert_eq!(read.parse(&out), Ok(httparse::Status::Complete(out.len())), "{out:?}");
        assert_eq!(
            (read.method, read.version),
            (Some(head.request.method().as_str()), Some(1))
        );
        let count = |name: &str| {
            let is_it = |field: &&httparse::Header<'_>| field.name.eq_ignore_ascii_case(name);
            read.headers.iter().filter(is_it).count()
        };
        assert_eq!(count("host"), 1, "{out:?}");
        assert!(count("content-length") + count("transfer-encoding") <= 1, "{out:?}");
    });
}

/// What a chunked body comes to: its content and whether it ended well.
fn decoded(bytes: &[u8], longest: usize) -> (Vec<u8>, Option<bool>) {
    let mut decoder = Decoder::new(limits());
    let mut content = Vec::new();
    let end = fed(bytes, longest, |input| {
        loop {
            match decoder.step(input) {
                Ok(Step::Data(data)) => content.extend_from_slice(&data),
                Ok(Step::Trailers(_)) => {}
                Ok(Step::End) => return Some(true),
                Ok(Step::More) => return None,
                Err(_) => return Some(false),
            }
        }
    });
    (content, end)
}

#[test]
fn chunks_come_to_the_same_in_any_pieces() {
    random::seed(2);
    let mut ended = 0;
    for _ in 0..ROUNDS {
        let bytes = random::mutated(CHUNKS[random::below(CHUNKS.len())]);
        let whole = decoded(&bytes, usize::MAX);
        assert_eq!(decoded(&bytes, 3), whole);
        ended += usize::from(whole.1 == Some(true));
    }
    assert!((1..ROUNDS).contains(&ended), "{ended} bodies ended well");
}

#[test]
fn random_bytes_as_chunks_come_to_the_same_in_any_pieces() {
    random::fuzz("chunks", |bytes| {
        assert_eq!(decoded(bytes, 3), decoded(bytes, usize::MAX));
    });
}

#[tokio::test]
async fn a_chunked_request_is_read_in_any_pieces() {
    let text = b"\r\nPOST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n\
        5;ext=1\r\nhello\r\n00001 ; q = \"x;\\\"\" ;r\r\n \r\n5\r\nworld\r\n0\r\nX-Sum: 7\r\nContent-Length: 99\r\nHost: evil\r\n\r\n";
    let (mut connection, mut client) = server().await;
    let writing = async {
        for byte in text {
            client.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let reading = async {
        let (request, mut body, responder) = next(&mut connection).await;
        assert_eq!(request.method(), Method::POST);
        let read = read(&mut body).await.unwrap();
        assert!(body.is_end());
        answer(responder);
        assert!(connection.finish().await);
        read
    };
    let ((), (content, trailers)) = tokio::join!(writing, reading);
    assert_eq!(Bytes::from(content), "hello world");
    // Fields that frame or route never come out of a trailer section.
    assert_eq!(
        trailers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["x-sum"]
    );
}
