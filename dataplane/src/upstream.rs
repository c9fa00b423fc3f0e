//! One worker's view of a cluster: who can be picked, and the connections to them.

mod permit;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use http::HeaderMap;
use http::header::SET_COOKIE;
use http::request::Parts;
use tokio::sync::Notify;

use crate::balance::{Balancer, Key, Origin};
use crate::clock::{self, Instant};
use crate::cluster::{Cluster, Endpoint, Members};
use crate::error::{Error, Reason};
use crate::events::Events;
use crate::outlier::{self, Change};
use crate::pool::{Connection, Lease, Limits, Pool, Target, Transport};
use crate::proto::{self, event::Kind};
use crate::snapshot::model::{self, BalancePolicy, ClientTls, EndpointLimits, Protocol};
use crate::telemetry::finished::{self as record, Breaker};
use crate::telemetry::trace::span_id;
use crate::tls::term::Trust;
use crate::verdict::{Judge, Verdict};

pub use permit::Permit;

/// A cluster as one snapshot configures it, for one worker.
#[derive(Debug)]
pub struct Upstream {
    /// What the snapshot says.
    pub config: Arc<model::Cluster>,
    cluster: Arc<Cluster>,
    connections: Rc<Connections>,
    candidates: RefCell<Rc<Candidates>>,
    /// The endpoint list changed, or nobody will tell it any more.
    changed: Notify,
    is_retired: Cell<bool>,
    events: Arc<Events>,
}

/// One version of the endpoint list, ready to pick from.
#[derive(Debug)]
struct Candidates {
    members: Arc<Members>,
    balancer: Balancer,
    /// [`Cluster::changes`] when it was made.
    changes: u64,
    /// Beside `members.endpoints`; made when first used.
    pools: Rc<[OnceCell<Rc<Pool>>]>,
}

impl Candidates {
    fn new(config: &model::Cluster, cluster: &Cluster, members: Arc<Members>) -> Rc<Self> {
        let pools = members.endpoints.iter().map(|_| OnceCell::new()).collect();
        Self::with(config, cluster, members, pools)
    }

    fn with(
        config: &model::Cluster,
        cluster: &Cluster,
        members: Arc<Members>,
        pools: Rc<[OnceCell<Rc<Pool>>]>,
    ) -> Rc<Self> {
        // Read first: what changes meanwhile is seen by the next pick.
        let changes = cluster.changes();
        let balancer = Balancer::new(&config.balance, &members, config.outlier.is_some());
        Rc::new(Candidates { members, balancer, changes, pools })
    }
}

impl Upstream {
    /// A cluster with the endpoints last told, maybe none.
    pub fn new(
        config: Arc<model::Cluster>,
        (cluster, members): (Arc<Cluster>, Arc<Members>),
        connections: Rc<Connections>,
        events: Arc<Events>,
    ) -> Self {
        let candidates = RefCell::new(Candidates::new(&config, &cluster, members));
        let changed = Notify::new();
        Upstream {
            config,
            cluster,
            connections,
            candidates,
            changed,
            is_retired: Cell::new(false),
            events,
        }
    }

    /// Takes a new endpoint list; requests that wait for the first one go on.
    pub fn update(&self, members: Arc<Members>) {
        if members.version > self.candidates.borrow().members.version {
            *self.candidates.borrow_mut() = Candidates::new(&self.config, &self.cluster, members);
            self.changed.notify_waiters();
        }
    }

    /// The endpoint list as it was told last.
    pub fn members(&self) -> Arc<Members> {
        Arc::clone(&self.candidates.borrow().members)
    }

    /// How connections to the endpoint are made.
    pub fn transport(&self, endpoint: &Endpoint) -> Rc<Transport> {
        self.connections.transport(endpoint, &self.config)
    }

    /// A new snapshot has another in its place: requests that wait for its endpoints look for their route again.
    pub fn retire(&self) {
        self.is_retired.set(true);
        self.changed.notify_waiters();
    }

    /// What a pick can choose from.
    pub fn candidates(&self) -> record::Candidates {
        self.current().balancer.candidates()
    }

