"""What the control side tells of itself: each change, each refusal, each renewal, as spans of one trace."""

from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from sidecar.admin.status import Status
from sidecar.control import Control
from sidecar.dataplane import DataPlane
from sidecar.identity.authority import Leaf
from sidecar.identity.local_ca import LocalAuthority
from sidecar.identity.spiffe import ServiceId
from sidecar.snapshot import SidecarRole
from sidecar.sources.files import FileSource
from sidecar.telemetry.mesh import MeshTrace
from sidecar.telemetry.otlp import read_environment
from sidecar.wire import control_pb2 as control
from sidecar.wire.snapshot_pb2 import Snapshot
from tests.double import SeamDouble

ORDERS = SidecarRole("orders", inbound="127.0.0.1:0", outbound="127.0.0.1:0")


class Told:
    """A control side over a directory, with a trace of its own."""

    def __init__(self, directory: Path) -> None:
        self.seam = SeamDouble()
        self.directory, self._source = directory, FileSource(directory)
        self._bodies: list[bytes] = []
        self.status = Status("sidecar", "orders")
        self._authority = LocalAuthority(directory / "state", "mesh.local")
        otlp = read_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, "orders")
        mesh = MeshTrace("sidecar", "orders", self._bodies.append)
        self.control = Control(DataPlane(self.seam), self.status, ORDERS, directory, otlp, mesh=mesh)

    def write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def start(self) -> None:
        self.control.start(self.status.world.apply(self._source.read()), self.leaf())

    def read(self) -> None:
        self.control.update(self._source.read())

    def leaf(self) -> Leaf:
        return self._authority.issue(ServiceId("mesh.local", "orders"))

    def spans(self) -> list[Span]:
        """Since this was last asked."""
        bodies, self._bodies[:] = list(self._bodies), []
        exports = [ExportTraceServiceRequest.FromString(body) for body in bodies]
        return [span for export in exports for span in export.resource_spans[0].scope_spans[0].spans]


@pytest.fixture
def told(tmp_path: Path) -> Told:
    told = Told(tmp_path)
    told.write("services/orders.yaml", "protocol: http\n")
    told.start()
    return told


def attributes(span: Span) -> dict[str, str | int]:
    return {
        pair.key: pair.value.int_value if pair.value.HasField("int_value") else pair.value.string_value
        for pair in span.attributes
    }


def test_each_change_is_the_span_that_its_snapshot_names(told: Told) -> None:
    told.write("services/stock.yaml", "protocol: http\n")
    told.read()
    told.write("services/orders.yaml", "protocol: http\ntimeout: 3s\n")
    (told.directory / "services/stock.yaml").unlink()
    told.read()

    spans = told.spans()
    assert [(span.name, attributes(span)) for span in spans] == [
        ("config applied", {"sidecar.config.version": 1, "sidecar.config.changed": "services/orders.yaml"}),
        ("config applied", {"sidecar.config.version": 2, "sidecar.config.changed": "services/stock.yaml"}),
        (
            "config applied",
            {"sidecar.config.version": 3, "sidecar.config.changed": "services/orders.yaml, services/stock.yaml"},
        ),
    ]
    for span, snapshot in zip(spans, told.seam.snapshots, strict=True):
        mesh = snapshot.telemetry.tracing.mesh
        assert (span.trace_id, int.from_bytes(span.span_id)) == (mesh.trace_id, mesh.config_span_id)
        assert span.start_time_unix_nano <= span.end_time_unix_nano


def test_what_is_refused_is_told_with_its_reason(told: Told) -> None:
    told.spans()
    told.write("services/orders.yaml", "protocol: htpp\n")
    told.read()
    told.read()
    refused = told.spans()
    assert [span.name for span in refused] == ["document refused"]
    assert attributes(refused[0]) == {"sidecar.config.place": "services/orders.yaml"}
    assert "htpp" in refused[0].status.message

    def judge(snapshot: Snapshot) -> None:
        raise ValueError("the data plane does not like it")

    told.seam.judge = judge
    told.write("services/orders.yaml", "protocol: http2\n")
    told.read()
    (whole,) = [span for span in told.spans() if span.name == "config refused"]
    assert "the data plane does not like it" in whole.status.message


def test_a_renewal_is_the_span_that_the_secrets_name(told: Told) -> None:
    assert told.seam.secrets[-1].span_id == 0
    told.spans()
    told.control.install(told.leaf())
    (renewed,) = told.spans()
    assert renewed.name == "certificate renewed"
    assert told.seam.secrets[-1].span_id == int.from_bytes(renewed.span_id)
    # It stays the last one, whatever else the secrets are sent for.
    told.write("services/orders.yaml", "protocol: http\ntimeout: 3s\n")
    told.read()
    assert told.seam.secrets[-1].span_id == int.from_bytes(renewed.span_id)


def test_what_the_data_plane_says_is_told(told: Told) -> None:
    told.spans()
    ejection = control.Ejection(cluster="stock", address="10.0.0.7:1", cause="5 errors in a row", span_id=7)
    told.control.take(control.Events(events=[control.Event(unix_nanos=1, ejection=ejection)]))
    (span,) = told.spans()
    assert (span.name, int.from_bytes(span.span_id)) == ("ejection", 7)


def test_what_the_process_lacks_is_told_with_what_is_done_without(told: Told, caplog: pytest.LogCaptureFixture) -> None:
    told.spans()
    missing: list[dict[str, str]] = []
    for step in ("sparing", "calm"):
        pressure = control.Pressure(resource="memory", step=step)
        told.control.take(control.Events(events=[control.Event(unix_nanos=1, pressure=pressure)]))
        missing.append(dict(told.status.lacks))
    assert ["Priority" in each.get("memory", "") for each in missing] == [True, False]
    short, enough = told.spans()
    assert attributes(short) == {"sidecar.resource": "memory", "sidecar.step": "sparing"}
    assert "Priority" in short.status.message
    assert (enough.name, enough.status.message) == ("pressure", "")
    assert "the process runs out of memory: requests whose Priority says that they can wait are refused" in caplog.text
