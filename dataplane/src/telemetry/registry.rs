//! Every cell by its labels. A worker resolves its cells when it takes a snapshot, so that an exchange finds them by
//! pointer.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use super::bounded::cut;
use super::finished::Finished;
use super::metrics::{
    AttemptCounts, ByteCounts, DestinationMetrics, DurationSeries, ListenerLabel, RouteMetrics, WorkerCounts,
    takes_cleartext,
};
use super::outcomes::{Exemplar, Outcome, Reading};
use crate::snapshot::model::{Direction, Listener, Route};

#[expect(
    clippy::disallowed_types,
    reason = "taken at apply, at start and by readers; never by an exchange"
)]
type Mutex<T> = std::sync::Mutex<T>;

/// Applies that a series outlives the last snapshot that could change it, so that a scraper sees its last value.
const KEPT_APPLIES: u32 = 4;

/// Pairs of caller and method that are counted by themselves; the others are one.
const MAX_REFUSED: usize = 256;
/// What the others are called.
const OTHERS: &str = "others";
/// Bytes of a method's name.
const MAX_METHOD: usize = 256;

/// Cells by key, with the number of applies that nobody held them.
type Held<K, V> = HashMap<K, (Arc<V>, u32)>;

/// Who called, and the path or gRPC method.
type CallerMethod = (Box<str>, Box<str>);

#[derive(Debug, Default)]
struct Cells {
    /// Direction, route, cluster; "" for none.
    durations: Held<(Direction, Arc<str>, Arc<str>), DurationSeries>,
    /// The same of connections that are passed on as they are.
    connections: Held<(Direction, Arc<str>, Arc<str>), DurationSeries>,
    bytes: Held<(Direction, Arc<str>, Arc<str>), ByteCounts>,
    attempts: Held<Arc<str>, AttemptCounts>,
    /// Copies of requests.
    mirrored: Held<Arc<str>, AttemptCounts>,
    /// Name, direction, TLS, cleartext beside it.
    listeners: Held<(Arc<str>, Direction, bool, bool), ListenerLabel>,
    /// Caller and method, up to [`MAX_REFUSED`] of them.
    candidates: HashMap<CallerMethod, u64>,
    workers: Vec<Arc<WorkerCounts>>,
}

/// All cells that exchanges change.
#[derive(Debug, Default)]
pub struct Registry {
    cells: Mutex<Cells>,
}

/// Durations of the exchanges of one route and cluster ("" for none) with one outcome.
#[derive(Debug)]
pub struct DurationReading {
    /// Of the listener.
    pub direction: Direction,
    /// Its name.
    pub route: Arc<str>,
    /// Its name.
    pub cluster: Arc<str>,
    /// How they ended.
    pub outcome: Outcome,
    /// How long they took.
    pub reading: Reading,
}

impl DurationReading {
    fn labels(&self) -> (Direction, &str, &str, Outcome) {
        (self.direction, &self.route, &self.cluster, self.outcome)
    }
}

/// Bytes of the connections of one TCP route and cluster.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BytesReading {
    /// Of the listener.
    pub direction: Direction,
    /// Its name.
    pub route: Arc<str>,
    /// Its name.
    pub cluster: Arc<str>,
    /// From callers.
    pub received: u64,
    /// To callers.
    pub sent: u64,
}

