use std::time::Duration;

use http::StatusCode;

use super::*;
use crate::error::Reason;
use crate::snapshot::model::Direction;
use crate::telemetry::outcomes::{BUCKETS, Outcome};
use crate::telemetry::registry::Registry;

fn sample() -> Vec<Family> {
    let registry = Registry::default();
    let series = registry.unrouted(Direction::Edge);
    series.observe(
        Duration::from_millis(7),
        Some(StatusCode::NOT_FOUND),
        None,
        Some(Reason::NoRoute),
    );
    series.observe(
        Duration::from_secs(1),
        Some(StatusCode::NOT_FOUND),
        None,
        Some(Reason::NoRoute),
    );
    let mut readings = registry.read();
    readings.attempts.push(("a\"b\\c\nd".into(), "success", 3));
    families(
        readings,
        Totals {
            dropped: [("access_log", 1), ("events", 0), ("spans", 2)],
            pressure: [("descriptors", 0), ("memory", 2)],
            panics: 4,
            excesses: vec![("ping", 1), ("settings", 0)],
            snapshot_version: 5,
        },
    )
}

const LABELS: &str = "sidecar_direction=\"edge\",http_route=\"\",sidecar_cluster=\"\",\
    http_response_status_code=\"404\",rpc_response_status_code=\"\",sidecar_reason=\"no-route\"";

fn golden(form: TextForm) -> String {
    let (total, unit, end) = match form {
        TextForm::Prometheus => ("_total", "", ""),
        TextForm::OpenMetrics => ("", "# UNIT http_server_request_duration_seconds seconds\n", "# EOF\n"),
    };
    let bucket =
        |le: &str, count| format!("http_server_request_duration_seconds_bucket{{{LABELS},le=\"{le}\"}} {count}\n");
    let buckets: String = [
        ("0.005", 0),
        ("0.01", 1),
        ("0.025", 1),
        ("0.05", 1),
        ("0.075", 1),
        ("0.1", 1),
        ("0.25", 1),
        ("0.5", 1),
        ("0.75", 1),
        ("1.0", 2),
        ("2.5", 2),
        ("5.0", 2),
        ("7.5", 2),
        ("10.0", 2),
        ("+Inf", 2),
    ]
    .into_iter()
    .map(|(le, count)| bucket(le, count))
    .collect();
    format!(
        "# HELP http_server_request_duration_seconds Duration of exchanges, by how they ended.\n\
         # TYPE http_server_request_duration_seconds histogram\n\
         {unit}{buckets}\
         http_server_request_duration_seconds_sum{{{LABELS}}} 1.007\n\
         http_server_request_duration_seconds_count{{{LABELS}}} 2\n\
         # HELP sidecar_attempts{total} Tries of upstream endpoints, by outcome.\n\
         # TYPE sidecar_attempts{total} counter\n\
         sidecar_attempts_total{{cluster=\"a\\\"b\\\\c\\nd\",outcome=\"success\"}} 3\n\
         # HELP sidecar_exchanges_active Exchanges in flight.\n\
         # TYPE sidecar_exchanges_active gauge\n\
         sidecar_exchanges_active 0\n\
         # HELP sidecar_dropped{total} Records that did not fit into a buffer and were lost.\n\
         # TYPE sidecar_dropped{total} counter\n\
         sidecar_dropped_total{{buffer=\"access_log\"}} 1\n\
         sidecar_dropped_total{{buffer=\"events\"}} 0\n\
         sidecar_dropped_total{{buffer=\"spans\"}} 2\n\
         # HELP sidecar_pressure What is done without for want of a resource: 0 nothing, 1 kept-alive connections, 2 requests \
         that can wait, 3 all.\n\
         # TYPE sidecar_pressure gauge\n\
         sidecar_pressure{{resource=\"descriptors\"}} 0\n\
         sidecar_pressure{{resource=\"memory\"}} 2\n\
         # HELP sidecar_panics{total} Connections that ended by a mistake of this proxy.\n\
         # TYPE sidecar_panics{total} counter\n\
         sidecar_panics_total 4\n\
         # HELP sidecar_snapshot_version Number of the configuration in use.\n\
         # TYPE sidecar_snapshot_version gauge\n\
         sidecar_snapshot_version 5\n\
         # HELP sidecar_build_info The version of this program.\n\
         # TYPE sidecar_build_info gauge\n\
         sidecar_build_info{{version=\"{version}\"}} 1\n\
         # HELP sidecar_http2_excesses{total} HTTP/2 connections that were closed because the client went beyond a budget.\n\
         # TYPE sidecar_http2_excesses{total} counter\n\
         sidecar_http2_excesses_total{{budget=\"ping\"}} 1\n\
         sidecar_http2_excesses_total{{budget=\"settings\"}} 0\n\
         {end}",
        version = env!("CARGO_PKG_VERSION")
    )
}

