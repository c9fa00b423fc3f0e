//! What the server codec refuses and what it takes, vector by vector.

use http::Version;
use tokio::io::AsyncWriteExt;

use super::{answer, next, read, read_all, server_with};
use crate::error::Reason;
use crate::http::body::StreamError;
use crate::http::h1::server::Refusal;

/// Sends `bytes`, which must be refused; returns the refusal and what the client read.
async fn refused(bytes: &[u8]) -> (Refusal, String) {
    let (mut connection, mut client) = server_with(bytes).await;
    let (result, answer) = tokio::join!(connection.next(), async {
        let answer = read_all(&mut client).await;
        drop(client);
        answer
    });
    match result {
        Err(refusal) => (refusal, answer),
        other => panic!("{:?} was taken: {other:?}", String::from_utf8_lossy(bytes)),
    }
}

#[tokio::test]
async fn ambiguous_heads_are_refused_with_400_and_a_reason() {
    const VECTORS: &[(&str, &[u8], &str)] = &[
        (
            "CL and TE",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "beside",
        ),
        (
            "TE and CL",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
            "beside",
        ),
        (
            "TE twice in a list",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
            "not chunked",
        ),
        (
            "TE twice",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "more than one Transfer",
        ),
        (
            "TE identity",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
            "not chunked",
        ),
        (
            "TE xchunked",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
            "not chunked",
        ),
        (
            "TE chunked first",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
            "not chunked",
        ),
        (
            "TE with a parameter",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n",
            "not chunked",
        ),
        (
            "TE empty",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n",
            "not chunked",
        ),
        (
            "TE with a vertical tab",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
            "control byte",
        ),
        (
            "TE on HTTP/1.0",
            b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.0",
        ),
        (
            "CL twice, equal",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
            "more than one Content",
        ),
        (
            "CL twice, different",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            "more than one Content",
        ),
        (
            "CL list",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello",
            "not a decimal",
        ),
        (
            "CL with a sign",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
            "not a decimal",
        ),
        (
            "CL negative",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello",
            "not a decimal",
        ),
        (
            "CL hexadecimal",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello",
            "not a decimal",
        ),
        (
            "CL empty",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
            "not a decimal",
        ),
        (
            "CL beyond 64 bits",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
            "not a decimal",
        ),
        ("obs-fold", b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n", "folded"),
        ("folded first field", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", "folded"),
        (
            "bare LF after the request line",
            b"GET / HTTP/1.1\nHost: a\r\n\r\n",
            "bare LF",
        ),
        (
            "bare LF after a field",
            b"GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n",
            "bare LF",
        ),
        ("bare LF at the end", b"GET / HTTP/1.1\r\nHost: a\r\n\n", "bare LF"),
        (
            "bare LF before the request",
            b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "bare LF",
        ),
        (
            "bare CR in a value",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r2\r\n\r\n",
            "control byte",
        ),
        (
            "bare CR after the version",
            b"GET / HTTP/1.1\rHost: a\r\n\r\n",
            "bare CR",
        ),
        (
            "NUL in a value",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\x002\r\n\r\n",
            "control byte",
        ),
        (
            "NUL in a name",
            b"GET / HTTP/1.1\r\nHost: a\r\nX\x00: 1\r\n\r\n",
            "not a token",
        ),
        (
            "DEL in a value",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\x7f2\r\n\r\n",
            "control byte",
        ),
        (
            "space before the colon",
            b"GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n",
            "not a token",
        ),
        ("no colon", b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", "no colon"),
        ("empty name", b"GET / HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n", "not a token"),
        ("no Host", b"GET / HTTP/1.1\r\n\r\n", "Host is missing"),
        (
            "two Hosts",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "more than one Host",
        ),
        ("empty Host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", "Host is not"),
        (
            "Host with user information",
            b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
            "Host is not",
        ),
        (
            "Host with a path",
            b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            "Host is not",
        ),
        (
            "Host with a space",
            b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            "Host is not",
        ),
        ("Host list", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "Host is not"),
        (
            "Host with a bad port",
            b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n",
            "Host is not",
        ),
        (
            "Host with a signed port",
            b"GET / HTTP/1.1\r\nHost: a:+80\r\n\r\n",
            "Host is not",
        ),
        ("Host: port 0", b"GET / HTTP/1.1\r\nHost: a:0\r\n\r\n", "Host is not"),
        ("Host: no label", b"GET / HTTP/1.1\r\nHost: a..b\r\n\r\n", "Host is not"),
        ("Host of the root", b"GET / HTTP/1.1\r\nHost: .\r\n\r\n", "Host is not"),
        (
            "Host with bad brackets",
            b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
            "Host is not",
        ),
        (
            "bad Host beside an absolute target",
            b"GET http://b/ HTTP/1.1\r\nHost: a@b\r\n\r\n",
            "Host is not",
        ),
        ("no version", b"GET /\r\nHost: a\r\n\r\n", "request line"),
        (
            "version in lower case",
            b"GET / http/1.1\r\nHost: a\r\n\r\n",
            "HTTP version",
        ),
        (
            "space after the version",
            b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
            "bare CR",
        ),
        ("two spaces", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "request line"),
        (
            "tab in the request line",
            b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "request line",
        ),
        (
            "space in the target",
            b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
            "a method, a target",
        ),
        ("fragment", b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", "fragment"),
        (
            "raw byte beyond ASCII",
            b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
            "request",
        ),
        ("raw UTF-8", "GET /ä HTTP/1.1\r\nHost: a\r\n\r\n".as_bytes(), "ASCII"),
        (
            "control byte in the target",
            b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
            "request line",
        ),
        ("encoded NUL", b"GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n", "NUL"),
        ("relative target", b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", "target"),
        (
            "asterisk without OPTIONS",
            b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
            "target",
        ),
        (
            "absolute target of another scheme",
            b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "target",
        ),
        (
            "absolute target with user information",
            b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "authority",
        ),
        (
            "CONNECT with content",
            b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nContent-Length: 1\r\n\r\nx",
            "CONNECT with content",
        ),
        (
            "CONNECT to a path",
            b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n",
            "authority",
        ),
        (
            "method that is no token",
            b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
            "request line",
        ),
        (
            "connection option that is no token",
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: a b\r\n\r\n",
            "connection option",
        ),
        (
            "two empty lines first",
            b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "incomplete",
        ),
        ("TLS on a cleartext port", b"\x16\x03\x01\x02\x00\x01", "speaks TLS"),
    ];
    for (name, bytes, cause) in VECTORS {
        let (refusal, answer) = refused(bytes).await;
        assert_eq!(refusal.error.reason, Reason::BadRequest, "{name}");
        assert_eq!(refusal.status.as_u16(), 400, "{name}");
        let said = refusal.error.cause().unwrap_or_default();
        assert!(said.contains(cause), "{name}: {said:?} does not say {cause:?}");
        assert!(
            answer.starts_with("HTTP/1.1 400 Bad Request\r\n") && answer.contains("\r\nconnection: close\r\n\r\n"),
            "{name}: {answer}"
        );
        assert!(answer.contains(cause), "{name}: {answer}");
    }
}

#[tokio::test]
async fn other_refusals_have_their_own_status() {
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(20));
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(5000));
    let vectors: [(&[u8], Reason, u16); 6] = [
        (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", Reason::BadRequest, 505),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", Reason::BadRequest, 505),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            Reason::NotImplemented,
            501,
        ),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n",
            Reason::BadRequest,
            417,
        ),
        (many.as_bytes(), Reason::HeadTooLarge, 431),
        (long.as_bytes(), Reason::HeadTooLarge, 431),
    ];
    for (bytes, reason, status) in vectors {
        let (refusal, answer) = refused(bytes).await;
        assert_eq!((refusal.error.reason, refusal.status.as_u16()), (reason, status));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}

/// As a client of HTTP/2 whose preface is broken: "HTTP/1.1 400" would be a frame to it.
#[tokio::test]
async fn who_does_not_speak_http_1_gets_no_answer_of_it() {
    let (refusal, answer) = refused(b"INVALID CONNECTION PREFACE\r\n\r\n").await;
    assert_eq!((refusal.is_answered, answer.as_str()), (false, ""));
}

#[tokio::test]
async fn targets_become_full_uris_and_host_leaves_the_map() {
    const VECTORS: &[(&[u8], &str)] = &[
        (
            b"GET /a/b?c=%20d HTTP/1.1\r\nHost: Orders.mesh\r\n\r\n",
            "http://Orders.mesh/a/b?c=%20d",
        ),
        (b"GET / HTTP/1.1\r\nhOST: [::1]:8080\r\n\r\n", "http://[::1]:8080/"),
        (b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "http://a/"),
        (b"GET http://b:81/x HTTP/1.1\r\nHost: a\r\n\r\n", "http://b:81/x"),
        (b"GET http://b HTTP/1.1\r\nHost: a\r\n\r\n", "http://b/"),
        (b"GET http://b?/c HTTP/1.1\r\nHost: a\r\n\r\n", "http://b/?/c"),
        (b"GET / HTTP/1.1\r\nHost: a.b.:80\r\n\r\n", "http://a.b.:80/"),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "http://a*"),
        (b"OPTIONS http://b?c HTTP/1.1\r\nHost: a\r\n\r\n", "http://b/?c"),
        (b"OPTIONS http://b:81 HTTP/1.1\r\nHost: a\r\n\r\n", "http://b:81*"),
        (b"CONNECT orders:80 HTTP/1.1\r\nHost: orders:80\r\n\r\n", "orders:80"),
        (b"GET /a HTTP/1.0\r\n\r\n", "/a"),
        (b"GET /a?b=%00 HTTP/1.1\r\nHost: a\r\n\r\n", "http://a/a?b=%00"),
    ];
    for (bytes, uri) in VECTORS {
        let (mut connection, _client) = server_with(bytes).await;
        let (request, body, _responder) = next(&mut connection).await;
        assert_eq!(request.uri().to_string(), *uri);
        assert!(!request.headers().contains_key("host"), "{uri}");
        assert!(body.is_end(), "{uri}");
    }
}

#[tokio::test]
async fn what_concerns_one_connection_is_removed() {
    let (mut connection, _client) = server_with(
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Real-IP, te, authorization\r\nX-Real-IP: 1.2.3.4\r\n\
          Authorization: Bearer x\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip, trailers\r\n\
          Upgrade: h2c\r\nHTTP2-Settings: AAMA\r\nConnection: HTTP2-Settings, Upgrade\r\nX-Kept: 1\r\nx-kept: 2\r\n\r\n",
    )
    .await;
    let (request, ..) = next(&mut connection).await;
    let mut left: Vec<_> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    left.sort_unstable();
    // What authenticates the request stays although `Connection` names it.
    assert_eq!(
        left,
        [
            ("authorization", "Bearer x"),
            ("te", "trailers"),
            ("x-kept", "1"),
            ("x-kept", "2")
        ]
    );
}

#[tokio::test]
async fn a_length_with_leading_zeros_is_written_anew() {
    let (mut connection, _client) =
        server_with(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 005\r\n\r\nhello").await;
    let (request, mut body, _responder) = next(&mut connection).await;
    assert_eq!(request.headers()["content-length"], "5");
    assert_eq!(request.version(), Version::HTTP_11);
    assert_eq!(read(&mut body).await.unwrap().0, b"hello");
}

#[tokio::test]
async fn broken_chunks_are_an_error_and_end_the_connection() {
    const VECTORS: &[(&str, &[u8], &str)] = &[
        ("bare LF after the size", b"5\nhello\r\n0\r\n\r\n", "bare LF"),
        ("bare LF after the content", b"5\r\nhello\n0\r\n\r\n", "not followed"),
        (
            "content longer than its size",
            b"5\r\nhello!\r\n0\r\n\r\n",
            "not followed",
        ),
        ("size with a sign", b"+5\r\nhello\r\n0\r\n\r\n", "hexadecimal"),
        ("size with a prefix", b"0x5\r\nhello\r\n0\r\n\r\n", "hexadecimal"),
        ("size with a space before", b" 5\r\nhello\r\n0\r\n\r\n", "hexadecimal"),
        ("size with a space after", b"5 \r\nhello\r\n0\r\n\r\n", "hexadecimal"),
        ("size empty", b"\r\nhello\r\n0\r\n\r\n", "hexadecimal"),
        (
            "size beyond 64 bits",
            b"10000000000000005\r\nhello\r\n0\r\n\r\n",
            "16 digits",
        ),
        (
            "extension with a bare CR",
            b"5;a\rb\r\nhello\r\n0\r\n\r\n",
            "control byte",
        ),
        ("extension without a name", b"5;\r\nhello\r\n0\r\n\r\n", "a name"),
        ("extension without a value", b"5;a=\r\nhello\r\n0\r\n\r\n", "a name"),
        ("extension with a bracket", b"5;a[=b\r\nhello\r\n0\r\n\r\n", "a name"),
        ("extension with a space behind", b"5;a \r\nhello\r\n0\r\n\r\n", "a name"),
        (
            "extension with half a quote",
            b"5;a=\"b\\\"\r\nhello\r\n0\r\n\r\n",
            "a name",
        ),
        ("trailer with a bare LF", b"0\r\nX: 1\n\r\n", "bare LF"),
        ("trailer folded", b"0\r\nX: 1\r\n 2\r\n\r\n", "trailer field"),
        (
            "trailer with a space before the colon",
            b"0\r\nX : 1\r\n\r\n",
            "trailer field",
        ),
    ];
    for (name, bytes, cause) in VECTORS {
        let (mut connection, mut client) =
            server_with(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        client.write_all(bytes).await.unwrap();
        let (_request, mut body, responder) = next(&mut connection).await;
        match read(&mut body).await {
            Err(StreamError::Malformed(words)) => assert!(words.contains(cause), "{name}: {words}"),
            other => panic!("{name}: {other:?}"),
        }
        answer(responder);
        let (again, said) = tokio::join!(connection.finish(), async move { read_all(&mut client).await });
        assert!(!again, "{name}");
        assert!(said.contains("\r\nconnection: close\r\n"), "{name}: {said}");
    }
}

#[tokio::test]
async fn extensions_and_trailers_have_limits() {
    let start = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let vectors = [
        (format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(5000)), "extensions"),
        (format!("5;{}", "x".repeat(5000)), "extensions"),
        (
            format!("{}0\r\n\r\n", "1;xxxxxxxxxx\r\na\r\n".repeat(400)),
            "extensions",
        ),
        (
            format!("0\r\nX: {}\r\n\r\n", "x".repeat(5000)),
            "trailer section is larger",
        ),
        (format!("0\r\n{}\r\n", "X: 1\r\n".repeat(21)), "more trailer fields"),
    ];
    for (bytes, cause) in vectors {
        let (mut connection, mut client) = server_with(start).await;
        client.write_all(bytes.as_bytes()).await.unwrap();
        let (_request, mut body, _responder) = next(&mut connection).await;
        match read(&mut body).await {
            Err(StreamError::Malformed(words)) => assert!(words.contains(cause), "{words}"),
            other => panic!("{cause}: {other:?}"),
        }
    }
}
