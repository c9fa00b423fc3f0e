"""Sends OTLP requests over HTTP: tries, waits and gives up as the OTLP specification says."""

import asyncio
import gzip
from collections.abc import Awaitable, Callable, Iterator
from random import random
from urllib.parse import urlsplit

import aiohttp

from sidecar import roots
from sidecar.telemetry.otlp import Target

# OTLP specification, "OTLP/HTTP Response": these alone may be tried again.
RETRYABLE = frozenset({429, 502, 503, 504})
# Waits double from the first to the last; each is shortened by up to half, by chance.
FIRST_WAIT, LAST_WAIT = 1.0, 16.0
# The specification limits what a client reads of a reply to 4 MiB; ours hold a counter and one sentence.
MAX_REPLY = 64 * 1024


class ExportError(Exception):
    """The request did not arrive; the message says why, without the URL's credentials."""


class Exporter:
    """One target. `sleep` and `jitter` (0 to below 1) are injected."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        target: Target,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random,
    ) -> None:
        self._session = session
        self._target = target
        self._sleep = sleep
        self._jitter = jitter
        url = urlsplit(target.url)
        self.place = f"{url.scheme}://{url.hostname}{f':{url.port}' if url.port else ''}{url.path}"

    async def send(self, request: bytes, within: float) -> bytes:
        """Deliver one serialized OTLP request in at most `within` seconds, all tries together; returns the reply.

        Raises ExportError.
        """
        headers = {"User-Agent": "sidecar", **self._target.headers, "Content-Type": "application/x-protobuf"}
        if self._target.gzip:
            headers["Content-Encoding"] = "gzip"
            # Level 1: three quarters of the saving for a third of the time on span batches.
            request = gzip.compress(request, compresslevel=1)
        problem = "no answer"
        try:
            async with asyncio.timeout(within):
                wait = FIRST_WAIT
                while True:
                    reply, problem, retry_after = await self._try(request, headers)
                    if reply is not None:
                        return reply
                    await self._sleep(wait * (1 - self._jitter() / 2) if retry_after is None else retry_after)
                    wait = min(wait * 2, LAST_WAIT)
        except TimeoutError:
            raise ExportError(f"{problem}, given up after {within:g} s") from None

    async def _try(self, request: bytes, headers: dict[str, str]) -> tuple[bytes | None, str, float | None]:
        """(reply, "", None), or (None, what went wrong, the wait that the server asked for)."""
        timeout = aiohttp.ClientTimeout(total=self._target.timeout)
        try:
            async with self._session.post(
                self._target.url,
                data=request,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
                ssl=roots.context() if self._target.url.startswith("https:") else True,
            ) as response:
                if response.status in RETRYABLE:
                    after = response.headers.get("Retry-After", "")
                    return None, f"HTTP {response.status}", float(after) if after.isdecimal() else None
                if not 200 <= response.status < 300:
                    raise ExportError(f"HTTP {response.status}")
                return await response.content.read(MAX_REPLY), "", None
        except TimeoutError:
            return None, f"no answer in {self._target.timeout:g} s", None
        except aiohttp.ClientError as error:
            return None, str(error) or type(error).__name__, None


def count_spans(request: bytes) -> int:
    """Spans in a serialized ExportTraceServiceRequest, without decoding them."""
    # request.resource_spans = 1, resource_spans.scope_spans = 2, scope_spans.spans = 2
    return sum(
        1
        for resource_spans in _submessages(memoryview(request), 1)
        for scope_spans in _submessages(resource_spans, 2)
        for _ in _submessages(scope_spans, 2)
    )


def count_rejected(reply: bytes) -> int:
    """Spans that the receiver says it refused, in a serialized ExportTraceServiceResponse."""
    # response.partial_success = 1, partial_success.rejected_spans = 1
    return sum(
        value
        for partial_success in _submessages(memoryview(reply), 1)
        for number, value in _fields(partial_success)
        if number == 1 and isinstance(value, int)
    )


def _submessages(message: memoryview, number: int) -> Iterator[memoryview]:
    return (value for field, value in _fields(message) if field == number and isinstance(value, memoryview))


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(number, value) of each field; stops at the first byte that is no protobuf."""
    position = 0
    try:
        while position < len(message):
            tag, position = _varint(message, position)
            match tag & 7:
                case 0:
                    value, position = _varint(message, position)
                    yield tag >> 3, value
                case 2:
                    length, position = _varint(message, position)
                    yield tag >> 3, message[position : position + length]
                    position += length
                case 1:
                    position += 8
                case 5:
                    position += 4
                case _:
                    return
    except IndexError:
        return


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
