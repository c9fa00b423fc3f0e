//! HTTP/2 connections to one endpoint: filled one after the other, opened when streams run out, closed when idle.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use http::Request;
use tokio::sync::Notify;

use super::{Counted, IDLE_TIMEOUT, Limits, Pending, Target};
use crate::clock::{self, Instant};
use crate::cluster::Cluster;
use crate::error::{Error, Reason};
use crate::http::h2::{self, Client, Outgoing, ResponseHead};
use crate::tls::term::{Term, Verified};

/// Streams that a connection is expected to take while none has shown how many: what RFC 9113 section 6.5.2 advises
/// servers to allow at least.
const EXPECTED_STREAMS: usize = 100;

#[derive(Debug)]
pub struct Pool {
    target: Target,
    open: RefCell<Vec<Rc<Connection>>>,
    /// Connections on their way.
    connecting: Cell<u32>,
    /// Requests that wait in `checkout`.
    waiting: Cell<u32>,
    /// A stream ended, or a connection opened, failed or closed.
    changed: Notify,
    /// Streams that a proven connection took last.
    usual: Cell<usize>,
    /// How many connects have failed, and how the last did.
    failures: Cell<u64>,
    last_failure: RefCell<Option<Error>>,
}

#[derive(Debug)]
struct Connection {
    client: RefCell<Client>,
    peer: Option<Arc<str>>,
    term: Option<Term>,
    streams: Cell<usize>,
    /// A stream has ended: what the server says of its limit has been in force for a whole exchange.
    is_proven: Cell<bool>,
    idle_since: Cell<Instant>,
    _counted: Counted,
}

impl Connection {
    /// `usual` is what the endpoint's earlier connections took: some servers lower their limit right after the first
    /// SETTINGS, and refuse what came in between.
    fn has_room(&self, usual: usize) -> bool {
        let mut client = self.client.borrow_mut();
        let limit = client.max_streams();
        let limit = if self.is_proven.get() { limit } else { limit.min(usual) };
        self.streams.get() < limit && client.is_open(&mut Context::from_waker(Waker::noop()))
    }
}

impl Pool {
    pub fn new(target: Target) -> Self {
        Pool {
            target,
            open: RefCell::default(),
            connecting: Cell::new(0),
            waiting: Cell::new(0),
            changed: Notify::new(),
            usual: Cell::new(usize::MAX),
            failures: Cell::new(0),
            last_failure: RefCell::new(None),
        }
    }

    /// Fills connections in order, so that the later ones fall idle and close when load goes down.
    pub fn ready(self: &Rc<Self>) -> Option<Lease> {
        let open = self.open.borrow();
        let connection = open.iter().find(|connection| connection.has_room(self.usual.get()))?;
        connection.streams.set(connection.streams.get() + 1);
        Some(Lease { connection: Rc::clone(connection), pool: Rc::clone(self) })
    }

    pub async fn checkout(self: &Rc<Self>, cluster: &Cluster, limits: Limits) -> Result<Lease, Error> {
        let _waiting = Waiting::begin(&self.waiting, Pending::begin(cluster, &self.target, limits)?);
        let failures = self.failures.get();
        let mut patience = pin!(clock::sleep(self.target.transport.timeout));
        loop {
            let changed = self.changed.notified();
            if let Some(lease) = self.ready() {
                return Ok(lease);
            }
            if self.failures.get() != failures
                && let Some(error) = &*self.last_failure.borrow()
            {
                return Err(error.clone());
            }
            self.open_another(limits);
            // A connection on its way is waited for: it has a timeout of its own.
            if self.connecting.get() > 0 {
                changed.await;
                continue;
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = &mut patience => return Err(self.target.crowded(limits)),
            }
        }
    }

