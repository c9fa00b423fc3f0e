//! One worker: a thread with a runtime of its own, its listeners, its upstreams.

pub mod panics;
#[cfg(test)]
mod simulation;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use crate::accept::{self, Listening};
use crate::admission::Counts;
use crate::authenticate::Callers;
use crate::clock;
use crate::cluster::{Cluster, Members};
use crate::credentials::Credentials;
use crate::drain::Drain;
use crate::events::Events;
use crate::health::Checks;
use crate::net;
use crate::route::table::RouteTable;
use crate::scope::{Latest, Scope, Target};
use crate::snapshot::address_lists::AddressLists;
use crate::snapshot::index::RouteList;
use crate::snapshot::model::{self, Direction, Route, Snapshot};
use crate::standing::Standing;
use crate::telemetry::Hub;
use crate::telemetry::metrics::RouteMetrics;
use crate::telemetry::observer::Observer;
use crate::tls::Secrets;
use crate::tls::server::Terms;
use crate::tls::term::Trust;
use crate::upstream::{Connections, Upstream};

/// How often idle connections are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// What connections get to say goodbye after their last exchange.
const FAREWELL: Duration = Duration::from_secs(1);

/// TLS of the listeners that speak it, by name.
pub type ListenerTerms = HashMap<Arc<str>, Arc<Terms>>;

/// What the control side tells a worker. Each is answered when it is in force; the channel holds what `Runtime` sends
/// under its lock, one at a time.
#[derive(Debug)]
pub enum Command {
    /// A new snapshot, with the sockets of its new listeners.
    Apply(Box<Apply>, SyncSender<()>),
    /// A cluster's new endpoint list.
    Members(Arc<str>, Arc<Members>, SyncSender<()>),
    /// New key material.
    Secrets(Arc<Secrets>, Arc<ListenerTerms>, SyncSender<()>),
    /// Other lists of addresses.
    Lists(Arc<AddressLists>, SyncSender<()>),
    /// Other callers to know.
    Credentials(Arc<Credentials>, SyncSender<()>),
    /// Tell clients to go elsewhere, and serve on.
    Leave(SyncSender<()>),
    /// Stop accepting; answers with the exchanges that the end of the grace cut off. Nothing is taken after it.
    Shutdown(Duration, SyncSender<usize>),
}

type Upstreams = HashMap<Arc<str>, Rc<Upstream>>;

/// Clusters by name, with the endpoints last told.
pub type LiveClusters = HashMap<Arc<str>, (Arc<Cluster>, Arc<Members>)>;

/// A snapshot as a worker gets it.
#[derive(Debug)]
pub struct Apply {
    /// What to do.
    pub snapshot: Arc<Snapshot>,
    /// Live state of every cluster in it.
    pub clusters: Arc<LiveClusters>,
    /// One for each listener that is new.
    pub sockets: Vec<(Arc<str>, std::net::TcpListener)>,
    /// TLS of its listeners.
    pub tls: Arc<ListenerTerms>,
    /// What is counted of requests.
    pub counts: Arc<Counts>,
}

/// The worker's state, all on its own thread.
#[derive(Debug)]
pub struct Worker {
    hub: Arc<Hub>,
    events: Arc<Events>,
    observer: Rc<Observer>,
    exchanges: Rc<Drain>,
    trust: Rc<Trust>,
    connections: Rc<Connections>,
    upstreams: Upstreams,
    checks: Checks,
    callers: Rc<Callers>,
    lists: Rc<RefCell<Arc<AddressLists>>>,
    listening: HashMap<Arc<str>, Rc<Listening>>,
    /// Clients are told to go elsewhere, by listeners that are still to come too.
    is_leaving: bool,
}

impl Worker {
    /// Without listeners or clusters. `share`: its place among all, and how many there are.
    pub fn new(hub: Arc<Hub>, events: Arc<Events>, share: (u32, u32)) -> Self {
        let trust = Rc::<Trust>::default();
        Worker {
            observer: Observer::new(&hub),
            checks: Checks::new(share, Arc::clone(&events)),
            callers: Rc::new(Callers::new(Arc::clone(&events))),
            lists: Rc::default(),
            hub,
            events,
            exchanges: Rc::default(),
            connections: Rc::new(Connections::new(Rc::clone(&trust))),
            trust,
            upstreams: HashMap::new(),
            listening: HashMap::new(),
            is_leaving: false,
        }
    }

