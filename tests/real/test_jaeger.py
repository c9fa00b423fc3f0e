"""What the proxies tell, as a real Jaeger has it and its query API says it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import extract
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

from tests.mesh import LOOPBACK, ROOT, Mesh, Proxy, eventually
from tests.peers import http1
from tests.peers.http1 import Http1
from tests.peers.message import Answer, Request
from tests.real.jaeger_server import Jaeger, Span, running
from tests.real.programs import free_port

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.timeout(180)]

# Seconds: batches leave after 50 ms, and Jaeger shows at once what it has taken.
ARRIVED_WITHIN = 20.0
# From the client to the application: who calls whom, each the child of the one before.
PATH = [
    ("edge", "server"),
    ("edge", "client"),
    ("web", "server"),
    ("web", "client"),
    ("web-app", "server"),
    ("web-app", "client"),
    ("web", "server"),
    ("web", "client"),
    ("orders", "server"),
    ("orders", "client"),
    ("orders-app", "server"),
]


@dataclass
class Traced:
    """A gateway, web and orders with their sidecars, and applications that trace by the SDK."""

    jaeger: Jaeger
    mesh: Mesh
    edge: Proxy

    def get(self, path: str) -> int:
        with Http1.connect(self.edge.edge) as peer:
            return peer.ask(Request(path=path, host="shop.example.com")).status

    def path(self, path: str) -> list[Span]:
        """A call, and its spans from the first to the last."""
        assert self.get(path) == 200

        def find() -> Sequence[Span] | None:
            found = self.jaeger.traces(service="edge", tags=f'{{"url.path":"{path}"}}')
            return found[0] if found and len(found[0]) >= len(PATH) else None

        spans = eventually(f"the trace of {path} in Jaeger", find, within=ARRIVED_WITHIN)
        assert len(spans) == len(PATH)
        children = {span.parent: span for span in spans}
        assert len(children) == len(spans), "one child each"
        ordered, at = [], ""
        while at in children:
            ordered.append(children[at])
            at = children[at].id
        return ordered


class App:
    """An application whose spans go to Jaeger by OpenTelemetry's SDK; it calls `next_hop` through its sidecar."""

    def __init__(self, service: str, jaeger: Jaeger) -> None:
        exporter = OTLPSpanExporter(f"{jaeger.http}/v1/traces")
        self._provider = TracerProvider(resource=Resource({"service.name": service}))
        self._provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=50))
        self._tracer = self._provider.get_tracer(service)
        self.next_hop = ""

    def answer(self, request: Request) -> Answer:
        context = extract(dict(request.fields))
        with self._tracer.start_as_current_span(request.path, context, SpanKind.SERVER):
            return Answer(self._ask(request.path) if self.next_hop else 200, {"content-length": "0"})

    def _ask(self, path: str) -> int:
        with self._tracer.start_as_current_span(path, kind=SpanKind.CLIENT) as span:
            told = span.get_span_context()
            fields = {"traceparent": f"00-{told.trace_id:032x}-{told.span_id:016x}-01"}
            with Http1.connect(self.next_hop) as peer:
                return peer.ask(Request(path=path, host="orders", fields=fields)).status

    def close(self) -> None:
        self._provider.shutdown()


@pytest.fixture(scope="module")
def jaeger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jaeger]:
    with running(tmp_path_factory.mktemp("jaeger")) as jaeger:
        yield jaeger


def environ(endpoint: str, **more: str) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        **more,
    }


