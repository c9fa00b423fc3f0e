"""The faults of the matrix: what an endpoint does with the requests that it gets, and which of three do so."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from tests.real.faults.wire import PIECES, Exchange

# Seconds. A good answer takes no time; these are far above what a proxy adds, and below any timeout of the policy.
LATE = 0.1
SLOW = 0.05
# Of a flapping endpoint, up and down in turn.
FLAP = 0.15
# An overloaded endpoint carries out so many at a time, each so long, and turns away the others.
SLOTS, SERVICE = 8, 0.01
# Requests that a connection carries before its end is told.
LAST_REQUEST = 5


class Reach(Enum):
    """Whether a connection can be had."""

    YES = "yes"
    NO = "no"
    BY_TURNS = "by turns"


async def answer(exchange: Exchange) -> None:
    """As it should be."""
    exchange.head()
    for _ in range(PIECES):
        exchange.piece()
    exchange.end()


async def _reset_before(exchange: Exchange) -> None:
    exchange.reset()


async def _reset_after(exchange: Exchange) -> None:
    exchange.head()
    # A RST takes what is not read yet with it; the head is to be seen.
    await asyncio.sleep(0.002)
    exchange.reset()


async def _hang(exchange: Exchange) -> None:
    await asyncio.Event().wait()


async def _slow_head(exchange: Exchange) -> None:
    await asyncio.sleep(LATE)
    await answer(exchange)


async def _slow_body(exchange: Exchange) -> None:
    exchange.head()
    for _ in range(PIECES):
        await asyncio.sleep(LATE / PIECES)
        exchange.piece()
    exchange.end()


async def _cut(exchange: Exchange) -> None:
    exchange.head()
    exchange.piece()
    exchange.cut()


async def _garbled(exchange: Exchange) -> None:
    exchange.garble()


async def _goes_away(exchange: Exchange) -> None:
    if exchange.earlier < LAST_REQUEST:
        await answer(exchange)
    else:
        exchange.go_away()


async def _slow(exchange: Exchange) -> None:
    await asyncio.sleep(SLOW)
    await answer(exchange)


async def _fail(exchange: Exchange) -> None:
    exchange.fail()


def _overloaded() -> Callable[[Exchange], Awaitable[None]]:
    busy = 0

    async def serve(exchange: Exchange) -> None:
        nonlocal busy
        if busy >= SLOTS:
            return exchange.fail(overload=True)
        busy += 1
        try:
            await asyncio.sleep(SERVICE)
        finally:
            busy -= 1
        return await answer(exchange)

    return serve


@dataclass(frozen=True)
class Fault:
    """What goes wrong at some endpoints of a service."""

    name: str
    # Made anew for each endpoint.
    behaviour: Callable[[], Callable[[Exchange], Awaitable[None]]] = field(default=lambda: answer)
    reach: Reach = Reach.YES
    # Of how many endpoints, and how many of these have the fault.
    endpoints: int = 3
    faulty: int = 1
    # A call that has the fault fails; otherwise it only takes this many seconds at least.
    takes: float = 0.0
    # Why, in our words; a call may end for any of them. Empty: the application itself says that it failed.
    reasons: frozenset[str] = frozenset()
    # Parallel callers, and the seconds from one of their calls to the next.
    callers: int = 4
    every: float = 0.016

    @property
    def is_crowd(self) -> bool:
        """True when it shows only to many callers at once."""
        return self.callers > 4


def _one(behaviour: Callable[[Exchange], Awaitable[None]]) -> Callable[[], Callable[[Exchange], Awaitable[None]]]:
    return lambda: behaviour


_BROKEN = frozenset({"upstream-reset"})
# What is in flight when an endpoint goes down is reset.
_UNREACHABLE = frozenset({"connect-failure"}) | _BROKEN

_ALL = (
    Fault("refuse", reach=Reach.NO, reasons=_UNREACHABLE),
    Fault("reset before headers", _one(_reset_before), reasons=_BROKEN),
    Fault("reset after headers", _one(_reset_after), reasons=_BROKEN),
    Fault("hang", _one(_hang), reasons=frozenset({"timeout", "per-try-timeout"})),
    # All three: nothing is to be gained by a second try.
    Fault("slow headers", _one(_slow_head), faulty=3, takes=LATE),
    Fault("slow body", _one(_slow_body), faulty=3, takes=LATE),
    Fault("cut body", _one(_cut), reasons=_BROKEN | {"upstream-protocol", "missing-status"}),
    Fault("wrong framing", _one(_garbled), reasons=_BROKEN | {"upstream-protocol"}),
    # HTTP/1 has no word for it: the connection ends when a request has just been sent.
    Fault("GOAWAY in flight", _one(_goes_away), reasons=_BROKEN | {"refused-stream"}),
    Fault("flapping", reach=Reach.BY_TURNS, reasons=_UNREACHABLE),
    Fault("1 of 3 slow", _one(_slow), takes=SLOW),
    Fault("1 of 3 erring in trailers", _one(_fail)),
    Fault("name gone", endpoints=0, faulty=0, reasons=frozenset({"no-endpoints"})),
    Fault("all down", reach=Reach.NO, faulty=3, reasons=_UNREACHABLE),
    # Half as many again as it has slots for, all at once, as soon as the machine has rested from those before.
    Fault("overload", _overloaded, endpoints=1, callers=SLOTS * 3 // 2, every=4 * SERVICE),
)
FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in _ALL}
