//! Endpoints of a simulated world: what each does with connections and requests follows its timetable.

use std::cell::RefCell;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::{HeaderMap, HeaderValue, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::ledger::Ledger;
use crate::clock::{self, Instant};
use crate::net::Io;
use crate::net::simulated::{Connecting, End, pair};
use crate::snapshot::model::Protocol;

/// What may be wrong with an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Connections are refused.
    Refuses,
    /// Nothing comes of connecting, ever.
    Silent,
    /// The request is there, and then a reset.
    ResetsBefore,
    /// A head, and then a reset.
    ResetsAfter,
    /// A request gets no answer.
    Hangs,
    /// Some content, and then an end that looks well.
    Cuts,
    /// The request was not looked at: REFUSED_STREAM, or the end of an HTTP/1.1 connection.
    TurnsAway,
    /// 503, or UNAVAILABLE in trailers.
    Fails,
    /// A second late.
    Late,
}

impl Trouble {
    /// All of them.
    pub const ALL: [Trouble; 9] = [
        Trouble::Refuses,
        Trouble::Silent,
        Trouble::ResetsBefore,
        Trouble::ResetsAfter,
        Trouble::Hangs,
        Trouble::Cuts,
        Trouble::TurnsAway,
        Trouble::Fails,
        Trouble::Late,
    ];
}

/// An instance, and when it is in which trouble.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its place in the world; the port of its address is one more.
    pub index: usize,
    /// In seconds since the beginning: from, to, which.
    pub troubles: Vec<(f64, f64, Trouble)>,
    /// How long an answer takes.
    pub service: Duration,
    /// Its share beside others.
    pub weight: u32,
    /// 0 goes first; others take over.
    pub priority: u32,
}

impl Endpoint {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.index as u16 + 1).into()
    }

    fn trouble(&self, begun: Instant) -> Option<Trouble> {
        let now = clock::now().duration_since(begun).as_secs_f64();
        let lasts = |&&(from, to, _): &&(f64, f64, Trouble)| (from..to).contains(&now);
        self.troubles.iter().find(lasts).map(|&(_, _, trouble)| trouble)
    }
}

/// The endpoints of a world.
pub struct Endpoints {
    /// By their place.
    pub all: Vec<Endpoint>,
    /// What they speak.
    pub protocol: Protocol,
    /// When the world began.
    pub begun: Instant,
    /// Where they note what comes.
    pub ledger: Rc<RefCell<Ledger>>,
}

impl Endpoints {
    /// What a connect to `address` comes to now.
    pub fn connect(self: &Rc<Self>, address: SocketAddr) -> Connecting {
        let (endpoints, index) = (Rc::clone(self), usize::from(address.port()) - 1);
        Box::pin(async move {
            match endpoints.all[index].trouble(endpoints.begun) {
                Some(Trouble::Refuses) => return Err(io::ErrorKind::ConnectionRefused.into()),
                Some(Trouble::Silent) => pending().await,
                _ => {}
            }
            let (near, far) = pair();
            match endpoints.protocol {
                Protocol::Http2 => tokio::task::spawn_local(serve_h2(endpoints, index, far)),
                _ => tokio::task::spawn_local(serve_h1(endpoints, index, far)),
            };
            Ok(Io::from(near))
        })
    }

    /// Notes a request, lets the time of its answer pass, and tells what is wrong.
    async fn take(&self, index: usize, path: &str) -> Option<Trouble> {
        let endpoint = &self.all[index];
        let trouble = endpoint.trouble(self.begun);
        self.ledger.borrow_mut().arrived(path, index, trouble);
        clock::sleep(endpoint.service).await;
        match trouble {
            Some(Trouble::Hangs) => pending().await,
            Some(Trouble::Late) => clock::sleep(Duration::from_secs(1)).await,
            _ => {}
        }
        trouble
    }
}

async fn serve_h1(endpoints: Rc<Endpoints>, index: usize, mut end: End) {
    loop {
        let Some(head) = read_head(&mut end).await else {
            return;
        };
        let path = head.split(' ').nth(1).unwrap_or_default();
        let trouble = endpoints.take(index, path).await;
        let answer = match trouble {
            Some(Trouble::ResetsBefore) => return crate::net::Inner::abort(&mut end),
            Some(Trouble::TurnsAway) => return,
            Some(Trouble::Fails) => "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n",
            Some(Trouble::ResetsAfter) => "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n",
            Some(Trouble::Cuts) => "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha",
            _ => "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhave",
        };
        if end.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
        match trouble {
            Some(Trouble::ResetsAfter) => return crate::net::Inner::abort(&mut end),
            Some(Trouble::Cuts) => return,
            _ => {}
        }
    }
}

/// The head of a message without content; `None` at the end of the connection.
pub async fn read_head(end: &mut End) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(end.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

async fn serve_h2(endpoints: Rc<Endpoints>, index: usize, end: End) {
    let Ok(mut connection) = h2::server::handshake(end).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let endpoints = Rc::clone(&endpoints);
        tokio::task::spawn_local(async move {
            answer_h2(&endpoints, index, request.uri().path(), respond).await;
        });
    }
}

async fn answer_h2(endpoints: &Endpoints, index: usize, path: &str, mut respond: h2::server::SendResponse<Bytes>) {
    let work = async { endpoints.take(index, path).await };
    let trouble = tokio::select! {
        biased;
        _ = std::future::poll_fn(|cx| respond.poll_reset(cx)) => return,
        trouble = work => trouble,
    };
    match trouble {
        Some(Trouble::ResetsBefore) => return respond.send_reset(Reason::INTERNAL_ERROR),
        Some(Trouble::TurnsAway) => return respond.send_reset(Reason::REFUSED_STREAM),
        _ => {}
    }
    let head = Response::builder().header("content-type", "application/grpc").body(());
    let Ok(mut stream) = respond.send_response(head.unwrap(), false) else {
        return;
    };
    // What a caller no longer waits for need not arrive.
    let _gone = say(&mut stream, trouble);
}

fn say(stream: &mut SendStream<Bytes>, trouble: Option<Trouble>) -> Result<(), h2::Error> {
    match trouble {
        Some(Trouble::ResetsAfter) => {
            stream.send_reset(Reason::INTERNAL_ERROR);
            return Ok(());
        }
        Some(Trouble::Cuts) => return stream.send_data(Bytes::from_static(b"\0\0\0\0\x04ha"), true),
        Some(Trouble::Fails) => return stream.send_trailers(status("14")),
        _ => {}
    }
    stream.send_data(Bytes::from_static(b"\0\0\0\0\x04have"), false)?;
    stream.send_trailers(status("0"))
}

fn status(status: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        HeaderValue::from_static(status),
    )])
}
