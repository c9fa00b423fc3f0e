"""A thousand clients that are slow, silent or talk nonsense, against one gateway: others do not notice, and it ends."""

import resource
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.process import cpu_nanoseconds, memory
from tests.mesh import LOOPBACK, Mesh, Proxy, eventually
from tests.peers.http1 import Http1
from tests.peers.message import Request
from tests.real.attacks.rig import SMALL, App, Bystander
from tests.tls import secured

pytestmark = pytest.mark.real

CROWD = 1000
# Seconds; far below the defaults, so that a test which passes has seen them at work.
TIMEOUT = 2.0
LIMITS = dict.fromkeys(("header_timeout", "body_timeout", "send_timeout"), f"{TIMEOUT}s")
# Seconds between two bytes of a slow client, and until a busy machine has ended all of them.
PAUSE, PATIENCE = 0.5, 20.0
# Bytes of memory within which it all happens.
MEMORY = 256 << 20
# Descriptors that the gateway may have, and seconds of processor time that it may use in a second without any left.
DESCRIPTORS, IDLE = 256, 0.3
# A record of a TLS handshake (RFC 8446 section 5.1) whose message is a ClientHello of 16 MiB.
RECORD = struct.pack("!BHH", 22, 0x0301, 1 << 14)
ENDLESS = struct.pack("!B", 1) + b"\xff\xff\xff"


@dataclass
class Edge:
    """The gateway, and its listeners in the clear and of TLS."""

    proxy: Proxy
    # PEM: whom its clients trust.
    authority: Path

    @property
    def clear(self) -> str:
        return self.proxy.listeners["edge-0"]

    @property
    def tls(self) -> str:
        return self.proxy.listeners["edge-0-2"]

    @property
    def pid(self) -> int:
        return self.proxy.process.pid


