"""A collector that fails in every way: calls go on, every span is counted, and nothing need be restarted.

What is exact: each span is counted once, as sent, lost or dropped, so that the three are together what was made. What
is sent has arrived. What is lost was given up; it may have arrived all the same, as with a collector that takes a batch
and does not answer in time.
"""

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mesh import Mesh, Proxy, eventually, told
from tests.peers import http1
from tests.peers.collector import Collector, Fault, collector
from tests.peers.http1 import Http1
from tests.peers.message import Answer, Request
from tests.real.programs import free_port

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

# A small buffer, and a pump that gives up soon: what a long failure does with the defaults, this does in seconds. Not
# so soon that a busy machine looks like a failing collector.
QUICK = {
    "OTEL_BSP_MAX_QUEUE_SIZE": "64",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "32",
    "OTEL_BSP_SCHEDULE_DELAY": "20",
    "OTEL_BSP_EXPORT_TIMEOUT": "3000",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "2000",
}
# One server's and one client's for each request.
SPANS_OF_A_REQUEST = 2
REQUESTS = 400
# A failing collector may cost so much memory at most.
MOST_GROWTH = 16 << 20


@dataclass
class Observed:
    """A sidecar before an application, and what it says of its spans."""

    sidecar: Proxy
    collected: Collector

    def ask(self, times: int) -> None:
        """So many requests, each of which must be answered."""
        with Http1.connect(self.sidecar.inbound) as peer:
            for number in range(times):
                answer = peer.ask(Request(path=f"/{number}", host="orders"))
                assert answer.status == 200

    def counts(self) -> dict[str, int]:
        """Spans by what became of them."""
        text = self.sidecar.get("/metrics")[1]
        exported = dict(re.findall(r'sidecar_exported_spans_total\{outcome="(\w+)"\} (\d+)', text))
        (dropped,) = re.findall(r'sidecar_dropped_total\{buffer="spans"\} (\d+)', text)
        return {**{outcome: int(count) for outcome, count in exported.items()}, "dropped": int(dropped)}

    def total(self) -> int:
        """Of all that have gone, one way or another."""
        return sum(self.counts().values())

    def memory(self) -> int:
        """Resident bytes."""
        status = Path(f"/proc/{self.sidecar.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024


@pytest.fixture
def observed(tmp_path: Path) -> Iterator[Observed]:
    with (
        http1.server(lambda request: Answer(200, {"content-length": "0"})) as app,
        collector() as collected,
        Mesh(tmp_path) as mesh,
    ):
        mesh.document("services/orders", protocol="http", tls="disabled")
        sidecar = mesh.sidecar("orders", app.port, environ={**collected.environ(), **QUICK})
        observed = Observed(sidecar, collected)
        observed.ask(1)
        # Its start is told; from here on requests alone make spans.
        eventually("the first spans", lambda: len(collected.of_requests()) >= SPANS_OF_A_REQUEST, within=15)
        eventually("all are counted", lambda: observed.total() == len(collected.spans))
        yield observed


@pytest.mark.parametrize("fault", ["refusing", "busy", "slow", "cutting"])
def test_every_span_is_counted_and_those_of_later_requests_arrive(observed: Observed, fault: Fault) -> None:
    collected, before = observed.collected, observed.total()
    with collected.failing(fault):
        asked = collected.asked
        observed.ask(REQUESTS)
        eventually("some are lost", lambda: observed.counts()["lost"] > 0, within=15)
        assert collected.asked > asked
        problem = told(observed.sidecar)["spans"]["problem"]
        assert problem, "and why is said"
    observed.ask(1)
    made = before + (REQUESTS + 1) * SPANS_OF_A_REQUEST
    with suppress(AssertionError):
        eventually("every span has gone one way or another", lambda: observed.total() == made, within=15)
    counts = observed.counts()
    assert sum(counts.values()) == made, counts
    arrived = len({span.id for span in collected.spans})
    assert counts["sent"] <= arrived <= counts["sent"] + counts["lost"]
    spans = told(observed.sidecar)["spans"]
    assert (spans["sent"], spans["lost"], spans["dropped"]) == (counts["sent"], counts["lost"], counts["dropped"])
    assert "problem" not in spans
    assert f"spans reach {collected.endpoint}/v1/traces again" in observed.sidecar.output()
    assert observed.sidecar.output().count("spans not sent") == 1, "a long failure is told once"


def test_an_answer_that_is_cut_off_says_that_the_spans_have_arrived(observed: Observed) -> None:
    collected, before = observed.collected, observed.total()
    with collected.failing("cutting its answer"):
        observed.ask(10)
        made = before + 10 * SPANS_OF_A_REQUEST
        eventually("every span is sent", lambda: observed.counts()["sent"] == made, within=15)
    assert observed.total() == made
    assert len(collected.spans) == len({span.id for span in collected.spans}) == made


def test_a_collector_that_comes_later_is_found(tmp_path: Path) -> None:
    port = free_port()
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_METRICS_EXPORTER": "none", **QUICK}
    with http1.server(lambda request: Answer(200, {"content-length": "0"})) as app, Mesh(tmp_path) as mesh:
        mesh.document("services/orders", protocol="http", tls="disabled")
        sidecar = mesh.sidecar("orders", app.port, environ=environ)
        observed = Observed(sidecar, Collector(""))
        observed.ask(REQUESTS)
        eventually("some are lost", lambda: observed.counts()["lost"] > 0, within=15)
        assert "Cannot connect" in told(sidecar)["spans"]["problem"]
        with collector(port) as collected:

            def arrives() -> bool:
                observed.ask(1)
                return bool(collected.of_requests())

            eventually("spans arrive", arrives, within=15)


@pytest.mark.parametrize("fault", ["slow", "cutting"])
def test_memory_is_bounded_while_a_collector_fails(observed: Observed, fault: Fault) -> None:
    made = observed.total() + REQUESTS * SPANS_OF_A_REQUEST
    observed.ask(REQUESTS)
    eventually("all are counted", lambda: observed.total() == made, within=15)
    before = observed.memory()
    with observed.collected.failing(fault):
        began = time.monotonic()
        # Until the buffer is full many times over, with batches that are tried and given up meanwhile.
        while observed.counts()["dropped"] < 100 * 64 or time.monotonic() - began < 2:
            observed.ask(REQUESTS)
        assert observed.memory() - before < MOST_GROWTH


def test_long_paths_and_fields_and_names_that_are_no_text_lose_nothing_of_the_rest(observed: Observed) -> None:
    collected, before = observed.collected, observed.total()
    with Http1.connect(observed.sidecar.inbound) as peer:
        peer.send(
            b"GET /latin?a=%ff%fe HTTP/1.1\r\nHost: orders\r\nUser-Agent: caf\xe9 \xff\r\n",
            b"X-Large: " + b"x" * 50_000 + b"\r\n\r\n",
        )
        assert peer.answer().status == 200
    with Http1.connect(observed.sidecar.inbound) as peer:
        assert peer.ask(Request(path="/" + "p" * 7000, host="orders")).status == 200
    made = before + 2 * SPANS_OF_A_REQUEST
    eventually("both have come", lambda: observed.counts()["sent"] == made, within=15)
    servers = {span.attributes["url.path"][:6]: span for span in collected.of_requests() if span.kind == "server"}
    assert servers["/latin"].attributes["user_agent.original"] == "caf\ufffd \ufffd"
    assert 1000 < len(servers["/ppppp"].attributes["url.path"]) < 7000
