"""The trace of what happens to a proxy itself: one per process, and the data plane knows its ids beforehand."""

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from sidecar.telemetry import happened
from sidecar.telemetry.mesh import MeshTrace
from sidecar.wire import control_pb2 as control
from sidecar.wire.telemetry_pb2 import Tracing


class Told:
    """What was offered, by the official decoder; the clock stands still at 1000."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.trace = MeshTrace("sidecar", "orders", self.bodies.append, lambda: 1000)

    def started(self, *, enabled: bool = True, ratio: float = 1.0) -> Tracing:
        tracing = Tracing(enabled=enabled, ratio=ratio, resource={"service.name": "orders-eu"})
        self.config = self.trace.overlay(tracing)
        return tracing

    def spans(self) -> list[Span]:
        found: list[Span] = []
        for body in self.bodies:
            (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
            assert [pair.value.string_value for pair in resource.resource.attributes] == ["orders-eu"]
            (scope,) = resource.scope_spans
            assert scope.scope.name == "sidecar.mesh"
            found.extend(scope.spans)
        return found


def attributes(span: Span) -> dict[str, str | int]:
    return {
        pair.key: pair.value.int_value if pair.value.HasField("int_value") else pair.value.string_value
        for pair in span.attributes
    }


def test_all_spans_belong_to_the_one_of_the_start() -> None:
    told = Told()
    mesh = told.started().mesh
    told.trace.tell("config applied", {"sidecar.config.version": 1}, span_id=told.config, began=400)
    told.trace.begin()
    told.trace.drained(700, was_cut_off=False)

    applied, root, drain = told.spans()
    assert {span.trace_id for span in (applied, root, drain)} == {mesh.trace_id}
    assert len(mesh.trace_id) == 16
    assert (root.name, root.parent_span_id) == ("mesh", b"")
    assert {applied.parent_span_id, drain.parent_span_id} == {root.span_id}
    # What the data plane was told before there was such a span.
    assert int.from_bytes(applied.span_id) == mesh.config_span_id == told.config
    assert int.from_bytes(drain.span_id) == mesh.drain_span_id
    assert (applied.start_time_unix_nano, applied.end_time_unix_nano) == (400, 1000)
    assert (drain.start_time_unix_nano, drain.kind) == (700, Span.SPAN_KIND_INTERNAL)
    assert attributes(applied) == {"sidecar.config.version": 1}
    assert attributes(root)["sidecar.role"] == "sidecar"
    # Sampled, and the parent is in this process.
    assert applied.flags == 0x101


def test_each_change_has_a_span_of_its_own() -> None:
    told = Told()
    first, second = told.started().mesh, told.started().mesh
    assert first.trace_id == second.trace_id
    assert first.config_span_id != second.config_span_id
    assert first.drain_span_id == second.drain_span_id


def test_a_failure_is_one_of_the_span() -> None:
    told = Told()
    told.started()
    told.trace.tell("config refused", {}, error="listeners: expected a list")
    told.trace.drained(1, was_cut_off=True)

    refused, drain = told.spans()
    assert refused.status.code == Status.STATUS_CODE_ERROR
    assert refused.status.message == "listeners: expected a list"
    assert drain.status.code == Status.STATUS_CODE_ERROR


def test_who_wants_no_spans_has_none_of_these() -> None:
    for enabled, ratio in ((False, 1.0), (True, 0.0)):
        told = Told()
        assert not told.started(enabled=enabled, ratio=ratio).HasField("mesh")
        told.trace.begin()
        told.trace.tell("config applied", {})
        assert told.bodies == []
    nobody = MeshTrace("sidecar", "orders")
    tracing = Tracing(enabled=True, ratio=1.0)
    nobody.overlay(tracing)
    nobody.tell("config applied", {})
    assert not tracing.HasField("mesh")


def test_what_happens_to_others_is_told_with_the_ids_that_requests_are_linked_to() -> None:
    told = Told()
    told.started()
    ejection = control.Ejection(cluster="orders", address="10.0.0.7:1", cause="5 errors in a row", span_id=7)
    back = control.Ejection(cluster="orders", address="10.0.0.7:1", span_id=8)
    opened = control.Circuit(cluster="orders", cause="9 of 10 requests failed", open_ms=30_000, span_id=9)
    ill = control.Health(cluster="orders", address="10.0.0.7:1", cause="it answers 500")
    for event in (
        control.Event(unix_nanos=500, ejection=ejection),
        control.Event(unix_nanos=501, ejection=back),
        control.Event(unix_nanos=502, circuit=opened),
        control.Event(unix_nanos=503, circuit=control.Circuit(cluster="orders", span_id=10)),
        control.Event(unix_nanos=504, health=ill),
        control.Event(unix_nanos=505, health=control.Health(cluster="orders", address="10.0.0.7:1")),
        control.Event(unix_nanos=506, panicked=control.Panicked(message="not for here")),
    ):
        happened.tell(event, told.trace)

    spans = told.spans()
    assert [(span.name, span.end_time_unix_nano, span.status.message) for span in spans] == [
        ("ejection", 500, "5 errors in a row"),
        ("ejection over", 501, ""),
        ("circuit opened", 502, "9 of 10 requests failed"),
        ("circuit closed", 503, ""),
        ("health check failed", 504, "it answers 500"),
        ("health check passed", 505, ""),
    ]
    assert [int.from_bytes(span.span_id) for span in spans[:4]] == [7, 8, 9, 10]
    assert attributes(spans[0]) == {"sidecar.cluster": "orders", "sidecar.endpoint": "10.0.0.7:1"}
    assert attributes(spans[2]) == {"sidecar.cluster": "orders"}


def test_a_long_text_is_cut() -> None:
    told = Told()
    told.started()
    told.trace.tell("config applied", {"sidecar.config.changed": "x" * 10_000}, error="y" * 10_000)
    (span,) = told.spans()
    assert (len(str(attributes(span)["sidecar.config.changed"])), len(span.status.message)) == (4096, 4096)
