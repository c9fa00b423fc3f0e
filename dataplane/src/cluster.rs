//! Live state of one upstream: its endpoints, what is in flight, what has failed. Shared by all workers, and outlives
//! snapshots: a recompile changes what a cluster is told to do, never what it knows.

mod checked;
mod latency;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::breaker::{Circuit, Gauge, Window};
use crate::budget::Budget;
use crate::clock;
use crate::hashing::Table;
use crate::proto;
use crate::snapshot::model::{self, Hashing};
use crate::telemetry::metrics::EndpointMetrics;
use crate::verdict::Verdict;

pub use checked::Checked;
use latency::Latency;

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
    /// What has happened to it, for metrics.
    pub events: Happened,
    /// Requests that wait for a connection, for `max_pending`.
    pub pending: Gauge,
    /// Connections, for `max_connections`.
    pub connections: Arc<Gauge>,
    wanted: AtomicBool,
    used: AtomicBool,
    changes: Arc<Changes>,
}

/// How often what rarely happens has happened to a cluster.
#[derive(Debug, Default)]
pub struct Happened {
    /// Endpoints that were ejected.
    pub ejections: AtomicU64,
    /// Its circuit opened.
    pub trips: AtomicU64,
    /// Retries that were made.
    pub retries: AtomicU64,
    /// Retries for which there was no room: `max_retries`, or the budget.
    pub retries_refused: AtomicU64,
}

/// How often an endpoint of a service has become available, or ceased to be.
#[derive(Debug, Default)]
struct Changes(AtomicU64);

impl Changes {
    /// After what has changed: who sees the new number sees that too.
    fn tell(&self) {
        self.0.fetch_add(1, Release);
    }
}

impl Cluster {
    /// True the first time it is called: the cluster is wanted, and somebody has to be told.
    pub fn first_wanted(&self) -> bool {
        !self.wanted.swap(true, Relaxed)
    }

    /// Changes when an endpoint becomes available or ceases to be: what was made of its list has to be made again.
    pub fn changes(&self) -> u64 {
        self.changes.0.load(Acquire)
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
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Stable name of the instance.
    pub id: Arc<str>,
    /// Where it listens.
    pub address: SocketAddr,
    /// The address as text, for records.
    pub label: Arc<str>,
    /// At least 1.
    pub weight: u32,
    /// Discovery says that it may be picked.
    pub healthy: bool,
    /// 0 goes first; others take over.
    pub priority: u32,
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
    /// Requests that wait for a connection, for `per_endpoint.max_pending`.
    pub pending: Gauge,
    /// Open connections, for `per_endpoint.max_connections`.
    pub connections: Gauge,
    /// Requests in flight that came here after a failed attempt, for `per_endpoint.max_retries`.
    pub retries: Gauge,
    /// Open while it is ejected: see [`eject`](Counts::eject) and [`restore`](Counts::restore).
    pub circuit: Circuit,
    /// Failures in a row.
    pub consecutive: AtomicU32,
    /// Gateway errors in a row.
    pub consecutive_gateway: AtomicU32,
    /// Failures lately.
    pub window: Window,
    /// How fast it has answered of late; told where somebody wants to know.
    pub latency: Latency,
    /// Since when it is available, in milliseconds of [`clock::millis`]; 0: for as long as its service is known.
    since: AtomicU64,
    /// It was found here to be broken: discovery may call it healthy all the same.
    out: AtomicBool,
    /// What its health checks say, where there are any.
    pub check: Checked,
    /// How attempts there ended.
    pub metrics: Arc<EndpointMetrics>,
    changes: Arc<Changes>,
}

impl Counts {
    /// Of one of a service's endpoints.
    fn new(changes: &Arc<Changes>, is_first_list: bool, label: &str) -> Self {
        let since = if is_first_list { 0 } else { clock::millis() };
        Counts {
            since: AtomicU64::new(since),
            changes: Arc::clone(changes),
            metrics: EndpointMetrics::new(label),
            ..Counts::default()
        }
    }

