"""Between a sidecar and a real Consul: everything passes, until a test asks for a fault.

    with FaultProxy(agent.address) as proxy, proxy.fault(r"/v1/health/.*", status=500):
        ...

It answers nothing of its own but what a fault says.
"""

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web
from yarl import URL

# Seconds to start and to end.
WITHIN = 10.0
# Of a connection, and therefore another one on the other side; a body that is decoded needs no coding.
_NOT_PASSED = frozenset({"host", "connection", "content-length", "transfer-encoding", "accept-encoding", "keep-alive"})


@dataclass(frozen=True)
class Fault:
    """What is done to an exchange; the defaults do nothing."""

    # Instead of Consul's answer; 0: it is asked.
    status: int = 0
    # Seconds before the answer is sent.
    delay: float = 0.0
    # Of the body, with the connection's end behind it; 0: no answer at all.
    share: float = 1.0
    # What becomes of X-Consul-Index.
    index: Callable[[int], int] = lambda index: index
    # What becomes of the decoded body; bytes are sent as they are.
    body: Callable[[Any], Any] | None = None


@dataclass
class Exchange:
    """One request that came through. Times are of `time.monotonic`; `ended` is 0 until the answer was sent."""

    method: str
    path: str
    query: Mapping[str, str]
    began: float
    ended: float = 0.0
    status: int = 0
    faulty: bool = False

    @property
    def is_watch(self) -> bool:
        """It waits for a change."""
        return "index" in self.query or "hash" in self.query


@dataclass(eq=False)
class FaultProxy:
    """HTTP proxy on a thread of its own; `target` is "host:port" of an agent."""

    target: str
    exchanges: list[Exchange] = field(default_factory=list)
    # The most connections that clients have had open at one time.
    most_connections: int = 0
    _faults: dict[int, tuple[re.Pattern[str], Fault]] = field(default_factory=dict)
    # Paths of which a client has had an answer since the newest fault.
    _met: set[str] = field(default_factory=set)

    @property
    def address(self) -> str:
        """What sidecars are told as CONSUL_HTTP_ADDR."""
        return f"127.0.0.1:{self._port}"

    @property
    def connections(self) -> int:
        """That clients have open now."""
        return len(self._server.connections)

    @contextmanager
    def fault(self, paths: str, **fields: Any) -> Iterator[None]:
        """While the block lasts, requests whose path matches `paths` meet a Fault of these fields.

        Questions that wait already are broken off, and what is asked first then is asked without waiting, so that every
        watch meets the fault at once.
        """
        number = max(self._faults, default=0) + 1
        fault = re.compile(paths), Fault(**fields)

        async def begin() -> None:
            self._faults[number] = fault
            self._met.clear()
            self._close_all()

        asyncio.run_coroutine_threadsafe(begin(), self._loop).result(WITHIN)
        try:
            yield
        finally:
            del self._faults[number]
            if fields.get("delay"):
                # What is still delayed would outlast it.
                self.break_off()

    def break_off(self) -> None:
        """End every connection of a client."""
        self._loop.call_soon_threadsafe(self._close_all)

    def _close_all(self) -> None:
        for connection in self._server.connections:
            connection.force_close()

    def asked(self, paths: str, since: float = 0.0) -> list[Exchange]:
        """The exchanges that began after `since` and whose path matches."""
        return [one for one in list(self.exchanges) if one.began >= since and re.fullmatch(paths, one.path)]

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(WITHIN)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(WITHIN)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> None:
        # Consul's own limit is met by its clients here, not by us.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
        )
        self._server = web.Server(self._serve)
        runner = web.ServerRunner(self._server, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self._runner, self._port = runner, runner.addresses[0][1]

    async def _stop(self) -> None:
        await self._runner.cleanup()
        # Answers that are still delayed.
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await self._session.close()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        self.most_connections = max(self.most_connections, self.connections)
        exchange = Exchange(request.method, request.path, dict(request.query), time.monotonic())
        self.exchanges.append(exchange)
        fault = self._fault_of(request.path)
        exchange.faulty = fault is not _NONE
        try:
            status, headers, body = await self._answer(request, fault)
        except aiohttp.ClientError:
            # As if we were not there.
            return _end(request)
        # One that waited when the fault came has met it, too.
        fault = self._fault_of(request.path)
        exchange.faulty |= fault is not _NONE
        status, headers, body = _changed(status, headers, body, fault)
        await asyncio.sleep(fault.delay)
        exchange.status, exchange.ended = status, time.monotonic()
        if fault.share == 0:
            return _end(request)
        response = web.StreamResponse(status=status, headers=headers)
        response.content_length = len(body)
        try:
            await response.prepare(request)
            await response.write(body[: int(len(body) * fault.share)])
            if fault.share == 1:
                await response.write_eof()
                self._met.add(request.path)
                return response
        except ConnectionResetError:
            # The client has gone meanwhile.
            pass
        return _end(request)

    def _fault_of(self, path: str) -> Fault:
        return next((fault for pattern, fault in self._faults.values() if pattern.fullmatch(path)), _NONE)

    async def _answer(self, request: web.BaseRequest, fault: Fault) -> tuple[int, dict[str, str], bytes]:
        if fault.status:
            return fault.status, {}, b"asked for by the test"
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _NOT_PASSED}
        url = URL(f"http://{self.target}{request.raw_path}", encoded=True)
        if fault is not _NONE and request.path not in self._met:
            url = url.without_query_params("index", "hash")
        async with self._session.request(
            request.method,
            url,
            headers=headers,
            data=await request.read(),
            skip_auto_headers=("Accept-Encoding",),
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _NOT_PASSED}
            return answer.status, kept, await answer.read()


_NONE = Fault()


def _changed(status: int, headers: dict[str, str], body: bytes, fault: Fault) -> tuple[int, dict[str, str], bytes]:
    if fault.status:
        return fault.status, {}, b"asked for by the test"
    if told := headers.get("X-Consul-Index"):
        headers = {**headers, "X-Consul-Index": str(fault.index(int(told)))}
    if fault.body is not None and status == 200 and body:
        made = fault.body(json.loads(body))
        body = made if isinstance(made, bytes) else json.dumps(made).encode()
    return status, headers, body


def _end(request: web.BaseRequest) -> web.StreamResponse:
    """No (more) answer: the connection ends."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
