//! Live state of one upstream: its endpoints, what is in flight, what has failed. Shared by all workers, and outlives
//! snapshots: a recompile changes what a cluster is told to do, never what it knows.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use crate::breaker::{Circuit, Gauge, Window};
use crate::budget::Budget;
use crate::proto;
use crate::verdict::Verdict;

/// One upstream, by name.
#[derive(Debug, Default)]
pub struct Cluster {
    /// Requests in flight, for `circuit_breaker.max_requests`.
    pub requests: Gauge,
    /// Requests in flight that are tried again, for `max_retries`.
    pub retries: Gauge,
    /// How many more may be.
    pub budget: Budget,
    /// Open while too much fails.
    pub circuit: Circuit,
    /// For that.
    pub window: Window,
    /// Requests that wait for a connection, for `max_pending`.
    pub pending: Gauge,
    /// Connections, for `max_connections`.
    pub connections: Arc<Gauge>,
    /// An endpoint of it was ejected some time.
    pub ejects: AtomicBool,
    wanted: AtomicBool,
    used: AtomicBool,
}

impl Cluster {
    /// True the first time it is called: the cluster is wanted, and somebody has to be told.
    pub fn first_wanted(&self) -> bool {
        !self.wanted.swap(true, Relaxed)
    }

    /// A request goes there.
    pub fn mark_used(&self) {
        // Read first: a line of cache that all workers read stays with all of them.
        if !self.used.load(Relaxed) {
            self.used.store(true, Relaxed);
        }
    }

    /// Whether a request has gone there since this was last asked.
    pub fn take_used(&self) -> bool {
        self.used.swap(false, Relaxed)
    }
}

/// One instance of a service, as one version of its cluster's list describes it.
#[derive(Debug)]
pub struct Endpoint {
    /// Stable name of the instance.
    pub id: Arc<str>,
    /// Where it listens.
    pub address: SocketAddr,
    /// The address as text, for records.
    pub label: Arc<str>,
    /// At least 1.
    pub weight: u32,
    /// May be picked.
    pub healthy: bool,
    /// Narrows the cluster's; empty: does not.
    pub spiffe_ids: Vec<Arc<str>>,
    /// Survives new lists.
    pub counts: Arc<Counts>,
}

/// What happened at one endpoint; one per service and address, whatever cluster or list mentions it.
#[derive(Debug, Default)]
pub struct Counts {
    /// Requests in flight.
    pub active: AtomicU32,
    /// Requests ever sent.
    pub total: AtomicU64,
    /// Attempts that the endpoint failed.
    pub failures: AtomicU64,
    /// Attempts for which it had too much to do.
    pub overloads: AtomicU64,
    /// Open connections.
    pub connections: AtomicU32,
    /// Open while it is ejected.
    pub circuit: Circuit,
    /// Failures in a row.
    pub consecutive: AtomicU32,
    /// Failures lately.
    pub window: Window,
}

impl Counts {
    /// An attempt is over: the one place that hears of it.
    pub fn ended(&self, verdict: Verdict) {
        match verdict {
            Verdict::Success | Verdict::CallersFault => {}
            Verdict::Failure => drop(self.failures.fetch_add(1, Relaxed)),
            Verdict::Overload => drop(self.overloads.fetch_add(1, Relaxed)),
        }
    }
}

/// One version of a cluster's endpoints.
#[derive(Debug, Default)]
pub struct Members {
    /// 0: none has arrived yet.
    pub version: u64,
    /// Somebody follows them; without that requests ask for them again.
    pub is_followed: bool,
    /// In the order given.
    pub endpoints: Vec<Arc<Endpoint>>,
}

/// Every cluster that a snapshot names, with the endpoints last told. Only the control side touches it.
#[derive(Debug, Default)]
pub struct Registry {
    clusters: HashMap<Arc<str>, Entry>,
    counts: HashMap<(Arc<str>, SocketAddr), Weak<Counts>>,
}

