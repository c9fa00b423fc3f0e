//! What tests configure.

use std::sync::Arc;
use std::time::Duration;

use super::model::{Balance, BalancePolicy, Cluster, Origin, Protocol};
use crate::verdict::Judge;

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
        outlier: None,
        breaker: None,
        judge: Judge::usual(),
        origin: Origin::default(),
    }
}

/// The same, shared.
pub fn shared(name: &str, service: &str, policy: BalancePolicy) -> Arc<Cluster> {
    Arc::new(cluster(name, service, policy))
}
