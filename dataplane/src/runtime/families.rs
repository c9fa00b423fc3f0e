//! What clusters and their endpoints are doing, as families of metrics: read when somebody asks, counted anyway.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::cluster::{Cluster, Happened, Members, Registry};
use crate::telemetry::exposition::{Family, Kind, Label, Labels, Value, outcome_labels};

/// Of each cluster to which a request has gone: labels beside its name, and a number.
type Read = fn(&Cluster, &Members) -> Vec<(Labels, u64)>;

/// Name, what it is, how it behaves, and how it is read.
const OF_CLUSTERS: &[(&str, &str, Kind, Read)] = &[
    (
        "sidecar.cluster.requests",
        "Requests to the cluster.",
        Kind::Counter,
        |cluster, _| one(cluster.requests.taken()),
    ),
    (
        "sidecar.cluster.requests.active",
        "Requests in flight, of max_requests.",
        Kind::Gauge,
        |cluster, _| one(cluster.requests.held()),
    ),
    (
        "sidecar.cluster.requests.pending",
        "Requests that wait for a connection, of max_pending.",
        Kind::Gauge,
        |cluster, _| one(cluster.pending.held()),
    ),
    (
        "sidecar.cluster.connections.active",
        "Open connections, of max_connections.",
        Kind::Gauge,
        |cluster, _| one(cluster.connections.held()),
    ),
    (
        "sidecar.cluster.connections.opened",
        "Connections that were opened, or tried to be.",
        Kind::Counter,
        |cluster, _| one(cluster.connections.taken()),
    ),
    (
        "sidecar.cluster.retries.active",
        "Requests in flight that are tried again, of max_retries.",
        Kind::Gauge,
        |cluster, _| one(cluster.retries.held()),
    ),
    (
        "sidecar.cluster.retries",
        "Retries that were asked for: made, or refused by max_retries or the budget.",
        Kind::Counter,
        |cluster, _| {
            let Happened { retries, retries_refused, .. } = &cluster.events;
            vec![
                counted("outcome", "made", retries),
                counted("outcome", "refused", retries_refused),
            ]
        },
    ),
    (
        "sidecar.cluster.ejections",
        "Endpoints that were ejected.",
        Kind::Counter,
        |cluster, _| vec![(vec![], cluster.events.ejections.load(Relaxed))],
    ),
    (
        "sidecar.cluster.circuit.trips",
        "How often the circuit opened.",
        Kind::Counter,
        |cluster, _| vec![(vec![], cluster.events.trips.load(Relaxed))],
    ),
    (
        "sidecar.cluster.circuit.open",
        "1 while the circuit is open, and the cluster gets no requests.",
        Kind::Gauge,
        |cluster, _| one(u32::from(cluster.circuit.is_open())),
    ),
    (
        "sidecar.cluster.endpoints",
        "Endpoints, by what is known of them: one may be ejected and ill.",
        Kind::Gauge,
        |_, members| {
            let count = |state, is: fn(&crate::cluster::Endpoint) -> bool| {
                let number = members.endpoints.iter().filter(|endpoint| is(endpoint)).count() as u64;
                (vec![("state", Label::Static(state))], number)
            };
            vec![
                count("known", |_| true),
                count("unhealthy", |endpoint| !endpoint.healthy),
                count("ejected", |endpoint| endpoint.counts.circuit.is_open()),
                count("ill", |endpoint| endpoint.counts.check.is_ill()),
            ]
        },
    ),
];

fn one(number: u32) -> Vec<(Labels, u64)> {
    vec![(vec![], number.into())]
}

fn counted(label: &'static str, value: &'static str, count: &AtomicU64) -> (Labels, u64) {
    (vec![(label, Label::Static(value))], count.load(Relaxed))
}

/// Of all clusters and endpoints to which a request has gone.
pub fn families(registry: &Registry) -> Vec<Family> {
    let mut used: Vec<_> = registry
        .iter()
        .filter(|(_, cluster, _)| cluster.requests.taken() > 0)
        .collect();
    used.sort_unstable_by_key(|(name, ..)| Arc::clone(name));
    let of_clusters = OF_CLUSTERS.iter().map(|&(name, help, kind, read)| {
        Family::new(name, help, kind).of(used.iter().flat_map(|(cluster, state, members)| {
            let own = read(state, members).into_iter();
            own.map(move |(labels, number)| {
                let mut all = vec![("cluster", Label::Shared(Arc::clone(cluster)))];
                all.extend(labels);
                (all, number)
            })
        }))
    });
    of_clusters.chain(of_endpoints(registry)).collect()
}

/// Of all endpoints to which a request has gone; one that several clusters of a service mention is told once.
fn of_endpoints(registry: &Registry) -> [Family; 2] {
    let mut told = HashSet::new();
    let (mut active, mut durations) = (Vec::new(), Vec::new());
    let mut endpoints: Vec<_> = registry.endpoints().collect();
    endpoints.sort_unstable_by(|(a, one), (b, other)| (a, &one.label).cmp(&(b, &other.label)));
    for (service, endpoint) in endpoints {
        let counts = &endpoint.counts;
        if counts.total.load(Relaxed) == 0 || !told.insert(Arc::as_ptr(counts)) {
            continue;
        }
        let labels = || {
            vec![
                ("service", Label::Shared(Arc::clone(service))),
                ("endpoint", Label::Shared(Arc::clone(&endpoint.label))),
            ]
        };
        active.push((labels(), u64::from(counts.active.load(Relaxed))));
        for (outcome, tally) in counts.metrics.attempts.cells() {
            let mut all = labels();
            all.extend(outcome_labels(outcome));
            let (count, sum) = tally.read();
            durations.push((all, Value::Summary(count, sum)));
        }
    }
    [
        Family::new("sidecar.endpoint.requests.active", "Requests in flight.", Kind::Gauge).of(active),
        Family::new(
            "sidecar.endpoint.attempt.duration",
            "Duration of attempts at an endpoint, by how they ended.",
            Kind::Summary,
        )
        .of_values(durations),
    ]
}
