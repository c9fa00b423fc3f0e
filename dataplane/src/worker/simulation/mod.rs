//! Worlds that never were: the whole path of a request, from its bytes to its endpoint's, on a clock that jumps and a
//! network of memory, with endpoints that fail as their timetables say. One seed is one world, and the same one each time.
//!
//! What must hold in every world: each call ends once, no call is sent more often than it may be, retries stay within
//! their budget, nothing goes to an endpoint that is not there or is ejected, and in the end nothing is held. A world that breaks one of them is told by its seed;
//! `SEED=7 cargo test a_thousand_worlds` looks at it again, and `SEEDS=100000` at more than a thousand.

mod caller;
mod endpoint;
mod ledger;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use prost::Message;
use tokio::task::LocalSet;

use self::caller::Caller;
use self::endpoint::{Endpoint, Endpoints, Trouble};
use self::ledger::Ledger;
use super::{Apply, Worker};
use crate::clock;
use crate::cluster::Registry;
use crate::events::Events;
use crate::net::simulated;
use crate::proto;
use crate::random;
use crate::snapshot::decode::decode;
use crate::snapshot::model::Protocol;
use crate::telemetry::Hub;

/// Worlds of one run.
const WORLDS: u64 = 1000;
/// Seconds in which endpoints get into trouble.
const HORIZON: f64 = 8.0;
/// Longer than any idle connection is kept.
const LONG_AFTER: Duration = Duration::from_secs(3600);
/// One world of so many is a storm.
const STORMS: usize = 50;
/// Thousandths of the requests that may be retries.
const BUDGET: u32 = 200;
/// The only cluster.
const ORDERS: &str = "orders";

/// How a world is broken on purpose, so that it can be seen that this is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sabotage {
    No,
    /// One more attempt than the world believes.
    Attempts,
    /// Endpoints that leave stay in the proxy's list.
    Absent,
    /// Endpoints are ejected for a tenth of the time that is told.
    Ejected,
    /// Every request may be tried again.
    Budget,
    /// A request in flight that never ends.
    Held,
    /// A call that ends for its caller, and again.
    Twice,
}

/// One world.
#[derive(Debug)]
struct Plan {
    endpoints: Vec<Endpoint>,
    /// From, to, whom: when an endpoint is not in the list.
    absences: Vec<(f64, f64, usize)>,
    protocol: Protocol,
    balance: proto::BalancePolicy,
    workers: usize,
    callers: usize,
    calls: usize,
    attempts: u32,
    limits: proto::ClusterLimits,
    ejection: Duration,
}

fn seconds(most: f64) -> f64 {
    most * random::below(1000) as f64 / 1000.0
}

fn one_of<T: Copy>(choices: &[T]) -> T {
    choices[random::below(choices.len())]
}

impl Plan {
    /// The one that the seed of this thread leads to.
    fn draw() -> Self {
        if random::below(STORMS) == 0 {
            return Plan::storm();
        }
        let count = one_of(&[1, 2, 3, 3, 3, 5]);
        let endpoints = (0..count).map(|index| Endpoint {
            index,
            troubles: (0..random::below(3))
                .map(|_| {
                    let from = seconds(HORIZON);
                    (from, from + seconds(HORIZON / 2.0), one_of(&Trouble::ALL))
                })
                .collect(),
            service: Duration::from_millis(1 + random::below(20) as u64),
        });
        let endpoints = endpoints.collect();
        let absences = (0..random::below(3)).map(|_| {
            let from = seconds(HORIZON);
            (from, from + seconds(HORIZON / 2.0), random::below(count))
        });
        let most = |usual| {
            if random::below(4) == 0 {
                1 + random::below(3) as u32
            } else {
                usual
            }
        };
        Plan {
            endpoints,
            absences: absences.collect(),
            protocol: one_of(&[Protocol::Http1, Protocol::Http2]),
            balance: one_of(&[
                proto::BalancePolicy::RoundRobin,
                proto::BalancePolicy::LeastRequest,
                proto::BalancePolicy::Random,
                proto::BalancePolicy::PeakEwma,
                proto::BalancePolicy::RingHash,
            ]),
            workers: 1 + random::below(2),
            callers: 1 + random::below(6),
            calls: 2 + random::below(8),
            attempts: 1 + random::below(4) as u32,
            limits: proto::ClusterLimits {
                max_connections: most(1024),
                max_pending: most(1024),
                max_requests: most(1024),
                ..Default::default()
            },
            ejection: Duration::from_millis(200 + random::below(3000) as u64),
        }
    }

    /// Everybody calls all the time, and nobody answers well.
    fn storm() -> Self {
        let endpoints = (0..3).map(|index| Endpoint {
            index,
            troubles: vec![(0.0, 1000.0, Trouble::Fails)],
            service: Duration::from_millis(1),
        });
        Plan {
            endpoints: endpoints.collect(),
            absences: Vec::new(),
            protocol: one_of(&[Protocol::Http1, Protocol::Http2]),
            balance: proto::BalancePolicy::LeastRequest,
            workers: 1 + random::below(2),
            callers: 6,
            calls: 40,
            attempts: 4,
            limits: proto::ClusterLimits::default(),
            ejection: Duration::from_secs(1),
        }
    }

