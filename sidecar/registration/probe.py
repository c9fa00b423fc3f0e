"""The application's own health, asked from beside it, so that it counts wherever the agent runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp

from sidecar.errors import ConfigError, Problem

# Seconds for one answer; that of Consul's own checks is 10, too long for a gate that is asked every other second.
ANSWER_WITHIN = 2.0
# So many probes in a row decide that an application which was healthy is not: one lost connection is no illness.
FAILURES = 3


@dataclass(frozen=True)
class Health:
    """What the agent is told: whether requests may come, and a sentence for a person."""

    passing: bool
    output: str


Probe = Callable[[], Awaitable[Health]]


def parse(check: str, app_address: str, session: aiohttp.ClientSession) -> Probe:
    """ "tcp", "/healthz" (any 2xx), or "none" (healthy while the sidecar runs). Raises ConfigError.

    With "grpc" it is the agent that asks (`grpc_service`).
    """
    if check == "none" or grpc_service(check) is not None:
        return always
    if check == "tcp":
        return lambda: tcp(app_address)
    if check.startswith("/"):
        return lambda: http(f"http://{app_address}{check}", session)
    expected = "tcp, a path such as /healthz, grpc, grpc/SERVICE, or none"
    raise ConfigError([Problem("--check", f"`{check}` is no check", expected=expected)])


def grpc_service(check: str) -> str | None:
    """Of "grpc/shop.v1.Orders" the service that is asked about, of "grpc" "": all of them; None: not by gRPC."""
    kind, _, service = check.partition("/")
    return service if kind == "grpc" else None


async def always() -> Health:
    """Nobody asks the application."""
    return Health(True, "the sidecar runs; the application is not asked")


async def tcp(address: str) -> Health:
    """Whether the application accepts connections."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(ANSWER_WITHIN):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except TimeoutError:
        return Health(False, f"{address} did not accept within {ANSWER_WITHIN:g} s")
    except OSError as error:
        return Health(False, f"{address} does not accept: {error.strerror or error}")
    writer.close()
    return Health(True, f"{address} accepts connections")


async def http(url: str, session: aiohttp.ClientSession) -> Health:
    """Whether the application answers a GET with 2xx."""
    try:
        timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN)
        async with session.get(url, timeout=timeout, allow_redirects=False) as answer:
            return Health(answer.status // 100 == 2, f"GET {url}: {answer.status}")
    except TimeoutError:
        return Health(False, f"GET {url}: no answer within {ANSWER_WITHIN:g} s")
    except aiohttp.ClientError as error:
        return Health(False, f"GET {url}: {error}")


class Steady:
    """A probe whose bad news counts after FAILURES times in a row; good news counts at once."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._failures = 0
        self._last = Health(False, "not asked yet")

    @property
    def in_doubt(self) -> bool:
        """Whether the newest answer was bad and does not count yet."""
        return 0 < self._failures < FAILURES

    async def ask(self) -> Health:
        """The health to tell now."""
        health = await self._probe()
        self._failures = 0 if health.passing else self._failures + 1
        if health.passing or not self._last.passing or self._failures >= FAILURES:
            self._last = health
        return self._last
