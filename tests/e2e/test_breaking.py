"""Endpoints that fail are left alone for a while, and so is a service that fails as a whole."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.conftest import Running, last_failure
from tests.mesh import Proxy, eventually
from tests.peers import http1, http2
from tests.peers.http1 import Http1
from tests.peers.http2 import Http2
from tests.peers.message import Answer, App, Request, sized
from tests.peers.scripted import ScriptedServer

GRPC = {"content-type": "application/grpc"}
FINE = Answer(200, sized(b"fine"), b"fine")
BROKEN = Answer(500, sized(b"no"), b"no")
GONE = Answer(503, sized(b"no"), b"no")
FINE_CALL = Answer(200, GRPC, bytes(5), {"grpc-status": "0"})
BROKEN_CALL = Answer(200, GRPC, b"", {"grpc-status": "13"})
# Nobody but the endpoint itself is to answer for it.
ONCE = {"attempts": 1}
LONG = {"ejection": "1h", "max_ejection": "1h"}


@dataclass
class Endpoint:
    """It answers as it is told, and counts."""

    answer: Answer
    address: str = ""
    requests: int = 0

    def app(self, _: Request) -> Answer:
        self.requests += 1
        return self.answer


@contextmanager
def endpoints(serve: Callable[[App], ScriptedServer[Any]], *answers: Answer) -> Iterator[list[Endpoint]]:
    with ExitStack() as stack:
        found = [Endpoint(answer) for answer in answers]
        for endpoint in found:
            endpoint.address = stack.enter_context(serve(endpoint.app)).address
        yield found


def statuses(proxy: Proxy, service: str, count: int) -> list[int]:
    with Http1.connect(proxy.outbound) as client:
        return [client.ask(Request(host=service)).status for _ in range(count)]


def calls(proxy: Proxy, service: str, count: int) -> list[str]:
    with Http2.connect(proxy.outbound) as client:
        request = Request("POST", "/pkg.Service/Method", service, GRPC, bytes(5))
        return [client.ask(request).trailers["grpc-status"] for _ in range(count)]


def cluster(proxy: Proxy, name: str) -> dict[str, Any]:
    clusters: list[dict[str, Any]] = json.loads(proxy.get("/api/v1/clusters")[1])["clusters"]
    return next(found for found in clusters if found["name"] == name)


def active(proxy: Proxy, name: str) -> dict[str, int]:
    """Requests in flight, by endpoint."""
    return {who["address"]: who["requests_active"] for who in cluster(proxy, name)["endpoints"]}


def ejected(proxy: Proxy, name: str) -> list[str]:
    return [who["address"] for who in cluster(proxy, name)["endpoints"] if who["ejected_ms"] is not None]


@pytest.mark.parametrize("detection", [LONG, {"enabled": False}], ids=["on", "off"])
def test_one_of_three_that_fails_in_its_trailers_is_ejected(running: Running, detection: dict[str, Any]) -> None:
    with endpoints(http2.server, BROKEN_CALL, FINE_CALL, FINE_CALL) as (bad, *good):
        service = running.service(
            *(endpoint.address for endpoint in (bad, *good)),
            protocol="grpc",
            load_balancer="round_robin",
            retry=ONCE,
            outlier_detection=detection,
        )
        outcomes = calls(running.web, service, 60)
        if "enabled" in detection:
            assert (outcomes.count("13"), bad.requests) == (20, 20)
            assert ejected(running.web, service) == []
        else:
            assert (outcomes.count("13"), bad.requests) == (5, 5)
            assert ejected(running.web, service) == [bad.address]
            line = f"{bad.address} of {service} gets no requests"
            eventually("a line in the log", lambda: line in running.web.output())


def test_an_only_endpoint_is_never_ejected_and_of_two_one_is_left(running: Running) -> None:
    with endpoints(http1.server, BROKEN, BROKEN) as both:
        alone = running.service(both[0].address, retry=ONCE, outlier_detection=LONG)
        assert statuses(running.web, alone, 20) == [500] * 20
        assert ejected(running.web, alone) == []

        addresses = [endpoint.address for endpoint in both]
        two = running.service(*addresses, retry=ONCE, outlier_detection=LONG, load_balancer="round_robin")
        assert statuses(running.web, two, 40) == [500] * 40
        assert len(ejected(running.web, two)) == 1


def test_a_failure_tells_how_many_were_ejected(running: Running) -> None:
    with endpoints(http1.server, BROKEN, FINE) as (bad, good):
        service = running.service(
            bad.address, good.address, retry=ONCE, outlier_detection=LONG, load_balancer="round_robin"
        )
        statuses(running.web, service, 20)
        assert ejected(running.web, service) == [bad.address]
    # Now the one that is left is gone too.
    assert statuses(running.web, service, 1) in ([502], [503])
    assert last_failure(running.web, service)["candidates"] == {
        "total": 2,
        "healthy": 1,
        "ejected": 1,
        "ill": 0,
        "priority": 0,
        "panic": False,
    }


def test_an_endpoint_that_is_well_again_comes_back_by_one_request(running: Running) -> None:
    with endpoints(http1.server, BROKEN, FINE) as (bad, good):
        short = {"ejection": "300ms", "max_ejection": "300ms"}
        service = running.service(
            bad.address, good.address, retry=ONCE, outlier_detection=short, load_balancer="round_robin"
        )
        statuses(running.web, service, 20)
        assert bad.requests >= 5

        bad.answer = FINE

        def is_back() -> bool:
            statuses(running.web, service, 2)
            return not ejected(running.web, service)

        eventually("its return", is_back)
        before = bad.requests
        assert statuses(running.web, service, 10) == [200] * 10
        assert bad.requests == before + 5


def test_a_service_that_fails_as_a_whole_is_left_alone_until_one_request_succeeds(running: Running) -> None:
    with endpoints(http1.server, BROKEN) as (bad,):
        breaker = {"failure_rate": "50%", "min_requests": 10, "open": "1s"}
        service = running.service(bad.address, retry=ONCE, circuit_breaker=breaker)
        outcomes = statuses(running.web, service, 15)
        assert outcomes == [500] * 10 + [503] * 5
        assert bad.requests == 10
        assert last_failure(running.web, service)["reason"] == "circuit-open"
        assert cluster(running.web, service)["open_ms"] is not None

        bad.answer = FINE
        eventually("one that is let through", lambda: statuses(running.web, service, 1) == [200])
        assert statuses(running.web, service, 10) == [200] * 10
        assert cluster(running.web, service)["open_ms"] is None


def test_few_failures_do_not_open_the_circuit_and_without_a_rate_none_do(running: Running) -> None:
    with endpoints(http1.server, BROKEN) as (bad,):
        few = {"failure_rate": "50%", "min_requests": 30}
        for breaker in (few, {}):
            service = running.service(bad.address, retry=ONCE, circuit_breaker=breaker)
            assert statuses(running.web, service, 25) == [500] * 25
            assert cluster(running.web, service)["open_ms"] is None


def test_gateway_errors_in_a_row_eject_sooner_than_other_failures(running: Running) -> None:
    detection = {**LONG, "consecutive_errors": 10, "consecutive_gateway_errors": 3, "success_rate": "0%"}
    for answer, requests in ((GONE, 3), (BROKEN, 10)):
        with endpoints(http1.server, answer, FINE) as (bad, good):
            service = running.service(
                bad.address, good.address, retry=ONCE, outlier_detection=detection, load_balancer="round_robin"
            )
            statuses(running.web, service, 40)
            assert (bad.requests, ejected(running.web, service)) == (requests, [bad.address])


def test_ejected_endpoints_count_for_failover(running: Running) -> None:
    with endpoints(http1.server, BROKEN, FINE, FINE) as (bad, good, other):
        spare = running.service(other.address)
        service = running.service(
            bad.address,
            good.address,
            retry=ONCE,
            outlier_detection=LONG,
            load_balancer={"policy": "round_robin", "panic_threshold": "60%"},
            failover=[{"service": spare}],
        )
        statuses(running.web, service, 20)
        assert ejected(running.web, service) == [bad.address]
        # One of two is less than the threshold.
        before = good.requests
        assert statuses(running.web, service, 10) == [200] * 10
        assert (good.requests, other.requests >= 10) == (before, True)


class Slow:
    """Keeps its requests until it is told to answer."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.taken = threading.Semaphore(0)
        self.requests = 0

    def app(self, _: Request) -> Answer:
        self.requests += 1
        self.taken.release()
        assert self.open.wait(10), "nobody let it answer"
        return FINE