    fn snapshot(&self, sabotage: Sabotage) -> proto::Snapshot {
        let protocol = match self.protocol {
            Protocol::Http2 => proto::UpstreamProtocol::Grpc,
            _ => proto::UpstreamProtocol::Http1,
        };
        let access_log = Some(proto::AccessLog { enabled: true });
        let attempts = self.attempts + u32::from(sabotage == Sabotage::Attempts);
        proto::Snapshot {
            version: 1,
            listeners: vec![proto::Listener {
                name: "out".into(),
                address: "127.0.0.1:15001".into(),
                direction: proto::Direction::Outbound.into(),
                route_table: "mesh".into(),
                ..Default::default()
            }],
            route_tables: vec![proto::RouteTable {
                name: "mesh".into(),
                tcp_routes: Vec::new(),
                routes: vec![proto::Route {
                    name: ORDERS.into(),
                    destinations: vec![proto::Destination { cluster: ORDERS.into(), weight: 1 }],
                    timeout_ms: 3000,
                    retry: Some(proto::RetryPolicy {
                        attempts,
                        reset: true,
                        statuses: vec![proto::StatusRange { first: 500, last: 599 }],
                        calls: vec![14],
                        per_try_timeout_ms: 1000,
                        budget: Some(if sabotage == Sabotage::Budget { 1000 } else { BUDGET }),
                        ..Default::default()
                    }),
                    ..Default::default()
                }],
            }],
            clusters: vec![proto::Cluster {
                name: ORDERS.into(),
                service: ORDERS.into(),
                protocol: protocol.into(),
                balance: self.balance.into(),
                connect_timeout_ms: 500,
                limits: Some(self.limits),
                outlier: Some(proto::Outlier {
                    consecutive_errors: Some(3),
                    ejection_ms: self.ejection.as_millis() as u32,
                    ..Default::default()
                }),
                ..Default::default()
            }],
            telemetry: Some(proto::Telemetry { access_log, ..Default::default() }),
        }
    }
}

/// A proxy of some workers, without threads or sockets.
struct Proxy {
    hub: Arc<Hub>,
    events: Arc<Events>,
    registry: Registry,
    workers: Vec<Worker>,
    version: u64,
}

impl Proxy {
    fn new(plan: &Plan, sabotage: Sabotage) -> Self {
        let hub = Hub::new(&proto::Options::default());
        let events = Arc::new(Events::new(0, Arc::clone(&hub)));
        let mut registry = Registry::default();
        let snapshot = Arc::new(decode(&plan.snapshot(sabotage).encode_to_vec()).expect("a valid snapshot"));
        registry.retain(&snapshot.clusters);
        let worker = |_| Worker::new(Arc::clone(&hub), Arc::clone(&events));
        let workers = (0..plan.workers).map(worker).collect();
        let mut proxy = Proxy { hub, events, workers, registry, version: 0 };
        let live = proxy.registry.get(ORDERS).expect("it was just told");
        let clusters = Arc::new(HashMap::from([(ORDERS.into(), live)]));
        for worker in &mut proxy.workers {
            let (snapshot, clusters) = (Arc::clone(&snapshot), Arc::clone(&clusters));
            worker.apply(Apply { snapshot, clusters, sockets: Vec::new(), tls: Arc::default() });
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
            weight: 1,
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
        ];
        let counts = members.endpoints.iter().flat_map(|endpoint| {
            let counts = &endpoint.counts;
            [
                ("active", counts.active.load(Relaxed)),
                ("connections of an endpoint", counts.connections.load(Relaxed)),
            ]
        });
        match held.into_iter().chain(counts).find(|&(_, count)| count != 0) {
            Some((what, count)) => Err(format!("{count} {what} are still held")),
            None => Ok(()),
        }
    }
}

/// What came of a world: how many calls, how many of them ended well, how many requests came to endpoints, how often one
/// was ejected.
type Outcome = (usize, usize, usize, usize);

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
    ledger
        .borrow_mut()
        .listen(Arc::clone(&proxy.events), sabotage == Sabotage::Ejected);

    let callers: Vec<_> = (0..plan.callers)
        .map(|number| {
            let worker = &proxy.workers[number % proxy.workers.len()];
            let listening = Rc::clone(&worker.listening["out"]);
            let caller = Caller { listening, protocol: plan.protocol, ledger: Rc::clone(&ledger) };
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
    ledger.the_ejected_are_left_alone(plan.endpoints.len())?;
    ledger.retries_stay_within_budget(BUDGET)?;
    proxy.nothing_is_held()?;
    let (calls, well) = ledger.counts();
    Ok((calls, well, ledger.arrivals(), ledger.ejections()))
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
    let (mut calls, mut well, mut arrivals, mut ejections) = (0, 0, 0, 0);
    for seed in seeds.clone() {
        let outcome = world(seed, Sabotage::No).unwrap_or_else(|broken| panic!("{broken}"));
        calls += outcome.0;
        well += outcome.1;
        arrivals += outcome.2;
        ejections += outcome.3;
    }
    println!("{calls} calls, {well} ended well, {arrivals} requests at endpoints, {ejections} ejections");
    if seeds.end - seeds.start >= WORLDS {
        // There is trouble enough to be worth looking, and not so much that nothing else is seen.
        assert!(
            well * 10 > calls * 5 && well * 20 < calls * 19,
            "{well} of {calls} ended well"
        );
        assert!(ejections > 0, "nobody was ejected");
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
    ];
    for (sabotage, words) in broken {
        let told = (0..WORLDS).find_map(|seed| world(seed, sabotage).err());
        let told = told.unwrap_or_else(|| panic!("nobody noticed {sabotage:?}"));
        assert!(told.contains(words), "{sabotage:?}: {told}");
    }
}
