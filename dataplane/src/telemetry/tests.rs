//! Stories of exchanges: what a record is told, and what then stands in metrics, spans, lines and failures.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Response, Version};
use prost::Message;

use super::Hub;
use super::finished::Candidates;
use super::metrics::{EndpointMetrics, ListenerLabel, RouteMetrics};
use super::observer::Observer;
use super::otlp::{self, Span};
use super::record::Record;
use super::samples::{cluster, listener, route};
use crate::error::{Error, Reason};
use crate::proto;
use crate::snapshot::model::{AccessLog, Cluster, Direction, Logged, Route, Telemetry};

mod mesh;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const CLIENT: &str = "127.0.0.1:40000";

/// One worker with a route "api" to a cluster "orders".
struct Bench {
    hub: Arc<Hub>,
    observer: Rc<Observer>,
    listener: Arc<ListenerLabel>,
    route: Arc<Route>,
    metrics: Arc<RouteMetrics>,
    cluster: Arc<Cluster>,
}

fn telemetry(tracing: bool, ratio: f64, access_log: bool) -> Telemetry {
    Telemetry {
        tracing,
        ratio,
        resource: vec![("service.name".into(), "web".into())],
        access_log: logged(access_log.then_some(Logged { sample: 1_000_000, only: None, needs_agent: false })),
        ..Telemetry::default()
    }
}

fn logged(logged: Option<Logged>) -> AccessLog {
    AccessLog { logged, ..AccessLog::default() }
}

impl Bench {
    fn new(settings: &Telemetry) -> Self {
        Self::with(&proto::Options::default(), settings)
    }

    fn with(options: &proto::Options, settings: &Telemetry) -> Self {
        let hub = Hub::new(options);
        hub.apply(1, settings);
        let observer = Observer::new(&hub);
        observer.apply(settings);
        let route = route();
        Bench {
            listener: hub.registry().listener(&listener(Direction::Outbound)),
            metrics: hub.registry().route(Direction::Outbound, &route),
            cluster: cluster(),
            hub,
            observer,
            route,
        }
    }

    fn start(&self, request: http::request::Builder) -> Record {
        let parts = request.body(()).unwrap().into_parts().0;
        Record::start(&self.observer, &self.listener, &parts, None, CLIENT.parse().unwrap())
    }

    /// An exchange that has its cluster.
    fn routed(&self, request: http::request::Builder) -> Record {
        let mut record = self.start(request);
        record.routed(&self.route, &self.metrics);
        record.cluster(&self.cluster, 0);
        record.candidates(Candidates { total: 2, healthy: 1, ejected: 0, ill: 1, priority: 1, is_panic: true });
        record
    }

    fn text(&self) -> String {
        String::from_utf8(self.hub.metrics("text", Vec::new).unwrap()).unwrap()
    }

    fn lines(&self) -> String {
        String::from_utf8(self.hub.drain_access_log(100)).unwrap()
    }

    fn spans(&self) -> Vec<Span> {
        let bytes = self.hub.drain_spans(100);
        let mut request = otlp::ExportTraces::decode(&*bytes).unwrap();
        let resource = request.resource_spans[0].resource.as_ref().unwrap();
        assert_eq!(resource.attributes, [otlp::text("service.name", "web")]);
        let scope = request.resource_spans.remove(0).scope_spans.remove(0);
        assert_eq!(scope.scope.unwrap().name, "sidecar");
        scope.spans
    }
}

fn grpc_call() -> http::request::Builder {
    Request::post("http://orders.mesh:80/shop.v1.Orders/Get")
        .version(Version::HTTP_2)
        .header("content-type", "application/grpc+proto")
}

fn head(status: u16) -> http::response::Parts {
    Response::builder().status(status).body(()).unwrap().into_parts().0
}

fn trailers(status: &'static str) -> HeaderMap {
    [(
        http::HeaderName::from_static("grpc-status"),
        HeaderValue::from_static(status),
    )]
    .into_iter()
    .collect()
}

fn endpoint(name: &str) -> (Arc<EndpointMetrics>, SocketAddr) {
    (EndpointMetrics::new(name), "10.0.0.7:21000".parse().unwrap())
}

