use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use http::Request;

use super::*;
use crate::clock;
use crate::snapshot::samples;

const WEB: Source<'_> = source("spiffe://mesh.local/ns/default/dc/dc1/svc/web");
const SHOP: Source<'_> = source("spiffe://mesh.local/ns/default/dc/dc1/svc/shop");

const fn source(peer: &str) -> Source<'_> {
    Source { peer: Some(peer), address: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST) }
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
fn let_in(gate: &Gate, source: Source<'_>, request: &Parts) -> usize {
    (0..100).take_while(|_| gate.ask(source, request).1.is_ok()).count()
}

#[test]
fn who_is_one_too_many_at_a_time_is_refused_and_leaves_nothing() {
    let (gate, request) = (gate(2, None), request("GET", "/", &[]));
    let (first, asked) = gate.ask(WEB, &request);
    assert!(asked.is_ok());
    let (_second, _) = gate.ask(WEB, &request);
    let (refused, asked) = gate.ask(SHOP, &request);
    let error = asked.expect_err("two are in flight");
    assert_eq!(
        (error.reason, error.status(), error.grpc_status()),
        (Reason::ConcurrencyLimit, 503, 8)
    );
    drop(refused);
    assert_eq!(gate.in_flight(), 2);
    drop(first);
    assert!(gate.ask(SHOP, &request).1.is_ok());
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
    let (first, _) = gate.ask(WEB, &request);
    assert_eq!(told(&first), (policy.clone(), Some("\"default\";r=2;t=20".to_owned())));
    assert_eq!(let_in(&gate, SHOP, &request), 2);
    let (refused, asked) = gate.ask(WEB, &request);
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
    assert_eq!(told(&self::gate(1, None).ask(WEB, &request).0), (None, None));
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
    let (near, far) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    assert_eq!(let_in(&by_source, Source { peer: None, address: near }, &user("a")), 3);
    assert_eq!(let_in(&by_source, Source { peer: None, address: far }, &user("a")), 3);

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
    let (_held, _) = before.ask(SHOP, &request);
    let same = Gate::new(&samples::admission(20, Some(vec![RateKey::Source])), Some(&before));
    assert_eq!((same.in_flight(), let_in(&same, WEB, &request)), (1, 0));
    let other = Gate::new(&samples::admission(20, Some(Vec::new())), Some(&same));
    assert_eq!((other.in_flight(), let_in(&other, WEB, &request)), (1, 3));
}

#[test]
fn workers_together_let_in_no_more_than_one_would() {
    let (gate, request) = (gate(8, None), request("GET", "/", &[]));
    let held = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2000 {
                    let asked: Vec<_> = (0..4).map(|_| gate.ask(WEB, &request)).collect();
                    let let_in = asked.iter().filter(|(_, asked)| asked.is_ok()).count() as u32;
                    assert!(held.fetch_add(let_in, Relaxed) + let_in <= 8);
                    held.fetch_sub(let_in, Relaxed);
                }
            });
        }
    });
    assert_eq!(gate.in_flight(), 0);
}
