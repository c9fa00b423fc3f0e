//! Whole exchanges on the server codec: framing of responses, order, and the end of connections.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use http::{HeaderMap, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{GET, answer, frame, interim, next, read, read_all, read_until, send, server, server_with, was_reset};
use crate::error::Reason;
use crate::http::body::{ResetCode, Responder, Sink, StreamError};
use crate::http::pump::{Observe, Pump};
use crate::net::Io;

fn with_length(length: &str) -> Response<()> {
    Response::builder().header("content-length", length).body(()).unwrap()
}

fn streamed(mut responder: Responder) -> Sink {
    responder.respond(Response::new(()), false).unwrap()
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (mut connection, mut client) = server_with(&[GET, GET, GET].concat()).await;
    for number in ["1", "2", "3"] {
        let (_request, _body, mut responder) = next(&mut connection).await;
        let head = Response::builder().header("x-number", number).body(()).unwrap();
        responder.respond(head, true).unwrap();
        drop(responder);
        assert!(connection.finish().await);
    }
    drop(connection);
    let one = |number| format!("HTTP/1.1 200 OK\r\nx-number: {number}\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(read_all(&mut client).await, [one(1), one(2), one(3)].concat());
}

#[tokio::test]
async fn a_connection_that_ends_between_requests_ends_cleanly() {
    let (mut connection, client) = server().await;
    drop(client);
    assert!(connection.next().await.unwrap().is_none());
}

#[tokio::test]
async fn content_of_known_length_keeps_its_length() {
    let (mut connection, mut client) = server_with(GET).await;
    let (_request, _body, mut responder) = next(&mut connection).await;
    let mut sink = responder.respond(with_length("0011"), false).unwrap();
    drop(responder);
    send(&mut sink, b"hello ", false).await.unwrap();
    send(&mut sink, b"world", true).await.unwrap();
    assert!(connection.finish().await);
    let expected = "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello world";
    assert_eq!(read_until(&mut client, "world").await, expected);
}

#[tokio::test]
async fn content_of_unknown_length_is_chunked_with_the_trailers_that_were_asked_for() {
    for (te, end) in [("TE: trailers\r\n", "0\r\ngrpc-status: 0\r\n\r\n"), ("", "0\r\n\r\n")] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{te}\r\n");
        let (mut connection, mut client) = server_with(request.as_bytes()).await;
        let (_request, _body, responder) = next(&mut connection).await;
        let mut sink = streamed(responder);
        send(&mut sink, b"hello, chunked world", false).await.unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        trailers.insert("content-length", "99".parse().unwrap());
        sink.send_trailers(trailers).unwrap();
        assert!(connection.finish().await);
        drop(sink);
        drop(connection);
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(
            read_all(&mut client).await,
            format!("{head}14\r\nhello, chunked world\r\n{end}")
        );
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_content_until_the_connection_closes() {
    let (mut connection, mut client) = server_with(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    let (_request, _body, responder) = next(&mut connection).await;
    let mut sink = streamed(responder);
    send(&mut sink, b"hello", true).await.unwrap();
    let (again, text) = tokio::join!(connection.finish(), async move { read_all(&mut client).await });
    assert!(!again);
    assert_eq!(text, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello");
}

#[tokio::test]
async fn responses_that_have_no_content_get_none() {
    let vectors: [(&str, u16, &str); 4] = [
        ("HEAD", 200, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
        ("GET", 204, "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", 304, "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n"),
        (
            "GET",
            205,
            "HTTP/1.1 205 Reset Content\r\ncontent-length: 5\r\n\r\nhello",
        ),
    ];
    for (method, status, expected) in vectors {
        let (mut connection, mut client) =
            server_with(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await;
        let (_request, _body, mut responder) = next(&mut connection).await;
        let head = Response::builder()
            .status(status)
            .header("content-length", 5)
            .body(())
            .unwrap();
        let mut sink = responder.respond(head, false).unwrap();
        drop(responder);
        send(&mut sink, b"hello", true).await.unwrap();
        assert!(connection.finish().await);
        drop((sink, connection));
        assert_eq!(read_all(&mut client).await, expected, "{method} {status}");
    }
}

#[tokio::test]
async fn fields_of_the_upstream_connection_do_not_reach_the_client() {
    let (mut connection, mut client) = server_with(GET).await;
    let (_request, _body, mut responder) = next(&mut connection).await;
    let head = Response::builder()
        .header("connection", "upgrade")
        .header("transfer-encoding", "gzip")
        .header("keep-alive", "timeout=1")
        .header("upgrade", "h2c")
        .header("x-kept", "1")
        .body(())
        .unwrap();
    responder.respond(head, true).unwrap();
    drop(responder);
    assert!(connection.finish().await);
    assert_eq!(
        read_until(&mut client, "\r\n\r\n").await,
        "HTTP/1.1 200 OK\r\nx-kept: 1\r\ncontent-length: 0\r\n\r\n"
    );
}

#[tokio::test]
async fn content_that_contradicts_its_length_breaks_the_connection_off() {
    for (content, cause) in [("much too long", "more content"), ("bit", "less content")] {
        let (mut connection, mut client) = server_with(GET).await;
        let (_request, _body, mut responder) = next(&mut connection).await;
        let mut sink = responder.respond(with_length("5"), false).unwrap();
        drop(responder);
        match sink.send_data(content.into(), true) {
            Err(StreamError::Malformed(words)) => assert!(words.contains(cause), "{words}"),
            other => panic!("{other:?}"),
        }
        assert!(!connection.finish().await);
        assert!(was_reset(&mut client).await, "{cause}");
    }
}

#[tokio::test]
async fn a_response_that_is_cut_never_looks_complete() {
    // Chunked, by length, and until the connection closes.
    let cases = [
        (GET, Response::new(())),
        (GET, with_length("100")),
        (b"GET / HTTP/1.0\r\n\r\n", Response::new(())),
    ];
    for (request, head) in cases {
        for explicit in [true, false] {
            let (mut connection, mut client) = server_with(request).await;
            let (_request, _body, mut responder) = next(&mut connection).await;
            let mut sink = responder.respond(head.clone(), false).unwrap();
            drop(responder);
            send(&mut sink, b"hello", false).await.unwrap();
            match explicit {
                true => sink.reset(ResetCode::INTERNAL_ERROR),
                false => drop(sink),
            }
            assert!(!connection.finish().await);
            assert!(was_reset(&mut client).await);
        }
    }
}

#[tokio::test]
async fn a_request_nobody_answers_is_broken_off() {
    let (mut connection, mut client) = server_with(GET).await;
    drop(next(&mut connection).await);
    assert!(!connection.finish().await);
    assert!(was_reset(&mut client).await);
}

/// The codec says nothing by itself: whether the content is wanted is the endpoint's to say.
#[tokio::test]
async fn the_client_is_told_to_continue_when_the_endpoint_says_so() {
    let (mut connection, mut client) =
        server_with(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n").await;
    let (request, mut body, mut responder) = next(&mut connection).await;
    assert_eq!(request.headers()["expect"], "100-continue");
    assert!(poll_fn(|cx| Poll::Ready(body.poll_frame(cx).is_pending())).await);
    responder.inform(interim(100));
    let (content, ()) = tokio::join!(read(&mut body), async {
        assert_eq!(
            read_until(&mut client, "\r\n\r\n").await,
            "HTTP/1.1 100 Continue\r\n\r\n"
        );
        client.write_all(b"hello").await.unwrap();
    });
    assert_eq!(content.unwrap().0, b"hello");
    answer(responder);
    assert!(connection.finish().await);
    assert!(
        read_until(&mut client, "\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 200 OK\r\n")
    );
}

#[tokio::test]
async fn interim_responses_reach_a_client_that_knows_them() {
    for (version, expected) in [("1.1", "HTTP/1.1 103 Early Hints\r\n\r\n"), ("1.0", "")] {
        let request = format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n");
        let (mut connection, mut client) = server_with(request.as_bytes()).await;
        let (_request, _body, mut responder) = next(&mut connection).await;
        responder.inform(interim(103));
        // Waiting for the endpoint moves it on.
        assert!(poll_fn(|cx| Poll::Ready(responder.poll_reset(cx).is_pending())).await);
        connection.close_after_this();
        answer(responder);
        let (_, text) = tokio::join!(connection.finish(), async move { read_all(&mut client).await });
        let last = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        assert_eq!(text, format!("{expected}{last}"));
    }
}

#[tokio::test]
async fn a_client_that_was_not_told_to_continue_loses_its_connection() {
    let (mut connection, mut client) =
        server_with(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;
    let (_request, _body, responder) = next(&mut connection).await;
    answer(responder);
    let (again, text) = tokio::join!(connection.finish(), async move { read_all(&mut client).await });
    assert!(!again);
    assert_eq!(
        text,
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
}

#[tokio::test]
async fn a_short_rest_of_a_request_is_read_to_save_the_connection() {
    let (mut connection, mut client) = server_with(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe").await;
    let (_request, mut body, responder) = next(&mut connection).await;
    answer(responder);
    client.write_all(b"llo").await.unwrap();
    client.write_all(GET).await.unwrap();
    assert!(connection.finish().await);
    // The old body must not reach into the next request.
    assert!(matches!(frame(&mut body).await, Some(Err(StreamError::Closed(_)))));
    let (request, ..) = next(&mut connection).await;
    assert_eq!(request.method(), "GET");
}

#[tokio::test]
async fn a_long_rest_of_a_request_ends_the_connection() {
    let (mut connection, mut client) =
        server_with(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n").await;
    let (_request, _body, responder) = next(&mut connection).await;
    answer(responder);
    let (again, text) = tokio::join!(connection.finish(), async move {
        client.write_all(&vec![b'x'; 5_000_000]).await.unwrap();
        read_all(&mut client).await
    });
    assert!(!again);
    // The client can read the answer although it was still sending.
    assert_eq!(text, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
}

#[tokio::test]
async fn a_request_that_is_cut_is_an_error() {
    for framing in [
        "Content-Length: 5\r\n\r\nhe",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhe",
        "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n",
    ] {
        let (mut connection, client) = server_with(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}").as_bytes()).await;
        drop(client);
        let (_request, mut body, _responder) = next(&mut connection).await;
        assert!(
            matches!(read(&mut body).await, Err(StreamError::Closed(_))),
            "{framing}"
        );
        assert!(!body.is_end());
    }
}

#[tokio::test]
async fn a_client_that_resets_is_noticed_while_it_waits() {
    for closes_half_before in [false, true] {
        let (mut connection, mut client) = server_with(GET).await;
        let (_request, _body, mut responder) = next(&mut connection).await;
        if closes_half_before {
            client.shutdown().await.unwrap();
        }
        // Time for the loopback to carry it, and for the watch to begin.
        for _ in 0..3 {
            assert!(poll_fn(|cx| Poll::Ready(responder.poll_reset(cx).is_pending())).await);
            tokio::task::yield_now().await;
        }
        let mut client = Io::from(client);
        client.abort_on_close();
        drop(client);
        assert!(matches!(
            poll_fn(|cx| responder.poll_reset(cx)).await,
            StreamError::Closed(_)
        ));
    }
}

#[tokio::test]
async fn a_client_that_closed_its_sending_half_gets_its_answers() {
    let (mut connection, mut client) = server_with(&[GET, GET].concat()).await;
    client.shutdown().await.unwrap();
    for _ in 0..2 {
        let (_request, _body, mut responder) = next(&mut connection).await;
        for _ in 0..3 {
            assert!(poll_fn(|cx| Poll::Ready(responder.poll_reset(cx).is_pending())).await);
            tokio::task::yield_now().await;
        }
        answer(responder);
        assert!(connection.finish().await);
    }
    assert!(connection.next().await.unwrap().is_none());
    let text = read_all(&mut client).await;
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2, "{text}");
}

#[tokio::test]
async fn a_client_that_closed_is_found_out_by_writing() {
    let (mut connection, client) = server_with(GET).await;
    let (_request, _body, responder) = next(&mut connection).await;
    drop(client);
    let mut sink = streamed(responder);
    while send(&mut sink, b"is anybody there?", false).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!connection.finish().await);
}

#[tokio::test]
async fn watching_for_a_disconnect_keeps_the_next_request() {
    let (mut connection, mut client) = server_with(&[GET, GET].concat()).await;
    let (_request, _body, mut responder) = next(&mut connection).await;
    client.write_all(GET).await.unwrap();
    for _ in 0..3 {
        assert!(poll_fn(|cx| Poll::Ready(responder.poll_reset(cx).is_pending())).await);
    }
    answer(responder);
    for _ in 0..2 {
        assert!(connection.finish().await);
        answer(next(&mut connection).await.2);
    }
    assert!(connection.finish().await);
}

/// Whoever pumps drops the sink when it is done, and with it what the codec still holds.
#[tokio::test]
async fn content_has_moved_when_it_has_left() {
    struct Nobody;
    impl Observe for Nobody {}

    let (mut upload, _caller) = server_with(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").await;
    let (_request, body, _responder) = next(&mut upload).await;
    let (mut connection, mut client) = server_with(GET).await;
    let (_request, _body, responder) = next(&mut connection).await;
    let mut sink = streamed(responder);
    let mut sent = 0;
    while poll_fn(|cx| Poll::Ready(sink.poll_flush(cx).is_ready())).await {
        sink.send_data(vec![b'x'; 16 * 1024].into(), false).unwrap();
        sent += 16 * 1024;
    }

    let mut pump = Pump::new(body, sink);
    assert!(poll_fn(|cx| Poll::Ready(pump.poll(cx, &mut Nobody).is_pending())).await);
    assert_eq!(
        (pump.moved(), pump.is_done()),
        (5, false),
        "the sink has it, the kernel does not"
    );

    let mut buffer = vec![0; sent];
    let (moved, _) = tokio::join!(poll_fn(|cx| pump.poll(cx, &mut Nobody)), client.read_exact(&mut buffer));
    assert!(moved.is_ok() && pump.is_done());
}

#[tokio::test]
async fn a_slow_reader_stops_the_sender() {
    let (mut connection, mut client) = server_with(GET).await;
    let (_request, _body, responder) = next(&mut connection).await;
    let mut sink = streamed(responder);
    let chunk = [b'x'; 16 * 1024];
    let mut sent = 0;
    let stopped = |sink: &mut Sink, cx: &mut std::task::Context<'_>| sink.poll_capacity(cx, chunk.len()).is_pending();
    // Loopback buffers hold a few megabytes.
    while !poll_fn(|cx| Poll::Ready(stopped(&mut sink, cx))).await {
        sink.send_data(chunk.to_vec().into(), false).unwrap();
        sent += chunk.len();
        assert!(sent < 64 << 20, "nothing stopped the sender");
    }
    let mut buffer = vec![0; 1 << 20];
    let read = async {
        loop {
            let _ = client.read(&mut buffer).await.unwrap();
        }
    };
    tokio::select! {
        room = poll_fn(|cx| sink.poll_capacity(cx, chunk.len())) => assert_eq!(room.unwrap(), chunk.len()),
        () = read => unreachable!(),
    }
}

#[tokio::test]
async fn large_content_arrives_whole_and_in_order() {
    let (mut connection, mut client) = server_with(GET).await;
    let (_request, _body, mut responder) = next(&mut connection).await;
    let content: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let sending = async {
        let mut sink = responder.respond(with_length("3000000"), false).unwrap();
        drop(responder);
        for (number, piece) in content.chunks(10_007).enumerate() {
            // Small and large pieces in turn.
            let (small, large) = piece.split_at(number % 100);
            for piece in [small, large] {
                poll_fn(|cx| sink.poll_capacity(cx, piece.len())).await.unwrap();
                sink.send_data(piece.to_vec().into(), false).unwrap();
            }
        }
        sink.send_data(Default::default(), true).unwrap();
        connection.close_after_this();
        assert!(!connection.finish().await);
    };
    let mut bytes = Vec::new();
    let ((), read) = tokio::join!(sending, async {
        client.read_to_end(&mut bytes).await.map(|_| drop(client))
    });
    read.unwrap();
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    assert!(bytes[head..] == content);
}

#[tokio::test]
async fn a_draining_connection_says_that_it_closes() {
    let (mut connection, mut client) = server_with(&[GET, GET].concat()).await;
    let (_request, _body, responder) = next(&mut connection).await;
    connection.close_after_this();
    answer(responder);
    let (again, text) = tokio::join!(connection.finish(), async move { read_all(&mut client).await });
    assert!(!again);
    assert_eq!(
        text,
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_and_a_slow_head_refused() {
    let (mut connection, client) = server().await;
    let before = crate::clock::now();
    assert!(connection.next().await.unwrap().is_none());
    assert!(crate::clock::now() - before >= Duration::from_secs(3600));
    drop(client);

    let (mut connection, mut client) = server_with(b"GET / HTTP/1.1\r\nHost:").await;
    let before = crate::clock::now();
    let (refusal, text) = tokio::join!(connection.next(), async move { read_all(&mut client).await });
    assert_eq!(refusal.unwrap_err().error.reason, Reason::RequestTimeout);
    assert!(text.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{text}");
    let waited = crate::clock::now() - before;
    assert!(
        (Duration::from_secs(10)..Duration::from_secs(60)).contains(&waited),
        "{waited:?}"
    );
}

#[tokio::test]
async fn waiting_for_a_request_may_be_interrupted() {
    let (mut connection, mut client) = server_with(b"GET / HT").await;
    tokio::select! {
        biased;
        other = connection.next() => panic!("{other:?}"),
        () = tokio::task::yield_now() => {}
    }
    client.write_all(b"TP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(next(&mut connection).await.0.uri(), "http://a/");
}
