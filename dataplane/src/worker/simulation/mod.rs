//! Worlds that never were: the whole path of a request, from its bytes to its endpoint's, on a clock that jumps and a
//! network of memory, with endpoints that fail as their timetables say. One seed is one world, and the same one each time.
//!
//! What must hold in every world: each call ends once, no call is sent more often than it may be, retries stay within
//! their budget, nothing goes to an endpoint that is not there, is ejected, or of a later priority than it has to be, nor
//! through an open circuit, and in the end nothing is held. A world that breaks one of them is told by its seed;
//! `SEED=7 cargo test a_thousand_worlds` looks at it again, and `SEEDS=100000` at more than a thousand.

mod caller;
mod endpoint;
mod ledger;
mod panicking;
mod plan;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use prost::Message;
use tokio::task::LocalSet;

use self::caller::Caller;
use self::endpoint::{Endpoint, Endpoints};
use self::ledger::Ledger;
use self::plan::{Plan, Sabotage};
use super::{Apply, Worker};
use crate::clock;
use crate::cluster::Registry;
use crate::events::Events;
use crate::net::simulated;
use crate::proto;
use crate::random;
use crate::snapshot::decode::decode;
use crate::telemetry::Hub;

/// Worlds of one run.
const WORLDS: u64 = 1000;
/// Longer than any idle connection is kept.
const LONG_AFTER: Duration = Duration::from_secs(3600);
/// Thousandths of the requests that may be retries.
const BUDGET: u32 = 200;
/// The only cluster.
const ORDERS: &str = "orders";

/// A proxy of some workers, without threads or sockets.
struct Proxy {
    hub: Arc<Hub>,
    events: Arc<Events>,
    registry: Registry,
    workers: Vec<Worker>,
    version: u64,
    has_priorities: bool,
}

impl Proxy {
    fn new(plan: &Plan, sabotage: Sabotage) -> Self {
        let hub = Hub::new(&proto::Options::default());
        let events = Arc::new(Events::new(0, Arc::clone(&hub)));
        let mut registry = Registry::default();
        let snapshot = Arc::new(decode(&plan.snapshot(sabotage).encode_to_vec()).expect("a valid snapshot"));
        registry.retain(&snapshot.clusters);
        let worker = |_| Worker::new(Arc::clone(&hub), Arc::clone(&events), (0, 1));
        let workers = (0..plan.workers).map(worker).collect();
        let mut proxy = Proxy {
            hub,
            events,
            workers,
            registry,
            version: 0,
            has_priorities: sabotage != Sabotage::Priorities,
        };
        let live = proxy.registry.get(ORDERS).expect("it was just told");
        let clusters = Arc::new(HashMap::from([(ORDERS.into(), live)]));
        for worker in &mut proxy.workers {
            let (snapshot, clusters) = (Arc::clone(&snapshot), Arc::clone(&clusters));
            worker.apply(Apply {
                snapshot,
                clusters,
                sockets: Vec::new(),
                tls: Arc::default(),
                counts: Arc::default(),
            });
        }
        proxy
    }

    /// Every worker is told who is there.
    fn list<'a>(&mut self, present: impl Iterator<Item = &'a Endpoint>) {
        self.version += 1;
        let endpoints = present.map(|endpoint| proto::Endpoint {
            id: endpoint.index.to_string(),
            address: endpoint.address().to_string(),
            healthy: true,
            weight: endpoint.weight,
            priority: if self.has_priorities { endpoint.priority } else { 0 },
            ..Default::default()
        });
        let endpoints = endpoints.collect();
        let update =
            proto::EndpointsUpdate { cluster: ORDERS.into(), version: self.version, endpoints, forgotten: false };
        let (members, _) = self.registry.update(&update).expect("valid addresses");
        for worker in &self.workers {
            worker.upstreams[ORDERS].update(Arc::clone(&members));
        }
    }

    /// What must be zero when nothing is in flight and connections have been idle for long.
    fn nothing_is_held(&self) -> Result<(), String> {
        let (cluster, members) = self.registry.get(ORDERS).expect("it is never taken away");
        let held = [
            ("requests", cluster.requests.held()),
            ("pending", cluster.pending.held()),
            ("connections", cluster.connections.held()),
            ("retries", cluster.retries.held()),
        ];
        let counts = members.endpoints.iter().flat_map(|endpoint| {
            let counts = &endpoint.counts;
            [
                ("active", counts.active.load(Relaxed)),
                ("connections of an endpoint", counts.connections.held()),
                ("pending of an endpoint", counts.pending.held()),
                ("retries of an endpoint", counts.retries.held()),
            ]
        });
        match held.into_iter().chain(counts).find(|&(_, count)| count != 0) {
            Some((what, count)) => Err(format!("{count} {what} are still held")),
            None => Ok(()),
        }
    }
}

/// What came of a world: how many calls, how many of them ended well, how many requests came to endpoints, how often one
/// was ejected and the circuit opened.
type Outcome = (usize, usize, usize, (usize, usize));

/// Lives through the world of a seed; fails with what did not hold.
fn world(seed: u64, sabotage: Sabotage) -> Result<Outcome, String> {
    random::seed(seed);
    let plan = Plan::draw();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without sockets");
    let said = format!("{plan:?}");
    LocalSet::new()
        .block_on(&runtime, live(plan, sabotage))
        .map_err(|broken| format!("{broken}\nSEED={seed} {said}"))
}

