"""The life of proxies as an operator sees it: start, signals, drain, crash. Each test has processes of its own."""

import http.client
import http.server
import re
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.fidelity.apps import running as serving
from tests.e2e.fidelity.apps import serve_http1
from tests.e2e.fidelity.test_tunnels import Tunnel
from tests.mesh import LOOPBACK, Mesh, Proxy, eventually
from tests.peers import http1
from tests.peers.http1 import Http1
from tests.peers.message import Answer, Request, sized

pytestmark = pytest.mark.real

# An idle sidecar's budget.
MAX_RSS_KIB = 64 * 1024


@dataclass
class App:
    """An HTTP server whose answers wait for `go`, and tells by `asked` when one waits."""

    port: int = 0
    go: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def app() -> Iterator[App]:
    running = App()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            running.asked.set()
            running.go.wait(30)
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"done")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.port = server.server_port
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield running
    running.go.set()
    server.shutdown()
    thread.join()
    server.server_close()


def caller_of(mesh: Mesh, app: App, *arguments: str) -> Proxy:
    """The sidecar of `web`, whose calls to `orders` pass the sidecar of orders."""
    mesh.document("services/orders", protocol="http")
    orders = mesh.sidecar("orders", app.port)
    mesh.document("services/orders", protocol="http", endpoints=[{"address": orders.inbound}])
    return mesh.sidecar("web", 1, *arguments)


class Call:
    """A GET to `orders` through an outbound listener, on a thread of its own."""

    def __init__(self, proxy: Proxy) -> None:
        self.outcome = "waiting"
        self._connection = http.client.HTTPConnection(proxy.outbound, timeout=30)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._connection.request("GET", "/", headers={"Host": "orders"})
            answer = self._connection.getresponse()
            self.outcome = f"{answer.status} {answer.read().decode()}"
        except (OSError, http.client.HTTPException) as error:
            self.outcome = type(error).__name__
        finally:
            self._connection.close()

    def end(self) -> str:
        """How it ended."""
        self._thread.join(30)
        return self.outcome


def test_a_request_on_its_way_ends_well_after_a_signal(mesh: Mesh, app: App) -> None:
    web = caller_of(mesh, app)
    call = Call(web)
    assert app.asked.wait(10)

    web.process.send_signal(signal.SIGTERM)
    eventually("not ready while it drains", lambda: web.get("/ready")[0] == 503)
    app.go.set()

    assert call.end() == "200 done"
    assert web.process.wait(10) == 0


def test_the_grace_bounds_the_drain(mesh: Mesh, app: App) -> None:
    web = caller_of(mesh, app, "--grace", "200ms")
    call = Call(web)
    assert app.asked.wait(10)

    assert web.stop() == 0
    assert not call.end().startswith("200")
    assert "cut off after 0.2 s of grace" in web.output()


@pytest.mark.parametrize(("second", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_second_signal_ends_at_once(mesh: Mesh, app: App, second: signal.Signals, code: int) -> None:
    web = caller_of(mesh, app)
    call = Call(web)
    assert app.asked.wait(10)
    web.process.send_signal(signal.SIGTERM)
    eventually("draining", lambda: web.get("/ready")[0] == 503)

    web.process.send_signal(second)

    assert web.process.wait(5) == code
    app.go.set()
    call.end()


def test_two_sidecars_never_share_a_port(mesh: Mesh) -> None:
    port = mesh.sidecar("orders", 1).outbound.rpartition(":")[2]

    with pytest.raises(AssertionError, match=rf"(?s)exited with 1.*cannot listen on 127.0.0.1:{port}"):
        mesh.sidecar("web", 2, "--outbound-port", port)


def test_a_killed_sidecar_comes_back_with_the_same_ca(mesh: Mesh, app: App) -> None:
    app.go.set()
    web = caller_of(mesh, app)
    assert Call(web).end() == "200 done"
    web.kill()

    again = mesh.sidecar("web", 1)

    assert Call(again).end() == "200 done"
    assert len(list(Path(mesh.config.parent, "run").glob("sidecar-web-*.json"))) == 1


def test_an_idle_sidecar_is_small_and_holds_no_library_that_it_does_not_use(mesh: Mesh) -> None:
    # The first one may have compiled modules.
    mesh.sidecar("first", 1)
    idle = mesh.sidecar("orders", 1)
    idle.get("/metrics")

    process = Path(f"/proc/{idle.process.pid}")
    resident = re.search(r"VmRSS:\s+(\d+) kB", (process / "status").read_text())
    assert resident is not None
    assert int(resident[1]) <= MAX_RSS_KIB
    mapped = (process / "maps").read_text()
    assert "cygrpc" not in mapped
    assert "cryptography" not in mapped


def test_a_sidecar_starts_beside_a_gateways_mistake(mesh: Mesh) -> None:
    route = {"name": "all", "to": {"service": "nobody-wrote-it"}}
    mesh.document("gateways/edge", listeners=[LOOPBACK], routes=[route])
    assert mesh.sidecar("web", 1).get("/ready")[0] == 200


def test_a_killed_callee_comes_back_and_is_believed(mesh: Mesh) -> None:
    with http1.server(lambda _: Answer(200, sized(b"tea"), b"tea")) as server:
        mesh.document("services/orders")
        orders = mesh.sidecar("orders", server.port)
        mesh.document("services/orders", endpoints=[{"address": orders.inbound}])
        web = mesh.sidecar("web", 1)
        with Http1.connect(web.outbound) as peer:
            assert peer.ask(Request(host="orders")).body == b"tea"

            orders.kill()
            refused = peer.ask(Request(host="orders"))
            assert (refused.status, refused.fields["x-sidecar-reason"]) in {
                (503, "connect-failure"),
                (502, "upstream-reset"),
            }

            # With the state that the crash left: the CA is the same, so the caller, who ran on, still verifies it.
            again = mesh.sidecar("orders", server.port)
            mesh.document("services/orders", endpoints=[{"address": again.inbound}])
            eventually("orders answers again", lambda: peer.ask(Request(host="orders")).body == b"tea")


def test_a_drain_ends_tunnels_with_its_grace_and_says_so(mesh: Mesh) -> None:
    grace = 1.0
    with serving(serve_http1) as chat:
        mesh.document("services/chat", tls="disabled", endpoints=[{"address": f"127.0.0.1:{chat.port}"}])
        mesh.document("gateways/edge", listeners=[LOOPBACK], routes=[{"name": "chat", "to": {"service": "chat"}}])
        edge = mesh.gateway("edge", "--grace", f"{grace}s")
        tunnel = Tunnel(edge.edge, "chat")
        begin = time.monotonic()
        edge.process.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionResetError):
            tunnel.peer.socket.recv(1)
        tunnel.peer.close()
        assert time.monotonic() - begin >= grace
        assert edge.process.wait(10) == 0
    (line,) = [line for line in edge.output().splitlines() if '"/tunnel"' in line]
    assert '"draining"' in line
