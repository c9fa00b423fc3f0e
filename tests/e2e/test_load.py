"""Many callers at once: none fails, and the work is shared evenly."""

import asyncio
import itertools
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

from tests.e2e.conftest import Running, failures
from tests.peers import http1
from tests.peers.grpc_app import GrpcApp, Stub, calling, grpc_app
from tests.peers.http1 import Http1
from tests.peers.message import Answer, Request, sized
from tests.peers.scripted import PATIENCE

CONNECTIONS, CALLS_AT_ONCE, CALLS_EACH = 20, 200, 5


async def call_all(proxy: str, service: str) -> list[bytes]:
    """CALLS_AT_ONCE callers over CONNECTIONS connections, each with CALLS_EACH calls; returns the answers."""
    async with AsyncExitStack() as stack:
        stubs = [await stack.enter_async_context(calling(proxy, service)) for _ in range(CONNECTIONS)]

        async def caller(number: int, stub: Stub) -> list[bytes]:
            return [await stub.unary(b"%d.%d" % (number, call), timeout=PATIENCE) for call in range(CALLS_EACH)]

        answers = await asyncio.gather(*map(caller, range(CALLS_AT_ONCE), itertools.cycle(stubs)))
    return sorted(itertools.chain.from_iterable(answers))


EXPECTED = sorted(b"%d.%d" % (number, call) for number in range(CALLS_AT_ONCE) for call in range(CALLS_EACH))


async def test_200_callers_through_gateway_and_sidecar(running: Running, echo: GrpcApp) -> None:
    before = failures(running.edge, "echo")
    assert await call_all(running.edge.edge, "echo") == EXPECTED
    assert failures(running.edge, "echo") == before


async def test_200_callers_are_shared_by_two_instances(running: Running) -> None:
    with grpc_app() as one, grpc_app() as two:
        service = running.service(f"127.0.0.1:{one.port}", f"127.0.0.1:{two.port}", protocol="grpc")
        assert await call_all(running.edge.edge, service) == EXPECTED
        assert one.calls + two.calls == len(EXPECTED)
        # The less loaded of two at random: an instance that is slower for a while gets less for a while.
        assert min(one.calls, two.calls) > 0.3 * len(EXPECTED)
        assert failures(running.edge, service) == []


def test_64_http1_connections_are_kept(running: Running) -> None:
    connections, requests_each = 64, 10

    def caller(number: int) -> set[tuple[int, bytes]]:
        body = str(number).encode()
        with Http1.connect(running.edge.edge) as peer:
            request = Request("POST", "/", service, sized(body), body)
            return {(answer.status, answer.body) for answer in (peer.ask(request) for _ in range(requests_each))}

    with http1.server(lambda request: Answer(200, sized(request.body), request.body)) as server:
        service = running.service(server.address)
        with ThreadPoolExecutor(connections) as callers:
            answers = list(callers.map(caller, range(connections)))

        assert answers == [{(200, str(number).encode())} for number in range(connections)]
        # Connections to the app are kept too: there were never more than requests at once.
        assert server.accepted <= connections
        assert failures(running.edge, service) == []
