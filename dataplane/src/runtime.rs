//! The data plane as a whole: its workers, and the control side's way to them. Everything here is rare; requests never
//! come by.

mod families;
mod report;
mod terms;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use prost::Message;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::admission::Counts;
use crate::cluster::{MembersRejected, Registry};
use crate::credentials::{Credentials, CredentialsRejected};
use crate::error::Error;
use crate::events::Events;
use crate::explain::{self, Unexplained};
use crate::net;
use crate::pressure::{self, Limits};
use crate::proto::{self, event::Kind, query, reply};
use crate::snapshot::address_lists::{AddressListRejected, AddressLists};
use crate::snapshot::decode::{self, Rejected};
use crate::snapshot::model::{Listener, Snapshot};
use crate::telemetry::{Hub, UnknownForm};
use crate::tls::{self, Secrets};
use crate::worker::{Apply, Command, ListenerTerms, Worker, panics};

#[expect(clippy::disallowed_types, reason = "only the control side takes it")]
type Mutex<T> = std::sync::Mutex<T>;

/// Most workers one process may have; more than the cores of any machine it is meant for.
const MAX_WORKERS: u32 = 256;

/// Why the control side's bytes are refused. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Not a message of the kind expected.
    #[error("{what}: {error}")]
    Bytes {
        /// Which message.
        what: &'static str,
        /// What the decoder says.
        error: prost::DecodeError,
    },
    /// A snapshot that contradicts itself.
    #[error(transparent)]
    Snapshot(#[from] Rejected),
    /// An endpoint list that does not fit.
    #[error(transparent)]
    Members(#[from] MembersRejected),
    /// Key material that cannot be used.
    #[error(transparent)]
    Secrets(#[from] tls::SecretsRejected),
    /// Credentials that cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsRejected),
    /// A list of addresses that is none.
    #[error(transparent)]
    Lists(#[from] AddressListRejected),
    /// Key material that a snapshot names and the secrets lack.
    #[error("{what} `{name}` ({place}): {error}")]
    Identity {
        /// Listener or cluster.
        what: &'static str,
        /// Which one.
        name: Arc<str>,
        /// Where it was written.
        place: String,
        /// What is wrong.
        error: Error,
    },
    /// A listener's socket.
    #[error("listener `{name}` ({place}): cannot listen on {address}: {error}")]
    Listen {
        /// Which listener.
        name: Arc<str>,
        /// Where it was written.
        place: String,
        /// Where it should listen.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// An unknown name of a format.
    #[error(transparent)]
    Form(#[from] UnknownForm),
    /// A request that cannot be.
    #[error(transparent)]
    Unexplained(#[from] Unexplained),
    /// A query without a question.
    #[error("the query asks nothing; set one of its fields")]
    EmptyQuery,
    /// Too late.
    #[error("the data plane is shut down")]
    ShutDown,
    /// Options that cannot be.
    #[error("{0}")]
    Options(String),
}

/// A running data plane.
#[derive(Debug)]
pub struct Runtime {
    hub: Arc<Hub>,
    events: Arc<Events>,
    control: Mutex<Control>,
    /// Threads do not survive a fork: a child that inherits this object has none.
    process: u32,
}

/// What only the control side knows.
#[derive(Debug)]
struct Control {
    workers: Vec<Handle>,
    registry: Registry,
    snapshot: Option<Arc<Snapshot>>,
    secrets: Arc<Secrets>,
    credentials: Arc<Credentials>,
    lists: Arc<AddressLists>,
    terms: ListenerTerms,
    counts: Arc<Counts>,
    /// Where each listener is bound; the address it was asked for, and the one it has.
    bound: HashMap<Arc<str>, (SocketAddr, SocketAddr)>,
    inherited: HashMap<String, OwnedFd>,
}

#[derive(Debug)]
struct Handle {
    commands: UnboundedSender<Command>,
    thread: Option<JoinHandle<()>>,
}

impl Runtime {
    /// Starts the workers. `inherited` are listening descriptors by listener name.
    pub fn start(options: &[u8], inherited: HashMap<String, OwnedFd>) -> Result<Self, Refused> {
        let options = proto::Options::decode(options).map_err(|error| Refused::Bytes { what: "options", error })?;
        if options.workers > MAX_WORKERS {
            return Err(Refused::Options(format!(
                "workers: {} is more than {MAX_WORKERS}",
                options.workers
            )));
        }
        net::reserve(options.max_descriptors);
        let hub = Hub::new(&options);
        let events = Arc::new(Events::new(options.event_buffer, Arc::clone(&hub)));
        let count = options.workers.max(1);
        let limits = Limits { memory: options.memory_limit, descriptors: net::for_clients().into() };
        // One worker looks for all.
        let start = |n| Handle::start((n, count), &hub, &events, (n == 0).then_some(limits));
        let workers = (0..count).map(start).collect::<Result<Vec<_>, _>>()?;
        let control = Control {
            workers,
            registry: Registry::default(),
            snapshot: None,
            secrets: Arc::default(),
            credentials: Arc::default(),
            lists: Arc::default(),
            terms: HashMap::new(),
            counts: Arc::default(),
            bound: HashMap::new(),
            inherited,
        };
        Ok(Runtime { hub, events, control: Mutex::new(control), process: std::process::id() })
    }

    /// True in a child of the process that started it; nothing else may be called then.
    pub fn is_forked(&self) -> bool {
        std::process::id() != self.process
    }

    /// Swaps in a snapshot, whole or not at all.
    pub fn apply(&self, bytes: &[u8]) -> Result<u64, Refused> {
        let snapshot = Arc::new(decode::decode(bytes)?);
        let mut control = self.running()?;
        let terms = terms::of(&snapshot, &control.secrets, &control.terms)?;
        let tls = Arc::new(terms.clone());
        let mut sockets = control.bind(&snapshot)?;
        control.registry.retain(&snapshot.clusters);
        control.counts = Arc::new(Counts::new(&snapshot, &control.counts));
        let counts = Arc::clone(&control.counts);
        let clusters = snapshot.clusters.keys();
        let clusters = clusters
            .filter_map(|name| Some((Arc::clone(name), control.registry.get(name)?)))
            .collect();
        let clusters = Arc::new(clusters);
        self.hub.apply(snapshot.version, &snapshot.telemetry);
        control.tell_all(|done| {
            let sockets = sockets
                .iter_mut()
                .filter_map(|new| Some((Arc::clone(&new.name), new.sockets.pop()?)));
            let apply = Apply {
                snapshot: Arc::clone(&snapshot),
                clusters: Arc::clone(&clusters),
                sockets: sockets.collect(),
                tls: Arc::clone(&tls),
                counts: Arc::clone(&counts),
            };
            Command::Apply(Box::new(apply), done)
        });
        control
            .bound
            .retain(|name, _| snapshot.listeners.iter().any(|listener| listener.name == *name));
        for new in sockets {
            let address = new.address.to_string();
            self.events.push(Kind::ListenerBound(proto::ListenerBound {
                name: new.name.to_string(),
                address,
            }));
        }
        let version = snapshot.version;
        control.snapshot = Some(snapshot);
        control.terms = terms;
        Ok(version)
    }

    /// Replaces one cluster's endpoints; returns the version now held.
    pub fn apply_endpoints(&self, bytes: &[u8]) -> Result<u64, Refused> {
        let update = proto::EndpointsUpdate::decode(bytes)
            .map_err(|error| Refused::Bytes { what: "endpoints update", error })?;
        let mut control = self.running()?;
        let (members, is_new) = control.registry.update(&update)?;
        if is_new {
            let name: Arc<str> = update.cluster.as_str().into();
            control.tell_all(|done| Command::Members(Arc::clone(&name), Arc::clone(&members), done));
        }
        Ok(members.version)
    }

    /// Replaces all key material.
    pub fn apply_secrets(&self, bytes: &[u8]) -> Result<u64, Refused> {
        let mut wire = proto::Secrets::decode(bytes).map_err(|error| Refused::Bytes { what: "secrets", error })?;
        let span_id = wire.span_id;
        let credentials = std::mem::take(&mut wire.credentials);
        let lists = std::mem::take(&mut wire.address_lists);
        let mut secrets = Secrets::new(wire)?;
        let mut control = self.running()?;
        let credentials = Credentials::read(credentials, &control.credentials)?;
        let lists = Arc::new(AddressLists::read(lists, &control.lists)?);
        secrets.keep(&control.secrets);
        let secrets = Arc::new(secrets);
        let terms = control
            .snapshot
            .as_ref()
            .map(|snapshot| terms::of(snapshot, &secrets, &control.terms));
        control.terms = terms.transpose()?.unwrap_or_default();
        let tls = Arc::new(control.terms.clone());
        control.secrets = Arc::clone(&secrets);
        self.hub.rotated(span_id);
        control.tell_all(|done| Command::Secrets(Arc::clone(&secrets), Arc::clone(&tls), done));
        if !Arc::ptr_eq(&credentials, &control.credentials) {
            control.credentials = Arc::clone(&credentials);
            control.tell_all(|done| Command::Credentials(Arc::clone(&credentials), done));
        }
        control.lists = Arc::clone(&lists);
        control.tell_all(|done| Command::Lists(Arc::clone(&lists), done));
        Ok(secrets.version)
    }

    /// Waits for events.
    pub fn poll_events(&self, max: usize, timeout: Duration) -> Vec<u8> {
        self.events.poll(max, timeout).encode_to_vec()
    }

    /// Takes finished spans.
    pub fn drain_spans(&self, max: usize) -> Vec<u8> {
        self.hub.drain_spans(max)
    }

    /// Takes access-log lines.
    pub fn drain_access_log(&self, max: usize) -> Vec<u8> {
        self.hub.drain_access_log(max)
    }

    /// Writes all metrics.
    pub fn metrics(&self, form: &str) -> Result<Vec<u8>, Refused> {
        let clusters = || families::families(&self.lock().registry);
        Ok(self.hub.metrics(form, clusters)?)
    }

    /// Answers a question about the live state.
    pub fn query(&self, bytes: &[u8]) -> Result<Vec<u8>, Refused> {
        let query = proto::Query::decode(bytes).map_err(|error| Refused::Bytes { what: "query", error })?;
        let kind = match query.kind.ok_or(Refused::EmptyQuery)? {
            query::Kind::Stats(_) => reply::Kind::Stats(self.stats()),
            query::Kind::Listeners(_) => reply::Kind::Listeners(self.listeners()),
            query::Kind::Clusters(_) => reply::Kind::Clusters(self.clusters()),
            query::Kind::Used(_) => reply::Kind::Used(proto::Used { clusters: self.lock().registry.take_used() }),
            query::Kind::Failures(query) => reply::Kind::Exchanges(self.hub.failures(query.limit)),
            query::Kind::Slowest(query) => reply::Kind::Exchanges(self.hub.slowest(query.limit)),
            query::Kind::Exchange(query) => reply::Kind::Exchanges(self.hub.exchange(&query.id)),
            query::Kind::Explain(query) => reply::Kind::Explanation(explain::explain(&query)?),
        };
        Ok(proto::Reply { kind: Some(kind) }.encode_to_vec())
    }

    /// Tells clients to go elsewhere, by the health path, on HTTP/2 by GOAWAY, and by `Connection: close`; serves whoever
    /// comes all the same.
    pub fn leave(&self) {
        self.lock().tell_all(Command::Leave);
    }

    /// Drains for up to `grace` and stops the threads. True: nothing was cut off. A second call answers at once.
    pub fn shutdown(&self, grace: Duration) -> bool {
        let workers = std::mem::take(&mut self.lock().workers);
        let is_first = !workers.is_empty();
        let (done, answers) = sync_channel(workers.len());
        let mut waited_for = 0;
        for worker in &workers {
            if worker.commands.send(Command::Shutdown(grace, done.clone())).is_ok() {
                waited_for += 1;
            }
        }
        let aborted: usize = answers.iter().take(waited_for).sum();
        for thread in workers.into_iter().filter_map(|worker| worker.thread) {
            // A worker that panicked has been counted by the hook.
            let _panicked = thread.join();
        }
        if is_first {
            self.events
                .push(Kind::Drained(proto::Drained { aborted: aborted as u64 }));
        }
        aborted == 0
    }

    fn stats(&self) -> proto::Stats {
        let control = self.lock();
        proto::Stats {
            secrets_version: control.secrets.version,
            draining: control.workers.is_empty(),
            ..self.hub.stats()
        }
    }

    fn listeners(&self) -> proto::Listeners {
        let control = self.lock();
        let bound = control
            .bound
            .iter()
            .map(|(name, (_, address))| proto::ListenerBound { name: name.to_string(), address: address.to_string() });
        let mut listeners: Vec<_> = bound.collect();
        listeners.sort_by(|a, b| a.name.cmp(&b.name));
        proto::Listeners { listeners }
    }

    fn clusters(&self) -> proto::Clusters {
        let control = self.lock();
        let configs = control.snapshot.as_ref().map(|snapshot| &snapshot.clusters);
        let mut clusters: Vec<_> = control
            .registry
            .iter()
            .map(|(name, cluster, members)| {
                let config = configs.and_then(|configs| configs.get(name));
                report::cluster(name, (cluster, members), config.map(|config| &**config))
            })
            .collect();
        clusters.sort_by(|a, b| a.name.cmp(&b.name));
        proto::Clusters { clusters }
    }

    fn lock(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> Result<MutexGuard<'_, Control>, Refused> {
        let control = self.lock();
        if control.workers.is_empty() {
            Err(Refused::ShutDown)
        } else {
            Ok(control)
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if !self.is_forked() {
            self.shutdown(Duration::ZERO);
        }
    }
}

/// The sockets of a listener that is new, one for each worker.
#[derive(Debug)]
struct New {
    name: Arc<str>,
    address: SocketAddr,
    sockets: Vec<std::net::TcpListener>,
}

impl Control {
    /// Opens what is not open yet. A failure closes again what this call opened.
    fn bind(&mut self, snapshot: &Snapshot) -> Result<Vec<New>, Refused> {
        let mut new = Vec::new();
        for listener in &snapshot.listeners {
            let asked = self.bound.get(&listener.name).map(|(asked, _)| *asked);
            if asked == Some(listener.address) {
                continue;
            }
            let sockets = self.sockets(listener).map_err(|error| Refused::Listen {
                name: Arc::clone(&listener.name),
                place: listener.origin.place.to_string(),
                address: listener.address,
                error,
            })?;
            new.push((listener.address, sockets));
        }
        for (asked, opened) in &new {
            self.bound.insert(Arc::clone(&opened.name), (*asked, opened.address));
        }
        Ok(new.into_iter().map(|(_, opened)| opened).collect())
    }

    fn sockets(&mut self, listener: &Listener) -> std::io::Result<New> {
        let mut sockets = Vec::with_capacity(self.workers.len());
        if let Some(descriptor) = self.inherited.remove(&*listener.name) {
            // An inherited socket has one queue: the workers share it.
            let first = net::adopt(descriptor)?;
            for _ in 1..self.workers.len() {
                sockets.push(first.try_clone()?);
            }
            sockets.push(first);
        } else {
            if net::taken(listener.address)? {
                return Err(std::io::ErrorKind::AddrInUse.into());
            }
            let first = net::listen(listener.address)?;
            let address = first.local_addr()?;
            for _ in 1..self.workers.len() {
                sockets.push(net::listen(address)?);
            }
            sockets.push(first);
        }
        let address = sockets
            .first()
            .map_or(Ok(listener.address), std::net::TcpListener::local_addr)?;
        Ok(New { name: Arc::clone(&listener.name), address, sockets })
    }

    /// Tells every worker and waits until all have done it.
    fn tell_all(&self, mut command: impl FnMut(SyncSender<()>) -> Command) {
        let (done, answers) = sync_channel(self.workers.len());
        for worker in &self.workers {
            // A worker that is gone has panicked, which the hook reported; the others go on.
            let _gone = worker.commands.send(command(done.clone()));
        }
        drop(done);
        for () in answers {}
    }
}

impl Handle {
    /// One of so many; it looks what is left of these limits.
    fn start(
        (n, count): (u32, u32),
        hub: &Arc<Hub>,
        events: &Arc<Events>,
        limits: Option<Limits>,
    ) -> Result<Self, Refused> {
        let failed = |error| Refused::Options(format!("worker {n} cannot start: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let (commands, received) = unbounded_channel();
        let (hub, events) = (Arc::clone(hub), Arc::clone(events));
        let thread = std::thread::Builder::new().name(format!("worker-{n}"));
        let thread = thread.spawn(move || {
            panics::report(&hub, &events);
            let tasks = tokio::task::LocalSet::new();
            tasks.spawn_local(pressure::relieve());
            if let Some(limits) = limits {
                let events = Arc::clone(&events);
                tasks.spawn_local(pressure::watch(limits, move |resource, step| {
                    let (resource, step) = (resource.to_owned(), step.name().to_owned());
                    events.push(Kind::Pressure(proto::Pressure { resource, step }));
                }));
            }
            tasks.block_on(&runtime, Worker::new(hub, events, (n, count)).run(received));
        });
        Ok(Handle { commands, thread: Some(thread.map_err(failed)?) })
    }
}