@contextmanager
def serving(folder: Path, *under: str) -> Iterator[Edge]:
    """A gateway before `App`, started by this command."""
    tls = secured(folder, "edge.test")
    app = App()
    with app.serve() as address, Mesh(folder / "mesh", under=under) as mesh:
        mesh.document("services/web", tls="disabled", endpoints=[{"address": address}])
        listeners = [{**LOOPBACK, "limits": LIMITS}, {**tls.listener, "limits": LIMITS}]
        mesh.document("gateways/edge", listeners=listeners, routes=[{"name": "all", "to": {"service": "web"}}])
        yield Edge(mesh.gateway("edge"), tls.authority)


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with serving(tmp_path_factory.mktemp("crowds")) as edge:
        yield edge


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[None]:
    """As many as a crowd, the application and the tests before need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8 * CROWD)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def crowd(stack: ExitStack, address: str, count: int = CROWD) -> list[socket.socket]:
    """So many connections that take next to nothing."""
    host, _, port = address.rpartition(":")
    sockets = []
    for _ in range(count):
        client = stack.enter_context(closing(socket.socket()))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        client.connect_ex((host, int(port)))
        sockets.append(client)
    return sockets


def say(clients: Sequence[socket.socket], what: bytes) -> None:
    """Each says it, unless it cannot any more."""
    for client in clients:
        with suppress(OSError):
            client.send(what)


def ended(clients: Sequence[socket.socket]) -> int:
    """How many of them have been answered or closed. Takes what there is to read."""
    count = 0
    for client in clients:
        try:
            client.recv(1 << 20)
            count += 1
        except BlockingIOError:
            pass
        except OSError:
            count += 1
    return count


def all_end(what: str, clients: Sequence[socket.socket]) -> None:
    left = list(clients)

    def are_gone() -> bool:
        left[:] = [client for client in left if not ended([client])]
        return not left

    eventually(f"the end of {what}", are_gone, PATIENCE)


def test_slow_heads_bodies_and_readers_hold_nobody_up(edge: Edge, note: Callable[[str], None]) -> None:
    with Bystander(edge.clear) as bystander, ExitStack() as stack:
        clients = crowd(stack, edge.clear)
        heads, bodies, readers = (clients[at::3] for at in range(3))
        eventually("all are there", lambda: not any(map(is_connecting, clients)), PATIENCE)
        say(heads, b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        say(bodies, b"POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
        say(readers, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        until, most = time.monotonic() + 2 * TIMEOUT, 0
        while time.monotonic() < until:
            say((*heads, *bodies), b"x")
            most = max(most, memory(edge.pid).rss)
            time.sleep(PAUSE)
        all_end("heads that do not come to theirs", heads)
        say(bodies, b"")
        all_end("content that stands still", bodies)
    assert bystander.failure is None
    # How many is the machine's affair: the application is in this process, and has a thread for each slow client.
    assert bystander.took
    assert most < MEMORY
    note(f"{CROWD} slow clients: {most >> 20} MiB resident, {len(bystander.took)} requests of another client answered")


def is_connecting(client: socket.socket) -> bool:
    try:
        client.getpeername()
    except OSError:
        return True
    return False


def asked_by_tls(edge: Edge) -> bytes:
    """A new connection, and what is answered on it."""
    context = ssl.create_default_context(cafile=str(edge.authority))
    host, _, port = edge.tls.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname="edge.test") as over,
        Http1(over) as client,
    ):
        return client.ask(Request(path="/small")).body


@contextmanager
def meanwhile(ask: Callable[[], bytes]) -> Iterator[list[bytes | BaseException]]:
    """What another client is answered, one connection after the other."""
    over, told = threading.Event(), list[bytes | BaseException]()

    def go_on() -> None:
        while not over.wait(PAUSE / 10):
            try:
                told.append(ask())
            except Exception as failure:
                told.append(failure)

    thread = threading.Thread(target=go_on, name="meanwhile")
    thread.start()
    try:
        yield told
    finally:
        over.set()
        thread.join()


def test_handshakes_that_do_not_come_to_their_end_hold_nobody_up(edge: Edge) -> None:
    before = memory(edge.pid).rss
    with meanwhile(lambda: asked_by_tls(edge)) as told, ExitStack() as stack:
        clients = crowd(stack, edge.tls)
        silent, half, endless = (clients[at::3] for at in range(3))
        eventually("all are there", lambda: not any(map(is_connecting, clients)), PATIENCE)
        say(half, RECORD + ENDLESS)
        say(endless, RECORD + ENDLESS + bytes((1 << 14) - len(ENDLESS)))
        for _ in range(8):
            say(endless, RECORD + bytes(1 << 14))
        grown = memory(edge.pid).rss - before
        all_end("endless greetings", endless)
        all_end("half a greeting", half)
        all_end("silence", silent)
    assert set(told) == {SMALL}, told
    assert grown < MEMORY // 4


def test_few_descriptors_are_enough_for_those_who_are_there_and_for_the_admin(
    tmp_path: Path, note: Callable[[str], None]
) -> None:
    with serving(tmp_path, "prlimit", f"--nofile={DESCRIPTORS}") as edge, Http1.connect(edge.clear) as known:
        assert known.ask(Request(path="/small")).body == SMALL
        with ExitStack() as stack:
            crowd(stack, edge.clear)
            most = eventually("few are left", lambda: nearly_all(edge.pid), PATIENCE)
            begun, used = time.monotonic(), cpu_nanoseconds(edge.pid)
            time.sleep(1.0)
            used, took = cpu_nanoseconds(edge.pid) - used, time.monotonic() - begun
            # Who is there is served on.
            assert known.ask(Request(path="/small")).body == SMALL
            assert edge.proxy.get("/ready")[0] == 200
            assert "raise its limit of open files" in edge.proxy.get("/api/v1/failures?limit=10")[1]
        assert used / 1e9 <= IDLE * took
        begun = time.monotonic()
        eventually("a new client is served", lambda: is_served(edge.clear), PATIENCE)
        back = time.monotonic() - begun
    note(f"{most} of {DESCRIPTORS} descriptors: {used / 1e6:.0f} ms of processor in {took:.1f} s; back in {back:.2f} s")


def nearly_all(pid: int) -> int:
    """How many descriptors a process has, when clients have taken what they may."""
    count = descriptors_of(pid)
    return count if count >= DESCRIPTORS * 5 // 8 else 0


def descriptors_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def is_served(address: str) -> bool:
    with suppress(OSError, EOFError), Http1.connect(address) as client:
        return client.ask(Request(path="/small")).body == SMALL
    return False
