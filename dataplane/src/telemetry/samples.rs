//! What tests record exchanges of.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use super::finished::{Attempt, Finished};
use super::metrics::EndpointMetrics;
use super::registry::Registry;
use super::trace::{Sampler, TraceContext};
use crate::snapshot::model::{
    BalancePolicy, Cluster, Destination, Direction, Listener, ListenerLimits, Matcher, Mode, Origin, Propagation, Route,
};
use crate::snapshot::samples::shared;

/// A trace that begins here and is sampled.
pub(super) fn root() -> TraceContext {
    TraceContext::start(&HeaderMap::new(), Propagation::default(), Sampler::new(1.0))
}

/// One that was tried so many times.
pub(super) fn exchange_of_tries(tries: usize) -> Arc<Finished> {
    let address = "127.0.0.1:1".parse().unwrap();
    let listener = Registry::default().listener(&listener(Direction::Outbound));
    let mut exchange = Finished::blank(&listener, address);
    for _ in 0..tries {
        exchange.attempts.push(Attempt {
            endpoint: EndpointMetrics::new("orders-1"),
            address,
            span_id: 1,
            started: Duration::ZERO,
            ended: None,
            why: None,
            peer: None,
            status: None,
            grpc_status: None,
            ejection: 0,
        });
    }
    Arc::new(exchange)
}

pub(super) fn route() -> Arc<Route> {
    Arc::new(Route {
        name: "api".into(),
        matcher: Matcher::default(),
        destinations: vec![Destination::of("orders")],
        total_weight: 1,
        timeout: None,
        retry: crate::snapshot::model::Retry::once(),
        fault: None,
        authentication: None,
        access: None,
        sources: None,
        shape: None,
        quotas: Vec::new(),
        compress: None,
        decompress: None,
        mirror: None,
        rewrite: None,
        max_request_body: u64::MAX,
        idle_timeout: Duration::from_secs(3600),
        cors: None,
        direct: None,
        error_pages: Vec::new(),
        query: Box::default(),
        cookies: Box::default(),
        origin: Origin { place: "services/orders.yaml:12:3".into(), index: 0 },
    })
}

pub(super) fn cluster() -> Arc<Cluster> {
    shared("orders", "orders", BalancePolicy::RoundRobin)
}

pub(super) fn listener(direction: Direction) -> Listener {
    Listener {
        name: "out".into(),
        address: "127.0.0.1:0".parse().unwrap(),
        direction,
        mode: Mode::Http,
        route_table: "mesh".into(),
        tls: None,
        admission: None,
        sources: None,
        front: None,
        balancers: None,
        health_path: None,
        authorization: None,
        limits: ListenerLimits {
            max_header_bytes: 1,
            max_request_line: 8 * 1024,
            max_headers: 1,
            max_streams: 1,
            header_timeout: Duration::ZERO,
            body_timeout: Duration::from_secs(60),
            send_timeout: Duration::from_secs(300),
            idle_timeout: Duration::ZERO,
            max_connection_age: Duration::from_secs(3600),
            keepalive_interval: Duration::from_secs(60),
            keepalive_timeout: Duration::from_secs(20),
            max_connections: 16_384,
        },
        forwarding: std::sync::Arc::default(),
        origin: Origin::default(),
    }
}