async fn live(plan: Plan, sabotage: Sabotage) -> Result<Outcome, String> {
    let ledger = Rc::new(RefCell::new(Ledger::default()));
    let endpoints = Rc::new(Endpoints {
        all: plan.endpoints.clone(),
        protocol: plan.protocol,
        begun: clock::now(),
        ledger: Rc::clone(&ledger),
    });
    let network = Rc::clone(&endpoints);
    let _installed = simulated::install(move |address| network.connect(address));
    let mut proxy = Proxy::new(&plan, sabotage);
    proxy.list(plan.endpoints.iter());
    ledger.borrow_mut().listen(
        Arc::clone(&proxy.events),
        matches!(sabotage, Sabotage::Ejected | Sabotage::Open),
    );

    let callers: Vec<_> = (0..plan.callers)
        .map(|number| {
            let worker = &proxy.workers[number % proxy.workers.len()];
            let listening = Rc::clone(&worker.listening["out"]);
            let caller = Caller { number, listening, protocol: plan.protocol, ledger: Rc::clone(&ledger) };
            tokio::task::spawn_local(caller.make(plan.calls))
        })
        .collect();
    come_and_go(&plan, &mut proxy, &ledger, sabotage).await;
    for caller in callers {
        caller.await.expect("a caller does not panic");
    }
    if sabotage == Sabotage::Held {
        std::mem::forget(proxy.workers[0].upstreams[ORDERS].enter());
    }
    if sabotage == Sabotage::Twice {
        ledger.borrow_mut().end(0, ledger::End::Well);
    }

    // Those that were given up end too.
    clock::sleep(LONG_AFTER).await;
    for worker in &proxy.workers {
        worker.connections.sweep(clock::now());
    }
    clock::sleep(Duration::from_secs(1)).await;

    let ledger = ledger.borrow();
    let log = String::from_utf8(proxy.hub.drain_access_log(usize::MAX)).expect("lines of text");
    ledger.every_call_ends_once(&log)?;
    ledger.attempts_are_bounded(plan.attempts as usize)?;
    ledger.the_absent_are_left_alone()?;
    ledger.an_open_circuit_lets_nobody_pass()?;
    ledger.the_ejected_are_left_alone(&plan.endpoints)?;
    ledger.the_later_are_left_alone(&plan.endpoints)?;
    ledger.retries_stay_within_budget(BUDGET)?;
    proxy.nothing_is_held()?;
    let (calls, well) = ledger.counts();
    Ok((calls, well, ledger.arrivals(), ledger.failures()))
}

/// Takes endpoints out of the list, and back.
async fn come_and_go(plan: &Plan, proxy: &mut Proxy, ledger: &RefCell<Ledger>, sabotage: Sabotage) {
    let begun = clock::now();
    let mut moments: Vec<f64> = plan.absences.iter().flat_map(|&(from, to, _)| [from, to]).collect();
    moments.sort_by(f64::total_cmp);
    let mut before = vec![true; plan.endpoints.len()];
    for moment in moments {
        clock::sleep_until(begun + Duration::from_secs_f64(moment)).await;
        let is_there = |index| {
            let absent = |&(from, to, who): &(f64, f64, usize)| who == index && from <= moment && moment < to;
            !plan.absences.iter().any(absent)
        };
        let now: Vec<bool> = (0..plan.endpoints.len()).map(is_there).collect();
        for index in (0..now.len()).filter(|&index| now[index] && !before[index]) {
            ledger.borrow_mut().returns(index);
        }
        let everybody = sabotage == Sabotage::Absent;
        proxy.list(
            plan.endpoints
                .iter()
                .filter(|endpoint| everybody || now[endpoint.index]),
        );
        for index in (0..now.len()).filter(|&index| !now[index] && before[index]) {
            ledger.borrow_mut().leaves(index);
        }
        before = now;
    }
}

fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn a_thousand_worlds_keep_what_is_promised() {
    let seeds = match asked("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..asked("SEEDS").unwrap_or(WORLDS),
    };
    let (mut calls, mut well, mut arrivals, mut ejections, mut circuits) = (0, 0, 0, 0, 0);
    for seed in seeds.clone() {
        let outcome = world(seed, Sabotage::No).unwrap_or_else(|broken| panic!("{broken}"));
        calls += outcome.0;
        well += outcome.1;
        arrivals += outcome.2;
        ejections += outcome.3.0;
        circuits += outcome.3.1;
    }
    println!(
        "{calls} calls, {well} ended well, {arrivals} requests at endpoints, {ejections} ejections, {circuits} open circuits"
    );
    if seeds.end - seeds.start >= WORLDS {
        // There is trouble enough to be worth looking, and not so much that nothing else is seen.
        assert!(
            well * 10 > calls * 5 && well * 20 < calls * 19,
            "{well} of {calls} ended well"
        );
        assert!(
            ejections > 0 && circuits > 0,
            "{ejections} ejections, {circuits} open circuits"
        );
    }
}

#[test]
fn a_seed_is_the_same_world_each_time() {
    for seed in 0..20 {
        assert_eq!(world(seed, Sabotage::No), world(seed, Sabotage::No), "SEED={seed}");
    }
}

#[test]
fn a_broken_world_is_noticed() {
    let broken = [
        (Sabotage::Attempts, "was sent"),
        (Sabotage::Absent, "that had left"),
        (Sabotage::Ejected, "that was ejected"),
        (Sabotage::Budget, "retries"),
        (Sabotage::Held, "requests are still held"),
        (Sabotage::Twice, "ended 2 times"),
        (Sabotage::Open, "through an open circuit"),
        (Sabotage::Priorities, "of a later priority"),
    ];
    for (sabotage, words) in broken {
        // What makes one of them noticed may make another one noticed first.
        let is_noticed = |seed| world(seed, sabotage).is_err_and(|told| told.contains(words));
        assert!((0..WORLDS).any(is_noticed), "nobody noticed {sabotage:?}");
    }
}
