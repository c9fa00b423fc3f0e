"""One trace through gateway and sidecar, as a collector receives it and as the app sees it."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.mesh import LOOPBACK, Mesh, eventually
from tests.peers import http1
from tests.peers.collector import Collector, Span, collector
from tests.peers.http1 import Http1
from tests.peers.message import Answer, Request

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
# Who makes spans of a request, from the client to the app.
CARRIERS = {
    "traceparent",
    "tracestate",
    "baggage",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-sampled",
    "uber-trace-id",
}
PATH = [("edge", "server"), ("edge", "client"), ("orders", "server"), ("orders", "client")]


@dataclass
class Traced:
    """A gateway before the sidecar of `orders`, and where their spans go."""

    mesh: Mesh
    edge: str
    collected: Collector

    def ask(self, **fields: str) -> tuple[str, str, str, str | None]:
        """Send a request with these fields; returns what the app sees: trace, parent, flags, and tracestate."""
        seen = self.seen(**fields)
        version, trace, parent, flags = seen["traceparent"].split("-")
        assert version == "00"
        return trace, parent, flags, seen.get("tracestate")

    def seen(self, **fields: str) -> dict[str, str]:
        """Send a request with these fields; returns those that carry a trace, as the app sees them."""
        with Http1.connect(self.edge) as peer:
            answer = peer.ask(Request(path="/tea", host="shop.example.com", fields=fields))
        assert answer.status == 200
        return {
            name.removeprefix("x-got-"): value for name, value in answer.fields.items() if name.startswith("x-got-")
        }

    def path(self, trace: str, span: str) -> list[Span]:
        """The spans from the root to the one that the app was told as its parent."""
        eventually(f"the spans of {trace}", lambda: len(self.collected.trace(trace)) >= len(PATH), within=15)
        by_id = {known.id: known for known in self.collected.trace(trace)}
        path = []
        while span in by_id:
            path.append(by_id[span])
            span = by_id[span].parent
        return path[::-1]


def is_sampled(flags: str) -> bool:
    """The first bit; another one tells that the trace id is random (Trace Context Level 2)."""
    return int(flags, 16) & 1 == 1


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    def tells_its_context(request: Request) -> Answer:
        told = {f"x-got-{name}": value for name, value in request.fields.items() if name in CARRIERS}
        return Answer(200, {**told, "content-length": "0"})

    with (
        http1.server(tells_its_context) as app,
        collector() as collected,
        Mesh(tmp_path_factory.mktemp("traced")) as mesh,
    ):
        mesh.document("services/orders")
        # The last is the one that it reads first.
        formats = {"OTEL_PROPAGATORS": "jaeger,b3multi,b3,tracecontext,baggage"}
        orders = mesh.sidecar("orders", app.port, environ={**collected.environ(), **formats})
        mesh.document("services/orders", endpoints=[{"address": orders.inbound}])
        route = {"name": "all", "to": {"service": "orders"}}
        mesh.document("gateways/edge", listeners=[LOOPBACK], routes=[route])
        edge = mesh.gateway("edge", environ=collected.environ())
        yield Traced(mesh, edge.edge, collected)


def test_a_request_becomes_one_trace(traced: Traced) -> None:
    trace, parent, flags, _ = traced.ask()

    path = traced.path(trace, parent)
    assert [(span.service, span.kind) for span in path] == PATH
    assert path[0].parent == ""
    assert is_sampled(flags)
    assert {span.attributes["url.path"] for span in path if span.kind == "server"} == {"/tea"}
    assert {span.attributes["http.response.status_code"] for span in path} == {"200"}
    # Two requests are two traces.
    assert traced.ask()[0] != trace


def test_the_trace_of_the_client_goes_on(traced: Traced) -> None:
    sent = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=opaque,other=1"}
    trace, parent, flags, state = traced.ask(**sent)

    assert (trace, flags) == (TRACE, "01")
    path = traced.path(trace, parent)
    assert [(span.service, span.kind) for span in path] == PATH
    assert path[0].parent == PARENT
    # What vendors keep in it arrives, in their order; we may add an entry of our own before it.
    assert state is not None
    assert state.endswith("vendor=opaque,other=1")


def test_what_is_not_sampled_stays_so(traced: Traced) -> None:
    unsampled = "1" * 32
    trace, parent, flags, _ = traced.ask(traceparent=f"00-{unsampled}-{PARENT}-00")
    assert (trace, flags) == (unsampled, "00")
    assert parent != "0" * 16

    # When the spans of a later request have come, those of this one would have.
    traced.path(*traced.ask()[:2])
    assert traced.collected.trace(unsampled) == []


@pytest.mark.parametrize(
    "invalid",
    [
        "",
        "00",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}x-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"ff-{TRACE}-{PARENT}-01",
    ],
)
def test_an_invalid_context_starts_a_new_trace(traced: Traced, invalid: str) -> None:
    trace, _, flags, state = traced.ask(traceparent=invalid, tracestate="vendor=opaque")
    assert trace not in {TRACE, TRACE.upper(), "0" * 32}
    assert is_sampled(flags)
    # It belongs to the context that was dropped.
    assert state is None or "vendor" not in state


def test_a_context_of_a_later_version_is_read_as_this_one(traced: Traced) -> None:
    trace, _, flags, _ = traced.ask(traceparent=f"01-{'2' * 32}-{PARENT}-01-what-we-do-not-know")
    assert (trace, flags) == ("2" * 32, "01")


def test_the_app_is_told_in_every_format_in_force(traced: Traced) -> None:
    seen = traced.seen(baggage="user=7")
    _, trace, parent, _ = seen["traceparent"].split("-")
    assert seen == {
        "traceparent": f"00-{trace}-{parent}-03",
        "b3": f"{trace}-{parent}-1",
        "x-b3-traceid": trace,
        "x-b3-spanid": parent,
        "x-b3-sampled": "1",
        "uber-trace-id": f"{trace}:{parent}:0:1",
        "baggage": "user=7",
    }
    assert [(span.service, span.kind) for span in traced.path(trace, parent)] == PATH


def test_a_request_is_linked_to_the_change_that_it_ran_under(traced: Traced) -> None:
    trace, parent, _, _ = traced.ask()
    at_the_edge = traced.path(trace, parent)[0]
    ((mesh, change),) = at_the_edge.links

    def find() -> dict[str, Span] | None:
        spans = {span.id: span for span in traced.collected.trace(mesh)}
        return spans if change in spans and spans[change].parent in spans else None

    spans = eventually("the trace of the gateway itself", find, within=15)
    applied = spans[change]
    assert (applied.service, applied.kind, applied.name) == ("edge", "internal", "config applied")
    assert applied.attributes["sidecar.config.changed"] == "gateways/edge.yaml, services/orders.yaml"
    # The one span that has no parent lasted from the start until the gateway was ready.
    root = spans[applied.parent]
    assert (root.name, root.parent, root.attributes["sidecar.role"]) == ("mesh", "", "gateway")
    # Each process has a trace of its own.
    assert mesh not in {link for span in traced.collected.spans if span.service == "orders" for link, _ in span.links}


def test_a_change_that_is_refused_is_told_too(traced: Traced) -> None:
    def refused() -> Span | None:
        found = [span for span in traced.collected.spans if span.name == "document refused"]
        return found[0] if found else None

    assert refused() is None
    traced.mesh.document("gateways/edge", listeners=3)
    span = eventually("the refusal", refused, within=15)
    assert span.attributes == {"sidecar.config.place": "gateways/edge.yaml"}
    assert "listeners" in span.error
