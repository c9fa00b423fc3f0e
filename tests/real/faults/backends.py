"""The endpoints of every service of the matrix, in a process of their own: faulty while they are told to be.

A line of standard input is an order as JSON, and each is answered by a line:

    {"open": ["refuse", "http1"]}       -> [41001, 41002, 41003], the ports; the faulty ones stand first
    {"fault": 41001, "lasts": true}     -> null
    {"arrivals": 41001}                 -> when each request came since the last time, by time.monotonic()
"""

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.mesh import ROOT
from tests.real.faults.faults import FAULTS, FLAP, Fault, Reach, answer
from tests.real.faults.wire import Exchange, Http2Connection, Wire, speak_http1

BACKLOG = 1024


class Endpoint:
    """A port of 127.0.0.1 that answers well, or has its fault."""

    def __init__(self, wire: Wire, fault: Fault) -> None:
        self.wire, self.fault = wire, fault
        self._behaviour = fault.behaviour()
        self._lasts = False
        self._arrivals: list[float] = []
        self._connections: set[asyncio.BaseTransport] = set()
        self._server: asyncio.Server | None = None
        self._flapping: asyncio.Task[None] | None = None
        # Bound and never listening, so that the port stays ours while nobody answers there.
        self._hold = _bound(0)
        self.port: int = self._hold.getsockname()[1]

    async def listen(self) -> None:
        """Accept connections."""
        loop, listening = asyncio.get_running_loop(), _bound(self.port)
        if self.wire is Wire.HTTP1:
            self._server = await asyncio.start_server(self._http1, sock=listening, backlog=BACKLOG)
        else:
            self._server = await loop.create_server(
                lambda: Http2Connection(self.wire, self._serve, self._connections), sock=listening, backlog=BACKLOG
            )

    def refuse(self) -> None:
        """Accept none, and break off those that are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self._connections):
            assert isinstance(connection, asyncio.Transport)
            connection.abort()

    async def set_fault(self, lasts: bool) -> None:
        """From now on; what is in flight is not changed."""
        self._lasts = lasts
        if self._flapping is not None:
            self._flapping.cancel()
            self._flapping = None
        match self.fault.reach:
            case Reach.NO if lasts:
                self.refuse()
            case Reach.BY_TURNS if lasts:
                self._flapping = asyncio.ensure_future(self._flap())
            case _ if self._server is None:
                await self.listen()

    async def _flap(self) -> None:
        while True:
            self.refuse()
            await asyncio.sleep(FLAP)
            await self.listen()
            await asyncio.sleep(FLAP)

    async def _serve(self, exchange: Exchange) -> None:
        self._arrivals.append(time.monotonic())
        await (self._behaviour if self._lasts else answer)(exchange)

    async def _http1(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None:
            # Accepted just before the endpoint went down.
            return writer.transport.abort()
        self._connections.add(writer.transport)
        try:
            await speak_http1(self._serve, reader, writer)
        finally:
            self._connections.discard(writer.transport)
            writer.close()

    def arrivals(self) -> list[float]:
        """When each request came since this was last asked."""
        seen, self._arrivals = self._arrivals, []
        return seen


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    bound.setblocking(False)
    bound.bind(("127.0.0.1", port))
    return bound


async def _obey(endpoints: dict[int, Endpoint], order: dict[str, Any]) -> Any:
    match order:
        case {"open": [fault, wire]}:
            told = FAULTS[fault]
            healthy = Fault(told.name)
            opened = [Endpoint(Wire(wire), told if index < told.faulty else healthy) for index in range(told.endpoints)]
            for endpoint in opened:
                await endpoint.listen()
                endpoints[endpoint.port] = endpoint
            return [endpoint.port for endpoint in opened]
        case {"fault": port, "lasts": lasts}:
            return await endpoints[port].set_fault(lasts)
        case {"arrivals": port}:
            return endpoints[port].arrivals()
        case _:
            raise ValueError(f"{order} is no order")


async def _main() -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    endpoints: dict[int, Endpoint] = {}
    while line := await reader.readline():
        print(json.dumps(await _obey(endpoints, json.loads(line))), flush=True)


class Backends:
    """The other end of that process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._one_at_a_time = threading.Lock()

    def ask(self, **order: Any) -> Any:
        """Give an order; AssertionError when the process has ended, which says why on standard error."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._one_at_a_time:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        assert line, "the endpoints' process has ended"
        return json.loads(line)


@contextmanager
def backends() -> Iterator[Backends]:
    """The process, until the block ends."""
    command = [sys.executable, "-m", "tests.real.faults.backends"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield Backends(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.kill()


if __name__ == "__main__":
    asyncio.run(_main())
