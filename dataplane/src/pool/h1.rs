//! HTTP/1.1 connections to one endpoint: the one used last is taken first, so that the others fall idle and close.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use http::Request;
use tokio::sync::Notify;

use super::{Counted, IDLE_TIMEOUT, Limits, Pending, Target};
use crate::clock::{self, Instant};
use crate::cluster::Cluster;
use crate::error::{Error, Reason};
use crate::http::h1::client::{Client, Outgoing, ResponseHead};
use crate::tls::term::Term;

/// Unused connections kept per endpoint and worker.
const MAX_IDLE: usize = 256;

#[derive(Debug)]
pub struct Pool {
    target: Target,
    idle: RefCell<Vec<Idle>>,
    /// Connections of this worker, in use ones too.
    open: Cell<u32>,
    /// Rises with `retire`; a connection of an earlier epoch is not kept.
    epoch: Cell<u32>,
    /// A connection came back or closed.
    returned: Notify,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

#[derive(Debug)]
struct Connection {
    client: Client,
    peer: Option<Arc<str>>,
    term: Option<Term>,
    epoch: u32,
    _counted: Counted,
}

impl Connection {
    /// Can it take another request? Only TLS is asked for the time.
    fn is_ready(&self) -> bool {
        self.client.is_ready() && self.term.as_ref().is_none_or(|term| clock::now() < term.last_call())
    }
}

impl Pool {
    pub fn new(target: Target) -> Self {
        Pool {
            target,
            idle: RefCell::default(),
            open: Cell::new(0),
            epoch: Cell::new(0),
            returned: Notify::new(),
        }
    }

    pub fn ready(self: &Rc<Self>) -> Option<Lease> {
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { connection, .. }) = idle.pop() {
            if connection.is_ready() {
                return Some(self.lease(connection));
            }
            self.closed();
        }
        None
    }

    pub async fn checkout(self: &Rc<Self>, cluster: &Cluster, limits: Limits) -> Result<Lease, Error> {
        let _pending = Pending::begin(cluster, &self.target, limits)?;
        let mut patience = pin!(clock::sleep(self.target.transport.timeout));
        loop {
            let returned = self.returned.notified();
            if let Some(lease) = self.ready() {
                return Ok(lease);
            }
            if let Some(counted) = self.target.count(limits, self.open.get() == 0) {
                return self.open(counted).await;
            }
            tokio::select! {
                biased;
                () = returned => {}
                () = &mut patience => return Err(self.target.crowded(limits)),
            }
        }
    }

    async fn open(self: &Rc<Self>, counted: Counted) -> Result<Lease, Error> {
        let (io, peer) = self.target.connect().await?;
        let client = Client::new(io);
        let (peer, term) = peer.map(|peer| (peer.uri, peer.term)).unzip();
        self.open.set(self.open.get() + 1);
        Ok(self.lease(Connection { client, peer, term, epoch: self.epoch.get(), _counted: counted }))
    }

    fn lease(self: &Rc<Self>, connection: Connection) -> Lease {
        Lease { connection: Some(connection), completed: false, pool: Rc::clone(self) }
    }

    fn give_back(&self, connection: Connection) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < MAX_IDLE && connection.epoch == self.epoch.get() && connection.is_ready() {
            idle.push(Idle { connection, since: clock::now() });
            self.returned.notify_one();
        } else {
            drop(connection);
            self.closed();
        }
    }

    fn closed(&self) {
        self.open.set(self.open.get() - 1);
        self.returned.notify_one();
    }

    pub fn is_empty(&self) -> bool {
        self.open.get() == 0
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    pub fn sweep(&self, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain(|kept| kept.connection.is_ready() && now.duration_since(kept.since) < IDLE_TIMEOUT);
        self.open.set(self.open.get() - (before - idle.len()) as u32);
    }

    pub fn retire(&self) {
        self.epoch.set(self.epoch.get() + 1);
        let retired = std::mem::take(&mut *self.idle.borrow_mut());
        self.open.set(self.open.get() - retired.len() as u32);
    }
}

/// A connection, for one exchange.
#[derive(Debug)]
pub struct Lease {
    /// `None` only while it is dropped.
    connection: Option<Connection>,
    completed: bool,
    pool: Rc<Pool>,
}

impl Lease {
    pub fn send(&mut self, head: Request<()>, end: bool) -> Result<(ResponseHead, Outgoing), Error> {
        match &mut self.connection {
            Some(connection) => connection.client.send(&head, end),
            None => Err(Error::new(Reason::Internal).because("a lease without its connection")),
        }
    }

    pub fn peer(&self) -> Option<&Arc<str>> {
        self.connection.as_ref()?.peer.as_ref()
    }

    pub fn term(&self) -> Option<&Term> {
        self.connection.as_ref()?.term.as_ref()
    }

    pub fn completed(&mut self) {
        self.completed = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match self.connection.take() {
            Some(connection) if self.completed => self.pool.give_back(connection),
            _ => self.pool.closed(),
        }
    }
}
