//! How spans tell of what the proxy knew, and what had happened to it.

use super::*;
use crate::snapshot::model::MeshTrace;
use crate::telemetry::finished::{Breaker, Circuits};

const MESH: MeshTrace = MeshTrace { trace_id: 0xfeed, config: 0xc0, drain: 0xd0 };

fn bench() -> Bench {
    Bench::new(&Telemetry { mesh: Some(MESH), ..telemetry(true, 1.0, false) })
}

/// The spans of the mesh's trace that `span` is linked to.
fn links(span: &Span) -> Vec<u64> {
    let mut ids = Vec::new();
    for link in &span.links {
        assert_eq!(link.trace_id, 0xfeed_u128.to_be_bytes().as_slice());
        ids.push(u64::from_be_bytes(link.span_id[..].try_into().unwrap()));
    }
    ids
}

#[tokio::test]
async fn an_exchange_is_linked_to_the_configuration_that_it_began_under() {
    let bench = bench();
    bench.routed(Request::get("/")).finish();
    let under_first = bench.start(Request::get("/"));
    let second = MeshTrace { config: 0xc1, ..MESH };
    let settings = Telemetry { mesh: Some(second), ..telemetry(true, 1.0, false) };
    bench.hub.apply(2, &settings);
    bench.observer.apply(&settings);
    under_first.finish();
    bench.start(Request::get("/")).finish();
    assert_eq!(
        bench.spans().iter().map(links).collect::<Vec<_>>(),
        [[0xc0], [0xc0], [0xc1]]
    );
}

#[tokio::test]
async fn without_a_mesh_trace_there_is_nothing_to_be_linked_to() {
    let bench = Bench::new(&telemetry(true, 1.0, false));
    let mut record = bench.routed(Request::get("/"));
    record.circuits(Circuits { breaker: None, trip: 7, ejections: [8, 9] });
    record.finish();
    assert!(bench.spans()[0].links.is_empty());
}

#[tokio::test]
async fn what_took_an_endpoint_out_says_so() {
    let bench = bench();
    let mut record = bench.routed(Request::get("/"));
    for (name, span) in [("orders-1", 0xe1), ("orders-2", 0)] {
        try_endpoint(&mut record, name);
        record.ejected(span);
        record.attempt_ended(Some(Reason::ConnectFailure));
    }
    record.finish();
    let spans = bench.spans();
    let [server, first, second] = &spans[..] else {
        panic!("{spans:?}")
    };
    assert_eq!(first.events[0].name, "sidecar.ejection");
    assert_eq!(first.events[0].time_unix_nano, first.end_time_unix_nano);
    assert_eq!(
        (links(first), second.events.len(), links(second).len()),
        (vec![0xe1], 0, 0)
    );
    assert_eq!(attribute(server, "sidecar.attempts").as_deref(), Some("2"));
}

#[tokio::test]
async fn how_the_circuits_stood_is_told_and_linked() {
    let bench = bench();
    let mut record = bench.routed(Request::get("/"));
    record.circuits(Circuits { breaker: Some(Breaker::Open), trip: 0xb1, ejections: [0xe1, 0] });
    record.failed(&Error::new(Reason::CircuitOpen));
    record.finish();
    let spans = bench.spans();
    assert_eq!(attribute(&spans[0], "sidecar.breaker").as_deref(), Some("open"));
    assert_eq!(links(&spans[0]), [0xc0, 0xb1, 0xe1]);

    let mut record = bench.routed(Request::get("/"));
    record.circuits(Circuits { breaker: Some(Breaker::Closed), ..Circuits::default() });
    record.tripped(0);
    record.tripped(0xb2);
    record.finish();
    let spans = bench.spans();
    assert_eq!(
        attribute(&spans[0], "sidecar.breaker").as_deref(),
        Some("closed"),
        "as it stood before"
    );
    assert_eq!(links(&spans[0]), [0xc0, 0xb2]);
}

#[tokio::test]
async fn what_the_end_of_the_process_or_of_a_certificate_cut_off_is_linked_to_that() {
    let bench = bench();
    bench.hub.rotated(0xa1);
    for reason in [Reason::Draining, Reason::CertificateEnded, Reason::Timeout] {
        let mut record = bench.routed(Request::get("/"));
        record.failed(&Error::new(reason));
        record.finish();
    }
    let linked: Vec<_> = bench.spans().iter().map(links).collect();
    assert_eq!(linked, [vec![0xc0, 0xd0], vec![0xc0, 0xa1], vec![0xc0]]);
}

#[tokio::test]
async fn where_a_route_was_written_and_whom_it_could_pick_is_told() {
    let bench = bench();
    bench.routed(Request::get("/")).finish();
    let mut record = bench.routed(Request::get("/"));
    record.candidates(Candidates { total: 2, healthy: 2, ..Candidates::default() });
    record.finish();
    let spans = bench.spans();
    let told = |span, key: &str| attribute(span, key);
    assert_eq!(
        told(&spans[0], "sidecar.config.place").as_deref(),
        Some("services/orders.yaml:12:3")
    );
    assert_eq!(told(&spans[0], "sidecar.config.index"), None, "a file has none");
    assert_eq!(told(&spans[0], "sidecar.candidates.healthy").as_deref(), Some("1"));
    assert_eq!(told(&spans[0], "sidecar.candidates.panic").as_deref(), Some("true"));
    assert_eq!(told(&spans[1], "sidecar.candidates.total"), None, "all could be picked");
}

#[tokio::test]
async fn an_exchange_that_is_not_sampled_asks_nobody_how_the_circuits_stand() {
    let bench = Bench::new(&telemetry(true, 0.0, false));
    assert!(!bench.routed(Request::get("/")).is_sampled());
    let bench = Bench::new(&telemetry(false, 1.0, false));
    assert!(!bench.routed(grpc_call().header("traceparent", PARENT)).is_sampled());
}