    /// Connects in a task of its own: the request that asked for it may be cancelled, the others still wait for it.
    fn open_another(self: &Rc<Self>, limits: Limits) {
        let connecting = self.connecting.get();
        if self.waiting.get() as usize <= connecting as usize * self.usual.get().min(EXPECTED_STREAMS) {
            return;
        }
        let has_none = connecting == 0 && self.open.borrow().is_empty();
        let Some(counted) = self.target.count(limits, has_none) else {
            return;
        };
        self.connecting.set(connecting + 1);
        let pool = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let connected = match pool.target.connect().await {
                Ok((io, peer)) => h2::handshake(io).await.map(|(client, driver)| (client, driver, peer)),
                Err(error) => Err(error),
            };
            match connected {
                Ok((client, driver, peer)) => pool.opened(client, driver, peer, counted).await,
                Err(error) => pool.failed(error),
            }
            pool.connecting.set(pool.connecting.get() - 1);
            pool.changed.notify_waiters();
        });
    }

    /// Everyone who waits for a connection is told.
    fn failed(&self, error: Error) {
        *self.last_failure.borrow_mut() = Some(error);
        self.failures.set(self.failures.get() + 1);
    }

    async fn opened(self: &Rc<Self>, client: Client, driver: h2::Driver, peer: Option<Verified>, counted: Counted) {
        let (peer, term) = peer.map(|peer| (peer.uri, peer.term)).unzip();
        let connection = Rc::new(Connection {
            client: RefCell::new(client),
            peer,
            term: term.clone(),
            streams: Cell::new(0),
            is_proven: Cell::new(false),
            idle_since: Cell::new(clock::now()),
            _counted: counted,
        });
        let settled = connection.client.borrow().clone();
        let (pool, weak) = (Rc::downgrade(self), Rc::downgrade(&connection));
        tokio::task::spawn_local(async move {
            let take_out = || {
                if let (Some(pool), Some(connection)) = (pool.upgrade(), weak.upgrade()) {
                    pool.open.borrow_mut().retain(|open| !Rc::ptr_eq(open, &connection));
                    pool.changed.notify_waiters();
                }
            };
            let mut driver = pin!(driver);
            if let Some(term) = term {
                tokio::select! {
                    biased;
                    () = &mut driver => return take_out(),
                    // What is on it may end; it gets no more.
                    () = clock::sleep_until(term.last_call()) => take_out(),
                }
            }
            // Its end only takes it out of the pool.
            driver.await;
            take_out();
        });
        // Until the server has said how many streams it takes, more than one could be too many.
        settled.settled().await;
        let failure = connection.client.borrow_mut().failure();
        match failure {
            None => self.open.borrow_mut().push(connection),
            Some(error) => self.failed(self.unbegun(error)),
        }
    }

    /// Nothing was sent on a connection that ended before its first stream.
    fn unbegun(&self, error: Error) -> Error {
        if self.target.transport.tls.is_none() {
            return error;
        }
        // In TLS 1.3 a server judges our certificate when we already take the handshake for done.
        let cause = error.cause().unwrap_or("nobody knows how");
        Error::unprocessed(Reason::TlsFailure).because(format_args!(
            "The endpoint ended the connection right behind the handshake ({cause}): it may have refused our certificate, \
             which its own log says."
        ))
    }

    pub fn is_empty(&self) -> bool {
        self.open.borrow().is_empty()
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    pub fn sweep(&self, now: Instant) {
        self.open.borrow_mut().retain(|connection| {
            let waker = &mut Context::from_waker(Waker::noop());
            let is_open = connection.client.borrow_mut().is_open(waker);
            let is_idle = connection.streams.get() == 0;
            is_open && !(is_idle && now.duration_since(connection.idle_since.get()) >= IDLE_TIMEOUT)
        });
    }

    /// The last handle of a connection lets its driver end, after its streams.
    pub fn retire(&self) {
        self.open.borrow_mut().clear();
    }
}

/// A request in `checkout`.
struct Waiting<'a> {
    here: &'a Cell<u32>,
    _pending: Pending<'a>,
}

impl<'a> Waiting<'a> {
    fn begin(here: &'a Cell<u32>, pending: Pending<'a>) -> Self {
        here.set(here.get() + 1);
        Waiting { here, _pending: pending }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.here.set(self.here.get() - 1);
    }
}

/// One stream of a connection.
#[derive(Debug)]
pub struct Lease {
    connection: Rc<Connection>,
    pool: Rc<Pool>,
}

impl Lease {
    pub fn send(&mut self, head: Request<()>, end: bool) -> Result<(ResponseHead, Outgoing), Error> {
        self.connection.client.borrow_mut().send(head, end)
    }

    pub fn peer(&self) -> Option<&Arc<str>> {
        self.connection.peer.as_ref()
    }

    pub fn term(&self) -> Option<&Term> {
        self.connection.term.as_ref()
    }

    pub async fn settled(&self) {
        let client = self.connection.client.borrow().clone();
        client.settled().await;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let streams = self.connection.streams.get() - 1;
        self.connection.streams.set(streams);
        if streams == 0 {
            self.connection.idle_since.set(clock::now());
        }
        self.connection.is_proven.set(true);
        self.pool.usual.set(self.connection.client.borrow().allowed_streams());
        if self.pool.waiting.get() > 0 {
            self.pool.changed.notify_waiters();
        }
    }
}