@pytest.mark.parametrize("limit", [1, None], ids=["limited", "unlimited"])
def test_an_endpoint_with_as_much_in_flight_as_it_may_have_is_passed_over(running: Running, limit: int | None) -> None:
    slow = Slow()
    with http1.server(slow.app) as held, endpoints(http1.server, FINE) as (other,), ThreadPoolExecutor() as threads:
        service = running.service(
            held.address,
            other.address,
            retry=ONCE,
            load_balancer="round_robin",
            circuit_breaker={"per_endpoint": {"max_requests": limit}} if limit else {},
        )
        try:
            # The first of these two is kept, or the second.
            first = [threads.submit(statuses, running.web, service, 1) for _ in range(2)]
            assert slow.taken.acquire(timeout=10)
            if limit is None:
                more = [threads.submit(statuses, running.web, service, 1) for _ in range(4)]
                eventually("more of them are kept", lambda: slow.requests == 3)
            else:
                one = {held.address: 1, other.address: 0}
                eventually("one of them is answered", lambda: active(running.web, service) == one)
                assert statuses(running.web, service, 10) == [200] * 10
                assert slow.requests == 1
                found = cluster(running.web, service)
                assert found["limits"]["per_endpoint"] == {
                    "max_requests": 1,
                    "max_pending": None,
                    "max_connections": None,
                    "max_retries": None,
                }
                assert active(running.web, service) == one
                more = []
        finally:
            slow.open.set()
        assert [future.result() for future in [*first, *more]] == [[200]] * (2 + len(more))


