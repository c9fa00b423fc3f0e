//! Callers of a simulated world: each makes one call after the other on its own connection, and some lose patience.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::endpoint::read_head;
use super::ledger::{End, Ledger};
use crate::accept::{self, Listening};
use crate::clock;
use crate::net::Io;
use crate::net::simulated::{self, pair};
use crate::random;
use crate::scope;
use crate::snapshot::model::Protocol;

/// Milliseconds between two calls of one caller, at most.
const PAUSE: usize = 400;
/// One of so many calls is given up.
const IMPATIENT: usize = 20;

/// One caller.
pub struct Caller {
    /// Which one; what hashes is its key.
    pub number: usize,
    /// Where it connects.
    pub listening: Rc<Listening>,
    /// What it speaks.
    pub protocol: Protocol,
    /// Where it notes its calls.
    pub ledger: Rc<RefCell<Ledger>>,
}

/// What it holds between calls.
enum Connection {
    H1(simulated::End),
    H2(SendRequest<Bytes>),
}

/// What the proxy does with a connection.
pub async fn accepted(listening: Rc<Listening>, io: Io, protocol: Protocol) {
    let address = SocketAddr::from(([127, 0, 0, 1], 9));
    let hop = scope::Hop::new(address.ip(), 15001, false);
    let who = scope::Caller { peer: None, term: None, address, hop, tunnel: None };
    let limits = listening.limits.get();
    accept::serve(&listening, Rc::new(who), io, protocol, limits).await;
}

impl Caller {
    /// Makes so many calls.
    pub async fn make(self, calls: usize) {
        let mut connection = None;
        for _ in 0..calls {
            clock::sleep(Duration::from_millis(random::below(PAUSE) as u64)).await;
            let patience = match random::below(IMPATIENT) {
                0 => Duration::from_millis(random::below(50) as u64),
                _ => Duration::MAX,
            };
            let number = self.ledger.borrow_mut().begin();
            let mut held = match connection.take() {
                Some(held) => held,
                None => self.connect().await,
            };
            let end = tokio::select! {
                biased;
                end = held.call(self.number, number) => end,
                () = clock::sleep(patience.min(Duration::from_secs(3600))) => End::GivenUp,
            };
            self.ledger.borrow_mut().end(number, end);
            if end == End::Well || matches!(held, Connection::H2(_)) {
                connection = Some(held);
            }
        }
    }

    async fn connect(&self) -> Connection {
        let (near, far) = pair();
        let listening = Rc::clone(&self.listening);
        tokio::task::spawn_local(accepted(listening, Io::from(far), self.protocol));
        match self.protocol {
            Protocol::Http2 => {
                let (send, connection) = h2::client::handshake(near).await.expect("the proxy speaks HTTP/2");
                tokio::task::spawn_local(async move {
                    // Its end is each call's own affair.
                    let _ended = connection.await;
                });
                Connection::H2(send)
            }
            _ => Connection::H1(near),
        }
    }
}

impl Connection {
    async fn call(&mut self, caller: usize, number: usize) -> End {
        let ended = match self {
            Connection::H1(end) => call_h1(end, caller, number).await,
            Connection::H2(send) => call_h2(send, caller, number).await,
        };
        match ended {
            Some(true) => End::Well,
            _ => End::Badly,
        }
    }
}

/// Whether it ended well; `None` when the connection broke.
async fn call_h1(end: &mut simulated::End, caller: usize, number: usize) -> Option<bool> {
    let request = format!("GET /call/{number} HTTP/1.1\r\nhost: orders\r\nx-user: {caller}\r\n\r\n");
    end.write_all(request.as_bytes()).await.ok()?;
    let head = read_head(end).await?.to_ascii_lowercase();
    let length = head
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.split('\r').next());
    let mut content = vec![0; length?.parse().ok()?];
    end.read_exact(&mut content).await.ok()?;
    Some(head.starts_with("http/1.1 200") && content == b"have")
}

/// Whether it ended well; `None` when the stream broke.
async fn call_h2(send: &mut SendRequest<Bytes>, caller: usize, number: usize) -> Option<bool> {
    let request = Request::post(format!("http://orders/call/{number}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("x-user", caller)
        .body(());
    let mut send = send.clone().ready().await.ok()?;
    let (response, mut message) = send.send_request(request.expect("valid"), false).ok()?;
    message.send_data(Bytes::from_static(b"\0\0\0\0\0"), true).ok()?;
    let (head, mut body) = response.await.ok()?.into_parts();
    let mut content = Vec::new();
    while let Some(data) = body.data().await {
        content.extend_from_slice(&data.ok()?);
    }
    let trailers = body.trailers().await.ok()?;
    let status = trailers
        .as_ref()
        .unwrap_or(&head.headers)
        .get("grpc-status")?
        .as_bytes();
    Some(status == b"0" && content == b"\0\0\0\0\x04have")
}