    /// Obeys commands until shutdown, or until nobody can command any more.
    pub async fn run(mut self, mut commands: UnboundedReceiver<Command>) {
        let sweeping = Rc::clone(&self.connections);
        tokio::task::spawn_local(async move {
            loop {
                clock::sleep(SWEEP_INTERVAL).await;
                sweeping.sweep(clock::now());
            }
        });
        while let Some(command) = commands.recv().await {
            // Whoever waits for the answer may have given up; the command is carried out all the same.
            let _unheard = match command {
                Command::Apply(apply, done) => {
                    self.apply(*apply);
                    done.send(())
                }
                Command::Members(cluster, members, done) => {
                    if let Some(upstream) = self.upstreams.get(&cluster) {
                        upstream.update(members);
                    }
                    self.checks.follow(self.upstreams.values());
                    done.send(())
                }
                Command::Secrets(secrets, tls, done) => {
                    self.trust.change(secrets);
                    self.connections.retire_outdated();
                    for (name, listening) in &self.listening {
                        *listening.tls.borrow_mut() = tls.get(name).cloned();
                    }
                    done.send(())
                }
                Command::Lists(lists, done) => {
                    self.lists.replace(lists);
                    done.send(())
                }
                Command::Credentials(credentials, done) => {
                    self.callers.change(credentials);
                    done.send(())
                }
                Command::Leave(done) => {
                    self.is_leaving = true;
                    for listening in self.listening.values() {
                        listening.leaving.begin();
                    }
                    done.send(())
                }
                Command::Shutdown(grace, done) => {
                    let aborted = self.drain(grace).await;
                    let _unheard = done.send(aborted);
                    return;
                }
            };
        }
    }

    fn apply(&mut self, apply: Apply) {
        let Apply { snapshot, clusters, sockets, tls, counts } = apply;
        self.observer.apply(&snapshot.telemetry);
        let retired = self.apply_clusters(&snapshot, &clusters);
        self.checks.follow(self.upstreams.values());
        for listener in &snapshot.listeners {
            let before = self.listening.get(&listener.name);
            let latest = before.map(|listening| listening.scope.borrow().latest.clone());
            let leaving = before.map_or_else(Rc::<Drain>::default, |listening| Rc::clone(&listening.leaving));
            if self.is_leaving {
                leaving.begin();
            }
            let scope = self.scope(&snapshot, listener, latest.unwrap_or_default(), &counts);
            let scope = Rc::new(Scope { leaving: Rc::clone(&leaving), ..scope });
            scope.latest.set(&scope);
            match before {
                Some(listening) => {
                    *listening.scope.borrow_mut() = scope;
                    *listening.tls.borrow_mut() = tls.get(&listener.name).cloned();
                    listening.limits.set(listener.limits);
                }
                None => {
                    let listening = Listening {
                        scope: RefCell::new(scope),
                        tls: RefCell::new(tls.get(&listener.name).cloned()),
                        trust: Rc::clone(&self.trust),
                        leaving,
                        limits: Cell::new(listener.limits),
                        connections: Rc::default(),
                    };
                    self.listening.insert(Arc::clone(&listener.name), Rc::new(listening));
                }
            }
        }
        self.listening.retain(|name, listening| {
            let kept = snapshot.listeners.iter().any(|listener| listener.name == *name);
            if !kept {
                listening.end();
            }
            kept
        });
        for (name, socket) in sockets {
            self.open(&name, socket);
        }
        // Whoever waited for them finds the new scopes.
        for upstream in retired.values() {
            upstream.retire();
        }
    }

    /// Keeps an upstream whose configuration is the same; its endpoints, connections and counts live elsewhere. Returns
    /// those that have had their day.
    fn apply_clusters(&mut self, snapshot: &Snapshot, clusters: &LiveClusters) -> Upstreams {
        let mut before = std::mem::take(&mut self.upstreams);
        for (name, config) in &snapshot.clusters {
            let upstream = match before.entry(Arc::clone(name)) {
                Entry::Occupied(upstream) if upstream.get().config == *config => upstream.remove(),
                _ => {
                    let Some(live) = clusters.get(name).cloned() else {
                        continue;
                    };
                    let connections = Rc::clone(&self.connections);
                    Rc::new(Upstream::new(
                        Arc::clone(config),
                        live,
                        connections,
                        Arc::clone(&self.events),
                    ))
                }
            };
            self.upstreams.insert(Arc::clone(name), upstream);
        }
        before
    }