/// Everything in the registry at one moment, sorted.
#[derive(Debug, Default)]
pub struct Readings {
    /// In the order of their labels.
    pub durations: Vec<DurationReading>,
    /// The same of connections that are passed on as they are.
    pub tcp: Vec<DurationReading>,
    /// Of such connections, in the order of their labels.
    pub bytes: Vec<BytesReading>,
    /// Cluster, outcome.
    pub attempts: Vec<(Arc<str>, &'static str, u64)>,
    /// The same of copies.
    pub mirrored: Vec<(Arc<str>, &'static str, u64)>,
    /// Listener.
    pub connections: Vec<(Arc<str>, u64)>,
    /// Listener: connections in the clear, where they are taken beside TLS.
    pub cleartext: Vec<(Arc<str>, u64)>,
    /// Listener: handshakes that ended well, and others, where it speaks TLS.
    pub handshakes: Vec<(Arc<str>, [u64; 2])>,
    /// What a candidate would refuse.
    pub candidates: Vec<(CallerMethod, u64)>,
    /// Exchanges in flight.
    pub exchanges_active: u64,
    /// Exchanges begun.
    pub exchanges_total: u64,
}

impl Registry {
    /// The cells of `route` for listeners of `direction`; the same for every worker and for later snapshots with a
    /// route of this name.
    pub fn route(&self, direction: Direction, route: &Route) -> Arc<RouteMetrics> {
        let mut cells = self.lock();
        let none: Arc<str> = Arc::from("");
        let durations = held(
            &mut cells.durations,
            (direction, Arc::clone(&route.name), none),
            Default::default,
        );
        let mirrored = mirrored(&mut cells, route);
        let destinations = route.destinations.iter().map(|destination| DestinationMetrics {
            durations: held(
                &mut cells.durations,
                (direction, Arc::clone(&route.name), Arc::clone(&destination.cluster)),
                Default::default,
            ),
            attempts: held(&mut cells.attempts, Arc::clone(&destination.cluster), Default::default),
            bytes: None,
        });
        Arc::new(RouteMetrics { durations, destinations: destinations.collect(), mirrored })
    }

    /// The same for a route of connections that are passed on as they are.
    pub fn tcp_route(&self, direction: Direction, route: &Route) -> Arc<RouteMetrics> {
        let mut cells = self.lock();
        let cells = &mut *cells;
        let key = |cluster: Arc<str>| (direction, Arc::clone(&route.name), cluster);
        let durations = held(&mut cells.connections, key(Arc::from("")), Default::default);
        let destinations = route.destinations.iter().map(|destination| {
            let key = || key(Arc::clone(&destination.cluster));
            DestinationMetrics {
                durations: held(&mut cells.connections, key(), Default::default),
                attempts: held(&mut cells.attempts, Arc::clone(&destination.cluster), Default::default),
                bytes: Some(held(&mut cells.bytes, key(), Default::default)),
            }
        });
        Arc::new(RouteMetrics { durations, destinations: destinations.collect(), mirrored: None })
    }

    /// The cells of exchanges that found no route.
    pub fn unrouted(&self, direction: Direction) -> Arc<DurationSeries> {
        let none: Arc<str> = Arc::from("");
        held(
            &mut self.lock().durations,
            (direction, Arc::clone(&none), none),
            Default::default,
        )
    }

    /// The label of `listener`; the same for every worker.
    pub fn listener(&self, listener: &Listener) -> Arc<ListenerLabel> {
        let tls = (listener.tls.is_some(), takes_cleartext(listener));
        let key = (Arc::clone(&listener.name), listener.direction, tls.0, tls.1);
        held(&mut self.lock().listeners, key, || ListenerLabel::new(listener))
    }

    /// A candidate would refuse this caller that. Locks, for it is asked only while somebody writes rules.
    pub fn would_refuse(&self, caller: &str, method: &str) {
        let mut cells = self.lock();
        let is_full = cells.candidates.len() >= MAX_REFUSED;
        let key = (caller.into(), cut(method, MAX_METHOD).into());
        let key = match is_full && !cells.candidates.contains_key(&key) {
            // Callers choose their methods.
            true => (OTHERS.into(), OTHERS.into()),
            false => key,
        };
        *cells.candidates.entry(key).or_default() += 1;
    }

    /// Shows those of these exchanges that have a trace as examples of their durations.
    pub fn exemplify(&self, exchanges: &[Arc<Finished>]) {
        let cells = self.lock();
        for exchange in exchanges {
            let Some(context) = exchange.sampled() else { continue };
            let none = || Arc::from("");
            let route = exchange
                .route
                .as_ref()
                .map_or_else(none, |route| Arc::clone(&route.name));
            let cluster = exchange
                .cluster
                .as_ref()
                .map_or_else(none, |cluster| Arc::clone(&cluster.name));
            let held = if exchange.tcp {
                &cells.connections
            } else {
                &cells.durations
            };
            let Some((series, _)) = held.get(&(exchange.listener.direction, route, cluster)) else {
                continue;
            };
            let outcome = Outcome::new(exchange.status, exchange.grpc_status, exchange.reason);
            let exemplar = Exemplar {
                trace_id: context.trace_id,
                span_id: context.span_id,
                duration: exchange.duration,
                unix_nanos: exchange.started_unix_nanos + exchange.duration.as_nanos() as u64,
            };
            series.exemplify(outcome, exemplar);
        }
    }

    /// The counts of a new worker.
    pub fn worker(&self) -> Arc<WorkerCounts> {
        let counts = Arc::new(WorkerCounts::default());
        self.lock().workers.push(Arc::clone(&counts));
        counts
    }

    /// Called at each apply: forgets what no snapshot in use and no exchange has held for [`KEPT_APPLIES`] applies.
    pub fn sweep(&self) {
        let mut cells = self.lock();
        sweep(&mut cells.durations);
        sweep(&mut cells.connections);
        sweep(&mut cells.bytes);
        sweep(&mut cells.attempts);
        sweep(&mut cells.mirrored);
        sweep(&mut cells.listeners);
    }

    /// Everything, sorted by label.
    pub fn read(&self) -> Readings {
        let cells = self.lock();
        let mut readings = Readings::default();
        for (held, durations) in [
            (&cells.durations, &mut readings.durations),
            (&cells.connections, &mut readings.tcp),
        ] {
            for ((direction, route, cluster), (series, _)) in held {
                durations.extend(series.read().map(|(outcome, reading)| DurationReading {
                    direction: *direction,
                    route: Arc::clone(route),
                    cluster: Arc::clone(cluster),
                    outcome,
                    reading,
                }));
            }
            durations.sort_unstable_by(|a, b| a.labels().cmp(&b.labels()));
        }
        for ((direction, route, cluster), (counts, _)) in &cells.bytes {
            let (received, sent) = counts.read();
            readings.bytes.push(BytesReading {
                direction: *direction,
                route: Arc::clone(route),
                cluster: Arc::clone(cluster),
                received,
                sent,
            });
        }
        for (held, counted) in [
            (&cells.attempts, &mut readings.attempts),
            (&cells.mirrored, &mut readings.mirrored),
        ] {
            for (cluster, (counts, _)) in held {
                let outcomes = counts.read();
                counted.extend(outcomes.map(|(outcome, count)| (Arc::clone(cluster), outcome, count)));
            }
            counted.sort_unstable();
        }
        for ((name, ..), (listener, _)) in &cells.listeners {
            let open = listener.open();
            // A listener that changed its direction or TLS has two labels while old connections last.
            match readings.connections.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => *sum += open,
                None => readings.connections.push((Arc::clone(name), open)),
            }
            if listener.tls {
                add_handshakes(&mut readings.handshakes, name, listener.handshakes());
            }
            if let Some(count) = listener.in_the_clear() {
                readings.cleartext.push((Arc::clone(name), count));
            }
        }
        for worker in &cells.workers {
            let (started, active) = worker.read();
            readings.exchanges_total += started;
            readings.exchanges_active += active;
        }
        let candidates = cells.candidates.iter();
        readings.candidates = candidates.map(|(key, count)| (key.clone(), *count)).collect();
        drop(cells);
        readings.cleartext.sort_unstable();
        readings.handshakes.sort_unstable();
        readings.candidates.sort_unstable();
        readings.bytes.sort_unstable();
        readings.connections.sort_unstable();
        readings
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cells> {
        // A panic while it was held cannot leave the maps half changed.
        self.cells.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A listener that changed has two labels while old connections last.
fn add_handshakes(known: &mut Vec<(Arc<str>, [u64; 2])>, name: &Arc<str>, more: [u64; 2]) {
    match known.iter_mut().find(|(other, _)| other == name) {
        Some((_, counts)) => *counts = [counts[0] + more[0], counts[1] + more[1]],
        None => known.push((Arc::clone(name), more)),
    }
}

/// Those of who gets copies of a route's requests.
fn mirrored(cells: &mut Cells, route: &Route) -> Option<Arc<AttemptCounts>> {
    let cluster = Arc::clone(&route.mirror.as_ref()?.cluster);
    Some(held(&mut cells.mirrored, cluster, Default::default))
}

/// The cell of `key`, made when it is new.
fn held<K: Hash + Eq, V>(cells: &mut Held<K, V>, key: K, make: impl FnOnce() -> V) -> Arc<V> {
    let entry = cells.entry(key).or_insert_with(|| (Arc::new(make()), 0));
    entry.1 = 0;
    Arc::clone(&entry.0)
}

fn sweep<K: Hash + Eq, V>(cells: &mut Held<K, V>) {
    cells.retain(|_, (cell, unheld)| {
        *unheld = if Arc::strong_count(cell) == 1 { *unheld + 1 } else { 0 };
        *unheld <= KEPT_APPLIES
    });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::StatusCode;

    use super::*;
    use crate::telemetry::samples::route;

    #[test]
    fn a_series_outlives_its_route_for_some_applies() {
        let registry = Registry::default();
        let metrics = registry.route(Direction::Inbound, &route());
        metrics.destinations[0]
            .durations
            .observe(Duration::ZERO, Some(StatusCode::OK), None, None);
        metrics.destinations[0].attempts.count(None);
        for _ in 0..10 {
            registry.sweep();
        }
        assert_eq!(
            registry.read().durations.len(),
            1,
            "a table or an exchange still holds it"
        );
        drop(metrics);
        for _ in 0..KEPT_APPLIES {
            registry.sweep();
            assert_eq!(
                (registry.read().durations.len(), registry.read().attempts.len()),
                (1, 1)
            );
        }
        registry.sweep();
        assert_eq!(
            (registry.read().durations.len(), registry.read().attempts.len()),
            (0, 0)
        );
    }

    #[test]
    fn what_a_candidate_would_refuse_is_counted_up_to_a_bound() {
        let registry = Registry::default();
        for _ in 0..2 {
            registry.would_refuse("web", "/shop.Orders/Get");
        }
        for number in 0..2 * MAX_REFUSED {
            registry.would_refuse("web", &format!("/made.up/{number}"));
        }
        let counted = registry.read().candidates;
        let count = |caller: &str, method: &str| {
            let found = counted
                .iter()
                .find(|((who, what), _)| (&**who, &**what) == (caller, method));
            found.map(|(_, count)| *count)
        };
        assert_eq!(counted.len(), MAX_REFUSED + 1);
        assert_eq!(count("web", "/shop.Orders/Get"), Some(2));
        assert_eq!(count(OTHERS, OTHERS), Some(MAX_REFUSED as u64 + 1));
    }

    #[test]
    fn a_route_that_stays_keeps_its_cells_in_the_next_snapshot() {
        let registry = Registry::default();
        let before = registry.route(Direction::Inbound, &route());
        let after = registry.route(Direction::Inbound, &route());
        assert!(Arc::ptr_eq(
            &before.destinations[0].durations,
            &after.destinations[0].durations
        ));
        let other = registry.route(Direction::Outbound, &route());
        assert!(!Arc::ptr_eq(&before.durations, &other.durations));
        assert!(Arc::ptr_eq(
            &before.destinations[0].attempts,
            &other.destinations[0].attempts
        ));
    }
}