def test_when_every_endpoint_has_as_much_as_it_may_the_limit_is_named(running: Running) -> None:
    slow = Slow()
    limits = {"per_endpoint": {"max_requests": 1, "max_connections": 1, "max_pending": 1}}
    with http1.server(slow.app) as held, ThreadPoolExecutor() as threads:
        service = running.service(held.address, retry=ONCE, circuit_breaker=limits)
        try:
            first = threads.submit(statuses, running.web, service, 1)
            assert slow.taken.acquire(timeout=10)
            assert statuses(running.web, service, 1) == [503]
            failure = last_failure(running.web, service)
            assert failure["reason"] == "overflow"
            assert "per_endpoint.max_requests: every endpoint has 1 in flight" in failure["detail"]
        finally:
            slow.open.set()
        assert first.result() == [200]


@pytest.mark.parametrize("limit", [1, None], ids=["limited", "unlimited"])
def test_an_endpoint_gets_as_many_retries_at_a_time_as_it_may(running: Running, limit: int | None) -> None:
    slow = Slow()
    with http1.server(slow.app) as held, endpoints(http1.server, GONE) as (bad,), ThreadPoolExecutor(8) as threads:
        service = running.service(
            held.address,
            bad.address,
            retry={"attempts": 2, "on": [503], "budget": "100%"},
            load_balancer="round_robin",
            outlier_detection={"enabled": False},
            circuit_breaker={"per_endpoint": {"max_retries": limit}} if limit else {},
        )
        try:
            asked = [threads.submit(statuses, running.web, service, 1) for _ in range(8)]
            eventually(
                "each is kept or has its answer",
                lambda: slow.requests + sum(one.done() for one in asked) == len(asked),
            )
            retries = {who["address"]: who["retries_active"] for who in cluster(running.web, service)["endpoints"]}
            # Who may not go there as well tries the one again that failed, and has that answer.
            if limit is None:
                assert (retries[held.address] > 1, slow.requests) == (True, len(asked))
            else:
                assert (retries[held.address], slow.requests < len(asked)) == (1, True)
        finally:
            slow.open.set()
        assert {one.result()[0] for one in asked} == ({200} if limit is None else {200, 503})
        assert cluster(running.web, service)["retries_active"] == 0
