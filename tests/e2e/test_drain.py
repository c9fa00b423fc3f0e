"""The end of a proxy that carries calls: who came in time is served, nobody else gets in."""

import asyncio
import signal
import threading
import time
from collections.abc import Iterator

import grpc
import grpc.aio
import pytest

from tests.mesh import Mesh, Proxy, eventually
from tests.peers import http1, http2
from tests.peers.grpc_app import GrpcApp, calling, grpc_app
from tests.peers.http1 import Http1, encoded
from tests.peers.http2 import Http2
from tests.peers.message import Answer, Ended, Request, sized
from tests.peers.scripted import PATIENCE, ScriptedServer

# Seconds from the end of the last call to the end of the process; typical is 0.3.
EXIT_WITHIN = 5.0


@pytest.fixture
def app() -> Iterator[GrpcApp]:
    with grpc_app() as app:
        yield app


class Slow:
    """A server whose answers wait for `go`."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.go = threading.Event()

    def __call__(self, request: Request) -> Answer:
        self.asked.set()
        self.go.wait(PATIENCE)
        return Answer(200, sized(b"slow"), b"slow")


def refuses_connections(proxy: Proxy) -> bool:
    try:
        Http1.connect(proxy.outbound).close()
    except ConnectionRefusedError:
        return True
    return False


async def test_a_grpc_call_ends_well_and_then_the_process_does(mesh: Mesh, app: GrpcApp) -> None:
    mesh.document("services/orders", protocol="grpc", tls="disabled", endpoints=[{"address": f"127.0.0.1:{app.port}"}])
    web = await asyncio.to_thread(mesh.sidecar, "web", 1)
    async with calling(web.outbound, "orders") as stub:
        call = stub.conversation()
        await call.write(b"one")
        assert await call.read() == b"ONE"

        web.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(eventually, "nobody else gets in", lambda: refuses_connections(web))

        # The conversation goes on in both directions as long as it wants, within the grace.
        await call.write(b"two")
        assert await call.read() == b"TWO"
        assert web.process.poll() is None
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK

        ended = time.monotonic()
        assert await asyncio.to_thread(web.process.wait, PATIENCE) == 0
        assert time.monotonic() - ended < EXIT_WITHIN


def serving(mesh: Mesh, server: ScriptedServer[Http1] | ScriptedServer[Http2], protocol: str) -> Proxy:
    """The sidecar of `web`, whose calls to `orders` go to this server."""
    mesh.document("services/orders", protocol=protocol, tls="disabled", endpoints=[{"address": server.address}])
    return mesh.sidecar("web", 1)


def test_http2_clients_are_told_to_go(mesh: Mesh) -> None:
    app = Slow()
    with http2.server(app) as server:
        web = serving(mesh, server, "http2")
        with Http2.connect(web.outbound) as busy, Http2.connect(web.outbound) as idle:
            stream = busy.request(Request(host="orders"))
            assert app.asked.wait(PATIENCE)
            assert idle.ask(Request(host="nowhere")).status == 404

            web.process.send_signal(signal.SIGTERM)

            # In two steps: first that it ends, then which stream is the last (RFC 9113 section 6.8).
            busy.until(lambda: len(busy.goaways) == 2)
            assert busy.goaways == [(2**31 - 1, 0), (stream.id, 0)]
            # Who has nothing in flight is done.
            with pytest.raises(Ended):
                idle.until(lambda: False)
            assert idle.goaways[0] == (2**31 - 1, 0)

            app.go.set()
            assert busy.answer(stream).body == b"slow"
            assert web.process.wait(PATIENCE) == 0


def test_http1_connections_end_with_the_answer_in_flight(mesh: Mesh) -> None:
    app = Slow()
    with http1.server(app) as server:
        web = serving(mesh, server, "http")
        with Http1.connect(web.outbound) as busy, Http1.connect(web.outbound) as idle:
            busy.send(encoded(Request(host="orders")))
            assert app.asked.wait(PATIENCE)
            assert idle.ask(Request(host="nowhere")).status == 404

            web.process.send_signal(signal.SIGTERM)

            assert idle.is_over()
            app.go.set()
            answer = busy.answer()
            # RFC 9112 section 9.6.
            assert (answer.body, answer.fields.get("connection")) == (b"slow", "close")
            assert busy.is_over()
        assert web.process.wait(PATIENCE) == 0