    fn scope(&self, snapshot: &Snapshot, listener: &model::Listener, latest: Latest, counts: &Counts) -> Scope {
        let registry = self.hub.registry();
        let targets =
            |routes: &RouteList| self.targets(routes, counts, |route| registry.route(listener.direction, route));
        let tunnels =
            |routes: &RouteList| self.targets(routes, counts, |route| registry.tcp_route(listener.direction, route));
        let (routes, tcp) = match snapshot.route_tables.get(&listener.route_table) {
            Some(routes) => (targets(&routes.http), tunnels(&routes.tcp)),
            None => (targets(&RouteList::default()), tunnels(&RouteList::default())),
        };
        Scope {
            routes,
            tcp,
            listener: registry.listener(listener),
            origin: Arc::new(listener.origin.clone()),
            mode: listener.mode,
            takes_cleartext: listener.tls.as_ref().is_some_and(|tls| tls.cleartext),
            forwarding: Arc::clone(&listener.forwarding),
            body_timeout: listener.limits.body_timeout,
            send_timeout: listener.limits.send_timeout,
            observer: Rc::clone(&self.observer),
            drain: Rc::clone(&self.exchanges),
            latest,
            callers: Rc::clone(&self.callers),
            consumers: counts.consumers(),
            gate: counts.gate(&listener.name),
            balancers: listener.balancers.clone(),
            health_path: listener.health_path.clone(),
            leaving: Rc::default(),
            sources: listener.sources.clone(),
            front: listener.front.clone(),
            lists: Rc::clone(&self.lists),
            standing: self.standing(listener),
        }
    }

    /// The listener's own, from snapshot to snapshot: whoever goes on there is judged again by the new rules.
    fn standing(&self, listener: &model::Listener) -> Option<Rc<Standing>> {
        let known = self.listening.get(&listener.name);
        let known = known.and_then(|listening| listening.scope.borrow().standing.clone());
        let new = || (listener.direction == Direction::Inbound).then(Rc::default);
        let standing = known.or_else(new)?;
        standing.change(listener.authorization.clone());
        Some(standing)
    }

    fn targets(
        &self,
        routes: &RouteList,
        counts: &Counts,
        cells: impl Fn(&Route) -> Arc<RouteMetrics>,
    ) -> RouteTable<Target> {
        let targets = routes.iter().map(|route| {
            // The snapshot's check has seen to it that every destination names a cluster.
            let upstreams = route
                .destinations
                .iter()
                .filter_map(|to| self.upstreams.get(&to.cluster).cloned());
            let mirror = route.mirror.as_ref();
            Target {
                upstreams: upstreams.collect(),
                mirror: mirror.and_then(|mirror| self.upstreams.get(&mirror.cluster).cloned()),
                meters: counts.meters(route),
                metrics: cells(route),
                route: Arc::clone(route),
            }
        });
        RouteTable::build(routes, targets)
    }

    fn open(&mut self, name: &Arc<str>, socket: std::net::TcpListener) {
        let Some(listening) = self.listening.get(name) else {
            return;
        };
        match net::register(socket) {
            Ok(socket) => {
                tokio::task::spawn_local(accept::accept(Rc::clone(listening), socket));
            }
            // The reactor takes no more descriptors; the thread's panic hook reports it.
            Err(error) => panic!("listener `{name}` cannot be watched: {error}"),
        }
    }

    /// Ends: nothing new is accepted, exchanges get the grace, connections a moment. Returns how many were cut off.
    async fn drain(&mut self, grace: Duration) -> usize {
        self.exchanges.begin();
        for listening in self.listening.values() {
            listening.end();
        }
        tokio::select! {
            biased;
            () = self.exchanges.idle() => {}
            () = clock::sleep(grace) => {}
        }
        let aborted = self.exchanges.active();
        self.observer.end();
        let closed = async {
            for listening in self.listening.values() {
                listening.connections.idle().await;
            }
        };
        tokio::select! {
            biased;
            () = closed => {}
            () = clock::sleep(if aborted == 0 { FAREWELL } else { Duration::ZERO }) => {}
        }
        aborted
    }
}
