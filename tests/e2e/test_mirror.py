"""Copies of requests to somebody else, who can neither delay nor fail them."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e.conftest import Running
from tests.mesh import Proxy, eventually
from tests.peers import http1, http2
from tests.peers.http1 import Http1
from tests.peers.http2 import Http2
from tests.peers.message import Answer, Request, sized

GRPC = {"content-type": "application/grpc"}
FINE = Answer(200, sized(b"fine"), b"fine")
MESSAGE = b"\x00\x00\x00\x00\x03abc"


@dataclass
class Server:
    """What it was asked."""

    address: str = ""
    requests: list[Request] = field(default_factory=list)
    answer: Answer = FINE

    def app(self, request: Request) -> Answer:
        self.requests.append(request)
        return self.answer


@contextmanager
def servers(protocol: str = "http") -> Iterator[tuple[Server, Server]]:
    """One for requests, and one for copies."""
    serve = http1.server if protocol == "http" else http2.server
    ours, theirs = Server(), Server(answer=Answer(500, sized(b"no"), b"no"))
    if protocol == "grpc":
        ours.answer = Answer(200, GRPC, MESSAGE, {"grpc-status": "0"})
        theirs.answer = Answer(200, GRPC, b"", {"grpc-status": "14"})
    with serve(ours.app) as first, serve(theirs.app) as second:
        ours.address, theirs.address = first.address, second.address
        yield ours, theirs


def mirrored(proxy: Proxy, cluster: str) -> dict[str, int]:
    """Copies by what became of them."""
    metrics = proxy.get("/metrics")[1]
    found = re.findall(rf'sidecar_mirrored_total{{cluster="{cluster}",outcome="([a-z-]+)"}} (\d+)', metrics)
    return {outcome: int(count) for outcome, count in found}


def post(proxy: Proxy, host: str, body: bytes = b"content") -> Answer:
    with Http1.connect(proxy.outbound) as client:
        return client.ask(Request("POST", "/a?b", host, {**sized(body), "x-mine": "1"}, body))


def arrived(server: Server, count: int) -> list[Request]:
    eventually(f"{count} copies", lambda: len(server.requests) >= count)
    return server.requests


@pytest.mark.parametrize("protocol", ["http", "http2"])
def test_a_copy_is_the_same_request_with_a_mark_and_its_answer_is_dropped(running: Running, protocol: str) -> None:
    with servers(protocol) as (ours, theirs):
        copies = running.service(theirs.address, protocol=protocol)
        retry = {"attempts": 2, "on": ["5xx"]}
        service = running.service(ours.address, protocol=protocol, mirror={"to": {"service": copies}}, retry=retry)
        with Http1.connect(running.web.outbound) as client:
            assert client.ask(Request(path="/get", host=service)).body == b"fine"
        assert post(running.web, service).body == b"fine"
        got, posted = sorted(arrived(theirs, 2), key=lambda request: request.method)
        assert (got.path, posted.method, posted.path, posted.body) == ("/get", "POST", "/a?b", b"content")
        assert posted.fields["x-mine"] == "1"
        assert {request.host for request in theirs.requests} == {f"{service}-shadow"}
        assert [request.host for request in ours.requests] == [service, service]
        told = {request.fields["x-request-id"] for request in theirs.requests}
        assert told == {request.fields["x-request-id"] for request in ours.requests}
        # A request is tried again here, a copy is not: below its target nobody must rely on that.
        assert all("sidecar=retry:1" in request.fields["tracestate"] for request in ours.requests)
        assert not any("sidecar=" in request.fields.get("tracestate", "") for request in theirs.requests)
        eventually("two counted", lambda: mirrored(running.web, copies) == {"success": 2})


def test_a_call_is_copied_whatever_becomes_of_it(running: Running) -> None:
    with servers("grpc") as (ours, theirs):
        copies = running.service(theirs.address, protocol="grpc")
        service = running.service(ours.address, protocol="grpc", mirror={"to": {"service": copies}})
        call = Request("POST", "/pkg.Service/Method", service, GRPC, MESSAGE)
        with Http2.connect(running.web.outbound) as client:
            answer = client.ask(call)
            assert (answer.body, answer.trailers["grpc-status"]) == (MESSAGE, "0")
            (copy,) = arrived(theirs, 1)
            assert (copy.path, copy.body) == (call.path, MESSAGE)

            ours.answer = Answer(200, GRPC, b"", {"grpc-status": "13"})
            assert client.ask(call).trailers["grpc-status"] == "13"
            arrived(theirs, 2)


def test_a_share_of_the_requests_is_copied(running: Running) -> None:
    with servers() as (ours, theirs):
        copies = running.service(theirs.address)
        service = running.service(ours.address, mirror={"to": {"service": copies}, "share": "30%"})
        with Http1.connect(running.web.outbound) as client:
            for _ in range(300):
                client.ask(Request(host=service))
        # Six deviations of a fair share are 48 of 90.
        eventually("as many", lambda: sum(mirrored(running.web, copies).values()) >= 42)
        assert sum(mirrored(running.web, copies).values()) <= 138
        assert len(ours.requests) == 300


def test_who_gets_copies_neither_delays_nor_fails_a_request(running: Running) -> None:
    def hangs(peer: Http1) -> None:
        peer.take()
        peer.is_over()

    with http1.scripted_server(hangs) as stuck, servers() as (ours, _):
        copies = running.service(stuck.address, timeout="1h", outlier_detection={"enabled": False})
        mirror: dict[str, Any] = {"to": {"service": copies}}
        service = running.service(ours.address, mirror=mirror, timeout="2s")
        began = time.monotonic()
        assert [post(running.web, service).status for _ in range(20)] == [200] * 20
        # Each would take the two seconds of its copy.
        assert time.monotonic() - began < 20
        eventually("all given up", lambda: mirrored(running.web, copies) == {"timeout": 20}, within=10)
    # Now nobody is there.
    assert [post(running.web, service).status for _ in range(2)] == [503, 503]
    with http1.server(ours.app) as there:
        running.service(there.address, name=service, mirror=mirror, timeout="2s")
        assert post(running.web, service).status == 200
    eventually("one refused", lambda: mirrored(running.web, copies).get("connect-failure", 0) >= 1)


def test_what_is_too_large_to_be_held_is_not_copied(running: Running) -> None:
    with servers() as (ours, theirs):
        copies = running.service(theirs.address)
        service = running.service(ours.address, mirror={"to": {"service": copies}})
        assert post(running.web, service, bytes(64 * 1024 + 1)).status == 200
        eventually("counted", lambda: mirrored(running.web, copies) == {"body-too-large": 1})
        assert post(running.web, service, bytes(64 * 1024)).status == 200
        assert [len(request.body) for request in arrived(theirs, 1)] == [64 * 1024]
        assert [len(request.body) for request in ours.requests] == [64 * 1024 + 1, 64 * 1024]


def test_a_subset_may_get_the_copies_and_a_gateway_makes_them_too(running: Running) -> None:
    with servers() as (ours, theirs):
        endpoints = [
            {"address": ours.address, "meta": {"version": "1"}},
            {"address": theirs.address, "meta": {"version": "2"}},
        ]
        service = running.service(
            endpoints=endpoints,
            subsets={"v1": {"where": 'meta.version == "1"'}, "v2": {"where": 'meta.version == "2"'}},
            routes=[{"name": "all", "to": {"subset": "v1"}}],
            mirror={"to": {"subset": "v2"}},
        )
        with Http1.connect(running.edge.edge) as client:
            assert client.ask(Request(host=service)).status == 200
        arrived(theirs, 1)
        assert len(ours.requests) == 1
