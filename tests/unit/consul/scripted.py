"""Single HTTP answers, in the order in which a test wrote them; no imitation of Consul."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from sidecar.consul.client import ConsulClient
from sidecar.consul.settings import Settings, read


@dataclass(frozen=True)
class Reply:
    """One answer. `value` is sent as JSON, unless it is bytes; `cut` breaks the body off in its middle."""

    value: object = None
    index: int = 0
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False

    def encode(self) -> bytes:
        body = self.value if isinstance(self.value, bytes) else json.dumps(self.value).encode()
        told = {"X-Consul-Index": str(self.index)} if self.index else {}
        lines = [f"HTTP/1.1 {self.status} x", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {text}" for name, text in {**told, **self.headers}.items()]
        return "\r\n".join([*lines, "", ""]).encode() + (body[: len(body) // 2] if self.cut else body)


@dataclass(frozen=True)
class Request:
    """What was asked."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Scripted:
    """A server that gives each path its replies in order; when they are used up a request waits for ever.

    "/v1/x?dc" has the replies of requests with a `dc`.
    """

    replies: dict[str, list[Reply]]
    port: int = 0
    requests: list[Request] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def asked(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == path]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                method, target, _ = line.decode().split(" ")
                headers = {}
                while (header := (await reader.readline()).decode().strip()) != "":
                    name, _, text = header.partition(":")
                    headers[name.lower()] = text.strip()
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                parts = urlsplit(target)
                query = dict(parse_qsl(parts.query, keep_blank_values=True))
                self.requests.append(Request(method, unquote(parts.path), query, headers, body))
                keys = [*(f"{unquote(parts.path)}?{name}" for name in query), unquote(parts.path)]
                waiting = next((self.replies[key] for key in keys if key in self.replies), [])
                if not waiting:
                    await asyncio.get_running_loop().create_future()
                reply = waiting.pop(0)
                writer.write(reply.encode())
                await writer.drain()
                if reply.cut:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def scripted(replies: dict[str, list[Reply]]) -> AsyncGenerator[Scripted, None]:
    """Serve these on a free port until the block ends."""
    script = Scripted(replies)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(script.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    script.port = server.sockets[0].getsockname()[1]
    try:
        yield script
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Clock:
    """Time that only `sleep` moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


@asynccontextmanager
async def connected(
    script: Scripted, clock: Clock | None = None, settings: Settings | None = None
) -> AsyncGenerator[ConsulClient, None]:
    """A client of the scripted server, on a clock that does not wait."""
    time = clock or Clock()
    told = settings or read({"CONSUL_HTTP_ADDR": script.address})
    client = ConsulClient(told, clock=time, sleep=time.sleep, chance=lambda: 0.0)
    try:
        yield client
    finally:
        await client.close()
