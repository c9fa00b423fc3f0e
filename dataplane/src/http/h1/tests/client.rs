//! The client codec against a scripted server.

use std::future::poll_fn;

use http::{HeaderMap, Request};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{answered, head, read, read_until, sockets};
use crate::error::{Again, Error, Reason};
use crate::http::body::{Body, Head, Sink, StreamError};
use crate::http::h1::client::Client;
use crate::net::Io;

/// Runs a test with a client and its server's socket.
pub(super) async fn with_client(test: impl AsyncFnOnce(Client, TcpStream)) {
    let (near, far) = sockets().await;
    test(Client::new(Io::from(near)), far).await;
}

pub(super) fn get() -> Request<()> {
    Request::get("http://orders:80/a?b=c").body(()).unwrap()
}

fn post() -> Request<()> {
    Request::post("http://orders/a").body(()).unwrap()
}

async fn exchange(
    client: &mut Client,
    server: &mut TcpStream,
    answer: &str,
) -> Result<(http::Response<()>, Body), Error> {
    let (response, _outgoing) = client.send(&get(), true).unwrap();
    let (response, ()) = tokio::join!(answered(response), async {
        read_until(server, "\r\n\r\n").await;
        server.write_all(answer.as_bytes()).await.unwrap();
    });
    response
}