    /// How its circuits stand.
    pub fn circuits(&self) -> record::Circuits {
        let circuit = &self.cluster.circuit;
        let breaker = self.config.breaker.as_ref().map(|_| match circuit.left() {
            None => Breaker::Closed,
            Some(Duration::ZERO) => Breaker::HalfOpen,
            Some(_) => Breaker::Open,
        });
        let candidates = self.candidates.borrow();
        let endpoints = candidates.members.endpoints.iter();
        let mut spans = endpoints.map(|endpoint| endpoint.counts.circuit.span());
        let mut next = || spans.find(|span| *span != 0).unwrap_or_default();
        record::Circuits { breaker, trip: circuit.span(), ejections: [next(), next()] }
    }

    /// The list, ready to pick from as its endpoints stand now.
    fn current(&self) -> Rc<Candidates> {
        let candidates = Rc::clone(&self.candidates.borrow());
        if candidates.changes == self.cluster.changes() {
            return candidates;
        }
        let Candidates { members, pools, .. } = &*candidates;
        let renewed = Candidates::with(&self.config, &self.cluster, Arc::clone(members), Rc::clone(pools));
        *self.candidates.borrow_mut() = Rc::clone(&renewed);
        renewed
    }

    /// What decides where a request from `source` goes; a connection whose bytes nobody reads has no `parts`.
    pub fn key(&self, parts: Option<&Parts>, source: IpAddr) -> Key {
        let (headers, uri) = (parts.map(|parts| &parts.headers), parts.map(|parts| &parts.uri));
        Key::of(&self.config.balance, Origin { headers, uri, source })
    }

    /// True when an endpoint list has arrived, and is followed.
    pub fn is_warm(&self) -> bool {
        self.candidates.borrow().members.is_followed
    }

    /// Waits for the first endpoint list; the first to wait asks for it. [`Reason::Superseded`]: look for the route again.
    pub async fn warm(&self) -> Result<(), Error> {
        if !self.cluster.pending.try_take(self.config.max_pending) {
            return Err(Error::new(Reason::Overflow).because("max_pending: too many requests wait for endpoints"));
        }
        let _pending = Pending(&self.cluster);
        if self.cluster.first_wanted() {
            let cluster = self.config.name.to_string();
            self.events.push(Kind::ClusterWanted(proto::ClusterWanted { cluster }));
        }
        let timeout = clock::sleep(self.config.warm_timeout);
        tokio::pin!(timeout);
        loop {
            let changed = self.changed.notified();
            if self.is_warm() {
                return Ok(());
            }
            if self.is_retired.get() {
                return Err(Error::new(Reason::Superseded));
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = &mut timeout => {
                    return Err(Error::new(Reason::WarmTimeout)
                        .because(format_args!("nothing after {:?}", self.config.warm_timeout)));
                }
            }
        }
    }

    /// Counts a request against `max_requests` until the permit is dropped.
    pub fn enter(self: &Rc<Self>) -> Result<Permit, Error> {
        Permit::take(self)
    }

    /// Picks an endpoint, one of `tried` only if there is no other.
    pub fn pick(self: &Rc<Self>, key: &Key, tried: &[usize]) -> Result<Picked, Error> {
        let candidates = self.current();
        let Candidates { members, balancer, .. } = &*candidates;
        let is_retry = !tried.is_empty();
        if let Some(index) = balancer.probe(&members.endpoints, key, tried) {
            // The one request that finds out is not held back by what is left of others.
            let counts = &members.endpoints[index].counts;
            counts.active.fetch_add(1, Relaxed);
            if is_retry {
                counts.retries.take();
            }
            return Ok(Picked::new(self, &candidates, index, (true, is_retry)));
        }
        let Some(index) = balancer.pick(&members.endpoints, key, tried) else {
            return Err(Error::new(match members.endpoints.is_empty() {
                true => Reason::NoEndpoints,
                false => Reason::NoHealthyEndpoint,
            }));
        };
        match self.take(&members.endpoints[index], is_retry) {
            true => Ok(Picked::new(self, &candidates, index, (false, is_retry))),
            false => self.pick_with_room(&candidates, tried),
        }
    }

    /// Counts one more request of the endpoint, unless it has as many as it may.
    fn take(&self, endpoint: &Endpoint, is_retry: bool) -> bool {
        let (counts, limits) = (&endpoint.counts, &self.config.per_endpoint);
        if is_retry && !counts.retries.try_take(limits.max_retries) {
            return false;
        }
        let is_taken = counts.active.fetch_add(1, Relaxed) < limits.max_requests;
        if !is_taken {
            counts.active.fetch_sub(1, Relaxed);
            if is_retry {
                counts.retries.give();
            }
        }
        is_taken
    }

