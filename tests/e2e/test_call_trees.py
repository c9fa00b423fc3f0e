"""A failure at the end of a chain of services: of all who would try it again, one does."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.e2e.conftest import Running
from tests.mesh import Proxy, eventually
from tests.peers import http1, http2
from tests.peers.http1 import Http1
from tests.peers.http2 import Http2
from tests.peers.message import Answer, Request, sized

GRPC = {"content-type": "application/grpc"}
RETRY = {"attempts": 3, "on": [503, "unavailable"]}
TRACE = ("traceparent", "tracestate")
MARK = "sidecar=retry:1"


@dataclass
class Tier:
    """An application that asks the next one, over its own sidecar, and answers what that does."""

    next: str
    proxy: Proxy | None = None
    # What it passes on of the fields that it got.
    passes_on: tuple[str, ...] = TRACE
    requests: list[Request] = field(default_factory=list)

    def knows_next(self) -> bool:
        """Whether its sidecar has the next one's endpoints."""
        assert self.proxy is not None
        documents = json.loads(self.proxy.get("/api/v1/config")[1])["documents"]
        return any(known["name"] == self.next and "endpoints" in known["fields"] for known in documents)

    def app(self, request: Request) -> Answer:
        assert self.proxy is not None
        self.requests.append(request)
        fields = {name: request.fields[name] for name in self.passes_on if name in request.fields}
        with Http1.connect(self.proxy.outbound) as client:
            answer = client.ask(Request("GET", "/", self.next, fields))
        return Answer(answer.status, sized(answer.body), answer.body)


@dataclass
class Chain:
    """`web` calls `middle`, that `far`, and that a server without a sidecar: each caller would try again twice."""

    tiers: list[Tier]
    # What came to the last one.
    last: list[Request] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)

    def pass_on(self, *names: str) -> None:
        """The applications pass on these fields from now on; what came until now is forgotten."""
        self.last.clear()
        for tier in self.tiers:
            tier.passes_on = names
            tier.requests.clear()

    def end(self, request: Request) -> Answer:
        self.last.append(request)
        return Answer(self.statuses.pop(0) if self.statuses else 503, sized(b""))


@pytest.fixture(scope="module")
def chain(running: Running) -> Iterator[Chain]:
    middle, far = tiers = [Tier("far"), Tier("last")]
    chain = Chain(tiers)
    with (
        http1.server(middle.app) as middle_app,
        http1.server(far.app) as far_app,
        http1.server(chain.end) as last,
        running.with_sidecar("middle", middle_app.port, retry=RETRY) as middle.proxy,
        running.with_sidecar("far", far_app.port, retry=RETRY) as far.proxy,
    ):
        running.service(last.address, name="last", retry=RETRY)
        for tier in tiers:
            eventually(f"{tier.next} is known to its caller", tier.knows_next, within=10)
        yield chain
        running.remove("last")


def ask(address: str, host: str, **fields: str) -> int:
    with Http1.connect(address) as client:
        return client.ask(Request("GET", "/", host, fields)).status


def test_a_failure_at_the_end_of_a_chain_is_tried_again_by_the_first_alone(running: Running, chain: Chain) -> None:
    chain.pass_on(*TRACE)
    assert ask(running.web.outbound, "middle") == 503
    assert [len(tier.requests) for tier in chain.tiers] == [3, 3]
    assert len(chain.last) == 3
    assert all(MARK in request.fields["tracestate"].split(",") for request in chain.last)


def test_without_the_fields_of_the_trace_nobody_knows_of_the_others(running: Running, chain: Chain) -> None:
    chain.pass_on()
    assert ask(running.web.outbound, "middle") == 503
    assert [len(tier.requests) for tier in chain.tiers] == [3, 9]
    assert len(chain.last) == 27


def test_the_first_tries_again_what_failed_at_the_end(running: Running, chain: Chain) -> None:
    chain.pass_on(*TRACE)
    chain.statuses[:] = [503, 503, 200]
    assert ask(running.web.outbound, "middle") == 200
    assert len(chain.last) == 3


def test_who_does_not_try_again_leaves_it_to_the_next(running: Running, chain: Chain) -> None:
    """`web` would try `once` only where nothing was processed: `middle` is the first that does more."""
    chain.pass_on(*TRACE)
    assert chain.tiers[0].proxy is not None
    once = running.service(chain.tiers[0].proxy.inbound, tls="mutual", name="middle", retry={"on": []})
    assert ask(running.web.outbound, once) == 503
    assert [len(tier.requests) for tier in chain.tiers] == [1, 3]
    assert len(chain.last) == 3
    running.service(chain.tiers[0].proxy.inbound, tls="mutual", name="middle", retry=RETRY)


def test_a_client_outside_of_the_mesh_cannot_say_that_it_tries_again(running: Running, chain: Chain) -> None:
    chain.pass_on(*TRACE)
    trace = {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01", "tracestate": f"other=1,{MARK}"}
    assert ask(running.web.outbound, "last", **trace) == 503
    assert len(chain.last) == 1
    chain.last.clear()
    assert ask(running.edge.edge, "last", **trace) == 503
    assert len(chain.last) == 3
    # Said by the gateway itself, in front of what others say.
    assert {request.fields["tracestate"] for request in chain.last} == {f"{MARK},other=1"}


@pytest.mark.parametrize(
    ("told", "tried"),
    [({}, 3), ({"grpc-previous-rpc-attempts": "1"}, 1), ({"x-envoy-attempt-count": "2"}, 1)],
)
def test_a_client_that_tries_again_by_itself_is_left_to_it(running: Running, told: dict[str, str], tried: int) -> None:
    seen: list[Request] = []

    def app(request: Request) -> Answer:
        seen.append(request)
        return Answer(200, GRPC, b"", {"grpc-status": "14"})

    with http2.server(app) as server:
        service = running.service(server.address, protocol="grpc", retry=RETRY)
        with Http2.connect(running.web.outbound) as client:
            answer = client.ask(Request("POST", "/pkg.Service/Method", service, {**GRPC, **told}, bytes(5)))
        assert answer.trailers["grpc-status"] == "14"
        assert len(seen) == tried


def test_an_endpoint_that_is_away_is_left_for_another_one_wherever_it_is(running: Running, chain: Chain) -> None:
    chain.pass_on(*TRACE)
    trace = {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01", "tracestate": MARK}
    with http1.server(chain.end) as away:
        gone = away.address
    with http1.server(chain.end) as there:
        service = running.service(gone, there.address, retry=RETRY, load_balancer="round_robin")
        chain.statuses[:] = [200, 200]
        assert [ask(running.web.outbound, service, **trace) for _ in range(2)] == [200, 200]
