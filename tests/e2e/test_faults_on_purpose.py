"""Requests that are delayed, failed or broken off on purpose, and the time that callers give."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.e2e.conftest import Running, last_failure
from tests.mesh import eventually
from tests.peers import http1, http2
from tests.peers.http1 import Http1
from tests.peers.http2 import Http2
from tests.peers.message import Answer, CutOff, Ended, Request, sized

TIMEOUT = "x-envoy-expected-rq-timeout-ms"


@dataclass
class Fine:
    """A server that always answers, and what it was asked."""

    address: str = ""
    requests: list[Request] = field(default_factory=list)

    def app(self, request: Request) -> Answer:
        self.requests.append(request)
        return Answer(200, sized(b"fine"), b"fine")


@pytest.fixture
def fine() -> Iterator[Fine]:
    server = Fine()
    with http1.server(server.app) as listening:
        server.address = listening.address
        yield server


def ask(address: str, service: str, path: str = "/", **fields: str) -> Answer:
    with Http1.connect(address) as client:
        return client.ask(Request("GET", path, service, fields))


def test_an_abort_is_an_answer_with_its_reason_and_reaches_nobody(running: Running, fine: Fine) -> None:
    fault = {"abort": {"status": 429, "grpc": "resource-exhausted"}, "match": {"path": "/bad"}}
    service = running.service(fine.address, fault=fault)

    answer = ask(running.web.outbound, service, "/bad")
    assert (answer.status, answer.fields["x-sidecar-reason"]) == (429, "fault-injected")
    call = ask(running.web.outbound, service, "/bad", **{"content-type": "application/grpc"})
    assert (call.status, call.fields["grpc-status"]) == (200, "8")
    assert fine.requests == []
    assert ask(running.web.outbound, service, "/good").status == 200


def test_a_delay_comes_before_the_answer_and_a_reset_instead_of_it(running: Running, fine: Fine) -> None:
    service = running.service(fine.address, fault={"delay": {"time": "300ms"}})
    began = time.monotonic()
    assert ask(running.web.outbound, service).status == 200
    assert time.monotonic() - began >= 0.3

    running.service(fine.address, name=service, fault={"reset": {}})
    with pytest.raises((Ended, CutOff, ConnectionError)):
        ask(running.web.outbound, service)
    assert last_failure(running.web, service)["reason"] == "reset-injected"
    assert len(fine.requests) == 1


def test_a_caller_of_the_mesh_may_ask_for_a_fault_and_nobody_else(running: Running, fine: Fine) -> None:
    wish = {"x-sidecar-fault": "abort=500"}
    service = running.service(fine.address, fault={"by_header": True})
    assert ask(running.web.outbound, service, **wish).status == 500
    assert ask(running.edge.edge, service, **wish).status == 200

    running.service(fine.address, name=service)
    assert ask(running.web.outbound, service, **wish).status == 200


def test_the_time_that_a_caller_gives_is_kept_and_what_is_left_is_told(running: Running, fine: Fine) -> None:
    service = running.service(fine.address, timeout="1h")
    assert ask(running.web.outbound, service, **{TIMEOUT: "60000"}).status == 200
    assert ask(running.web.outbound, service).status == 200
    told, untold = fine.requests
    assert 0 < int(told.fields[TIMEOUT]) <= 60000
    assert TIMEOUT not in untold.fields


def test_work_past_its_deadline_is_cancelled_at_once(running: Running) -> None:
    over: list[float] = []

    def hangs(peer: Http1) -> None:
        peer.take()
        peer.is_over()
        over.append(time.monotonic())

    with http1.scripted_server(hangs) as server:
        service = running.service(server.address, timeout="1h")
        began = time.monotonic()
        answer = ask(running.web.outbound, service, **{TIMEOUT: "300"})
        assert (answer.status, answer.fields["x-sidecar-reason"]) == (504, "timeout")
        assert time.monotonic() - began >= 0.3
        # The block would end the connection too: this is the proxy.
        eventually("the server's end", lambda: over)


def test_a_stream_past_its_deadline_is_reset_upstream(running: Running) -> None:
    codes: list[int | None] = []

    def hangs(peer: Http2) -> None:
        stream = peer.next_stream()
        peer.until(lambda: stream.reset is not None)
        codes.append(stream.reset)

    with http2.scripted_server(hangs) as server:
        service = running.service(server.address, protocol="http2", timeout="1h")
        assert ask(running.web.outbound, service, **{TIMEOUT: "300"}).status == 504
        # CANCEL (RFC 9113 section 7).
        eventually("the server's reset", lambda: codes == [8])


def test_a_retry_that_cannot_begin_in_time_is_not_made(running: Running) -> None:
    tried: list[Request] = []

    def busy(request: Request) -> Answer:
        tried.append(request)
        return Answer(503, {**sized(b""), "retry-after": request.path[1:]})

    with http1.server(busy) as server:
        service = running.service(server.address, retry={"attempts": 2, "on": [503]}, timeout="1h")
        for wait, tries in (("9", 1), ("1", 2)):
            tried.clear()
            assert ask(running.web.outbound, service, f"/{wait}", **{TIMEOUT: "8000"}).status == 503
            assert len(tried) == tries


def test_a_delay_takes_of_the_time_that_the_caller_gives(running: Running, fine: Fine) -> None:
    service = running.service(fine.address, fault={"delay": {"time": "1m"}})
    answer = ask(running.web.outbound, service, **{TIMEOUT: "200"})
    assert (answer.status, answer.fields["x-sidecar-reason"]) == (504, "timeout")
    assert fine.requests == []


@pytest.mark.parametrize("kind", ["abort", "reset"])
def test_a_share_of_the_requests_suffers(running: Running, fine: Fine, kind: str) -> None:
    service = running.service(fine.address, fault={kind: {"share": "30%"}})
    suffered = 0
    with Http2.connect(running.web.outbound) as client:
        for _ in range(300):
            try:
                suffered += client.ask(Request(host=service)).status == 503
            except CutOff:
                suffered += 1
    # Six deviations of a fair share are 48 of 90.
    assert 42 <= suffered <= 138
    assert len(fine.requests) == 300 - suffered