    /// In place of an endpoint that has as much in flight as it may: one that has not.
    #[cold]
    fn pick_with_room(self: &Rc<Self>, candidates: &Rc<Candidates>, tried: &[usize]) -> Result<Picked, Error> {
        let (endpoints, balancer) = (&candidates.members.endpoints, &candidates.balancer);
        let is_retry = !tried.is_empty();
        let fresh = balancer.any(|index| !tried.contains(&index) && self.take(&endpoints[index], is_retry));
        match fresh.or_else(|| balancer.any(|index| self.take(&endpoints[index], is_retry))) {
            Some(index) => Ok(Picked::new(self, candidates, index, (false, is_retry))),
            None => Err(Error::new(Reason::Overflow).because(self.fullness(endpoints))),
        }
    }

    /// Which limit every endpoint has reached.
    fn fullness(&self, endpoints: &[Arc<Endpoint>]) -> String {
        let EndpointLimits { max_requests, max_retries, .. } = self.config.per_endpoint;
        let is_full = |endpoint: &Arc<Endpoint>| endpoint.counts.active.load(Relaxed) >= max_requests;
        match endpoints.iter().any(|endpoint| !is_full(endpoint)) {
            true => format!("per_endpoint.max_retries: every endpoint has {max_retries} retries in flight"),
            false => format!("per_endpoint.max_requests: every endpoint has {max_requests} in flight"),
        }
    }

    /// An endpoint is out, or back. Returns the span of its ejection in the mesh's trace, else 0.
    fn tell(&self, endpoint: &Endpoint, change: Change) -> u64 {
        let (span_id, circuit) = (span_id(), &endpoint.counts.circuit);
        let (cause, left) = match change {
            Change::Returned => (String::new(), None),
            Change::Ejected(cause) => {
                self.cluster.events.ejections.fetch_add(1, Relaxed);
                (cause.to_string(), circuit.left())
            }
        };
        circuit.tell(span_id);
        self.events.push(Kind::Ejection(proto::Ejection {
            cluster: self.config.name.to_string(),
            endpoint: endpoint.id.to_string(),
            address: endpoint.label.to_string(),
            cause,
            ejected_ms: left.unwrap_or_default().as_millis() as u64,
            span_id,
        }));
        match change {
            Change::Ejected(_) => span_id,
            Change::Returned => 0,
        }
    }
}

struct Pending<'a>(&'a Cluster);

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.pending.give();
    }
}

/// An endpoint, picked; it counts as loaded until this is dropped.
#[derive(Debug)]
pub struct Picked {
    upstream: Rc<Upstream>,
    candidates: Rc<Candidates>,
    index: usize,
    /// It finds out whether the endpoint is well again, and nobody knows yet.
    is_probe: Cell<bool>,
    /// An attempt of the request has failed before.
    is_retry: bool,
    /// `None`: nobody wants to know how long it takes.
    started: Option<Instant>,
    /// How long it took until the answer began.
    answered: Cell<Option<Duration>>,
}

impl Picked {
    /// The request is among the endpoint's active ones already, and a retry among its retries.
    fn new(
        upstream: &Rc<Upstream>,
        candidates: &Rc<Candidates>,
        index: usize,
        (is_probe, is_retry): (bool, bool),
    ) -> Self {
        // Nobody else reads a latency, and asking for the time costs as much as a pick.
        let is_timed = upstream.config.balance.policy == BalancePolicy::PeakEwma;
        let started = is_timed.then(clock::now);
        let picked = Picked {
            upstream: Rc::clone(upstream),
            candidates: Rc::clone(candidates),
            index,
            started,
            answered: Cell::new(None),
            is_probe: Cell::new(is_probe),
            is_retry,
        };
        picked.endpoint().counts.total.fetch_add(1, Relaxed);
        picked
    }

