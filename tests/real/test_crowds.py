"""A thousand clients that are slow, silent or talk nonsense, against one gateway: others do not notice, and it ends.

The short form sees that nobody fails. The long form measures what others wait, and writes `attacks/crowds.md`.
"""

import asyncio
import queue
import resource
import socket
import ssl
import statistics
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.backends import BackendKind, backends
from benchmarks.prerequisites import check, find, versions
from benchmarks.process import cpu_nanoseconds, memory
from tests.mesh import LOOPBACK, Mesh, Proxy, eventually
from tests.peers.http1 import Http1
from tests.peers.message import Request
from tests.real.attacks.rig import LARGE, SMALL, App, Bystander
from tests.tls import secured

pytestmark = pytest.mark.real

CROWD = 1000
# Seconds; far below the defaults, so that a test which passes has seen them at work.
TIMEOUT = 2.0
TIMEOUTS = "header_timeout", "body_timeout", "send_timeout"
# Seconds between two bytes of a slow client, and until a busy machine has ended all of them.
PAUSE, PATIENCE = 0.5, 20.0
# Bytes of one write or read of the crowd's application.
PIECE = 64 * 1024
# Bytes of memory within which it all happens.
MEMORY = 256 << 20
# Descriptors that the gateway may have, and seconds of processor time that it may use in a second without any left.
DESCRIPTORS, IDLE = 256, 0.3
# Long form: how often quiet and crowd are measured by turns, requests of another client in each, and how many a second.
ROUNDS, ASKED, RATE = 5, 400, 200
# Seconds that it may wait more for its slowest hundredth than without a crowd, or twice as long.
MORE = 0.005
RESULTS = Path(__file__).with_name("attacks") / "crowds.md"
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
def swallowing() -> Iterator[str]:
    """An application for crowds: one thread takes all that comes, and gives `LARGE` to whoever only asks."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                if (await reader.readuntil(b"\r\n\r\n")).startswith(b"GET"):
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(LARGE))
                    for begin in range(0, len(LARGE), PIECE):
                        writer.write(LARGE[begin : begin + PIECE])
                        await writer.drain()
                while await reader.read(PIECE):
                    pass
        finally:
            writer.transport.abort()

    async def serve() -> None:
        server = await asyncio.start_server(converse, "127.0.0.1", 0, backlog=CROWD)
        address.put(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await over.wait()
        server.close()
        # Whoever is still there is let go with the thread.
        conversations = asyncio.all_tasks() - {asyncio.current_task()}
        for conversation in conversations:
            conversation.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)

    loop, over, address = asyncio.new_event_loop(), asyncio.Event(), queue.Queue[str]()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name="swallowing")
    thread.start()
    try:
        yield address.get(timeout=PATIENCE)
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


@contextmanager
def serving(folder: Path, *under: str) -> Iterator[Edge]:
    """A gateway before `App`, started by this command."""
    with App().serve() as address, gateway(folder, address, under=under) as edge:
        yield edge


@contextmanager
def gateway(folder: Path, app: str, timeout: float = TIMEOUT, under: Sequence[str] = ()) -> Iterator[Edge]:
    """A gateway before an application and, below `/crowd`, before another one."""
    tls = secured(folder, "edge.test")
    limits = dict.fromkeys(TIMEOUTS, f"{timeout}s")
    with swallowing() as crowded, Mesh(folder / "mesh", under=under) as mesh:
        mesh.document("services/web", tls="disabled", endpoints=[{"address": app}])
        mesh.document("services/crowd", tls="disabled", endpoints=[{"address": crowded}])
        listeners = [{**LOOPBACK, "limits": limits}, {**tls.listener, "limits": limits}]
        routes = [
            {"name": "crowd", "match": {"path": "/crowd"}, "to": {"service": "crowd"}},
            {"name": "all", "to": {"service": "web"}},
        ]
        mesh.document("gateways/edge", listeners=listeners, routes=routes)
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


SLOW_HEAD = b"GET / HTTP/1.1\r\nHost: a\r\nX: "
SLOW_BODY = b"POST /crowd HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
SLOW_READER = b"GET /crowd HTTP/1.1\r\nHost: a\r\n\r\n"


def test_slow_heads_bodies_and_readers_hold_nobody_up(edge: Edge, note: Callable[[str], None]) -> None:
    with Bystander(edge.clear) as bystander, ExitStack() as stack:
        clients = crowd(stack, edge.clear)
        heads, bodies, readers = (clients[at::3] for at in range(3))
        eventually("all are there", lambda: not any(map(is_connecting, clients)), PATIENCE)
        say(heads, SLOW_HEAD)
        say(bodies, SLOW_BODY)
        say(readers, SLOW_READER)
        until, most = time.monotonic() + 2 * TIMEOUT, 0
        while time.monotonic() < until:
            say((*heads, *bodies), b"x")
            most = max(most, memory(edge.pid).rss)
            time.sleep(PAUSE)
        all_end("heads that do not come to theirs", heads)
        say(bodies, b"")
        all_end("content that stands still", bodies)
    assert bystander.failure is None
    # How many is the machine's affair.
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


# What each client of a crowd says at first, by TLS where that is so, and whether it goes on by one byte now and then.
CROWDS = {
    "heads that come by single bytes": (False, SLOW_HEAD, True),
    "content that comes by single bytes": (False, SLOW_BODY, True),
    "readers that do not read": (False, SLOW_READER, False),
    "handshakes that do not go on": (True, RECORD + ENDLESS, False),
}


def is_nearly_idle(pid: int) -> bool:
    """Does it use little processor time?"""
    begun, used = time.monotonic(), cpu_nanoseconds(pid)
    time.sleep(PAUSE)
    return (cpu_nanoseconds(pid) - used) / 1e9 <= IDLE * (time.monotonic() - begun)


@contextmanager
def crowding(edge: Edge, name: str) -> Iterator[None]:
    """A crowd of that kind, until the block ends."""
    is_tls, first, goes_on = CROWDS[name]
    over = threading.Event()
    with ExitStack() as stack:
        clients = crowd(stack, edge.tls if is_tls else edge.clear)
        eventually("all are there", lambda: not any(map(is_connecting, clients)), PATIENCE)
        say(clients, first)

        def go_on() -> None:
            while not over.wait(PAUSE):
                say(clients, b"x" if goes_on else b"")

        thread = threading.Thread(target=go_on, name="crowd")
        thread.start()
        try:
            # What they have asked for has come as far as it goes: until then it is work, not a crowd.
            eventually("the crowd has settled", lambda: is_nearly_idle(edge.pid), PATIENCE)
            yield
        finally:
            over.set()
            thread.join()


def p99(address: str, log: Path) -> float:
    """Seconds that the slowest hundredth of another client's requests takes; the client is no part of this process."""
    log.unlink(missing_ok=True)
    command = [find("h2load") or "h2load", "--clients=1", f"--requests={ASKED}", f"--rps={RATE}", f"--log-file={log}"]
    told = subprocess.run([*command, f"http://{address}/small"], capture_output=True, text=True, timeout=60, check=True)
    assert f"status codes: {ASKED} 2xx" in told.stdout, told.stdout
    # A line for each answer: when it was asked for, its status, microseconds.
    took = [int(line.split("\t")[2]) / 1e6 for line in log.read_text().splitlines()]
    return statistics.quantiles(took, n=100, method="inclusive")[98]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_another_client_waits_no_longer_for_a_crowd(tmp_path: Path, note: Callable[[str], None]) -> None:
    check()
    log, waited = tmp_path / "h2load.log", dict[str, tuple[float, float]]()
    with (
        backends(tmp_path, {BackendKind.H1}) as apps,
        # Longer than a measurement, so that the crowd is there to its end.
        gateway(tmp_path, f"127.0.0.1:{apps[BackendKind.H1].port}", timeout=60.0) as edge,
    ):
        for name in CROWDS:
            quiet, crowded = list[float](), list[float]()
            for _ in range(ROUNDS):
                quiet.append(p99(edge.clear, log))
                with crowding(edge, name):
                    crowded.append(p99(edge.clear, log))
            waited[name] = statistics.median(quiet), statistics.median(crowded)
    RESULTS.write_text(table(waited))
    note(f"the table is in {RESULTS}")
    assert not {name: both for name, both in waited.items() if both[1] > max(2 * both[0], both[0] + MORE)}


def table(waited: dict[str, tuple[float, float]]) -> str:
    """In Markdown: seconds without and with each crowd."""
    rows = [f"| {name} | {quiet * 1000:.1f} | {crowded * 1000:.1f} |" for name, (quiet, crowded) in waited.items()]
    return "\n".join(
        (
            f"# Another client beside {CROWD:,} slow ones, sidecar {versions()['sidecar']}",
            "",
            f"p99 in ms of {ASKED} requests, {RATE} a second, of a client that is like others: the median of {ROUNDS}",
            "measurements without the crowd, and of as many with it, by turns.",
            "",
            "| crowd | without | with |",
            "|---|---|---|",
            *rows,
            "",
        )
    )
