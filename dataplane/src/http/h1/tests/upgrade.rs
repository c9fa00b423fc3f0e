//! Going on in another protocol, both codecs.

use std::future::poll_fn;
use std::task::Poll;

use http::Request;
use tokio::io::AsyncWriteExt;

use super::client::{get, with_client};
use super::{GET, answer, answered, frame, interim, next, read, read_all, read_until, send, server_with, was_reset};
use crate::error::Reason;
use crate::http::body::Sink;
use crate::http::upgrade::{Upgrade, websocket_accept};

const WEBSOCKET: &[u8] = b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[tokio::test]
async fn after_101_both_halves_carry_the_other_protocol() {
    let (mut connection, mut client) = server_with(WEBSOCKET).await;
    let (request, mut body, mut responder) = next(&mut connection).await;
    assert!(request.extensions().get::<Upgrade>().is_some_and(Upgrade::is_websocket));
    client.write_all(b"ping").await.unwrap();
    // Bytes of the other protocol are nobody's before the answer.
    assert!(poll_fn(|cx| Poll::Ready(body.poll_frame(cx).is_pending())).await);
    let mut sink = responder.respond(interim(101), false).unwrap();
    send(&mut sink, b"pong", true).await.unwrap();
    let text = read_all(&mut client).await;
    assert_eq!(
        text,
        "HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
         connection: upgrade\r\nupgrade: websocket\r\n\r\npong"
    );
    // Our half is closed, the client's is not.
    client.write_all(b", last").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read(&mut body).await.unwrap().0, b"ping, last");
    assert!(!connection.finish().await);
}

#[tokio::test]
async fn a_refused_upgrade_leaves_the_connection_to_http() {
    let (mut connection, mut client) = server_with(&[WEBSOCKET, GET].concat()).await;
    let (_request, mut body, responder) = next(&mut connection).await;
    answer(responder);
    assert!(frame(&mut body).await.is_none());
    assert!(connection.finish().await);
    assert_eq!(next(&mut connection).await.0.uri(), "http://a/");
    let text = read_until(&mut client, "\r\n\r\n").await;
    assert_eq!(text, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
}

#[tokio::test]
async fn nobody_leaves_http_unasked() {
    for head in [
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx",
    ] {
        let (mut connection, mut client) = server_with(head.as_bytes()).await;
        let (request, _body, mut responder) = next(&mut connection).await;
        assert!(request.extensions().get::<Upgrade>().is_none(), "{head}");
        assert!(responder.respond(interim(101), false).is_err());
        assert!(!connection.finish().await);
        assert!(was_reset(&mut client).await);
    }
}

/// As an HTTP/2 client asks, which has no key.
fn websocket() -> Request<()> {
    asking(Upgrade::new(b"websocket").unwrap().by_connect())
}

fn asking(upgrade: Upgrade) -> Request<()> {
    let mut request = get();
    request.extensions_mut().insert(upgrade);
    request
}

#[tokio::test]
async fn a_client_that_could_send_a_key_and_does_not_gets_none() {
    with_client(async |mut client, mut server| {
        let (mut response, _outgoing) = client
            .send(&asking(Upgrade::new(b"websocket").unwrap()), false)
            .unwrap();
        assert!(poll_fn(|cx| Poll::Ready(response.poll(cx).is_pending())).await);
        let asked = read_until(&mut server, "\r\n\r\n").await;
        assert!(!asked.contains("sec-websocket-key"), "{asked}");
    })
    .await;
}

#[tokio::test]
async fn a_tunnel_that_breaks_off_does_not_look_ended() {
    with_client(async |mut client, mut server| {
        let (response, mut outgoing) = client.send(&asking(Upgrade::new(b"echo").unwrap()), false).unwrap();
        let (answer, ()) = tokio::join!(answered(response), async {
            read_until(&mut server, "\r\n\r\n").await;
            let answer = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
            server.write_all(answer).await.unwrap();
        });
        assert_eq!(answer.unwrap().0.status(), 101);
        outgoing.reset();
        assert!(was_reset(&mut server).await);
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_agrees_goes_on_in_the_other_protocol() {
    with_client(async |mut client, mut server| {
        let (response, outgoing) = client.send(&websocket(), false).unwrap();
        let mut sink = Sink::H1Request(outgoing);
        assert!(poll_fn(|cx| Poll::Ready(sink.poll_capacity(cx, 1).is_pending())).await);
        let (answer, asked) = tokio::join!(answered(response), async {
            let asked = read_until(&mut server, "\r\n\r\n").await;
            let key = asked
                .split("sec-websocket-key: ")
                .nth(1)
                .unwrap()
                .split("\r\n")
                .next()
                .unwrap();
            let accept = websocket_accept(&key.parse().unwrap());
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: {}\r\n\r\nfirst",
                accept.to_str().unwrap()
            );
            server.write_all(answer.as_bytes()).await.unwrap();
            asked
        });
        assert!(
            asked.contains("\r\nupgrade: websocket\r\nconnection: upgrade\r\n"),
            "{asked}"
        );
        let (head, mut body) = answer.unwrap();
        assert_eq!(head.status(), 101);
        send(&mut sink, b"ping", true).await.unwrap();
        // Our half is closed, the other is not.
        assert_eq!(read_all(&mut server).await, "ping");
        server.write_all(b", last").await.unwrap();
        drop(server);
        assert_eq!(read(&mut body).await.unwrap().0, b"first, last");
        assert!(!client.is_ready());
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_does_not_agree_answers_as_usual() {
    with_client(async |mut client, mut server| {
        let (response, outgoing) = client.send(&websocket(), false).unwrap();
        let (answer, ()) = tokio::join!(answered(response), async {
            read_until(&mut server, "\r\n\r\n").await;
            server
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")
                .await
                .unwrap();
        });
        assert_eq!(read(&mut answer.unwrap().1).await.unwrap().0, b"no");
        Sink::H1Request(outgoing).send_data(Default::default(), true).unwrap();
        assert!(client.is_ready());
    })
    .await;
}

#[tokio::test]
async fn a_wrong_proof_of_our_key_is_an_error() {
    with_client(async |mut client, mut server| {
        let (response, _outgoing) = client.send(&websocket(), false).unwrap();
        let (answer, ()) = tokio::join!(answered(response), async {
            read_until(&mut server, "\r\n\r\n").await;
            let answer = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n\r\n";
            server.write_all(answer).await.unwrap();
        });
        assert_eq!(answer.unwrap_err().reason, Reason::UpstreamProtocol);
    })
    .await;
}