#[derive(Debug)]
struct Entry {
    service: Arc<str>,
    cluster: Arc<Cluster>,
    members: Arc<Members>,
}

/// Why an endpoint list is refused.
#[derive(Debug, thiserror::Error)]
pub enum MembersRejected {
    /// The snapshot in force does not name the cluster.
    #[error("cluster `{0}` is not in the snapshot; apply a snapshot that names it first")]
    UnknownCluster(String),
    /// An endpoint's address does not parse.
    #[error("cluster `{cluster}`: endpoint `{endpoint}`: address `{address}` is not ip:port")]
    BadAddress {
        /// Whose list.
        cluster: String,
        /// Which one.
        endpoint: String,
        /// As given.
        address: String,
    },
}

impl Registry {
    /// Keeps exactly the named clusters (name and service), creating what is new.
    pub fn retain(&mut self, wanted: &HashMap<Arc<str>, Arc<str>>) {
        self.clusters.retain(|name, _| wanted.contains_key(name));
        for (name, service) in wanted {
            self.clusters.entry(Arc::clone(name)).or_insert_with(|| Entry {
                service: Arc::clone(service),
                cluster: Arc::default(),
                members: Arc::default(),
            });
        }
        self.counts.retain(|_, counts| counts.strong_count() > 0);
    }

    /// A cluster's live state and last list.
    pub fn get(&self, name: &str) -> Option<(Arc<Cluster>, Arc<Members>)> {
        let entry = self.clusters.get(name)?;
        Some((Arc::clone(&entry.cluster), Arc::clone(&entry.members)))
    }

    /// The clusters to which requests have gone since this was last asked.
    pub fn take_used(&self) -> Vec<String> {
        let used = self.clusters.iter().filter(|(_, entry)| entry.cluster.take_used());
        used.map(|(name, _)| name.to_string()).collect()
    }

