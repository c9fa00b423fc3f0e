"""Sends OTLP requests: tries, waits and gives up as the OTLP specification says, over HTTP or over gRPC."""

import asyncio
from collections.abc import Awaitable, Callable
from random import random

import aiohttp

from sidecar.telemetry.attempt import ExportError, Wire
from sidecar.telemetry.otlp import Target
from sidecar.telemetry.over_http import HttpWire

# Waits double from the first to the last; each is shortened by up to half, by chance.
FIRST_WAIT, LAST_WAIT = 1.0, 16.0


class Exporter:
    """One target. `sleep` and `jitter` (0 to below 1) are injected."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        target: Target,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random,
    ) -> None:
        self._wire = _wire(session, target)
        self._sleep = sleep
        self._jitter = jitter
        self.place = self._wire.place

    async def send(self, request: bytes, within: float) -> bytes:
        """Deliver one serialized OTLP request in at most `within` seconds, all tries together; returns the reply.

        Raises ExportError.
        """
        # Each step is told what is left: of two time limits around one await that end together, one is lost.
        clock = asyncio.get_running_loop().time
        deadline = clock() + within
        problem, wait = "no answer", FIRST_WAIT
        while (left := deadline - clock()) > 0:
            reply = await self._wire.attempt(request, left)
            if isinstance(reply, bytes):
                return reply
            problem = reply.why
            # What the collector asks for, and never less than our own: one that says 0 is not asked in a loop.
            pause = max(wait * (1 - self._jitter() / 2), reply.after or 0.0)
            await self._sleep(min(pause, max(0.0, deadline - clock())))
            wait = min(wait * 2, LAST_WAIT)
        raise ExportError(f"{problem}, given up after {within:g} s")


def _wire(session: aiohttp.ClientSession, target: Target) -> Wire:
    if target.protocol == "grpc":
        # Here, so that nobody loads grpcio who does not use it.
        from sidecar.telemetry.over_grpc import GrpcWire

        return GrpcWire(target)
    return HttpWire(session, target)
