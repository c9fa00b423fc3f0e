//! Both codecs over real sockets. The peer is a raw socket, so that what is on the wire is what the test says.

mod client;
mod exchange;
mod oracle;
mod pieces;
mod strict;
mod upgrade;

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::server::Connection;
use crate::error::Error;
use crate::http::body::{Body, Frame, Head, Responder, Sink, StreamError};
use crate::http::h1::client::ResponseHead;
use crate::net::{self, Io};
use crate::snapshot::model::ListenerLimits;

pub(in crate::http) fn limits() -> ListenerLimits {
    ListenerLimits {
        max_header_bytes: 4096,
        max_request_line: 2048,
        max_headers: 20,
        max_streams: 1,
        header_timeout: Duration::from_secs(10),
        body_timeout: Duration::from_secs(60),
        send_timeout: Duration::from_secs(300),
        idle_timeout: Duration::from_secs(3600),
        max_connection_age: Duration::from_secs(3600),
        keepalive_interval: Duration::from_secs(60),
        keepalive_timeout: Duration::from_secs(20),
        max_connections: 16_384,
    }
}

/// Two ends of one TCP connection.
pub(in crate::http) async fn sockets() -> (TcpStream, TcpStream) {
    let listener = net::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let listener = net::register(listener).unwrap();
    let (near, far) = tokio::join!(net::connect(address), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

/// A server connection and the client's socket.
pub(super) async fn server() -> (Connection, TcpStream) {
    let (client, server) = sockets().await;
    (Connection::new(Io::from(server), &limits()), client)
}

/// A server connection on which the client has sent `bytes`.
pub(super) async fn server_with(bytes: &[u8]) -> (Connection, TcpStream) {
    let (connection, mut client) = server().await;
    client.write_all(bytes).await.unwrap();
    (connection, client)
}

pub(super) async fn next(connection: &mut Connection) -> (Request<()>, Body, Responder) {
    connection.next().await.unwrap().expect("a request")
}

pub(super) async fn frame(body: &mut Body) -> Option<Result<Frame, StreamError>> {
    poll_fn(|cx| body.poll_frame(cx)).await
}

/// Reads a message to its end.
pub(super) async fn read(body: &mut Body) -> Result<(Vec<u8>, HeaderMap), StreamError> {
    let (mut content, mut trailers) = (Vec::new(), HeaderMap::new());
    while let Some(frame) = frame(body).await {
        match frame? {
            Frame::Data(data) => content.extend_from_slice(&data),
            Frame::Trailers(fields) => trailers = fields,
        }
    }
    Ok((content, trailers))
}

/// The next head of a response.
pub(super) async fn head(response: &mut ResponseHead) -> Result<Head, Error> {
    poll_fn(|cx| response.poll(cx)).await
}

/// The response itself.
pub(super) async fn answered(mut response: ResponseHead) -> Result<(Response<()>, Body), Error> {
    match head(&mut response).await? {
        Head::Final(head, body) => Ok((head, body)),
        Head::Interim(head) => panic!("an interim response: {head:?}"),
    }
}

/// Waits for room, sends, and flushes.
pub(super) async fn send(sink: &mut Sink, data: &'static [u8], end: bool) -> Result<(), StreamError> {
    poll_fn(|cx| sink.poll_capacity(cx, data.len())).await?;
    sink.send_data(Bytes::from_static(data), end)?;
    poll_fn(|cx| sink.poll_flush(cx)).await
}

/// Answers 200 without content.
pub(super) fn answer(mut responder: Responder) {
    responder.respond(Response::new(()), true).unwrap();
}

/// What the peer sends until it closes.
pub(super) async fn read_all(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

/// What the peer sends up to and with `end`.
pub(super) async fn read_until(socket: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        text.push(char::from(socket.read_u8().await.unwrap()));
    }
    text
}

/// A request without content.
pub(super) const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// The head of an interim response, or of status 101.
pub(super) fn interim(status: u16) -> Response<()> {
    Response::builder().status(status).body(()).unwrap()
}

/// True when the client's connection was reset, not closed.
pub(super) async fn was_reset(client: &mut TcpStream) -> bool {
    let mut bytes = Vec::new();
    client
        .read_to_end(&mut bytes)
        .await
        .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
}
