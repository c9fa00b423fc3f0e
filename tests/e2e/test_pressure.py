"""A gateway with little memory: what is sent and not taken is broken off before the kernel ends the process."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from h2.settings import SettingCodes

from tests.mesh import LOOPBACK, Mesh, Proxy, eventually
from tests.peers import http2
from tests.peers.http1 import Http1
from tests.peers.http2 import Http2
from tests.peers.message import CutOff, Ended, Request

# Each upload fills its window, and there is none beyond.
CLIENTS, UPLOADS, WINDOW = 12, 60, (64 << 10) - 1
# The share of the memory from which on everything is refused.
FULL = 0.85
# Seconds: for a client that has no room left, and until a busy machine has come so far.
STUCK, PATIENCE = 0.5, 20.0
OVERLOADED = re.compile(
    r'^http_server_request_duration_seconds_count\{[^}]*sidecar_reason="overloaded"[^}]*\} (\d+)', re.M
)


def app(peer: Http2) -> None:
    """Answers at once what has no content, and takes no content."""
    peer.reads = False
    peer.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: CLIENTS * UPLOADS + 20})
    peer.flush()
    while True:
        stream = peer.next_stream()
        if stream.fields[":path"] == "/small":
            peer.respond(stream, end=True)


def anonymous(proxy: Proxy) -> int:
    """Bytes of memory that the process has for itself."""
    status = Path(f"/proc/{proxy.process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) << 10


def refused(gateway: Proxy) -> int:
    return sum(map(int, OVERLOADED.findall(gateway.get("/metrics")[1])))


def is_served(gateway: Proxy) -> bool:
    with suppress(OSError, EOFError), Http1.connect(gateway.edge) as client:
        return client.ask(Request(path="/small")).status == 200
    return False


@contextmanager
def uploads(gateway: Proxy) -> Iterator[None]:
    """Clients that send what their windows allow, and then wait."""
    with ExitStack() as clients:
        for _ in range(CLIENTS):
            client = clients.enter_context(Http2.connect(gateway.edge))
            client.socket.settimeout(STUCK)
            with suppress(CutOff, Ended, OSError):
                streams = [client.request(Request("POST", "/upload"), end=False) for _ in range(UPLOADS)]
                for stream in streams:
                    with suppress(CutOff):
                        client.data(stream, bytes(WINDOW))
            # Whoever asks the admin address is answered all the time.
            assert gateway.get("/ready")[0] == 200
        yield


@pytest.mark.timeout(120)
def test_uploads_that_stand_still_end_before_memory_does(tmp_path: Path) -> None:
    with http2.scripted_server(app) as server, Mesh(tmp_path) as mesh:
        open_wide = dict.fromkeys(("max_requests", "max_pending", "max_connections"), 1_000_000)
        service = {"protocol": "http2", "tls": "disabled", "timeout": "0s", "circuit_breaker": open_wide}
        mesh.document("services/web", **service, endpoints=[{"address": server.address}])
        mesh.document("gateways/edge", listeners=[LOOPBACK], routes=[{"name": "all", "to": {"service": "web"}}])

        unbounded = mesh.gateway("edge", "--memory-limit", "1024GiB")
        assert is_served(unbounded)
        idle = anonymous(unbounded)
        with uploads(unbounded):
            most = anonymous(unbounded)
            assert refused(unbounded) == 0
        # Otherwise the rest would show nothing.
        assert most - idle >= CLIENTS * UPLOADS * WINDOW // 2
        unbounded.kill()

        limit = int((idle + most) / 2 / FULL)
        bounded = mesh.gateway("edge", "--memory-limit", f"{limit}B")
        assert is_served(bounded)
        with uploads(bounded):
            # All the uploads are still there, but for those that it has ended.
            eventually("uploads are broken off", lambda: refused(bounded), PATIENCE)
            eventually("others are served", lambda: is_served(bounded), PATIENCE)
            assert anonymous(bounded) < most
        calm = 'sidecar_pressure{resource="memory"} 0'
        eventually("there is enough again", lambda: calm in bounded.get("/metrics")[1], PATIENCE)
        assert is_served(bounded)
        assert "the process runs out of memory: all requests are refused" in bounded.output()