@pytest.fixture(scope="module")
def traced(jaeger: Jaeger, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    over_http = environ(jaeger.http)
    over_grpc = environ(jaeger.grpc, OTEL_EXPORTER_OTLP_PROTOCOL="grpc", OTEL_EXPORTER_OTLP_COMPRESSION="gzip")
    web_app, orders_app = App("web-app", jaeger), App("orders-app", jaeger)
    with (
        http1.server(orders_app.answer) as orders_port,
        http1.server(web_app.answer) as web_port,
        Mesh(tmp_path_factory.mktemp("traced")) as mesh,
    ):
        for service in ("web", "orders"):
            mesh.document(f"services/{service}", protocol="http")
        orders = mesh.sidecar("orders", orders_port.port, environ=over_grpc)
        dead = f"127.0.0.1:{free_port()}"
        mesh.document(
            "services/orders",
            protocol="http",
            endpoints=[{"address": orders.inbound}],
            outlier_detection={"consecutive_errors": 1, "ejection": "60s"},
            retry={"attempts": 2, "on": ["connect-failure"]},
        )
        mesh.document("services/broken", protocol="http", endpoints=[{"address": dead}])
        web = mesh.sidecar("web", web_port.port, environ=over_http)
        web_app.next_hop = web.outbound
        mesh.document("services/web", protocol="http", endpoints=[{"address": web.inbound}])
        routes = [
            {"name": "broken", "match": {"path": "/broken"}, "to": {"service": "broken"}},
            {"name": "orders", "match": {"path": "/orders/*"}, "to": {"service": "orders"}},
            {"name": "all", "to": {"service": "web"}},
        ]
        mesh.document("gateways/edge", listeners=[LOOPBACK], routes=routes)
        edge = mesh.gateway("edge", environ=over_http)
        yield Traced(jaeger, mesh, edge)
    web_app.close()
    orders_app.close()


def test_a_call_is_one_trace_from_the_gateway_to_the_application(traced: Traced) -> None:
    path = traced.path("/tea")
    assert [(span.service, span.kind) for span in path] == PATH
    assert path[0].parent == ""
    # One clock for all. Ends have no order: who has sent an answer may notice later than its reader that it is over.
    for cause, effect in pairwise(path):
        assert cause.start <= effect.start <= min(cause.end, effect.end), (cause, effect)


def test_the_spans_say_who_it_was_and_what_was_decided(traced: Traced) -> None:
    path = traced.path("/cup")
    at_the_edge, from_the_edge, into_web, *_, into_orders, from_orders, _ = path
    identity = "spiffe://mesh.local/ns/default/dc/dc1/svc/{}".format
    assert (at_the_edge.name, at_the_edge.tags["http.response.status_code"]) == ("GET all", 200)
    assert (at_the_edge.tags["sidecar.attempts"], at_the_edge.tags["sidecar.cluster"]) == (1, "web")
    assert at_the_edge.tags["sidecar.config.place"].startswith("gateways/edge.yaml:")
    assert "sidecar.candidates.total" not in at_the_edge.tags
    assert from_the_edge.tags["sidecar.peer"] == identity("web")
    assert into_web.tags["sidecar.peer"] == identity("edge")
    assert into_orders.tags["sidecar.peer"] == identity("web")
    assert "sidecar.peer" not in from_orders.tags, "the application beside is nobody in the mesh"
    assert {span.tags["sidecar.direction"] for span in path if "sidecar.direction" in span.tags} == {
        "edge",
        "inbound",
        "outbound",
    }


def test_tries_are_siblings_and_an_ejection_is_linked_from_all_that_it_touched(traced: Traced) -> None:
    orders = traced.mesh.proxies[0]
    dead = f"127.0.0.1:{free_port()}"
    traced.mesh.document(
        "services/orders",
        protocol="http",
        endpoints=[{"address": orders.inbound}, {"address": dead}],
        outlier_detection={"consecutive_errors": 1, "ejection": "60s"},
        retry={"attempts": 2, "on": ["connect-failure"]},
        load_balancer="round_robin",
    )

    def ejected() -> Sequence[Span] | None:
        assert traced.get("/orders/1") == 200
        found = traced.jaeger.traces(service="edge", operation="ejection")
        return found[0] if found else None

    mesh = eventually("the ejection in the mesh's trace", ejected, within=ARRIVED_WITHIN)
    (ejection,) = [span for span in mesh if span.name == "ejection"]
    assert (ejection.tags["sidecar.endpoint"], ejection.tags["error"]) == (dead, True)
    assert ejection.tags["otel.status_description"] == "1 errors in a row"

    # Who brought it about: two tries, both children of one span, and the first says so.
    def find(tags: str, count: int) -> Sequence[Span] | None:
        found = [trace for trace in traced.jaeger.traces(service="edge", tags=tags) if len(trace) >= count]
        return found[0] if found else None

    retried = eventually("a trace of two tries", lambda: find('{"sidecar.attempts":"2"}', 6), within=ARRIVED_WITHIN)
    by_kind = {
        kind: [span for span in retried if (span.service, span.kind) == ("edge", kind)] for kind in ("server", "client")
    }
    (server,) = by_kind["server"]
    first, second = sorted(by_kind["client"], key=lambda span: span.start)
    assert {first.parent, second.parent} == {server.id}
    assert first.end <= second.start + 1
    assert (first.tags["error.type"], second.tags["http.request.resend_count"]) == ("connect-failure", 1)
    assert first.events == ("sidecar.ejection",)
    assert ejection.id in {span for _, span in first.linked}

    # Who was led around it.
    assert traced.get("/orders/2") == 200
    after = eventually("a later trace", lambda: find('{"sidecar.candidates.ejected":"1"}', 5), within=ARRIVED_WITHIN)
    (around,) = [span for span in after if (span.service, span.kind) == ("edge", "server")]
    assert ejection.id in {span for _, span in around.linked}
    assert around.tags["sidecar.candidates.healthy"] == 1


def test_a_failure_says_why(traced: Traced) -> None:
    assert traced.get("/broken") == 503

    def find() -> Sequence[Span] | None:
        found = traced.jaeger.traces(service="edge", tags='{"sidecar.reason":"connect-failure","url.path":"/broken"}')
        return found[0] if found else None

    spans = eventually("the trace of a failure", find, within=ARRIVED_WITHIN)
    server = next(span for span in spans if span.kind == "server")
    assert server.tags["error"] is True
    assert server.tags["otel.status_description"].startswith("The connection to the endpoint failed.")


def test_every_proxy_tells_of_itself_to_the_end(traced: Traced) -> None:
    """The gateway's own trace: its start, what was applied, and the drain that ends it."""
    traced.mesh.document("gateways/other", listeners=[LOOPBACK], routes=[{"name": "all", "to": {"service": "web"}}])
    other = traced.mesh.gateway("other", environ=environ(traced.jaeger.http))
    assert other.stop() == 0

    def find() -> Sequence[Span] | None:
        found = traced.jaeger.traces(service="other", operation="drain")
        return found[0] if found else None

    spans = eventually("the drain", find, within=ARRIVED_WITHIN)
    names = [span.name for span in sorted(spans, key=lambda span: span.start)]
    assert names == ["mesh", "config applied", "drain"]
    root = next(span for span in spans if span.name == "mesh")
    assert {span.parent for span in spans if span is not root} == {root.id}


def test_the_demo_draws_whole_traces_from_the_query_api() -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/shop/demo_jaeger.py"), "--check"],
        capture_output=True,
        text=True,
        timeout=150,
        env={**os.environ},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "17 spans" in done.stdout, f"after {time.monotonic() - began:.0f} s:\n{done.stdout}"
    assert "inventory app: server /shop.v1.Inventory/GetStock" in done.stdout
    assert "/api/traces/" in done.stdout
    assert "edge proxy: internal mesh" in done.stdout
    assert "edge proxy: internal config applied" in done.stdout


def test_without_jaeger_the_demo_says_how_to_get_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/shop/demo_jaeger.py"), "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PATH": "/nowhere", "XDG_CACHE_HOME": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 1
    assert "tests/real/install.sh jaeger" in done.stderr