fn try_endpoint(record: &mut Record, name: &str) {
    let (name, address) = endpoint(name);
    record.attempt_started(&name, address);
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    Some(match found.value.clone()?.value? {
        otlp::Value::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
        otlp::Value::Int(number) => number.to_string(),
    })
}

#[tokio::test(start_paused = true)]
async fn a_grpc_call_that_needs_two_tries_is_one_trace_of_three_spans() {
    let bench = Bench::new(&telemetry(true, 0.0, true));
    let mut record = bench.routed(grpc_call().header("traceparent", PARENT).header("tracestate", "a=1"));

    try_endpoint(&mut record, "orders-1");
    let mut first = HeaderMap::new();
    record.inject(&mut first);
    tokio::time::advance(Duration::from_millis(2)).await;
    record.attempt_ended(Some(Reason::ConnectFailure));

    try_endpoint(&mut record, "orders-2");
    let mut second = HeaderMap::new();
    record.inject(&mut second);
    record.attempt_connected(Some("spiffe://mesh.local/service/orders".into()));
    record.received(10);
    record.response_head(&head(200));
    tokio::time::advance(Duration::from_millis(28)).await;
    record.sent(300);
    record.trailers(&trailers("0"));
    record.finish();

    let spans = bench.spans();
    let [server, refused, served] = &spans[..] else {
        panic!("{spans:?}")
    };
    assert_eq!(server.kind, otlp::KIND_SERVER);
    assert_eq!(server.name, "shop.v1.Orders/Get");
    assert_eq!(server.trace_id[..4], [0x0a, 0xf7, 0x65, 0x19]);
    assert_eq!(server.parent_span_id[..2], [0xb7, 0xad]);
    assert_eq!((server.flags, refused.flags), (0x301, 0x101));
    assert_eq!(server.trace_state, "a=1");
    assert_eq!(server.end_time_unix_nano - server.start_time_unix_nano, 30_000_000);
    assert_eq!(server.status, None);
    assert_eq!(attribute(server, "rpc.response.status_code").as_deref(), Some("OK"));
    assert_eq!(attribute(server, "rpc.method").as_deref(), Some("shop.v1.Orders/Get"));
    assert_eq!(attribute(server, "server.address").as_deref(), Some("orders.mesh"));
    assert_eq!(attribute(server, "server.port").as_deref(), Some("80"));
    assert_eq!(attribute(server, "http.response.status_code").as_deref(), Some("200"));

    for client in [refused, served] {
        assert_eq!(client.kind, otlp::KIND_CLIENT);
        assert_eq!(client.parent_span_id, server.span_id);
        assert_eq!(client.trace_id, server.trace_id);
    }
    assert_eq!(refused.end_time_unix_nano - refused.start_time_unix_nano, 2_000_000);
    assert_eq!(
        refused.status.as_ref().map(|status| status.code),
        Some(otlp::STATUS_ERROR)
    );
    assert_eq!(attribute(refused, "error.type").as_deref(), Some("connect-failure"));
    assert_eq!(attribute(refused, "sidecar.endpoint").as_deref(), Some("orders-1"));
    assert_eq!(served.status, None);
    assert_eq!(attribute(served, "http.request.resend_count").as_deref(), Some("1"));
    assert_eq!(
        attribute(served, "sidecar.peer").as_deref(),
        Some("spiffe://mesh.local/service/orders")
    );
    let hex = |id: &[u8]| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for (sent, span) in [(first, refused), (second, served)] {
        let parent = sent["traceparent"].to_str().unwrap();
        assert_eq!(
            parent,
            format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", hex(&span.span_id))
        );
    }

    let line = bench.lines();
    for part in [
        r#""trace_id":"0af7651916cd43dd8448eb211c80319c""#,
        r#""grpc_status":"OK""#,
        r#""attempts":[{"endpoint":"orders-1","why":"connect-failure","ms":2},{"endpoint":"orders-2","ms":28}]"#,
        r#""duration_ms":30,"bytes_received":10,"bytes_sent":300,"upstream_peer":"spiffe://mesh.local/service/orders""#,
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
    let text = bench.text();
    let labels = r#"sidecar_direction="outbound",http_route="api",sidecar_cluster="orders",http_response_status_code="200",rpc_response_status_code="OK",sidecar_reason="""#;
    for sample in [
        format!("http_server_request_duration_seconds_bucket{{{labels},le=\"0.025\"}} 0\n"),
        format!("http_server_request_duration_seconds_bucket{{{labels},le=\"0.05\"}} 1\n"),
        format!("http_server_request_duration_seconds_sum{{{labels}}} 0.03\n"),
        "sidecar_attempts_total{cluster=\"orders\",outcome=\"success\"} 1\n".to_owned(),
        "sidecar_attempts_total{cluster=\"orders\",outcome=\"connect-failure\"} 1\n".to_owned(),
    ] {
        assert!(text.contains(&sample), "{sample} in\n{text}");
    }
    assert!(bench.hub.failures(0).exchanges.is_empty(), "the second try succeeded");
}

#[tokio::test(start_paused = true)]
async fn a_reply_of_the_proxy_is_explained() {
    let bench = Bench::new(&telemetry(false, 0.0, false));
    let mut record = bench.routed(Request::get("/orders/7?token=secret").header("host", "Orders.mesh"));
    let id = record.request_id().to_string();
    try_endpoint(&mut record, "orders-1");
    tokio::time::advance(Duration::from_micros(1500)).await;
    record.attempt_ended(Some(Reason::ConnectTimeout));
    record.failed(&Error::new(Reason::ConnectTimeout).because("10.0.0.7:21000 after 5 s"));
    record.response_head(&head(503));
    record.finish();

    let failures = bench.hub.failures(0).exchanges;
    let [failure] = &failures[..] else {
        panic!("{failures:?}")
    };
    assert_eq!(failure.request_id, id);
    assert_eq!(
        (failure.method.as_str(), failure.authority.as_str()),
        ("GET", "Orders.mesh")
    );
    assert_eq!(failure.path, "/orders/7", "a query may hold credentials");
    assert_eq!((failure.status, failure.reason.as_str()), (503, "connect-timeout"));
    assert!(
        failure.detail.contains("10.0.0.7:21000 after 5 s"),
        "{}",
        failure.detail
    );
    assert!(
        failure.detail.contains("a firewall may drop packets"),
        "{}",
        failure.detail
    );
    assert_eq!((failure.candidates_total, failure.candidates_healthy), (2, 1));
    assert_eq!((failure.candidates_priority, failure.candidates_panic), (1, true));
    assert_eq!(failure.origin, "services/orders.yaml:12:3");
    assert_eq!(failure.attempts[0].why, "connect-timeout");
    assert_eq!((failure.attempts[0].duration_us, failure.duration_us), (1500, 1500));
    assert!(bench.hub.drain_spans(10).is_empty() && bench.hub.drain_access_log(10).is_empty());
    assert!(
        bench.text().contains(
            r#"http_response_status_code="503",rpc_response_status_code="",sidecar_reason="connect-timeout""#
        )
    );
}

#[tokio::test]
async fn an_exchange_that_nobody_finishes_was_broken_off_by_the_caller() {
    let bench = Bench::new(&telemetry(true, 1.0, false));
    let mut record = bench.routed(grpc_call());
    try_endpoint(&mut record, "orders-1");
    assert_eq!(bench.hub.stats().exchanges_active, 1);
    drop(record);
    let stats = bench.hub.stats();
    assert_eq!((stats.exchanges_active, stats.exchanges_total), (0, 1));
    let failures = bench.hub.failures(0).exchanges;
    assert_eq!(
        (failures[0].reason.as_str(), failures[0].status),
        ("downstream-reset", 0)
    );
    assert_eq!(failures[0].grpc_status, "CANCELLED");
    assert_eq!(failures[0].attempts[0].why, "downstream-reset");
    let spans = bench.spans();
    assert_eq!(spans[0].status, None, "the server did nothing wrong");
    assert!(spans[1].status.is_some(), "the call it made did not succeed");
    assert_eq!(attribute(&spans[0], "http.response.status_code"), None);
}

#[tokio::test]
async fn an_exchange_without_a_route_counts_for_its_direction() {
    let bench = Bench::new(&telemetry(false, 0.0, true));
    let mut record = bench.start(Request::get("/nowhere"));
    record.failed(&Error::new(Reason::NoRoute));
    record.response_head(&head(404));
    record.finish();
    assert!(bench.text().contains(
        r#"_count{sidecar_direction="outbound",http_route="",sidecar_cluster="",http_response_status_code="404",rpc_response_status_code="",sidecar_reason="no-route"} 1"#
    ));
    let line = bench.lines();
    assert!(line.contains(r#""reason":"no-route""#) && !line.contains("\"route\"") && !line.contains("attempts"));
}

#[tokio::test]
async fn without_tracing_the_context_passes_unchanged() {
    let bench = Bench::new(&telemetry(false, 1.0, true));
    let record = bench.routed(grpc_call().header("traceparent", PARENT));
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", HeaderValue::from_static(PARENT));
    record.inject(&mut headers);
    assert_eq!(headers["traceparent"], PARENT);
    record.finish();
    assert!(bench.hub.drain_spans(10).is_empty());
    assert!(
        bench.lines().contains("0af7651916cd43dd8448eb211c80319c"),
        "the line still names the trace"
    );
    let mut headers = HeaderMap::new();
    bench.start(grpc_call()).inject(&mut headers);
    assert!(headers.is_empty(), "no context is made up");
}

#[tokio::test]
async fn an_unremarkable_exchange_leaves_numbers_only() {
    let bench = Bench::new(&telemetry(true, 0.0, false));
    let mut record = bench.routed(Request::get("/"));
    record.response_head(&head(404));
    record.finish();
    assert!(bench.hub.drain_spans(10).is_empty() && bench.hub.drain_access_log(10).is_empty());
    assert!(bench.hub.failures(0).exchanges.is_empty() && bench.hub.slowest(0).exchanges.is_empty());
    assert!(bench.text().contains(r#"http_response_status_code="404""#));
}

#[tokio::test]
async fn what_failed_elsewhere_is_kept_too() {
    let bench = Bench::new(&telemetry(false, 0.0, false));
    // By the service itself.
    let mut record = bench.routed(Request::get("/own"));
    record.response_head(&head(500));
    record.finish();
    // By a proxy that tells why.
    let mut record = bench.routed(Request::get("/told"));
    record.told(Reason::NotAllowed);
    record.response_head(&head(403));
    record.finish();
    let kept = bench.hub.failures(0).exchanges;
    let [told, own] = &kept[..] else { panic!("{kept:?}") };
    assert_eq!(
        (&*own.path, own.status, &*own.reason, &*own.told),
        ("/own", 500, "", "")
    );
    assert_eq!((&*told.reason, &*told.told), ("", "not-allowed"));
    assert_eq!(told.told_next, Reason::NotAllowed.next_step());
    assert_eq!(bench.hub.exchange(&own.request_id).exchanges, std::slice::from_ref(own));
    assert!(bench.hub.exchange("another").exchanges.is_empty());
}

#[tokio::test]
async fn what_is_kept_is_bounded_whatever_a_caller_sends() {
    let bench = Bench::new(&telemetry(true, 1.0, false));
    let long = "x".repeat(60 * 1024);
    for _ in 0..3 {
        let request = Request::post(format!("http://orders/{long}")).header("x-request-id", "r-1");
        let mut record = bench.start(request.header("user-agent", &long).header("traceparent", PARENT));
        record.failed(&Error::new(Reason::BadRequest).because(&long));
        record.finish();
    }
    let kept = bench.hub.exchange("r-1").exchanges;
    assert_eq!(kept.len(), 3);
    let size: usize = kept.iter().map(Message::encoded_len).sum();
    assert!(size < 3 * 8 * 1024, "{size} bytes");
    assert!(kept[0].path.starts_with("/xxx") && kept[0].detail.ends_with(Reason::BadRequest.next_step()));
    let trace = bench.hub.exchange("0af7651916cd43dd8448eb211c80319c").exchanges;
    assert_eq!(trace.len(), 3, "they are found by their trace, too");
}

#[tokio::test]
async fn informational_heads_are_not_the_response() {
    let bench = Bench::new(&telemetry(true, 1.0, false));
    let mut record = bench.routed(Request::get("/"));
    try_endpoint(&mut record, "orders-1");
    record.response_head(&head(103));
    record.response_head(&head(404));
    record.finish();
    let spans = bench.spans();
    assert_eq!(spans[0].name, "GET api");
    assert_eq!(
        attribute(&spans[0], "http.response.status_code").as_deref(),
        Some("404")
    );
    assert_eq!(
        (&spans[0].status, spans[1].status.is_some()),
        (&None, true),
        "404 blames the caller, not the server"
    );
    assert_eq!(attribute(&spans[1], "error.type").as_deref(), Some("404"));
    assert_eq!(attribute(&spans[1], "url.full").as_deref(), Some("http:///"));
}

#[tokio::test]
async fn a_request_id_is_taken_from_the_local_app_and_from_verified_peers() {
    let bench = Bench::new(&telemetry(false, 0.0, false));
    let asked = || Request::get("/").header("x-request-id", "mine-1");
    assert_eq!(bench.start(asked()).request_id().to_string(), "mine-1");
    let inbound = bench.hub.registry().listener(&listener(Direction::Inbound));
    let parts = asked().body(()).unwrap().into_parts().0;
    let start = |peer| Record::start(&bench.observer, &inbound, &parts, peer, CLIENT.parse().unwrap());
    assert_ne!(start(None).request_id().to_string(), "mine-1");
    assert_eq!(
        start(Some("spiffe://mesh.local/service/web".into()))
            .request_id()
            .to_string(),
        "mine-1"
    );
}

#[tokio::test]
async fn what_the_buffers_drop_is_counted_exactly() {
    let options = proto::Options { span_buffer: 2, access_log_buffer: 3, failure_buffer: 2, ..Default::default() };
    let bench = Bench::with(&options, &telemetry(true, 1.0, true));
    for n in 0..5 {
        let mut record = bench.routed(Request::get(format!("/{n}")));
        try_endpoint(&mut record, "orders-1");
        record.failed(&Error::new(Reason::Timeout));
        record.finish();
    }
    let stats = bench.hub.stats();
    assert_eq!(
        (stats.spans_dropped, stats.access_log_dropped),
        (8, 2),
        "four exchanges of two spans, two lines"
    );
    assert_eq!((bench.spans().len(), bench.lines().lines().count()), (2, 3));
    let failures = bench.hub.failures(0).exchanges;
    let paths: Vec<_> = failures.iter().map(|failure| &*failure.path).collect();
    assert_eq!(paths, ["/4", "/3"], "the newest are kept");
    assert_eq!(bench.hub.failures(1).exchanges.len(), 1);
    assert_eq!(bench.hub.failures(0).exchanges.len(), 2, "reading takes nothing away");
    assert!(bench.text().contains("sidecar_dropped_total{buffer=\"spans\"} 8\n"));
}

#[tokio::test]
async fn a_panic_is_not_the_callers_fault() {
    let bench = Bench::new(&telemetry(false, 0.0, false));
    let record = bench.routed(Request::get("/"));
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _record = record;
        panic!("planted");
    }));
    assert!(result.is_err());
    assert_eq!(bench.hub.failures(0).exchanges[0].reason, "internal");
}

#[test]
fn connections_are_counted_while_their_guard_lives() {
    let hub = Hub::new(&proto::Options::default());
    let label = hub.registry().listener(&listener(Direction::Inbound));
    let (one, two) = (label.connection(), label.connection());
    assert_eq!(hub.stats().connections_active, 2);
    drop(one);
    let text = String::from_utf8(hub.metrics("text", Vec::new).unwrap()).unwrap();
    assert!(
        text.contains("sidecar_connections_active{listener=\"out\"} 1\n"),
        "{text}"
    );
    drop(two);
    assert_eq!(hub.stats().connections_active, 0);
}

#[test]
fn an_unknown_form_names_the_known_ones() {
    let error = Hub::new(&proto::Options::default())
        .metrics("xml", Vec::new)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "unknown form of metrics \"xml\"; expected \"text\", \"openmetrics\" or \"otlp\""
    );
}