    /// All clusters, for reports.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Cluster, &Members)> {
        self.clusters
            .iter()
            .map(|(name, entry)| (name, entry.cluster.as_ref(), entry.members.as_ref()))
    }

    /// Takes a list unless a newer one is held; returns the one that is now in force, and whether it is new.
    pub fn update(&mut self, update: &proto::EndpointsUpdate) -> Result<(Arc<Members>, bool), MembersRejected> {
        let Some((name, entry)) = self.clusters.get_key_value(update.cluster.as_str()) else {
            return Err(MembersRejected::UnknownCluster(update.cluster.clone()));
        };
        if update.version <= entry.members.version {
            return Ok((Arc::clone(&entry.members), false));
        }
        let (name, service) = (Arc::clone(name), Arc::clone(&entry.service));
        let mut endpoints = Vec::with_capacity(update.endpoints.len());
        if update.forgotten {
            // Before a worker hears of it: the first request that does must be able to ask.
            entry.cluster.wanted.store(false, Relaxed);
            endpoints.clone_from(&entry.members.endpoints);
        } else {
            for endpoint in &update.endpoints {
                endpoints.push(Arc::new(self.endpoint(&name, &service, endpoint)?));
            }
        }
        let members = Arc::new(Members { version: update.version, is_followed: !update.forgotten, endpoints });
        if let Some(entry) = self.clusters.get_mut(&name) {
            entry.members = Arc::clone(&members);
        }
        Ok((members, true))
    }

    fn endpoint(
        &mut self,
        cluster: &Arc<str>,
        service: &Arc<str>,
        wire: &proto::Endpoint,
    ) -> Result<Endpoint, MembersRejected> {
        let address: SocketAddr = wire.address.parse().map_err(|_| MembersRejected::BadAddress {
            cluster: cluster.to_string(),
            endpoint: wire.id.clone(),
            address: wire.address.clone(),
        })?;
        let slot = self.counts.entry((Arc::clone(service), address)).or_default();
        let counts = slot.upgrade().unwrap_or_default();
        *slot = Arc::downgrade(&counts);
        Ok(Endpoint {
            id: wire.id.as_str().into(),
            address,
            label: wire.address.as_str().into(),
            weight: wire.weight.max(1),
            healthy: wire.healthy,
            spiffe_ids: wire.spiffe_ids.iter().map(|id| id.as_str().into()).collect(),
            counts,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry() -> Registry {
        let mut registry = Registry::default();
        registry.retain(&HashMap::from([
            ("orders".into(), "orders".into()),
            ("orders/v1".into(), "orders".into()),
        ]));
        registry
    }

    fn list(cluster: &str, version: u64, addresses: &[&str]) -> proto::EndpointsUpdate {
        proto::EndpointsUpdate {
            cluster: cluster.into(),
            version,
            endpoints: addresses
                .iter()
                .map(|address| proto::Endpoint {
                    id: (*address).into(),
                    address: (*address).into(),
                    healthy: true,
                    ..Default::default()
                })
                .collect(),
            forgotten: false,
        }
    }

    #[test]
    fn an_older_list_is_ignored() {
        let mut registry = registry();
        assert!(
            registry
                .update(&list("orders", 2, &["127.0.0.1:1"]))
                .is_ok_and(|(_, new)| new)
        );
        let (members, new) = registry
            .update(&list("orders", 1, &[]))
            .expect("an older list is no error");
        assert!(!new);
        assert_eq!((members.version, members.endpoints.len()), (2, 1));
    }

    #[test]
    fn a_list_that_nobody_follows_is_asked_for_again() {
        let mut registry = registry();
        let (cluster, _) = registry.get("orders").expect("known");
        assert!(cluster.first_wanted());
        registry.update(&list("orders", 1, &["127.0.0.1:1"])).expect("valid");
        assert!(!cluster.first_wanted());

        let forgotten = proto::EndpointsUpdate { forgotten: true, ..list("orders", 2, &[]) };
        let (members, _) = registry.update(&forgotten).expect("valid");
        assert_eq!((members.is_followed, members.endpoints.len()), (false, 1));
        assert!(cluster.first_wanted());

        let (members, _) = registry.update(&list("orders", 3, &[])).expect("valid");
        assert_eq!((members.is_followed, members.endpoints.len()), (true, 0));
    }

    #[test]
    fn use_is_told_once() {
        let registry = registry();
        let (cluster, _) = registry.get("orders").expect("known");
        assert!(registry.take_used().is_empty());
        cluster.mark_used();
        cluster.mark_used();
        assert_eq!(registry.take_used(), ["orders"]);
        assert!(registry.take_used().is_empty());
    }

    #[test]
    fn counts_are_shared_by_subsets_and_survive_new_lists() {
        let mut registry = registry();
        let (all, _) = registry.update(&list("orders", 1, &["127.0.0.1:1"])).expect("valid");
        let (subset, _) = registry.update(&list("orders/v1", 1, &["127.0.0.1:1"])).expect("valid");
        all.endpoints[0].counts.active.fetch_add(3, Relaxed);
        assert_eq!(subset.endpoints[0].counts.active.load(Relaxed), 3);
        let (newer, _) = registry
            .update(&list("orders", 2, &["127.0.0.1:2", "127.0.0.1:1"]))
            .expect("valid");
        assert_eq!(newer.endpoints[1].counts.active.load(Relaxed), 3);
    }

    #[test]
    fn refusals_name_the_cluster_and_the_endpoint() {
        let mut registry = registry();
        let unknown = registry.update(&list("nowhere", 1, &[])).expect_err("unknown");
        assert!(unknown.to_string().contains("`nowhere`"));
        let bad = registry
            .update(&list("orders", 1, &["orders.example:1"]))
            .expect_err("not an address");
        assert!(bad.to_string().contains("`orders.example:1`"), "{bad}");
        assert_eq!(registry.get("orders").map(|(_, members)| members.version), Some(0));
    }
}