    /// Its place in the list, for `pick`'s `tried`.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Who it is.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.candidates.members.endpoints[self.index]
    }

    /// A connection, if one has room.
    pub fn ready(&self) -> Option<Lease> {
        self.pool().ready()
    }

    /// Waits for a connection.
    pub async fn checkout(&self) -> Result<Lease, Error> {
        let config = &self.upstream.config;
        self.pool().checkout(&self.upstream.cluster, Limits::of(config)).await
    }

    /// Opens a connection of its own, for bytes that are passed on as they are.
    pub async fn connect(&self) -> Result<Connection, Error> {
        let Upstream { connections, cluster, config, .. } = &*self.upstream;
        let transport = connections.transport(self.endpoint(), config);
        let target = Target::new(self.endpoint(), cluster, transport);
        target.dial(Limits::of(config)).await
    }

    /// The head of its answer has come; it gets the cookies by which the client comes back here.
    pub fn answered(&self, key: &Key, headers: &mut HeaderMap, is_tls: bool) {
        self.answered.set(self.started.map(|started| clock::now() - started));
        for cookie in key.cookies(&self.upstream.config.balance, self.endpoint(), is_tls) {
            headers.append(SET_COOKIE, cookie);
        }
    }

    /// The attempt is over; one that is dropped without this says nothing about the endpoint. If it took the endpoint out,
    /// returns the span of that in the mesh's trace, else 0.
    pub fn ended(&self, verdict: Verdict) -> u64 {
        let taken = match verdict {
            Verdict::Failure | Verdict::GatewayError | Verdict::Overload if self.answered.get().is_none() => {
                self.started.map(|started| clock::now() - started)
            }
            _ => self.answered.get(),
        };
        self.endpoint().counts.ended(verdict, taken);
        let Some(policy) = &self.upstream.config.outlier else {
            return 0;
        };
        let endpoints = &self.candidates.members.endpoints;
        let change = outlier::ended(policy, endpoints, self.index, verdict, self.is_probe.take());
        change.map_or(0, |change| self.upstream.tell(self.endpoint(), change))
    }

    /// Who judges its answers.
    pub fn judge(&self) -> &Judge {
        &self.upstream.config.judge
    }

    fn pool(&self) -> &Rc<Pool> {
        self.candidates.pools[self.index].get_or_init(|| {
            let upstream = &self.upstream;
            upstream
                .connections
                .pool(self.endpoint(), &upstream.cluster, &upstream.config)
        })
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        let counts = &self.endpoint().counts;
        counts.active.fetch_sub(1, Relaxed);
        if self.is_retry {
            counts.retries.give();
        }
        if self.is_probe.get() {
            counts.circuit.probe_lost();
        }
    }
}

type TransportKey = (Protocol, Option<ClientTls>, Duration);

/// All upstream connections of one worker. They outlive snapshots and endpoint lists.
#[derive(Debug)]
pub struct Connections {
    trust: Rc<Trust>,
    transports: RefCell<HashMap<TransportKey, Rc<Transport>>>,
    /// By address and transport.
    pools: RefCell<HashMap<(SocketAddr, *const Transport), Rc<Pool>>>,
}

impl Connections {
    /// None yet.
    pub fn new(trust: Rc<Trust>) -> Self {
        Connections { trust, transports: RefCell::default(), pools: RefCell::default() }
    }

    fn pool(&self, endpoint: &Endpoint, cluster: &Cluster, config: &model::Cluster) -> Rc<Pool> {
        let transport = self.transport(endpoint, config);
        let key = (endpoint.address, Rc::as_ptr(&transport));
        let mut pools = self.pools.borrow_mut();
        Rc::clone(
            pools
                .entry(key)
                .or_insert_with(|| Rc::new(Pool::new(endpoint, cluster, transport))),
        )
    }

    fn transport(&self, endpoint: &Endpoint, config: &model::Cluster) -> Rc<Transport> {
        let mut tls = config.tls.clone();
        if let Some(tls) = &mut tls
            && !endpoint.spiffe_ids.is_empty()
        {
            tls.spiffe_ids.clone_from(&endpoint.spiffe_ids);
        }
        let key = (config.protocol, tls, config.connect_timeout);
        if let Some(transport) = self.transports.borrow().get(&key) {
            return Rc::clone(transport);
        }
        let transport = Rc::new(Transport::new(key.0, key.1.clone(), key.2, Rc::clone(&self.trust)));
        self.transports.borrow_mut().insert(key, Rc::clone(&transport));
        transport
    }

    /// Closes idle connections, and forgets pools and transports that nothing refers to.
    pub fn sweep(&self, now: Instant) {
        self.pools.borrow_mut().retain(|_, pool| {
            pool.sweep(now);
            Rc::strong_count(pool) > 1 || !pool.is_empty()
        });
        self.transports
            .borrow_mut()
            .retain(|_, transport| Rc::strong_count(transport) > 1);
    }

    /// After the secrets changed: new requests get connections that show the new identity, where it is another.
    pub fn retire_outdated(&self) {
        for pool in self.pools.borrow().values().filter(|pool| pool.is_outdated()) {
            pool.retire();
        }
    }
}
