//! What tests configure.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::model::{
    Admission, Balance, BalancePolicy, BucketRate, Cluster, EndpointLimits, Origin, Protocol, Rate, RateKey, RateLimit,
};
use crate::verdict::Judge;

/// No limit for each endpoint.
pub const UNLIMITED: EndpointLimits = EndpointLimits {
    max_connections: u32::MAX,
    max_pending: u32::MAX,
    max_requests: u32::MAX,
    max_retries: u32::MAX,
};

/// A cluster of gRPC endpoints without any of the optional.
pub fn cluster(name: &str, service: &str, policy: BalancePolicy) -> Cluster {
    Cluster {
        name: name.into(),
        service: service.into(),
        subset: "".into(),
        protocol: Protocol::Http2,
        is_grpc: true,
        balance: Balance { policy, keys: Vec::new(), sticky: None, slow_start: None, panic_threshold: 50 },
        tls: None,
        connect_timeout: Duration::from_secs(5),
        warm_timeout: Duration::from_secs(5),
        max_connections: 1,
        max_pending: 1,
        max_requests: 1,
        max_retries: 1,
        per_endpoint: UNLIMITED,
        outlier: None,
        breaker: None,
        check: None,
        judge: Judge::usual(),
        origin: Origin::default(),
    }
}

/// The same, shared.
pub fn shared(name: &str, service: &str, policy: BalancePolicy) -> Arc<Cluster> {
    Arc::new(cluster(name, service, policy))
}

/// So many requests at a time, and three in a minute for each key.
pub fn admission(concurrency: u32, by: Option<Vec<RateKey>>) -> Arc<Admission> {
    let rate = by.map(|by| RateLimit {
        name: "default".into(),
        requests: 3,
        period: Duration::from_secs(60),
        rate: Rate::Bucket(BucketRate { interval: 20_000_000_000, burst: 3 }),
        by,
        policy: HeaderValue::from_static("\"default\";q=3;w=60"),
    });
    let rate = rate.map(Arc::new);
    Arc::new(Admission { concurrency, rate })
}
