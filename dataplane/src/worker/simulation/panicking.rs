//! A connection in whose task something of ours panics, beside one that goes on.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::task::{JoinHandle, LocalSet};

use super::super::panics;
use super::Proxy;
use super::caller::accepted;
use super::endpoint::read_head;
use super::plan::{Plan, Sabotage};
use crate::net::simulated::{self, pair};
use crate::net::{Inner, Io};
use crate::proto::event::Kind;
use crate::random;
use crate::snapshot::model::Protocol;

/// Panics as soon as it is read.
#[derive(Debug)]
struct Mistake;

impl AsyncRead for Mistake {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        panic!("a mistake, made for this test")
    }
}

impl AsyncWrite for Mistake {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Inner for Mistake {
    fn abort(&mut self) {}
}

fn serve(proxy: &Proxy, io: Io, protocol: Protocol) -> JoinHandle<()> {
    let listening = Rc::clone(&proxy.workers[0].listening["out"]);
    tokio::task::spawn_local(accepted(listening, io, protocol))
}

/// There is no endpoint, so the proxy itself answers.
async fn asked(client: &mut simulated::End) -> String {
    client
        .write_all(b"HEAD / HTTP/1.1\r\nhost: orders\r\n\r\n")
        .await
        .unwrap();
    let head = read_head(client).await.unwrap_or_default();
    head.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn a_panic_ends_one_connection_alone_and_is_counted() {
    random::seed(1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without sockets");
    LocalSet::new().block_on(&runtime, async {
        let mut proxy = Proxy::new(&Plan::draw(), Sabotage::No);
        proxy.list(std::iter::empty());
        panics::report(&proxy.hub, &proxy.events);
        let (mut client, far) = pair();
        serve(&proxy, Io::from(far), Protocol::Http1);
        assert_eq!(asked(&mut client).await, "HTTP/1.1 503 Service Unavailable");

        for (count, protocol) in [(1, Protocol::Http1), (2, Protocol::Http2)] {
            let broken = serve(&proxy, Io::from(Box::new(Mistake) as Box<dyn Inner>), protocol);
            assert!(broken.await.is_err_and(|error| error.is_panic()));
            assert_eq!(proxy.hub.stats().panics, count);
            let events = proxy.events.poll(usize::MAX, Duration::ZERO).events;
            assert!(
                matches!(&events[..], [event] if matches!(event.kind, Some(Kind::Panicked(_)))),
                "{events:?}"
            );
        }

        assert_eq!(asked(&mut client).await, "HTTP/1.1 503 Service Unavailable");
    });
}
