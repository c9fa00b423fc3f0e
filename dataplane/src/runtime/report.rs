//! What the control side is told of clusters, as they stand.

use std::sync::atomic::Ordering::Relaxed;

use crate::cluster::{Cluster, Endpoint, Members};
use crate::proto;
use crate::snapshot::model::{self, EndpointLimits};

/// One of them, with its endpoints. `config`: None when the snapshot does not name it any more.
pub fn cluster(
    name: &str,
    (cluster, members): (&Cluster, &Members),
    config: Option<&model::Cluster>,
) -> proto::ClusterState {
    proto::ClusterState {
        name: name.to_owned(),
        // As before the first list: whoever asks for it again is seen by that.
        version: if members.is_followed { members.version } else { 0 },
        endpoints: members.endpoints.iter().map(|one| endpoint(one)).collect(),
        requests_active: cluster.requests.held(),
        requests_pending: cluster.pending.held(),
        connections_active: cluster.connections.held(),
        retries_active: cluster.retries.held(),
        open_ms: cluster.circuit.left().map(|left| left.as_millis() as u64),
        limits: config.map(limits),
    }
}

fn endpoint(endpoint: &Endpoint) -> proto::EndpointState {
    let counts = &endpoint.counts;
    proto::EndpointState {
        id: endpoint.id.to_string(),
        address: endpoint.address.to_string(),
        healthy: endpoint.healthy,
        weight: endpoint.weight,
        requests_active: u64::from(counts.active.load(Relaxed)),
        requests_total: counts.total.load(Relaxed),
        failures_total: counts.failures.load(Relaxed),
        ejected_ms: counts.circuit.left().map(|left| left.as_millis() as u64),
        overloads_total: counts.overloads.load(Relaxed),
        priority: endpoint.priority,
        connections_active: counts.connections.held(),
        requests_pending: counts.pending.held(),
        retries_active: counts.retries.held(),
        check: counts
            .check
            .error()
            .map(|error| proto::CheckState { well: !counts.check.is_ill(), error: error.into() }),
    }
}

fn limits(config: &model::Cluster) -> proto::ClusterLimits {
    let own = |most: u32| if most == u32::MAX { 0 } else { most };
    let EndpointLimits { max_connections, max_pending, max_requests, max_retries } = config.per_endpoint;
    proto::ClusterLimits {
        max_connections: config.max_connections,
        max_pending: config.max_pending,
        max_requests: config.max_requests,
        max_retries: config.max_retries,
        per_endpoint: Some(proto::EndpointLimits {
            max_connections: own(max_connections),
            max_pending: own(max_pending),
            max_requests: own(max_requests),
            max_retries: own(max_retries),
        }),
    }
}
