//! PING: is the peer still there?

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong};

use crate::clock::{self, Sleep};

/// Asks from time to time.
pub(super) struct Keepalive {
    pings: PingPong,
    interval: Duration,
    timeout: Duration,
    timer: Pin<Box<Sleep>>,
    is_asked: bool,
}

impl Keepalive {
    /// `None` where the connection's PINGs are somebody else's.
    pub(super) fn new(pings: Option<PingPong>, interval: Duration, timeout: Duration) -> Option<Self> {
        let timer = Box::pin(clock::sleep(interval));
        pings.map(|pings| Keepalive { pings, interval, timeout, timer, is_asked: false })
    }

    /// Ready when the peer did not answer in time. Asks only when `wanted`.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, wanted: bool) -> Poll<()> {
        loop {
            if self.is_asked {
                match self.pings.poll_pong(cx) {
                    Poll::Ready(Ok(_)) => {
                        self.is_asked = false;
                        self.timer.as_mut().reset(clock::now() + self.interval);
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => {}
                }
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if self.is_asked {
                return Poll::Ready(());
            }
            self.is_asked = wanted && self.pings.send_ping(Ping::opaque()).is_ok();
            let next = if self.is_asked { self.timeout } else { self.interval };
            self.timer.as_mut().reset(clock::now() + next);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;

    use super::super::Server;
    use crate::http::h1::tests::{limits, sockets};
    use crate::net::Io;

    /// A preface, an empty SETTINGS, the acknowledgement of ours.
    const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0";

    #[tokio::test(start_paused = true)]
    async fn a_client_that_answers_no_ping_is_gone() {
        let (mut client, server) = sockets().await;
        client.write_all(HELLO).await.unwrap();
        let mut server = Server::handshake(Io::from(server), &limits()).await.unwrap();
        let before = crate::clock::now();
        assert!(poll_fn(|cx| server.poll_accept(cx)).await.is_none());
        let waited = crate::clock::now() - before;
        assert!(
            (Duration::from_secs(80)..Duration::from_secs(90)).contains(&waited),
            "{waited:?}"
        );
        drop(client);
    }
}
