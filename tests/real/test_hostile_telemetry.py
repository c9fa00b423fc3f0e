"""Callers who choose what is recorded: spans, lines and metrics stay bounded, can be read, and the rest is not lost."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from benchmarks.otlp_sink import Sink, otlp_sink
from benchmarks.process import memory
from tests.mesh import Mesh, Proxy, eventually
from tests.peers import http1
from tests.peers.collector import collector
from tests.peers.http1 import Http1
from tests.peers.message import Answer, Request

pytestmark = pytest.mark.real

# One server's and one client's for each request that reaches the application.
SPANS_OF_A_REQUEST = 2
# Requests with names of their own, after as many as fill every buffer. What they leave may be no more than what a
# collector that fails may cost.
DISTINCT, FILL, MOST_GROWTH = 100_000, 10_000, 16 << 20
SPANS = {"OTEL_METRICS_EXPORTER": "none", "OTEL_BSP_SCHEDULE_DELAY": "50"}

# A head may have 60 KiB by default; the rest of it is far shorter than this difference.
LARGE = (60 << 10) - 512
# Requests whose names are no text, or of a length that nobody means, and what they are answered.
HOSTILE = {
    "fields of 60 KiB": (b"GET /field HTTP/1.1\r\nHost: orders\r\nX-Large: " + b"x" * LARGE + b"\r\n\r\n", 200),
    "fields of more": (b"GET /field HTTP/1.1\r\nHost: orders\r\nX-Large: " + b"x" * (60 << 10) + b"\r\n\r\n", 431),
    "a user agent of 60 KiB that is no text": (
        b"GET /agent HTTP/1.1\r\nHost: orders\r\nUser-Agent: " + b"\xff" * LARGE + b"\r\n\r\n",
        200,
    ),
    "ids that are no text": (
        b'GET /ids HTTP/1.1\r\nHost: orders\r\nx-request-id: \xff"\\\r\nbaggage: \xff=\xfe\r\n'
        b'traceparent: 00-\xff-\xfe-01\r\ntracestate: v\xff=\xfe\r\nReferer: \xff"\\\r\n\r\n',
        200,
    ),
    "a path of escapes that are no text": (b"GET /%ff%fe%22%5c HTTP/1.1\r\nHost: orders\r\n\r\n", 200),
    "a path of 60 KiB": (b"GET /" + b"p" * LARGE + b" HTTP/1.1\r\nHost: orders\r\n\r\n", 414),
    "a path that is no text": (b"GET /caf\xe9\xff HTTP/1.1\r\nHost: orders\r\n\r\n", 400),
    "a host that is no text": (b"GET / HTTP/1.1\r\nHost: or\xff\xfeders\r\n\r\n", 400),
    "a method that is no text": (b"G\xffT / HTTP/1.1\r\nHost: orders\r\n\r\n", 400),
    "a field whose name is no text": (b"GET / HTTP/1.1\r\nHost: orders\r\nX-\xff\xfe: 1\r\n\r\n", 400),
}
# Bytes of a line, whatever the request holds: each of its texts is cut.
LONGEST_LINE = 16 << 10


@dataclass
class Observed:
    """A sidecar before an application, and where its lines are."""

    sidecar: Proxy
    log: Path

    def lines(self) -> list[str]:
        """Those of its access log."""
        return self.log.read_text().splitlines()

    def metrics(self) -> dict[str, float]:
        """Every series by its name and labels, as Prometheus reads them."""
        return {
            f"{sample.name} {sample.labels}": sample.value
            for family in parse_text(self.sidecar.get("/metrics")[1])
            for sample in family.samples
        }

    def spans(self) -> int:
        """How many have gone, one way or another."""
        metrics = self.metrics()
        told = [metrics["sidecar_dropped_total {'buffer': 'spans'}"]]
        told += [metrics[f"sidecar_exported_spans_total {{'outcome': '{outcome}'}}"] for outcome in ("sent", "lost")]
        return int(sum(told))


@pytest.fixture
def sink() -> Iterator[Sink]:
    with otlp_sink() as sink:
        yield sink


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    with Mesh(tmp_path / "mesh") as mesh:
        mesh.document("services/orders", protocol="http", tls="disabled")
        yield mesh


def observed(mesh: Mesh, app: str, endpoint: str) -> Observed:
    log = mesh.config.parent / "access.log"
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, **SPANS}
    return Observed(mesh.sidecar("orders", int(app.rpartition(":")[2]), "--access-log", str(log), environ=environ), log)


def test_what_is_no_text_is_escaped_and_what_is_too_long_is_cut(mesh: Mesh) -> None:
    with http1.server(lambda request: Answer(200, {"content-length": "0"})) as app, collector() as collected:
        seen = observed(mesh, app.address, collected.endpoint)
        for name, (request, status) in HOSTILE.items():
            with Http1.connect(seen.sidecar.inbound) as peer:
                peer.send(request)
                assert peer.answer().status == status, name
            with Http1.connect(seen.sidecar.inbound) as peer:
                assert peer.ask(Request(path="/other", host="orders")).status == 200

        asked = 2 * len(HOSTILE)
        lines = eventually("a line of each", lambda: lines if len(lines := seen.lines()) >= asked else None, within=15)
        told = [json.loads(line) for line in lines]
        assert [one["status"] for one in told if one["path"] != "/other"] == [status for _, status in HOSTILE.values()]
        assert max(map(len, lines)) < LONGEST_LINE

        served = len(HOSTILE) + sum(status == 200 for _, status in HOSTILE.values())
        spans = eventually(
            "spans of all that were served",
            lambda: spans if len(spans := collected.of_requests()) >= served * SPANS_OF_A_REQUEST else None,
            within=15,
        )
        assert sum(span.kind == "server" and span.attributes["url.path"] == "/other" for span in spans) == len(HOSTILE)
        assert max(len(value) for span in spans for value in span.attributes.values()) < LONGEST_LINE
        metrics = seen.metrics()
        assert not [series for series in metrics if "\ufffd" in series or len(series) > 1000]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_hundred_thousand_names_leave_nothing_behind(mesh: Mesh, sink: Sink) -> None:
    with http1.server(lambda request: Answer(200, {"content-length": "0"})) as app:
        seen = observed(mesh, app.address, sink.endpoint)
        ask(seen, FILL, "fill")
        eventually("spans of all", lambda: seen.spans() >= FILL * SPANS_OF_A_REQUEST, within=30)
        series, before = seen.metrics(), memory(seen.sidecar.process.pid).rss
        spans = int(seen.spans())
        ask(seen, DISTINCT, "path")
        made = spans + DISTINCT * SPANS_OF_A_REQUEST
        eventually("spans of all", lambda: seen.spans() >= made, within=30)

        assert seen.metrics().keys() == series.keys()
        assert memory(seen.sidecar.process.pid).rss - before < MOST_GROWTH
        assert seen.spans() == made
        told = sum(f"/{number}/" in line for number, line in enumerate(lines_of(seen, "path")))
        assert told == DISTINCT, "each has its line, in their order"


def ask(seen: Observed, times: int, what: str) -> None:
    """So many requests: to a path, a method of gRPC and a query that no other has."""
    with Http1.connect(seen.sidecar.inbound) as peer:
        for number in range(times):
            path = f"/{what}/{number}/Method{number}?q={number}"
            fields = {"user-agent": f"agent {number}", "x-request-id": f"{what}-{number}"}
            assert peer.ask(Request(path=path, host="orders", fields=fields)).status == 200


def lines_of(seen: Observed, what: str) -> list[str]:
    """Those of such requests, once all have come or are counted as dropped."""

    def found() -> list[str] | None:
        lines = [line for line in seen.lines() if f'"/{what}/' in line]
        dropped = seen.metrics()["sidecar_dropped_total {'buffer': 'access_log'}"]
        return lines if len(lines) + dropped >= DISTINCT else None

    return eventually("a line of each", found, within=30)
