"""A service takes so many requests at a time, and so many in a time; its sidecar refuses the rest at once."""

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import pytest

from tests.e2e.conftest import Running, live
from tests.e2e.test_breaking import cluster
from tests.mesh import Proxy
from tests.peers import http1, http2
from tests.peers.http1 import Http1
from tests.peers.http2 import Http2
from tests.peers.message import Answer, Request, sized

GRPC = {"content-type": "application/grpc"}
FINE = Answer(200, sized(b"fine"), b"fine")
FINE_CALL = Answer(200, GRPC, bytes(5), {"grpc-status": "0"})
ONCE = {"attempts": 1}


@dataclass
class Guarded:
    """A service behind its sidecar; `/slow` answers when it may."""

    running: Running
    name: str
    protocol: str
    answer: Answer
    open: threading.Event = field(default_factory=threading.Event)
    taken: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    sidecar: Proxy = field(init=False)

    def app(self, request: Request) -> Answer:
        if request.path == "/slow":
            self.taken.release()
            assert self.open.wait(10), "nobody let it answer"
        return self.answer

    @contextmanager
    def behind_sidecar(self, port: int) -> Iterator[Self]:
        with self.running.with_sidecar(self.name, port, protocol=self.protocol, retry=ONCE) as self.sidecar:
            yield self

    def limit(self, **fields: Any) -> None:
        """In force at its sidecar when this returns."""
        document = {
            "protocol": self.protocol,
            "retry": ONCE,
            "endpoints": [{"address": self.sidecar.inbound}],
            **fields,
        }
        self.running.mesh.document(f"services/{self.name}", **document)
        for proxy in (self.sidecar, self.running.web, self.running.edge):
            live(proxy, "service", self.name, document)

    def ask(self, target: str = "/", port: str = "", **fields: str) -> Answer:
        with Http1.connect(port or self.running.web.outbound) as client:
            return client.ask(Request("GET", target, self.name, fields))

    def call(self, target: str = "/shop.Orders/Get") -> Answer:
        with Http2.connect(self.running.web.outbound) as client:
            return client.ask(Request("POST", target, self.name, GRPC, bytes(5)))


@pytest.fixture(scope="module")
def shelf(running: Running) -> Iterator[Guarded]:
    guarded = Guarded(running, "shelf", "http", FINE)
    with http1.server(guarded.app) as server, guarded.behind_sidecar(server.port):
        yield guarded


@pytest.fixture(scope="module")
def orders(running: Running) -> Iterator[Guarded]:
    guarded = Guarded(running, "orders-limited", "grpc", FINE_CALL)
    with http2.server(guarded.app) as server, guarded.behind_sidecar(server.port):
        yield guarded


def seen(guarded: Guarded) -> dict[str, Any]:
    """What its caller's sidecar has counted of it."""
    (endpoint,) = cluster(guarded.running.web, guarded.name)["endpoints"]
    found: dict[str, Any] = endpoint
    return found


@pytest.mark.parametrize("limit", [1, None], ids=["limited", "unlimited"])
def test_one_request_too_many_at_a_time_is_refused_at_once(shelf: Guarded, limit: int | None) -> None:
    shelf.limit(**({"concurrency": limit} if limit else {}))
    assert shelf.ask().status == 200
    overloads = seen(shelf)["overloads_total"]
    shelf.open.clear()
    with ThreadPoolExecutor() as threads:
        try:
            first = threads.submit(shelf.ask, "/slow")
            assert shelf.taken.acquire(timeout=10)
            others = [shelf.ask() for _ in range(10)]
        finally:
            shelf.open.set()
        assert first.result().status == 200
    assert [other.status for other in others] == [503 if limit else 200] * 10
    if limit:
        assert {other.fields["x-sidecar-reason"] for other in others} == {"concurrency-limit"}
        assert {other.fields["retry-after"] for other in others} == {"1"}
    assert shelf.ask().status == 200
    # Too much to do is no failure: nobody is ejected for it.
    assert seen(shelf)["failures_total"] == 0
    assert seen(shelf)["overloads_total"] - overloads == (10 if limit else 0)


def test_more_requests_than_the_rate_are_told_when_to_come_back(shelf: Guarded) -> None:
    shelf.limit(rate_limit={"requests": 2, "per": "1h"})
    answers = [shelf.ask() for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert {answer.fields["ratelimit-policy"] for answer in answers} == {'"default";q=2;w=3600'}
    left = [re.fullmatch(r'"default";r=(\d+);t=(\d+)', answer.fields["ratelimit"]) for answer in answers]
    assert [match and match[1] for match in left] == ["1", "0", "0"]
    refused = answers[-1]
    assert refused.fields["x-sidecar-reason"] == "rate-limited"
    assert 0 < int(refused.fields["retry-after"]) <= 1800

    # What counts outlives the document that says how much.
    shelf.limit(rate_limit={"requests": 2, "per": "1h"}, timeout="9s")
    assert shelf.ask().status == 429
    shelf.limit()
    answer = shelf.ask()
    assert (answer.status, "ratelimit" in answer.fields) == (200, False)


def test_each_source_and_each_value_of_a_header_has_a_rate_of_its_own(shelf: Guarded, running: Running) -> None:
    shelf.limit(rate_limit={"requests": 1, "per": "1h", "by": ["source"]})
    assert [shelf.ask().status for _ in range(2)] == [200, 429]
    # The gateway is another source.
    assert [shelf.ask(port=running.edge.edge).status for _ in range(2)] == [200, 429]

    shelf.limit(rate_limit={"requests": 1, "per": "1h", "by": [{"header": "x-user"}]})
    assert [shelf.ask(**{"x-user": user}).status for user in ("a", "a", "b", "b")] == [200, 429, 200, 429]


def test_calls_are_refused_in_grpcs_own_words(orders: Guarded) -> None:
    orders.limit(rate_limit={"requests": 1, "per": "1h", "by": ["method"]})
    fine, refused = orders.call(), orders.call()
    assert fine.trailers["grpc-status"] == "0"
    assert fine.fields["ratelimit"].startswith('"default";r=0;t=')
    assert (refused.status, refused.fields["grpc-status"]) == (200, "8")
    assert 0 < int(refused.fields["grpc-retry-pushback-ms"]) <= 3_600_000
    assert "retry-after" not in refused.fields
    assert orders.call("/shop.Orders/Put").trailers["grpc-status"] == "0"

    orders.limit(concurrency=1)
    orders.open.clear()
    with ThreadPoolExecutor() as threads:
        try:
            first = threads.submit(orders.call, "/slow")
            assert orders.taken.acquire(timeout=10)
            refused = orders.call()
        finally:
            orders.open.set()
        assert first.result().trailers["grpc-status"] == "0"
    assert (refused.fields["grpc-status"], refused.fields["x-sidecar-reason"]) == ("8", "concurrency-limit")
    assert "grpc-retry-pushback-ms" not in refused.fields
