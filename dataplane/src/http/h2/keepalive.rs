//! PING: is the peer still there?

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong};

use crate::clock::{self, Sleep};

/// Asks from time to time, and when somebody wants to know how long the way is.
pub(super) struct Keepalive {
    pings: PingPong,
    interval: Duration,
    timeout: Duration,
    timer: Pin<Box<Sleep>>,
    /// A PING is under way.
    is_asked: bool,
    /// It is answered until the timer fires, or the peer is gone.
    is_urgent: bool,
    is_answered: bool,
    has_ticked: bool,
}

impl Keepalive {
    /// `None` where the connection's PINGs are somebody else's.
    pub(super) fn new(pings: Option<PingPong>, interval: Duration, timeout: Duration) -> Option<Self> {
        let timer = Box::pin(clock::sleep(interval));
        pings.map(|pings| Keepalive {
            pings,
            interval,
            timeout,
            timer,
            is_asked: false,
            is_urgent: false,
            is_answered: false,
            has_ticked: false,
        })
    }

    /// Ready when the peer did not answer in time. Asks only when `wanted`.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, wanted: bool) -> Poll<()> {
        loop {
            if self.poll_answer(cx).is_ready() {
                return Poll::Ready(());
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if self.is_urgent {
                return Poll::Ready(());
            }
            self.has_ticked = true;
            self.is_urgent = wanted && self.ask();
            let next = if self.is_urgent { self.timeout } else { self.interval };
            self.timer.as_mut().reset(clock::now() + next);
        }
    }

    /// Sends a PING to measure by, unless one is under way. Nothing happens when it stays unanswered.
    pub(super) fn ask_now(&mut self, cx: &mut Context<'_>) -> bool {
        // Polled so that its answer wakes us.
        !self.is_asked && self.ask() && self.poll_answer(cx).is_pending()
    }

    /// True once after each answer.
    pub(super) fn take_answer(&mut self) -> bool {
        std::mem::take(&mut self.is_answered)
    }

    /// True once after each interval.
    pub(super) fn take_tick(&mut self) -> bool {
        std::mem::take(&mut self.has_ticked)
    }

    fn ask(&mut self) -> bool {
        self.is_asked = self.is_asked || self.pings.send_ping(Ping::opaque()).is_ok();
        self.is_asked
    }

    /// Ready when the connection is over.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_asked {
            return Poll::Pending;
        }
        match self.pings.poll_pong(cx) {
            Poll::Ready(Ok(_)) => {
                self.is_asked = false;
                self.is_answered = true;
                if std::mem::take(&mut self.is_urgent) {
                    self.timer.as_mut().reset(clock::now() + self.interval);
                }
                Poll::Pending
            }
            Poll::Ready(Err(_)) => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use http::Request;
    use tokio::io::AsyncWriteExt;

    use super::super::{Server, handshake};
    use crate::error::Reason;
    use crate::http::h1::tests::{limits, sockets};
    use crate::net::Io;

    /// A preface, an empty SETTINGS, the acknowledgement of ours.
    const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0";
    /// What of it a server says.
    const WELCOME: &[u8] = HELLO.split_at(24).1;

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

    #[tokio::test(start_paused = true)]
    async fn a_server_that_answers_no_ping_is_left_with_its_streams() {
        let (client, mut server) = sockets().await;
        server.write_all(WELCOME).await.unwrap();
        let (mut client, driver) = handshake(Io::from(client)).await.unwrap();
        let (mut response, _sink) = client.send(Request::get("http://a/").body(()).unwrap(), true).unwrap();
        let before = crate::clock::now();
        let ((), failed) = tokio::join!(driver, poll_fn(|cx| response.poll(cx)));
        assert_eq!(failed.err().map(|error| error.reason), Some(Reason::UpstreamReset));
        let waited = crate::clock::now() - before;
        assert!(
            (Duration::from_secs(330)..Duration::from_secs(340)).contains(&waited),
            "{waited:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_without_streams_is_not_asked() {
        let (client, mut server) = sockets().await;
        server.write_all(WELCOME).await.unwrap();
        let (_client, driver) = handshake(Io::from(client)).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_secs(3600), driver).await.is_err());
    }
}
