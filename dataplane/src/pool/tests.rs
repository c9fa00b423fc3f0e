//! Pools against servers that take a given number of requests at a time and answer none.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::LocalSet;

use super::*;
use crate::clock;
use crate::error::Reason;
use crate::net;
use crate::snapshot::samples::UNLIMITED;

const TIMEOUT: Duration = Duration::from_secs(20);
const MANY: Limits = Limits { max_connections: 100, max_pending: 100, per_endpoint: UNLIMITED };

/// A server that accepts connections, each with so many streams; 0: one that does not speak at all.
fn server(streams: u32) -> SocketAddr {
    let listener = net::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let listener = net::register(listener).unwrap();
    tokio::task::spawn_local(async move {
        let mut silent = Vec::new();
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            if streams == 0 {
                silent.push(socket);
                continue;
            }
            tokio::task::spawn_local(async move {
                let mut builder = ::h2::server::Builder::new();
                let handshake = builder
                    .max_concurrent_streams(streams)
                    .handshake::<_, bytes::Bytes>(socket);
                let mut connection = handshake.await.unwrap();
                while connection.accept().await.is_some() {}
            });
        }
    });
    address
}

struct Case {
    pool: Pool,
    cluster: Cluster,
    endpoint: Endpoint,
}

impl Case {
    fn new(protocol: Protocol, address: SocketAddr, timeout: Duration) -> Self {
        let transport = Rc::new(Transport::new(protocol, None, timeout, Rc::default()));
        let cluster = Cluster::default();
        let endpoint = Endpoint {
            id: "one".into(),
            address,
            label: address.to_string().into(),
            weight: 1,
            healthy: true,
            priority: 0,
            spiffe_ids: Vec::new(),
            counts: Arc::default(),
        };
        Case { pool: Pool::new(&endpoint, &cluster, transport), cluster, endpoint }
    }

    async fn checkout(&self, limits: Limits) -> Result<Lease, Error> {
        self.pool.checkout(&self.cluster, limits).await
    }

    fn connections(&self) -> u32 {
        self.endpoint.counts.connections.held()
    }

    /// Requests that wait: the cluster's, and the endpoint's.
    fn pending(&self) -> (u32, u32) {
        (self.cluster.pending.held(), self.endpoint.counts.pending.held())
    }

    async fn refused(&self, limits: Limits) -> String {
        let error = self.checkout(limits).await.expect_err("nothing is free");
        assert_eq!(error.reason, Reason::Overflow);
        error.to_string()
    }
}

#[tokio::test]
async fn http2_opens_connections_as_streams_run_out_and_closes_those_that_fall_idle() {
    let test = async {
        let case = Case::new(Protocol::Http2, server(2), TIMEOUT);
        let mut leases = Vec::new();
        for expected in [1, 1, 2, 2, 3] {
            leases.push(case.checkout(MANY).await.unwrap());
            assert_eq!(case.connections(), expected);
        }
        // Those that came last go first, so that later connections empty.
        leases.truncate(2);
        case.pool.sweep(clock::now());
        assert_eq!(case.connections(), 3, "not idle for long enough");
        case.pool.sweep(clock::now() + IDLE_TIMEOUT);
        tokio::task::yield_now().await;
        assert_eq!(case.connections(), 1);

        leases.clear();
        case.pool.sweep(clock::now() + IDLE_TIMEOUT);
        assert!(case.pool.is_empty());
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn http1_has_a_connection_for_each_request_and_closes_those_that_fall_idle() {
    let test = async {
        let case = Case::new(Protocol::Http1, server(0), TIMEOUT);
        let mut leases = Vec::new();
        for expected in 1..=3 {
            leases.push(case.checkout(MANY).await.unwrap());
            assert_eq!(case.connections(), expected);
        }
        for mut lease in leases.drain(1..) {
            lease.completed();
        }
        case.pool.sweep(clock::now());
        assert_eq!(case.connections(), 3, "not idle for long enough");
        case.pool.sweep(clock::now() + IDLE_TIMEOUT);
        assert_eq!(case.connections(), 1);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_request_waits_for_a_connection_a_bounded_time_and_with_a_bounded_number_of_others() {
    let test = async {
        for (protocol, streams) in [(Protocol::Http1, 0), (Protocol::Http2, 1)] {
            let own = EndpointLimits { max_connections: 1, max_pending: 1, ..UNLIMITED };
            let of_all = Limits { max_connections: 1, max_pending: 1, ..MANY };
            for (one, limit) in [(of_all, ""), (Limits { per_endpoint: own, ..MANY }, "per_endpoint.")] {
                let case = Case::new(protocol, server(streams), TIMEOUT);
                let _busy = case.checkout(one).await.unwrap();
                // Time passes at once while nothing else happens.
                tokio::time::pause();
                let (waited, crowded) = tokio::join!(biased; case.refused(one), case.refused(one));
                assert!(waited.contains("no connection had room within 20s"), "{waited}");
                assert!(
                    waited.contains(&format!("is allowed: {limit}max_connections: 1 are open")),
                    "{waited}"
                );
                let words = format!(" {limit}max_pending: 1 requests wait");
                assert!(crowded.contains(&words), "{crowded}");
                assert_eq!(case.pending(), (0, 0), "nothing is held by who was refused");
                tokio::time::resume();
            }
        }
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_burst_opens_as_many_connections_as_it_needs_at_once() {
    let test = async {
        // The server does not answer, so that all of them stay on their way.
        let case = Case::new(Protocol::Http2, server(0), TIMEOUT);
        let limits = Limits { max_pending: 1000, ..MANY };
        let mut checkouts: Vec<_> = (0..250).map(|_| Box::pin(case.checkout(limits))).collect();
        std::future::poll_fn(|cx| {
            for checkout in &mut checkouts {
                assert!(checkout.as_mut().poll(cx).is_pending());
            }
            Poll::Ready(())
        })
        .await;
        assert_eq!(case.connections(), 3);
    };
    LocalSet::new().run_until(test).await;
}