    /// Whether it was found here to be broken.
    pub fn is_out(&self) -> bool {
        self.out.load(Relaxed)
    }

    /// Says so, or that it is no more; every worker that balances over it hears of that.
    #[cfg(test)]
    pub fn set_out(&self, is_out: bool) {
        if self.out.swap(is_out, Relaxed) != is_out {
            self.available_since(clock::millis());
        }
    }

    /// It gets no requests for a while, for `base` and longer each time; every worker that balances over it hears of that.
    /// False: it was out already.
    pub fn eject(&self, base: Duration, most: Duration) -> bool {
        let is_mine = self.circuit.trip(base, most);
        if is_mine {
            self.changes.tell();
        }
        is_mine
    }

    /// It gets requests again.
    pub fn restore(&self) {
        self.circuit.probe_succeeded();
        self.available_since(clock::millis());
    }

    /// A health check has ended, with an error or well. `is_ill`: what is believed from now on, if that is new to the one
    /// who checks. True: it is new to those who balance, and they hear of it.
    pub fn checked(&self, error: Option<String>, is_ill: Option<bool>) -> bool {
        self.check.note(error);
        let is_news = is_ill.is_some_and(|is_ill| self.check.set_ill(is_ill));
        if is_news {
            self.available_since(clock::millis());
        }
        is_news
    }

    /// There is no health check any more: it counts as well.
    pub fn unchecked(&self) {
        self.check.forget();
        if self.check.set_ill(false) {
            self.available_since(clock::millis());
        }
    }

    /// Since when it is available, in milliseconds of [`clock::millis`]; 0: for as long as its service is known.
    pub fn since(&self) -> u64 {
        self.since.load(Relaxed)
    }

    fn available_since(&self, now: u64) {
        self.since.store(now, Relaxed);
        self.changes.tell();
    }

