"""The control side's own metrics by OTLP, read with the messages that OpenTelemetry publishes."""

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from sidecar.telemetry.families import Family, request

FAMILIES = (
    Family("sidecar.certificate.seconds_left", "gauge", "Until it ends.", lambda: {(): -0.5}),
    Family("sidecar.consul.held", "gauge", "Answers in doubt.", lambda: {(): 0}),
    Family(
        "sidecar.exported.spans",
        "counter",
        "Spans, by outcome.",
        lambda: {(("outcome", "sent"),): 12345678, (("outcome", "lost"),): 3},
    ),
    Family("sidecar.consul.watched_services", "gauge", "None.", dict),
)


def test_every_family_that_has_something_to_tell_is_told() -> None:
    told = ExportMetricsServiceRequest.FromString(request(FAMILIES, {"service.name": "orders"}, began=17, now=42))

    (of_resource,) = told.resource_metrics
    assert [(pair.key, pair.value.string_value) for pair in of_resource.resource.attributes] == [
        ("service.name", "orders")
    ]
    (of_scope,) = of_resource.scope_metrics
    left, held, spans = of_scope.metrics
    assert (left.name, left.description) == ("sidecar.certificate.seconds_left", "Until it ends.")
    assert [point.as_double for point in left.gauge.data_points] == [-0.5]
    (nothing,) = held.gauge.data_points
    assert nothing.WhichOneof("value") == "as_double"
    assert nothing.as_double == 0

    assert spans.sum.is_monotonic
    assert spans.sum.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    assert {point.attributes[0].value.string_value: point.as_double for point in spans.sum.data_points} == {
        "sent": 12345678,
        "lost": 3,
    }
    assert {(point.start_time_unix_nano, point.time_unix_nano) for point in spans.sum.data_points} == {(17, 42)}


def test_metrics_of_both_sides_are_one_request() -> None:
    one = request(FAMILIES[:1], {}, 0, 1)
    both = ExportMetricsServiceRequest.FromString(one + request(FAMILIES[1:], {}, 0, 1))
    names = [metric.name for told in both.resource_metrics for metric in told.scope_metrics[0].metrics]
    assert names == ["sidecar.certificate.seconds_left", "sidecar.consul.held", "sidecar.exported.spans"]
