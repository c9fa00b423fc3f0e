"""Endpoints are asked whether they are well, and who is not gets no requests."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e.conftest import Running, last_failure
from tests.mesh import Proxy, eventually
from tests.peers import http1, http2
from tests.peers.http1 import Http1
from tests.peers.message import Answer, App, Request, sized
from tests.peers.scripted import ScriptedServer

GRPC = {"content-type": "application/grpc"}
OFTEN = {"interval": "50ms", "timeout": "1s", "healthy_threshold": 2, "unhealthy_threshold": 2}
HTTP: dict[str, Any] = {"health_check": {"http": "/healthz", **OFTEN}, "load_balancer": "round_robin"}
# grpc.health.v1.HealthCheckResponse.ServingStatus.
SERVING, NOT_SERVING = 1, 2


@dataclass
class Endpoint:
    """A server that says how it is, and what it was asked beside that."""

    address: str = ""
    is_well: bool = True
    requests: list[Request] = field(default_factory=list)
    checks: list[Request] = field(default_factory=list)

    def over_http(self, request: Request) -> Answer:
        if request.path == "/healthz":
            self.checks.append(request)
            return Answer(200 if self.is_well else 503, sized(b""))
        self.requests.append(request)
        return Answer(200, sized(b"fine"), b"fine")

    def over_grpc(self, request: Request) -> Answer:
        if request.path != "/grpc.health.v1.Health/Check":
            self.requests.append(request)
            return Answer(200, GRPC, bytes(5), {"grpc-status": "0"})
        self.checks.append(request)
        message = bytes([0x08, SERVING if self.is_well else NOT_SERVING])
        return Answer(200, GRPC, bytes(4) + bytes([len(message)]) + message, {"grpc-status": "0"})


@contextmanager
def endpoints(count: int = 2, protocol: str = "http") -> Iterator[list[Endpoint]]:
    with ExitStack() as stack:
        found = [Endpoint() for _ in range(count)]
        for endpoint in found:
            endpoint.address = stack.enter_context(_server(endpoint, protocol)).address
        yield found


def _server(endpoint: Endpoint, protocol: str) -> ScriptedServer[Any]:
    app: App = endpoint.over_http if protocol == "http" else endpoint.over_grpc
    return http1.server(app) if protocol == "http" else http2.server(app)


def ask(proxy: Proxy, service: str, times: int = 1) -> list[int]:
    with Http1.connect(proxy.outbound) as client:
        return [client.ask(Request(host=service)).status for _ in range(times)]


def checks(proxy: Proxy, service: str) -> dict[str, Any]:
    """What is found of each endpoint, by address; None: nothing yet."""
    clusters = json.loads(proxy.get("/api/v1/clusters")[1])["clusters"]
    found = next(cluster["endpoints"] for cluster in clusters if cluster["name"] == service)
    return {endpoint["address"]: endpoint["check"] for endpoint in found}


def found(proxy: Proxy, service: str, endpoint: Endpoint, *, is_well: bool) -> str:
    """Wait until this is found of the endpoint; returns the error of its last check."""

    def check() -> dict[str, Any] | None:
        state = checks(proxy, service).get(endpoint.address)
        return state if state is not None and state["well"] is is_well else None

    error: str = eventually(f"{endpoint.address} well: {is_well}", check, within=10)["error"]
    return error


def test_an_endpoint_that_says_that_it_is_ill_gets_no_requests_until_it_is_well(running: Running) -> None:
    with endpoints() as (first, second):
        service = running.service(first.address, second.address, **HTTP)
        assert ask(running.web, service, 4) == [200] * 4
        assert found(running.web, service, first, is_well=True) == ""

        first.is_well = False
        assert found(running.web, service, first, is_well=False) == "it answers 503 Service Unavailable"
        first.requests.clear()
        assert ask(running.web, service, 6) == [200] * 6
        assert first.requests == []
        assert f"{first.address} of {service} fails its health check" in running.web.output()

        first.is_well = True
        assert found(running.web, service, first, is_well=True) == ""
        ask(running.web, service, 4)
        assert first.requests
        assert f"{first.address} of {service} answers its health check" in running.web.output()
        asked = first.checks[0]
        assert (asked.method, asked.fields["user-agent"]) == ("GET", "sidecar-health-check")
        assert asked.fields["traceparent"].endswith("-00")


def test_where_all_are_ill_requests_go_to_all(running: Running) -> None:
    with endpoints() as pair:
        for endpoint in pair:
            endpoint.is_well = False
        service = running.service(*(endpoint.address for endpoint in pair), **HTTP)
        ask(running.web, service)
        for endpoint in pair:
            found(running.web, service, endpoint, is_well=False)
            endpoint.requests.clear()
        assert ask(running.web, service, 4) == [200] * 4
        assert all(len(endpoint.requests) == 2 for endpoint in pair)
    assert ask(running.web, service)[0] in (502, 503)
    candidates = last_failure(running.web, service)["candidates"]
    assert (candidates["ill"], candidates["panic"]) == (2, True)


def test_who_takes_over_does_when_the_checks_fail(running: Running) -> None:
    with endpoints() as (ours, other):
        spare = running.service(other.address)
        service = running.service(ours.address, failover=[{"service": spare}], **HTTP)
        ask(running.web, service, 3)
        assert len(ours.requests) == 3
        ours.is_well = False
        found(running.web, service, ours, is_well=False)
        assert ask(running.web, service, 3) == [200] * 3
        assert (len(ours.requests), len(other.requests)) == (3, 3)


def test_a_server_of_grpc_is_asked_in_its_own_words(running: Running) -> None:
    with endpoints(protocol="grpc") as (first, second):
        check = {"grpc": "shop.v1.Orders", **OFTEN}
        service = running.service(first.address, second.address, protocol="grpc", health_check=check)
        ask(running.web, service)
        first.is_well = False
        assert found(running.web, service, first, is_well=False) == "it says NOT_SERVING"
        assert found(running.web, service, second, is_well=True) == ""
        first.requests.clear()
        ask(running.web, service, 4)
        assert first.requests == []
        # A message of one field, the service's name.
        assert first.checks[0].body == b"\x00\x00\x00\x00\x10\x0a\x0eshop.v1.Orders"
        assert (first.checks[0].fields["te"], first.checks[0].fields["content-type"]) == (
            "trailers",
            GRPC["content-type"],
        )


def test_a_connection_may_be_answer_enough(running: Running) -> None:
    with endpoints() as (there, away):
        service = running.service(there.address, away.address, health_check={"tcp": True, **OFTEN})
        ask(running.web, service)
        found(running.web, service, away, is_well=True)
        assert there.checks == []
        with http1.server(there.over_http) as closed:
            gone = Endpoint(closed.address)
        running.service(there.address, gone.address, name=service, health_check={"tcp": True, **OFTEN})
        assert found(running.web, service, gone, is_well=False).startswith("The connection to the endpoint failed.")
        assert found(running.web, service, there, is_well=True) == ""


def test_a_check_goes_the_way_of_calls_and_ends_with_its_document(running: Running) -> None:
    endpoint = Endpoint()
    with (
        http1.server(endpoint.over_http) as app,
        running.with_sidecar("checked", app.port, **HTTP) as proxy,
    ):
        ask(running.web, "checked")
        # The callee's sidecar lets in who has an identity of the mesh.
        endpoint.address = proxy.inbound
        assert found(running.web, "checked", endpoint, is_well=True) == ""
        assert endpoint.checks
        endpoint.is_well = False
        found(running.web, "checked", endpoint, is_well=False)

        running.mesh.document("services/checked", endpoints=[{"address": proxy.inbound}])
        eventually("no check", lambda: checks(running.web, "checked") == {proxy.inbound: None}, within=10)
        assert ask(running.web, "checked") == [200]


@pytest.mark.parametrize("hangs", ["before", "after"])
def test_an_answer_that_does_not_come_is_none(running: Running, hangs: str) -> None:
    def script(peer: Http1) -> None:
        peer.take()
        if hangs == "after":
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfi")
        peer.is_over()

    check = {"http": "/healthz", **OFTEN, "timeout": "100ms"}
    with http1.scripted_server(script) as server, endpoints(1) as (well,):
        service = running.service(server.address, well.address, health_check=check)
        with Http1.connect(running.web.outbound) as client:
            client.send(f"GET / HTTP/1.1\r\nhost: {service}\r\n\r\n")
            assert found(running.web, service, Endpoint(server.address), is_well=False) == "no answer within 100ms"