#[tokio::test]
async fn requests_go_out_in_origin_form_with_host_and_reuse_the_connection() {
    with_client(async |mut client, mut server| {
        for _ in 0..3 {
            assert!(client.is_ready());
            let (response, _outgoing) = client.send(&get(), true).unwrap();
            let (response, text) = tokio::join!(answered(response), async {
                let text = read_until(&mut server, "\r\n\r\n").await;
                let answer =
                    b"HTTP/1.1 200 OK\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=1\r\nX-Kept: 2\r\n\
                    Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n";
                server.write_all(answer).await.unwrap();
                text
            });
            assert_eq!(text, "GET /a?b=c HTTP/1.1\r\nhost: orders:80\r\n\r\n");
            let (head, mut body) = response.unwrap();
            assert_eq!(
                head.headers().keys().map(|name| name.as_str()).collect::<Vec<_>>(),
                ["x-kept"]
            );
            let (content, trailers) = read(&mut body).await.unwrap();
            assert_eq!(content, b"hello");
            assert_eq!(trailers["x-sum"], "7");
            assert!(client.is_ready(), "at once, so that a pool need not wait");
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_is_ready_again_when_its_response_is_read() {
    const SIZE: usize = 1 << 20;
    with_client(async |mut client, mut server| {
        for chunked in [true, false] {
            let (response, _outgoing) = client.send(&get(), true).unwrap();
            let serving = async {
                read_until(&mut server, "\r\n\r\n").await;
                let content = vec![b'x'; SIZE];
                let (head, end) = match chunked {
                    true => (
                        format!("Transfer-Encoding: chunked\r\n\r\n{SIZE:x}\r\n"),
                        "\r\n0\r\n\r\n",
                    ),
                    false => (format!("Content-Length: {SIZE}\r\n\r\n"), ""),
                };
                server
                    .write_all(format!("HTTP/1.1 200 OK\r\n{head}").as_bytes())
                    .await
                    .unwrap();
                server.write_all(&content).await.unwrap();
                tokio::task::yield_now().await;
                server.write_all(end.as_bytes()).await.unwrap();
            };
            let reading = async {
                let (_head, mut body) = answered(response).await.unwrap();
                assert_eq!(read(&mut body).await.unwrap().0.len(), SIZE);
            };
            tokio::join!(serving, reading);
            assert!(client.is_ready(), "chunked: {chunked}");
        }
    })
    .await;
}

#[tokio::test]
async fn content_is_framed_by_length_or_in_chunks() {
    let sized = |request: Request<()>| {
        let (mut parts, ()) = request.into_parts();
        parts.headers.insert("content-length", 5.into());
        Request::from_parts(parts, ())
    };
    let taking_trailers = |request: Request<()>| {
        let (mut parts, ()) = request.into_parts();
        parts.headers.insert("te", "trailers".parse().unwrap());
        Request::from_parts(parts, ())
    };
    // The trailers were not announced by `Trailer`: they go out all the same.
    let chunked = "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n";
    let cases = [
        (
            sized(post()),
            "POST /a HTTP/1.1\r\nhost: orders\r\ncontent-length: 5\r\n\r\nhello".to_owned(),
        ),
        (post(), format!("POST /a HTTP/1.1\r\nhost: orders\r\n{chunked}")),
        (get(), format!("GET /a?b=c HTTP/1.1\r\nhost: orders:80\r\n{chunked}")),
        (
            taking_trailers(post()),
            format!("POST /a HTTP/1.1\r\nhost: orders\r\nte: trailers\r\nconnection: te\r\n{chunked}"),
        ),
    ];
    for (request, expected) in cases {
        with_client(async |mut client, mut server| {
            let (response, outgoing) = client.send(&request, false).unwrap();
            let mut sink = Sink::H1Request(outgoing);
            let sending = async {
                poll_fn(|cx| sink.poll_capacity(cx, 5)).await.unwrap();
                sink.send_data("hello".into(), false).unwrap();
                let mut trailers = HeaderMap::new();
                trailers.insert("x-sum", "7".parse().unwrap());
                sink.send_trailers(trailers).unwrap();
                poll_fn(|cx| sink.poll_flush(cx)).await.unwrap();
            };
            let serving = async {
                assert_eq!(read_until(&mut server, &expected[expected.len() - 9..]).await, expected);
                server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            };
            let (response, (), ()) = tokio::join!(answered(response), sending, serving);
            assert!(response.unwrap().1.is_end());
        })
        .await;
    }
}

#[tokio::test]
async fn a_slow_server_stops_the_sender() {
    with_client(async |mut client, _server| {
        let (_response, outgoing) = client.send(&post(), false).unwrap();
        let mut sink = Sink::H1Request(outgoing);
        let chunk = vec![b'x'; 1 << 20];
        let mut sent = 0;
        let deadline = std::time::Duration::from_millis(200);
        while let Ok(room) = tokio::time::timeout(deadline, poll_fn(|cx| sink.poll_capacity(cx, chunk.len()))).await {
            assert_eq!(room.unwrap(), chunk.len());
            sink.send_data(chunk.clone().into(), false).unwrap();
            let _full = poll_fn(|cx| std::task::Poll::Ready(sink.poll_flush(cx))).await;
            sent += 1;
            assert!(sent < 64, "nothing stopped the sender");
        }
    })
    .await;
}

#[tokio::test]
async fn a_request_that_is_broken_off_never_looks_complete() {
    with_client(async |mut client, mut server| {
        let (response, outgoing) = client.send(&post(), false).unwrap();
        let mut sink = Sink::H1Request(outgoing);
        sink.send_data("hello".into(), false).unwrap();
        poll_fn(|cx| sink.poll_flush(cx)).await.unwrap();
        read_until(&mut server, "hello\r\n").await;
        drop(sink);
        let rest = super::read_all(&mut server).await;
        assert_eq!(rest, "", "no last chunk");
        assert!(answered(response).await.is_err());
        assert!(!client.is_ready());
    })
    .await;
}

#[tokio::test]
async fn content_that_contradicts_its_length_is_an_error() {
    for (content, cause) in [("much too long", "more content"), ("bit", "less content")] {
        with_client(async |mut client, _server| {
            let mut request = post();
            request.headers_mut().insert("content-length", 5.into());
            let (_response, outgoing) = client.send(&request, false).unwrap();
            match Sink::H1Request(outgoing).send_data(content.into(), true) {
                Err(StreamError::Malformed(words)) => assert!(words.contains(cause), "{words}"),
                other => panic!("{other:?}"),
            }
        })
        .await;
    }
}

#[tokio::test]
async fn giving_up_closes_the_upstream_connection() {
    with_client(async |mut client, mut server| {
        let (mut response, _outgoing) = client.send(&get(), true).unwrap();
        assert!(poll_fn(|cx| std::task::Poll::Ready(response.poll(cx).is_pending())).await);
        read_until(&mut server, "\r\n\r\n").await;
        drop(response);
        assert_eq!(super::read_all(&mut server).await, "");
        assert!(!client.is_ready());
    })
    .await;
}

#[tokio::test]
async fn responses_that_are_cut_are_errors() {
    let cut = [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello",
    ];
    for answer in cut {
        with_client(async |mut client, mut server| {
            let (_head, mut body) = exchange(&mut client, &mut server, answer).await.unwrap();
            drop(server);
            assert!(matches!(read(&mut body).await, Err(StreamError::Closed(_))), "{answer}");
        })
        .await;
    }
}

#[tokio::test]
async fn answers_that_are_not_http_are_told_from_broken_connections() {
    let cases = [
        ("SSH-2.0-OpenSSH_9\r\n\r\n", Reason::UpstreamProtocol),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            Reason::UpstreamProtocol,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            Reason::UpstreamProtocol,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            Reason::UpstreamProtocol,
        ),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", Reason::UpstreamProtocol),
        ("", Reason::UpstreamReset),
        ("HTTP/1.1 200", Reason::UpstreamReset),
    ];
    for (answer, reason) in cases {
        with_client(async |mut client, mut server| {
            let (response, _outgoing) = client.send(&get(), true).unwrap();
            let (response, ()) = tokio::join!(answered(response), async move {
                read_until(&mut server, "\r\n\r\n").await;
                server.write_all(answer.as_bytes()).await.unwrap();
            });
            let error = response.unwrap_err();
            assert_eq!((error.reason, error.again), (reason, Again::No), "{answer}: {error}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_broken_chunk_is_malformed() {
    with_client(async |mut client, mut server| {
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n";
        let (_head, mut body) = exchange(&mut client, &mut server, answer).await.unwrap();
        assert!(matches!(read(&mut body).await, Err(StreamError::Malformed(_))));
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_closed_or_spoke_meanwhile_is_not_used_again() {
    for said in ["", "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"] {
        with_client(async |mut client, mut server| {
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
            let (_head, mut body) = exchange(&mut client, &mut server, answer).await.unwrap();
            read(&mut body).await.unwrap();
            assert!(client.is_ready());
            server.write_all(said.as_bytes()).await.unwrap();
            drop(server);
            while client.is_ready() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// The server closed just when the request was on its way.
#[tokio::test]
async fn a_repeatable_request_that_a_kept_connection_lost_may_be_sent_again() {
    for (request, again) in [(get(), Again::Unprocessed), (post(), Again::No)] {
        with_client(async |mut client, mut server| {
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
            let (_head, mut body) = exchange(&mut client, &mut server, answer).await.unwrap();
            read(&mut body).await.unwrap();
            let (response, _outgoing) = client.send(&request, true).unwrap();
            drop(server);
            assert_eq!(answered(response).await.unwrap_err().again, again);
        })
        .await;
    }
}

#[tokio::test]
async fn interim_responses_come_before_the_response() {
    with_client(async |mut client, mut server| {
        let (mut response, _outgoing) = client.send(&get(), true).unwrap();
        let serving = async {
            read_until(&mut server, "\r\n\r\n").await;
            server
                .write_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
                .await
                .unwrap();
        };
        let reading = async {
            let mut seen = Vec::new();
            loop {
                match head(&mut response).await.unwrap() {
                    Head::Interim(head) => seen.push((head.status().as_u16(), head.headers().len())),
                    Head::Final(head, body) => break (seen, head.status().as_u16(), body.is_end()),
                }
            }
        };
        let (seen, ()) = tokio::join!(reading, serving);
        assert_eq!(seen, (vec![(100, 0), (103, 1)], 204, true));
        assert!(client.is_ready());
    })
    .await;
}

#[tokio::test]
async fn interim_responses_without_end_are_an_error() {
    with_client(async |mut client, mut server| {
        let (mut response, _outgoing) = client.send(&get(), true).unwrap();
        server
            .write_all("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100).as_bytes())
            .await
            .unwrap();
        let error = loop {
            match head(&mut response).await {
                Ok(head) => assert!(matches!(head, Head::Interim(_))),
                Err(error) => break error,
            }
        };
        assert_eq!(error.reason, Reason::UpstreamProtocol);
    })
    .await;
}

#[tokio::test]
async fn pieces_of_a_cookie_become_one_field() {
    with_client(async |mut client, mut server| {
        let mut request = get();
        for piece in ["a=1", "b=2; c=3"] {
            request.headers_mut().append("cookie", piece.parse().unwrap());
        }
        let (mut response, _outgoing) = client.send(&request, true).unwrap();
        assert!(poll_fn(|cx| std::task::Poll::Ready(response.poll(cx).is_pending())).await);
        let text = read_until(&mut server, "\r\n\r\n").await;
        assert_eq!(
            text,
            "GET /a?b=c HTTP/1.1\r\nhost: orders:80\r\ncookie: a=1; b=2; c=3\r\n\r\n"
        );
    })
    .await;
}

#[tokio::test]
async fn a_method_that_usually_has_content_says_when_it_has_none() {
    with_client(async |mut client, mut server| {
        let (mut response, _outgoing) = client.send(&post(), true).unwrap();
        assert!(poll_fn(|cx| std::task::Poll::Ready(response.poll(cx).is_pending())).await);
        let text = read_until(&mut server, "\r\n\r\n").await;
        assert_eq!(text, "POST /a HTTP/1.1\r\nhost: orders\r\ncontent-length: 0\r\n\r\n");
    })
    .await;
}

#[tokio::test]
async fn responses_end_where_their_framing_says() {
    let cases = [
        ("HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", "hello", true),
        ("HTTP/1.1 200 OK\r\n\r\nuntil the end", "until the end", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", false),
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length : 5\r\n\r\nhello",
            "hello",
            false,
        ),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "", true),
    ];
    for (answer, content, kept) in cases {
        with_client(async |mut client, mut server| {
            let (_head, mut body) = exchange(&mut client, &mut server, answer).await.unwrap();
            let _open = (!answer.ends_with("the end")).then_some(server);
            assert_eq!(read(&mut body).await.unwrap().0, content.as_bytes(), "{answer}");
            assert_eq!(client.is_ready(), kept, "{answer}");
        })
        .await;
    }
}

#[tokio::test]
async fn an_early_answer_tells_the_sender_to_stop() {
    with_client(async |mut client, mut server| {
        let (response, outgoing) = client.send(&post(), false).unwrap();
        let mut sink = Sink::H1Request(outgoing);
        sink.send_data("hello".into(), false).unwrap();
        let (response, ()) = tokio::join!(answered(response), async {
            read_until(&mut server, "hello\r\n").await;
            server
                .write_all(b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                .await
                .unwrap();
        });
        assert_eq!(response.unwrap().0.status(), 413);
        drop(server);
        assert!(matches!(
            poll_fn(|cx| sink.poll_reset(cx)).await,
            StreamError::Closed(_)
        ));
    })
    .await;
}
