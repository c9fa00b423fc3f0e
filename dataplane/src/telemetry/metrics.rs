//! Counters and histograms that exchanges change: shared by all workers, by relaxed atomics alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::outcomes::{Histogram, Series, Tally};
use crate::error::Reason;
use crate::snapshot::model::{Direction, Listener};

/// Durations of the exchanges of one route and destination.
pub type DurationSeries = Series<Histogram>;

/// Attempts at one endpoint, whatever cluster mentions it.
#[derive(Debug)]
pub struct EndpointMetrics {
    /// Its address as text, for records.
    pub label: Arc<str>,
    /// By how they ended.
    pub attempts: Series<Tally>,
}

impl Default for EndpointMetrics {
    fn default() -> Self {
        EndpointMetrics { label: "".into(), attempts: Series::default() }
    }
}

impl EndpointMetrics {
    /// Of the endpoint at this address.
    pub fn new(label: &str) -> Arc<Self> {
        Arc::new(EndpointMetrics { label: label.into(), attempts: Series::default() })
    }
}

/// Attempts of one cluster by outcome.
#[derive(Debug)]
pub struct AttemptCounts {
    succeeded: AtomicU64,
    failed: [AtomicU64; Reason::ALL.len()],
}

impl Default for AttemptCounts {
    fn default() -> Self {
        AttemptCounts {
            succeeded: AtomicU64::new(0),
            failed: [const { AtomicU64::new(0) }; Reason::ALL.len()],
        }
    }
}

impl AttemptCounts {
    /// Counts one attempt; None: it succeeded.
    pub fn count(&self, why: Option<Reason>) {
        let cell = why.map_or(&self.succeeded, |reason| &self.failed[reason as usize]);
        cell.fetch_add(1, Ordering::Relaxed);
    }

    /// Every outcome there was.
    pub(super) fn read(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let failed = Reason::ALL
            .iter()
            .map(|reason| (reason.name(), &self.failed[*reason as usize]));
        std::iter::once(("success", &self.succeeded))
            .chain(failed)
            .map(|(outcome, cell)| (outcome, cell.load(Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
    }
}

/// The cells of one route in one direction.
#[derive(Debug)]
pub struct RouteMetrics {
    /// Exchanges that ended before a destination was picked.
    pub durations: Arc<DurationSeries>,
    /// In the order of the route's destinations.
    pub destinations: Vec<DestinationMetrics>,
    /// Copies of its requests; None: there are none.
    pub mirrored: Option<Arc<AttemptCounts>>,
}

/// The cells of one destination of a route.
#[derive(Debug)]
pub struct DestinationMetrics {
    /// Exchanges sent there.
    pub durations: Arc<DurationSeries>,
    /// The cluster's, whatever the route.
    pub attempts: Arc<AttemptCounts>,
    /// Of connections that are passed on as they are.
    pub bytes: Option<Arc<ByteCounts>>,
}

/// Bytes of the connections of one route and destination, counted when they end.
#[derive(Debug, Default)]
pub struct ByteCounts {
    received: AtomicU64,
    sent: AtomicU64,
}

impl ByteCounts {
    /// Counts one connection: from its caller, and to it.
    pub fn count(&self, received: u64, sent: u64) {
        self.received.fetch_add(received, Ordering::Relaxed);
        self.sent.fetch_add(sent, Ordering::Relaxed);
    }

    /// Received and sent.
    pub(super) fn read(&self) -> (u64, u64) {
        (self.received.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed))
    }
}

/// A listener as exchanges see it, with its connections counted.
#[derive(Debug)]
pub struct ListenerLabel {
    /// Unique.
    pub name: Arc<str>,
    /// Which way.
    pub direction: Direction,
    /// Its connections are TLS.
    pub tls: bool,
    connections: AtomicU64,
    /// Where it takes them: those in the clear.
    cleartext: Option<AtomicU64>,
    /// Handshakes that ended well, and others.
    handshakes: [AtomicU64; 2],
}

/// Counts one open connection for as long as it lives.
#[derive(Debug)]
pub struct OpenConnection {
    listener: Arc<ListenerLabel>,
    number: u64,
}

impl OpenConnection {
    /// How many were open when it came, itself included.
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl ListenerLabel {
    /// Of `listener`, with no connection yet.
    pub(super) fn new(listener: &Listener) -> Self {
        ListenerLabel {
            name: Arc::clone(&listener.name),
            direction: listener.direction,
            tls: listener.tls.is_some(),
            connections: AtomicU64::new(0),
            cleartext: takes_cleartext(listener).then(AtomicU64::default),
            handshakes: Default::default(),
        }
    }

    /// Counts a connection in the clear on a listener that takes TLS too.
    pub fn cleartext(&self) {
        if let Some(count) = &self.cleartext {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many connections came in the clear; `None` where none may.
    pub(super) fn in_the_clear(&self) -> Option<u64> {
        self.cleartext.as_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Counts a handshake.
    pub fn handshake(&self, is_ok: bool) {
        self.handshakes[usize::from(!is_ok)].fetch_add(1, Ordering::Relaxed);
    }

    /// Handshakes that ended well, and others.
    pub(super) fn handshakes(&self) -> [u64; 2] {
        [0, 1].map(|way| self.handshakes[way].load(Ordering::Relaxed))
    }

    /// How many connections are open.
    pub(super) fn open(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts a connection until the guard is dropped.
    pub fn connection(self: &Arc<Self>) -> OpenConnection {
        let number = 1 + self.connections.fetch_add(1, Ordering::Relaxed);
        OpenConnection { listener: Arc::clone(self), number }
    }
}

/// Whether clients that do not begin with TLS are served beside those that do.
pub(super) fn takes_cleartext(listener: &Listener) -> bool {
    listener.tls.as_ref().is_some_and(|tls| tls.cleartext)
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.listener.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Exchanges of one worker, which alone writes here.
#[derive(Debug, Default)]
pub struct WorkerCounts {
    started: AtomicU64,
    ended: AtomicU64,
}

impl WorkerCounts {
    /// An exchange began.
    pub fn started(&self) {
        Self::add(&self.started);
    }

    /// An exchange is over.
    pub fn ended(&self) {
        Self::add(&self.ended);
    }

    /// Exchanges begun, and exchanges in flight.
    pub(super) fn read(&self) -> (u64, u64) {
        // The worker may write in between; the difference is then off by a few, never below 0.
        let ended = self.ended.load(Ordering::Relaxed);
        let started = self.started.load(Ordering::Relaxed);
        (started, started.saturating_sub(ended))
    }

    /// With one writer a load and a store are enough, and cheaper than an atomic addition.
    fn add(count: &AtomicU64) {
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}
