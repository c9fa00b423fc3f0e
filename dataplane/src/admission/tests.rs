use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use http::Request;

use super::*;
use crate::authenticate::identified::Identified;
use crate::clock;
use crate::credentials::samples::{consumer, credentials};
use crate::snapshot::model::{Rate, WindowRate};
use crate::snapshot::samples;

const WEB: Asker<'_> = source("spiffe://mesh.local/ns/default/dc/dc1/svc/web");
const SHOP: Asker<'_> = source("spiffe://mesh.local/ns/default/dc/dc1/svc/shop");

const fn source(peer: &str) -> Asker<'_> {
    Asker {
        peer: Some(peer),
        address: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        identified: None,
    }
}

fn at(address: [u8; 4]) -> Asker<'static> {
    Asker { peer: None, address: address.into(), identified: None }
}

fn ask(gate: &Gate, asker: Asker<'_>, request: &Parts) -> (Admitted, Result<(), Error>) {
    let mut admitted = Admitted::default();
    let asked = gate.ask(&mut admitted, asker, request);
    (admitted, asked)
}

fn request(method: &str, path: &str, fields: &[(&'static str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request").into_parts().0
}

fn gate(concurrency: u32, by: Option<Vec<RateKey>>) -> Gate {
    Gate::new(&samples::admission(concurrency, by), None)
}

/// How many of these are let in before one is not.
fn let_in(gate: &Gate, source: Asker<'_>, request: &Parts) -> usize {
    (0..100).take_while(|_| ask(gate, source, request).1.is_ok()).count()
}

#[test]
fn who_is_one_too_many_at_a_time_is_refused_and_leaves_nothing() {
    let (gate, request) = (gate(2, None), request("GET", "/", &[]));
    let (first, asked) = ask(&gate, WEB, &request);
    assert!(asked.is_ok());
    let (_second, _) = ask(&gate, WEB, &request);
    let (refused, asked) = ask(&gate, SHOP, &request);
    let error = asked.expect_err("two are in flight");
    assert_eq!(
        (error.reason, error.status(), error.grpc_status()),
        (Reason::ConcurrencyLimit, 503, 8)
    );
    drop(refused);
    assert_eq!(gate.in_flight(), 2);
    drop(first);
    assert!(ask(&gate, SHOP, &request).1.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_rest_is_told_and_who_is_refused_hears_when_to_come_back() {
    let (gate, request) = (gate(u32::MAX, Some(Vec::new())), request("GET", "/", &[]));
    let told = |admitted: &Admitted| {
        let mut headers = HeaderMap::new();
        admitted.tell(&mut headers);
        let text = |name| {
            headers
                .get(name)
                .map(|value: &HeaderValue| value.to_str().unwrap().to_owned())
        };
        (text(RATELIMIT_POLICY), text(RATELIMIT))
    };
    let policy = Some("\"default\";q=3;w=60".to_owned());
    let (first, _) = ask(&gate, WEB, &request);
    assert_eq!(told(&first), (policy.clone(), Some("\"default\";r=2;t=20".to_owned())));
    assert_eq!(let_in(&gate, SHOP, &request), 2);
    let (refused, asked) = ask(&gate, WEB, &request);
    let error = asked.expect_err("three in a minute");
    assert_eq!(
        (error.reason, error.status(), error.grpc_status()),
        (Reason::RateLimited, 429, 8)
    );
    assert_eq!(error.retry_after(), Some(Duration::from_secs(20)));
    assert_eq!(told(&refused), (policy, Some("\"default\";r=0;t=60".to_owned())));
    assert_eq!(
        gate.in_flight(),
        2,
        "who was refused is not in flight once it is answered"
    );
    clock::sleep(Duration::from_secs(20)).await;
    assert_eq!(let_in(&gate, WEB, &request), 1);
    assert_eq!(told(&ask(&self::gate(1, None), WEB, &request).0), (None, None));
}

#[tokio::test(start_paused = true)]
async fn what_makes_the_key_counts_apart_and_the_rest_together() {
    let user = |name: &str| request("GET", "/", &[("x-user", name)]);
    let call = |path: &str| request("POST", path, &[("content-type", "application/grpc")]);
    let header = RateKey::Header(HeaderName::from_static("x-user"));

    let gate = |by| gate(u32::MAX, Some(by));
    let by_source = gate(vec![RateKey::Source]);
    assert_eq!(let_in(&by_source, WEB, &user("a")), 3);
    assert_eq!(let_in(&by_source, WEB, &user("b")), 0);
    assert_eq!(let_in(&by_source, SHOP, &user("a")), 3);
    assert_eq!(let_in(&by_source, at([10, 0, 0, 1]), &user("a")), 3);
    assert_eq!(let_in(&by_source, at([10, 0, 0, 2]), &user("a")), 3);

    let by_header = gate(vec![header.clone()]);
    assert_eq!(let_in(&by_header, WEB, &user("a")), 3);
    assert_eq!(let_in(&by_header, SHOP, &user("a")), 0);
    assert_eq!(let_in(&by_header, WEB, &user("b")), 3);
    assert_eq!(
        let_in(&by_header, WEB, &request("GET", "/", &[])),
        3,
        "those without it count together"
    );

    let by_method = gate(vec![RateKey::Method]);
    assert_eq!(let_in(&by_method, WEB, &call("/shop.Orders/Get")), 3);
    assert_eq!(let_in(&by_method, WEB, &call("/shop.Orders/Put")), 3);
    assert_eq!(let_in(&by_method, WEB, &request("POST", "/shop.Orders/Get", &[])), 3);
    assert_eq!(
        let_in(&by_method, WEB, &request("POST", "/other", &[])),
        0,
        "of HTTP it is the method alone"
    );

    let by_both = gate(vec![RateKey::Method, header]);
    assert_eq!(let_in(&by_both, WEB, &user("a")), 3);
    assert_eq!(let_in(&by_both, WEB, &user("b")), 3);
    assert_eq!(let_in(&by_both, WEB, &user("a")), 0);
}

#[tokio::test(start_paused = true)]
async fn a_new_snapshot_forgets_nothing_unless_other_keys_count() {
    let request = request("GET", "/", &[]);
    let before = gate(10, Some(vec![RateKey::Source]));
    assert_eq!(let_in(&before, WEB, &request), 3);
    let (_held, _) = ask(&before, SHOP, &request);
    let same = Gate::new(&samples::admission(20, Some(vec![RateKey::Source])), Some(&before));
    assert_eq!((same.in_flight(), let_in(&same, WEB, &request)), (1, 0));
    let other = Gate::new(&samples::admission(20, Some(Vec::new())), Some(&same));
    assert_eq!((other.in_flight(), let_in(&other, WEB, &request)), (1, 3));
}

/// A quota of three in a minute, as a snapshot has it.
fn quota(name: &str, by: Vec<RateKey>) -> Arc<Quota> {
    let limit = samples::admission(0, Some(by))
        .rate
        .as_ref()
        .map(Arc::clone)
        .expect("a rate");
    let limit = Arc::into_inner(limit).expect("nobody else's");
    Arc::new(Quota {
        scope: "all".into(),
        needs_caller: false,
        limit: Arc::new(RateLimit { name: name.into(), ..limit }),
    })
}

fn meter(by: Vec<RateKey>) -> Meter {
    let counted = Arc::new(Counted::new(&by));
    Meter { quota: quota("route", by), counted }
}

/// How many of these are let in before one is not.
fn metered(meter: &Meter, asker: Asker<'_>) -> usize {
    let request = request("GET", "/", &[]);
    (0..100)
        .take_while(|_| meter.ask(&mut Admitted::default(), asker, &request).is_ok())
        .count()
}

#[tokio::test(start_paused = true)]
async fn consumers_count_apart_and_who_is_none_by_its_address() {
    let known = credentials(vec![consumer("ann", &[], "x"), consumer("guest", &[], "x")], Vec::new());
    let of = |name: &str| known.consumer(name).expect("known");
    let (ann, guest) = (Identified::consumer(of("ann")), Identified::anonymous(of("guest")));
    let as_who = |identified, asker: Asker<'static>| Asker { identified: Some(identified), ..asker };

    let meter = meter(vec![RateKey::Consumer]);
    assert_eq!(metered(&meter, as_who(&ann, at([10, 0, 0, 1]))), 3);
    assert_eq!(metered(&meter, as_who(&ann, at([10, 0, 0, 2]))), 0, "wherever it is");
    assert_eq!(
        metered(&meter, as_who(&guest, at([10, 0, 0, 1]))),
        3,
        "many may be anonymous"
    );
    assert_eq!(metered(&meter, as_who(&guest, at([10, 0, 0, 2]))), 3);
    assert_eq!(metered(&meter, at([10, 0, 0, 2])), 0, "nobody has asked who it is");
}

#[tokio::test(start_paused = true)]
async fn a_group_counts_together_and_who_is_in_none_alone() {
    let mut known = Vec::new();
    for (name, groups) in [
        ("ann", &["gold", "beta"][..]),
        ("bob", &["gold"]),
        ("cid", &["beta", "gold"]),
        ("gold", &[]),
    ] {
        known.push(consumer(name, groups, "x"));
    }
    let known = credentials(known, Vec::new());
    let meter = meter(vec![RateKey::Group]);
    let by = |name: &str| {
        let who = Identified::consumer(known.consumer(name).expect("known"));
        metered(&meter, Asker { identified: Some(&who), ..at([10, 0, 0, 1]) })
    };
    assert_eq!((by("ann"), by("bob")), (3, 0), "the first group of both");
    assert_eq!(
        (by("cid"), by("gold")),
        (3, 3),
        "another group, and a consumer that is called as a group"
    );
    assert_eq!(
        metered(&meter, at([10, 0, 0, 1])),
        3,
        "who is no consumer counts by its address"
    );
}

#[tokio::test(start_paused = true)]
async fn another_algorithm_begins_anew_and_what_the_first_has_counted_stays() {
    let bucket = meter(vec![RateKey::Source]);
    assert_eq!(metered(&bucket, WEB), 3);
    let limit = RateLimit {
        name: "route".into(),
        requests: 5,
        period: Duration::from_secs(60),
        rate: Rate::Window(WindowRate { period: 60 * NANOS_PER_SECOND, requests: 5 }),
        by: vec![RateKey::Source],
        policy: HeaderValue::from_static("\"route\";q=5;w=60"),
    };
    let quota = Quota { scope: "all".into(), limit: Arc::new(limit), needs_caller: false };
    let window = Meter { quota: Arc::new(quota), counted: Arc::clone(&bucket.counted) };
    assert_eq!((metered(&window, WEB), metered(&bucket, WEB)), (5, 0));
}

#[tokio::test(start_paused = true)]
async fn a_network_of_ipv6_is_one_client() {
    let meter = meter(vec![RateKey::Source]);
    let from = |address: &str| {
        let asker = Asker { peer: None, address: address.parse().expect("an address"), identified: None };
        metered(&meter, asker.of_network())
    };
    assert_eq!(from("2001:db8::1"), 3);
    assert_eq!(from("2001:db8::ffff:2"), 0);
    assert_eq!(from("2001:db8:0:1::1"), 3);
    assert_eq!((from("10.0.0.1"), from("::ffff:10.0.0.1"), from("10.0.0.2")), (3, 0, 3));
}

#[tokio::test(start_paused = true)]
async fn each_quota_is_told_and_the_answer_of_the_service_gives_way() {
    let (wide, narrow) = (quota("gateway", Vec::new()), quota("route", vec![RateKey::Source]));
    let mut admitted = Admitted::default();
    for quota in [&wide, &narrow] {
        let meter = Meter { quota: Arc::clone(quota), counted: Arc::new(Counted::new(&quota.limit.by)) };
        meter.ask(&mut admitted, WEB, &request("GET", "/", &[])).expect("room");
    }
    let mut answer = HeaderMap::new();
    answer.insert(RATELIMIT, HeaderValue::from_static("\"default\";r=7;t=1"));
    admitted.tell(&mut answer);
    assert_eq!(answer[RATELIMIT], "\"gateway\";r=2;t=20, \"route\";r=2;t=20");
}

#[test]
fn workers_together_let_in_no_more_than_one_would() {
    let (gate, request) = (gate(8, None), request("GET", "/", &[]));
    let held = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2000 {
                    let asked: Vec<_> = (0..4).map(|_| ask(&gate, WEB, &request)).collect();
                    let let_in = asked.iter().filter(|(_, asked)| asked.is_ok()).count() as u32;
                    assert!(held.fetch_add(let_in, Relaxed) + let_in <= 8);
                    held.fetch_sub(let_in, Relaxed);
                }
            });
        }
    });
    assert_eq!(gate.in_flight(), 0);
}

#[test]
fn under_pressure_what_can_wait_is_refused_first_and_then_everything() {
    let urgent = [request("GET", "/", &[]), request("GET", "/", &[("priority", "i, u=3")])];
    let patient = [
        request("GET", "/", &[("priority", "u=5, i")]),
        request("GET", "/", &[("priority", "u=1"), ("priority", "u=7;x")]),
    ];
    for (step, takes_urgent, takes_patient) in [
        (Step::Calm, true, true),
        (Step::Brief, true, true),
        (Step::Sparing, true, false),
        (Step::Full, false, false),
    ] {
        for (requests, taken) in [(&urgent, takes_urgent), (&patient, takes_patient)] {
            for request in requests {
                assert_eq!(spare(step, request).is_ok(), taken, "{step:?} {:?}", request.headers);
            }
        }
    }
    let error = spare(Step::Full, &urgent[0]).expect_err("full");
    assert_eq!(
        (error.reason, error.status(), error.grpc_status()),
        (Reason::Overloaded, 503, 8)
    );
    assert_eq!(error.retry_after(), Some(SOON));
}
