//! One worker's view of a cluster: who can be picked, and the connections to them.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::Notify;

use crate::balance::Balancer;
use crate::clock::{self, Instant};
use crate::cluster::{Cluster, Endpoint, Members};
use crate::error::{Error, Reason};
use crate::events::Events;
use crate::pool::{Connection, Lease, Limits, Pool, SecretsCell, Target, Transport};
use crate::proto::{self, event::Kind};
use crate::snapshot::model::{self, ClientTls, Protocol};
use crate::verdict::{Judge, Verdict};

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
    /// Beside `members.endpoints`; made when first used.
    pools: Vec<OnceCell<Rc<Pool>>>,
}

impl Candidates {
    fn new(config: &model::Cluster, members: Arc<Members>) -> Rc<Self> {
        let balancer = Balancer::new(config.balance, &members.endpoints);
        let pools = members.endpoints.iter().map(|_| OnceCell::new()).collect();
        Rc::new(Candidates { members, balancer, pools })
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
        let candidates = RefCell::new(Candidates::new(&config, members));
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
            *self.candidates.borrow_mut() = Candidates::new(&self.config, members);
            self.changed.notify_waiters();
        }
    }

    /// A new snapshot has another in its place: requests that wait for its endpoints look for their route again.
    pub fn retire(&self) {
        self.is_retired.set(true);
        self.changed.notify_waiters();
    }

    /// How many endpoints there are, and how many can be picked.
    pub fn candidates(&self) -> (usize, usize) {
        let candidates = self.candidates.borrow();
        (candidates.members.endpoints.len(), candidates.balancer.healthy())
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
        if self.cluster.requests.try_take(self.config.max_requests) {
            self.cluster.mark_used();
            return Ok(Permit { upstream: Rc::clone(self) });
        }
        let held = self.config.max_requests;
        Err(Error::new(Reason::Overflow).because(format_args!("max_requests: {held} requests are in flight")))
    }

    /// Picks an endpoint, one of `tried` only if there is no other.
    pub fn pick(self: &Rc<Self>, tried: &[usize]) -> Result<Picked, Error> {
        let candidates = Rc::clone(&self.candidates.borrow());
        match candidates.balancer.pick(&candidates.members.endpoints, tried) {
            Some(index) => Ok(Picked::new(Rc::clone(self), candidates, index)),
            None if candidates.members.endpoints.is_empty() => Err(Error::new(Reason::NoEndpoints)),
            None => Err(Error::new(Reason::NoHealthyEndpoint)),
        }
    }
}

struct Pending<'a>(&'a Cluster);

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.pending.give();
    }
}

/// One request in flight.
#[derive(Debug)]
pub struct Permit {
    upstream: Rc<Upstream>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.upstream.cluster.requests.give();
    }
}

/// An endpoint, picked; it counts as loaded until this is dropped.
#[derive(Debug)]
pub struct Picked {
    upstream: Rc<Upstream>,
    candidates: Rc<Candidates>,
    index: usize,
}

impl Picked {
    fn new(upstream: Rc<Upstream>, candidates: Rc<Candidates>, index: usize) -> Self {
        let picked = Picked { upstream, candidates, index };
        let counts = &picked.endpoint().counts;
        counts.active.fetch_add(1, Relaxed);
        counts.total.fetch_add(1, Relaxed);
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
        let limits = Limits { max_connections: config.max_connections, max_pending: config.max_pending };
        self.pool().checkout(&self.upstream.cluster, limits).await
    }

    /// Opens a connection of its own, for bytes that are passed on as they are.
    pub async fn connect(&self) -> Result<Connection, Error> {
        let Upstream { connections, cluster, config, .. } = &*self.upstream;
        let transport = connections.transport(self.endpoint(), config);
        let target = Target::new(self.endpoint(), cluster, transport);
        target.dial(config.max_connections).await
    }

    /// The attempt is over; one that is dropped without this says nothing about the endpoint.
    pub fn ended(&self, verdict: Verdict) {
        self.endpoint().counts.ended(verdict);
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
        self.endpoint().counts.active.fetch_sub(1, Relaxed);
    }
}

type TransportKey = (Protocol, Option<ClientTls>, Duration);

/// All upstream connections of one worker. They outlive snapshots and endpoint lists.
#[derive(Debug)]
pub struct Connections {
    secrets: SecretsCell,
    transports: RefCell<HashMap<TransportKey, Rc<Transport>>>,
    /// By address and transport.
    pools: RefCell<HashMap<(SocketAddr, *const Transport), Rc<Pool>>>,
}

impl Connections {
    /// None yet.
    pub fn new(secrets: SecretsCell) -> Self {
        Connections { secrets, transports: RefCell::default(), pools: RefCell::default() }
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
        let transport = Rc::new(Transport::new(key.0, key.1.clone(), key.2, Rc::clone(&self.secrets)));
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