    /// An attempt is over: the one place that hears of it. `taken` is the time until its answer began, or until it failed;
    /// `None`: nobody wants to know.
    pub fn ended(&self, verdict: Verdict, taken: Option<Duration>) {
        if let Some(taken) = taken {
            self.latency.observe(taken, verdict, clock::millis());
        }
        match verdict {
            Verdict::Success | Verdict::CallersFault => {}
            Verdict::Failure | Verdict::GatewayError => drop(self.failures.fetch_add(1, Relaxed)),
            Verdict::Overload => drop(self.overloads.fetch_add(1, Relaxed)),
        }
    }
}

/// One version of a cluster's endpoints.
#[derive(Clone, Debug, Default)]
pub struct Members {
    /// 0: none has arrived yet.
    pub version: u64,
    /// Somebody follows them; without that requests ask for them again.
    pub is_followed: bool,
    /// In the order given.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// Where keys lead, when the cluster's requests have such.
    pub table: Option<Arc<Table>>,
}

impl Members {
    /// With the table that is asked for; one that is there already is kept.
    fn with_table(mut self, hashing: Option<Hashing>) -> Self {
        let held = self.table.as_ref().map(|table| table.hashing());
        if held != hashing {
            let named = self.endpoints.iter().map(|endpoint| (&*endpoint.id, endpoint.weight));
            self.table = hashing.and_then(|hashing| Table::new(hashing, named)).map(Arc::new);
        }
        self
    }
}

/// Every cluster that a snapshot names, with the endpoints last told. Only the control side touches it.
#[derive(Debug, Default)]
pub struct Registry {
    clusters: HashMap<Arc<str>, Entry>,
    counts: HashMap<(Arc<str>, SocketAddr), Weak<Counts>>,
    /// By service.
    changes: HashMap<Arc<str>, Weak<Changes>>,
}

#[derive(Debug)]
struct Entry {
    service: Arc<str>,
    hashing: Option<Hashing>,
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
    /// Keeps exactly these clusters, creating what is new.
    pub fn retain(&mut self, wanted: &HashMap<Arc<str>, Arc<model::Cluster>>) {
        self.clusters.retain(|name, _| wanted.contains_key(name));
        for (name, config) in wanted {
            let changes = &mut self.changes;
            let entry = self.clusters.entry(Arc::clone(name)).or_insert_with(|| Entry {
                service: Arc::clone(&config.service),
                hashing: None,
                cluster: Arc::new(Cluster { changes: changes_of(changes, &config.service), ..Cluster::default() }),
                members: Arc::default(),
            });
            let hashing = config.balance.hashing();
            if entry.hashing != hashing {
                entry.hashing = hashing;
                entry.members = Arc::new(Members::clone(&entry.members).with_table(hashing));
            }
        }
        self.counts.retain(|_, counts| counts.strong_count() > 0);
        self.changes.retain(|_, changes| changes.strong_count() > 0);
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

    /// The endpoints of all clusters, with their service.
    pub fn endpoints(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Endpoint>)> {
        let entries = self.clusters.values();
        entries.flat_map(|entry| {
            entry
                .members
                .endpoints
                .iter()
                .map(|endpoint| (&entry.service, endpoint))
        })
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
        let (hashing, before) = (entry.hashing, Arc::clone(&entry.members));
        let mut endpoints = Vec::with_capacity(update.endpoints.len());
        if update.forgotten {
            // Before a worker hears of it: the first request that does must be able to ask.
            entry.cluster.wanted.store(false, Relaxed);
            endpoints.clone_from(&entry.members.endpoints);
        } else {
            for endpoint in &update.endpoints {
                endpoints.push(Arc::new(self.endpoint(
                    &name,
                    &service,
                    endpoint,
                    before.version == 0,
                )?));
            }
            welcome_back(&before, &endpoints);
        }
        let (version, is_followed) = (update.version, !update.forgotten);
        let members = Members { version, is_followed, endpoints, table: None }.with_table(hashing);
        let members = Arc::new(members);
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
        is_first_list: bool,
    ) -> Result<Endpoint, MembersRejected> {
        let address: SocketAddr = wire.address.parse().map_err(|_| MembersRejected::BadAddress {
            cluster: cluster.to_string(),
            endpoint: wire.id.clone(),
            address: wire.address.clone(),
        })?;
        let changes = changes_of(&mut self.changes, service);
        let slot = self.counts.entry((Arc::clone(service), address)).or_default();
        let counts = slot
            .upgrade()
            .unwrap_or_else(|| Arc::new(Counts::new(&changes, is_first_list, &wire.address)));
        *slot = Arc::downgrade(&counts);
        Ok(Endpoint {
            id: wire.id.as_str().into(),
            address,
            label: wire.address.as_str().into(),
            weight: wire.weight.max(1),
            healthy: wire.healthy,
            priority: wire.priority,
            spiffe_ids: wire.spiffe_ids.iter().map(|id| id.as_str().into()).collect(),
            counts,
        })
    }
}

/// Those of a service, which all its clusters and endpoints share.
fn changes_of(known: &mut HashMap<Arc<str>, Weak<Changes>>, service: &Arc<str>) -> Arc<Changes> {
    let slot = known.entry(Arc::clone(service)).or_default();
    let changes = slot.upgrade().unwrap_or_default();
    *slot = Arc::downgrade(&changes);
    changes
}

/// Those that discovery calls healthy again begin anew.
fn welcome_back(before: &Members, endpoints: &[Arc<Endpoint>]) {
    let ill = before.endpoints.iter().filter(|endpoint| !endpoint.healthy);
    let ill: HashMap<SocketAddr, &Arc<Endpoint>> = ill.map(|endpoint| (endpoint.address, endpoint)).collect();
    for endpoint in endpoints.iter().filter(|endpoint| endpoint.healthy) {
        if ill.contains_key(&endpoint.address) {
            endpoint.counts.available_since(clock::millis());
        }
    }
}
