//! Worlds as they are drawn from a seed, and how one is broken on purpose.

use std::time::Duration;

use super::endpoint::{Endpoint, Trouble};
use super::{BUDGET, ORDERS};
use crate::proto;
use crate::random;
use crate::snapshot::model::Protocol;

/// One world of so many is a storm.
const STORMS: usize = 50;
/// Seconds in which endpoints get into trouble.
const HORIZON: f64 = 8.0;

/// How a world is broken on purpose, so that it can be seen that this is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// It is not.
    No,
    /// One more attempt than the world believes.
    Attempts,
    /// Endpoints that leave stay in the proxy's list.
    Absent,
    /// Endpoints are ejected for a tenth of the time that is told.
    Ejected,
    /// Every request may be tried again.
    Budget,
    /// A request in flight that never ends.
    Held,
    /// A call that ends for its caller, and again.
    Twice,
    /// The circuit is open for a tenth of the time that is told.
    Open,
    /// The proxy hears of no priorities.
    Priorities,
}

/// One world.
#[derive(Debug)]
pub struct Plan {
    /// Who is there, and in which trouble.
    pub endpoints: Vec<Endpoint>,
    /// From, to, whom: when an endpoint is not in the list.
    pub absences: Vec<(f64, f64, usize)>,
    /// What everybody speaks.
    pub protocol: Protocol,
    /// Who gets a request.
    pub balance: proto::BalancePolicy,
    /// Of the proxy.
    pub workers: usize,
    /// How many.
    pub callers: usize,
    /// Of each.
    pub calls: usize,
    /// For each call.
    pub attempts: u32,
    /// Of the cluster.
    pub limits: proto::ClusterLimits,
    /// The first of an endpoint.
    pub ejection: Duration,
    /// None: the circuit is never opened.
    pub breaker: Option<proto::ErrorRate>,
}

fn seconds(most: f64) -> f64 {
    most * random::below(1000) as f64 / 1000.0
}

fn one_of<T: Copy>(choices: &[T]) -> T {
    choices[random::below(choices.len())]
}

impl Plan {
    /// The one that the seed of this thread leads to.
    pub fn draw() -> Self {
        if random::below(STORMS) == 0 {
            return Plan::storm();
        }
        let count = one_of(&[1, 2, 3, 3, 3, 5]);
        let endpoints = (0..count).map(|index| Endpoint {
            index,
            troubles: (0..random::below(3))
                .map(|_| {
                    let from = seconds(HORIZON);
                    (from, from + seconds(HORIZON / 2.0), one_of(&Trouble::ALL))
                })
                .collect(),
            service: Duration::from_millis(1 + random::below(20) as u64),
            weight: one_of(&[1, 1, 1, 2, 5]),
            priority: one_of(&[0, 0, 0, 1]),
        });
        let endpoints = endpoints.collect();
        let absences = (0..random::below(3)).map(|_| {
            let from = seconds(HORIZON);
            (from, from + seconds(HORIZON / 2.0), random::below(count))
        });
        let most = |usual| {
            if random::below(4) == 0 {
                1 + random::below(3) as u32
            } else {
                usual
            }
        };
        Plan {
            endpoints,
            absences: absences.collect(),
            protocol: one_of(&[Protocol::Http1, Protocol::Http2]),
            balance: one_of(&[
                proto::BalancePolicy::RoundRobin,
                proto::BalancePolicy::LeastRequest,
                proto::BalancePolicy::Random,
                proto::BalancePolicy::PeakEwma,
                proto::BalancePolicy::RingHash,
                proto::BalancePolicy::Maglev,
            ]),
            workers: 1 + random::below(2),
            callers: 1 + random::below(6),
            calls: 2 + random::below(8),
            attempts: 1 + random::below(4) as u32,
            limits: proto::ClusterLimits {
                max_connections: most(1024),
                max_pending: most(1024),
                max_requests: most(1024),
                per_endpoint: Some(proto::EndpointLimits {
                    max_connections: most(0),
                    max_pending: most(0),
                    max_requests: most(0),
                    max_retries: most(0),
                }),
                ..Default::default()
            },
            ejection: Duration::from_millis(200 + random::below(3000) as u64),
            breaker: (random::below(4) == 0).then(|| proto::ErrorRate {
                failures: one_of(&[200, 500, 800]),
                min_requests: 2 + random::below(6) as u32,
                open_ms: 100 + random::below(2000) as u32,
            }),
        }
    }

    /// Everybody calls all the time, and nobody answers well.
    fn storm() -> Self {
        let endpoints = (0..3).map(|index| Endpoint {
            index,
            troubles: vec![(0.0, 1000.0, Trouble::Fails)],
            service: Duration::from_millis(1),
            weight: 1,
            priority: 0,
        });
        Plan {
            endpoints: endpoints.collect(),
            absences: Vec::new(),
            protocol: one_of(&[Protocol::Http1, Protocol::Http2]),
            balance: proto::BalancePolicy::LeastRequest,
            workers: 1 + random::below(2),
            callers: 6,
            calls: 40,
            attempts: 4,
            limits: proto::ClusterLimits::default(),
            ejection: Duration::from_secs(1),
            breaker: None,
        }
    }

    pub fn snapshot(&self, sabotage: Sabotage) -> proto::Snapshot {
        let protocol = match self.protocol {
            Protocol::Http2 => proto::UpstreamProtocol::Grpc,
            _ => proto::UpstreamProtocol::Http1,
        };
        let access_log = Some(proto::AccessLog { enabled: true, ..Default::default() });
        let attempts = self.attempts + u32::from(sabotage == Sabotage::Attempts);
        proto::Snapshot {
            version: 1,
            listeners: vec![proto::Listener {
                name: "out".into(),
                address: "127.0.0.1:15001".into(),
                direction: proto::Direction::Outbound.into(),
                route_table: "mesh".into(),
                ..Default::default()
            }],
            route_tables: vec![proto::RouteTable {
                name: "mesh".into(),
                tcp_routes: Vec::new(),
                routes: vec![proto::Route {
                    name: ORDERS.into(),
                    destinations: vec![proto::Destination { cluster: ORDERS.into(), weight: 1, ..Default::default() }],
                    timeout_ms: 3000,
                    retry: Some(proto::RetryPolicy {
                        attempts,
                        reset: true,
                        statuses: vec![proto::StatusRange { first: 500, last: 599 }],
                        calls: vec![14],
                        per_try_timeout_ms: 1000,
                        budget: Some(if sabotage == Sabotage::Budget { 1000 } else { BUDGET }),
                        ..Default::default()
                    }),
                    ..Default::default()
                }],
            }],
            clusters: vec![proto::Cluster {
                name: ORDERS.into(),
                service: ORDERS.into(),
                protocol: protocol.into(),
                balance: self.balance.into(),
                connect_timeout_ms: 500,
                limits: Some(self.limits),
                breaker: self.breaker,
                balance_settings: Some(proto::BalanceSettings {
                    hash: vec![proto::HashKey {
                        source: Some(proto::hash_key::Source::Header("x-user".into())),
                        terminal: false,
                    }],
                    ..Default::default()
                }),
                outlier: Some(proto::Outlier {
                    consecutive_errors: Some(3),
                    ejection_ms: self.ejection.as_millis() as u32,
                    ..Default::default()
                }),
                ..Default::default()
            }],
            telemetry: Some(proto::Telemetry { access_log, ..Default::default() }),
        }
    }
}
