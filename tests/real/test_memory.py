"""A gateway with little memory, and five times the load that its application can serve: it stays, and is soon well.

The same load ends one that does not know how little memory it has.
"""

import asyncio
import queue
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from benchmarks.backends import BackendKind, backends
from benchmarks.prerequisites import check, find
from tests.mesh import LOOPBACK, Mesh, Proxy, eventually
from tests.peers.http1 import Http1
from tests.peers.message import Request
from tests.real.memory_group import MemoryGroup, bounded

pytestmark = [pytest.mark.real, pytest.mark.long]

# Bytes that the gateway may have.
LIMIT = 256 << 20
# Requests that the application takes at once, and seconds for each: that is what it can serve.
AT_ONCE, EACH = 16, 0.03
CAPACITY = AT_ONCE / EACH
# How much more comes in each of so many seconds, by new connections with so many streams each: one that is told to end
# asks for nothing more.
TIMES, SECONDS, STREAMS = 5, 14, 100
# Bytes of content of each request.
SENT = 8 << 10
# Seconds until a busy machine has come so far; and until all is as before when the load has ended.
PATIENCE, BACK = 20.0, 1.0
COUNT = re.compile(r"^(http_server_request_duration_seconds_count\{[^}]*\}) (\d+)", re.M)
# No limit but that of memory stands in the way of the load. What waits for a connection has come, and is held.
OPEN = {"max_requests": 1_000_000, "max_pending": 1_000_000, "max_connections": 4 * AT_ONCE}


@contextmanager
def slow() -> Iterator[str]:
    """The address of an application that takes its time, and serves few at once."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).lower()
                    fields = dict(line.split(b": ", 1) for line in head.splitlines()[1:] if line)
                    await reader.readexactly(int(fields.get(b"content-length", b"0")))
                    async with slots:
                        # Whoever has gone meanwhile is not waited for.
                        if reader.at_eof():
                            break
                        await asyncio.sleep(EACH)
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                    await writer.drain()
        finally:
            writer.transport.abort()

    async def serve() -> None:
        server = await asyncio.start_server(converse, "127.0.0.1", 0, limit=2 * SENT, backlog=4096)
        address.put(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await over.wait()
        server.close()
        conversations = asyncio.all_tasks() - {asyncio.current_task()}
        for conversation in conversations:
            conversation.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)
        # Connections that were given up are closed in the next turn.
        await asyncio.sleep(0)

    loop, address = asyncio.new_event_loop(), queue.Queue[str]()
    slots, over = asyncio.Semaphore(AT_ONCE), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name="slow")
    thread.start()
    try:
        yield address.get(timeout=PATIENCE)
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


def is_served(address: str) -> bool:
    with suppress(OSError, EOFError), Http1.connect(address) as client:
        return client.ask(Request(path="/small")).status == 200
    return False


@dataclass
class Loaded:
    """A gateway in a group of little memory, and the load that it is under."""

    gateway: Proxy
    group: MemoryGroup
    content: Path
    clients: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def seconds(self) -> Iterator[None]:
        """Each with five times of what the application can serve in it."""
        asked = round(TIMES * CAPACITY)
        command = [find("h2load") or "h2load", f"--requests={asked}", f"--clients={asked // STREAMS}"]
        command += [f"--max-concurrent-streams={STREAMS}", f"--data={self.content}", f"http://{self.gateway.edge}/"]
        begun = time.monotonic()
        for second in range(1, SECONDS + 1):
            self.clients.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
            yield
            time.sleep(max(0.0, begun + second - time.monotonic()))

    def end(self) -> None:
        """All at once."""
        for client in self.clients:
            client.kill()
        for client in self.clients:
            client.wait()


@contextmanager
def loaded(folder: Path, *arguments: str) -> Iterator[Loaded]:
    """Started with these arguments."""
    content = folder / "content"
    content.write_bytes(bytes(SENT))
    with (
        slow() as app,
        backends(folder, {BackendKind.H1}) as quick,
        bounded(LIMIT) as group,
        Mesh(folder / "mesh", under=group.entering) as mesh,
    ):
        patient = {"timeout": "0s", "connect_timeout": "2m", "circuit_breaker": OPEN}
        mesh.document("services/web", tls="disabled", endpoints=[{"address": app}], **patient)
        address = f"127.0.0.1:{quick[BackendKind.H1].port}"
        mesh.document("services/quick", tls="disabled", endpoints=[{"address": address}])
        routes = [
            {"name": "quick", "match": {"path": "/small"}, "to": {"service": "quick"}},
            {"name": "all", "to": {"service": "web"}},
        ]
        mesh.document("gateways/edge", listeners=[LOOPBACK], routes=routes)
        gateway = mesh.gateway("edge", *arguments)
        assert is_served(gateway.edge)
        under = Loaded(gateway, group, content)
        try:
            yield under
        finally:
            under.end()


@pytest.mark.timeout(180)
def test_five_times_the_load_in_little_memory(tmp_path: Path, note: Callable[[str], None]) -> None:
    check()
    with loaded(tmp_path) as under:
        gateway = under.gateway
        # Whoever asks the admin address is answered all the time.
        for _ in under.seconds():
            assert gateway.get("/ready")[0] == 200
        under.end()
        begun = time.monotonic()
        eventually("a new client is served", lambda: is_served(gateway.edge), PATIENCE)
        back = time.monotonic() - begun
        counts = [(line, int(number)) for line, number in COUNT.findall(gateway.get("/metrics")[1])]
        asked = sum(number for _, number in counts)
        refused = sum(number for line, number in counts if 'sidecar_reason="overloaded"' in line)
        eventually("there is enough again", lambda: "there is enough of memory again" in gateway.output(), PATIENCE)
        enough, most = time.monotonic() - begun, under.group.most
        assert "the process runs out of memory" in gateway.output()
    note(
        f"{LIMIT >> 20} MiB: {most >> 20} in use at most, {refused} of {asked} requests refused; a new client served"
        f" after {back:.2f} s, enough after {enough:.2f} s"
    )
    assert refused > 0
    assert back <= BACK


@pytest.mark.timeout(180)
def test_the_same_load_ends_a_gateway_that_takes_its_memory_for_more(tmp_path: Path) -> None:
    check()
    with loaded(tmp_path, "--memory-limit", "1024GiB") as under:
        for _ in under.seconds():
            if under.gateway.process.poll() is not None:
                break
        eventually("the kernel ends it", lambda: under.gateway.process.poll() == -signal.SIGKILL, PATIENCE)
