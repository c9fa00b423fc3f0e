//! The parsers on random input: what they take must be unambiguous, and nothing may make them panic.

use bytes::{Bytes, BytesMut};
use http::uri::Scheme;

use super::limits;
use crate::http::h1::chunked::{Decoder, Step};
use crate::http::h1::head::{HeadLimits, Scan, parse};
use crate::random;

#[test]
fn random_bytes_as_a_head_are_refused_or_leave_one_host_and_clean_fields() {
    let samples: [&[u8]; 3] = [
        b"GET /a?b=c HTTP/1.1\r\nHost: orders\r\nAccept: */*\r\n\r\n",
        b"POST http://orders:80/a HTTP/1.1\r\nHost: orders:80\r\nContent-Length: 5\r\nTE: trailers\r\n\r\n",
        b"PUT /x HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding: chunked\r\nConnection: close, x-a\r\nX-A: b\r\n\r\n",
    ];
    let limits = HeadLimits::from(&limits());
    random::fuzz(&samples, |bytes| {
        let Ok(Some(end)) = Scan::default().section_end(bytes) else {
            return;
        };
        let Ok(head) = parse(Bytes::copy_from_slice(&bytes[..end]), limits, Scheme::HTTP) else {
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

#[test]
fn random_bytes_as_chunks_never_give_more_content_than_came() {
    let samples: [&[u8]; 2] = [
        b"5\r\nhello\r\n0\r\n\r\n",
        b"a;b=c\r\n0123456789\r\nF\r\n0123456789abcde\r\n0\r\nx-a: b\r\n\r\n",
    ];
    let limits = HeadLimits::from(&limits());
    random::fuzz(&samples, |bytes| {
        let mut input = BytesMut::from(bytes);
        let mut decoder = Decoder::new(limits);
        let mut content = 0;
        while let Ok(Step::Data(data)) = decoder.step(&mut input) {
            content += data.len();
        }
        assert!(content <= bytes.len());
    });
}