#[test]
fn both_text_forms_are_as_their_specifications_say() {
    for form in [TextForm::Prometheus, TextForm::OpenMetrics] {
        assert_eq!(text(&sample(), form), golden(form), "{form:?}");
    }
}

#[test]
fn otlp_says_the_same_by_its_own_names() {
    let resource = [("service.name".to_owned(), "web".to_owned())];
    let bytes = otlp(&sample(), Period { start: 1, end: 9 }, &resource);
    let request = otlp::ExportMetrics::decode(&*bytes).unwrap();
    let resource_metrics = &request.resource_metrics[0];
    assert_eq!(
        resource_metrics.resource.as_ref().unwrap().attributes,
        [otlp::text("service.name", "web")]
    );
    let metrics = &resource_metrics.scope_metrics[0].metrics;
    assert_eq!(
        (&*metrics[0].name, &*metrics[0].unit),
        (&b"http.server.request.duration"[..], &b"s"[..])
    );
    let Some(Data::Histogram(histogram)) = &metrics[0].data else {
        panic!("{:?}", metrics[0])
    };
    assert_eq!(histogram.temporality, otlp::CUMULATIVE);
    let point = &histogram.points[0];
    assert_eq!(
        (point.start_time_unix_nano, point.time_unix_nano, point.count),
        (1, 9, 2)
    );
    assert_eq!(
        (point.bucket_counts.len(), point.explicit_bounds.len()),
        (BUCKETS, BUCKETS - 1)
    );
    assert_eq!(
        point.attributes,
        [
            otlp::text("sidecar.direction", "edge"),
            int("http.response.status_code", 404),
            otlp::text("sidecar.reason", "no-route"),
        ]
    );
    let Some(Data::Sum(attempts)) = &metrics[1].data else {
        panic!("{:?}", metrics[1])
    };
    assert!(attempts.monotonic);
    assert_eq!(attempts.points[0].value, Some(3));
    let Some(Data::Gauge(active)) = &metrics[2].data else {
        panic!("{:?}", metrics[2])
    };
    assert_eq!(active.points[0].value, Some(0));
}

#[test]
fn an_example_stands_behind_its_bucket_where_the_form_has_them() {
    let registry = Registry::default();
    let series = registry.unrouted(Direction::Edge);
    let (duration, status) = (Duration::from_millis(7), Some(StatusCode::OK));
    series.observe(duration, status, None, None);
    let unix_nanos = 1_700_000_000_123_456_789;
    let exemplar = Exemplar { trace_id: 0xabc, span_id: 0xdef, duration, unix_nanos };
    series.exemplify(Outcome::new(status, None, None), exemplar);
    let families = families(registry.read(), Totals::default());

    let shown = format!(
        "le=\"0.01\"}} 1 # {{trace_id=\"{:032x}\",span_id=\"{:016x}\"}} 0.007 1700000000.123\n",
        0xabc, 0xdef
    );
    assert_eq!(text(&families, TextForm::OpenMetrics).matches(&shown).count(), 1);
    assert!(!text(&families, TextForm::Prometheus).contains(" # "));
    let request = otlp::ExportMetrics::decode(&*otlp(&families, Period { start: 1, end: 9 }, &[])).unwrap();
    let Some(Data::Histogram(histogram)) = &request.resource_metrics[0].scope_metrics[0].metrics[0].data else {
        panic!("{request:?}")
    };
    let [exported] = &histogram.points[0].exemplars[..] else {
        panic!("{histogram:?}")
    };
    assert_eq!(exported.time_unix_nano, unix_nanos);
    assert_eq!(exported.trace_id, Bytes::copy_from_slice(&0xabc_u128.to_be_bytes()));
}

#[test]
fn a_summary_is_a_count_and_a_sum_in_every_form() {
    let labels = vec![("endpoint", Label::Static("10.0.0.7:1"))];
    let family = Family::new("a.duration", "A.", Kind::Summary).of_values([(labels, Value::Summary(3, 0.5))]);
    let families = [family];
    let written =
        "a_duration_seconds_sum{endpoint=\"10.0.0.7:1\"} 0.5\na_duration_seconds_count{endpoint=\"10.0.0.7:1\"} 3\n";
    for form in [TextForm::Prometheus, TextForm::OpenMetrics] {
        assert!(text(&families, form).contains(written), "{}", text(&families, form));
    }
    let request = otlp::ExportMetrics::decode(&*otlp(&families, Period { start: 1, end: 9 }, &[])).unwrap();
    let Some(Data::Histogram(histogram)) = &request.resource_metrics[0].scope_metrics[0].metrics[0].data else {
        panic!("{request:?}")
    };
    let point = &histogram.points[0];
    assert_eq!((point.count, point.sum, point.bucket_counts.len()), (3, Some(0.5), 0));
}
