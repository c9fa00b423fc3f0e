"""Many watches on few connections: the first of them block, those beyond take turns."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Hashable, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from sidecar.consul.client import BURST, ROUNDS_PER_SECOND, Answer, ConsulClient, Query
from sidecar.consul.pace import Bucket
from sidecar.errors import ConsulError

K = TypeVar("K", bound=Hashable)

# Seconds. Whoever takes turns is asked when something moved, and at least so often.
EVERY = 10.0
# Of those that take turns the favoured are asked as soon as something moved, and again with so many seconds between: an
# agent's cache hears of a change after its watch, mostly a few milliseconds, of a busy one more than a hundred.
ECHO_AFTER = 0.05
ECHOES = (0.0, 0.1, 0.2, 0.4, 0.8)
# The others are asked in passes, so many for all that moved in so many seconds: none is older than two of them.
PASS_EVERY, PASSES = 0.9, 2
# So many new ones are asked before those in use are looked after again.
NEW = 50
# A pass rests after so many of them
SLICE = 20
# for at least so many seconds, and for so many times as long as asking took: a mesh in which something moves all the
# time costs a bounded part of a core.
REST, REST_SHARE = 0.02, 1.0
# Seconds after a round in which Consul failed.
AFTER_FAILURE = 2.0

log = logging.getLogger(__name__)


@dataclass
class _Turn:
    """One watch that does not block."""

    path: str
    query: Query
    digest: bytes = b""
    # Its newest round, so that one that was added is asked without waiting for a reason.
    asked: bool = False


class Watches(Generic[K]):
    """`answers()` tells the changes of all that was added. At most `blocking` connections wait, two ask in turn: one
    those that are new or in use, the other all others, so that nobody in use waits for a pass over hundreds.

    Which ones block and who is asked first is for `favour` to say; before it the first that were added block.

    Memory is bounded by the number of watches: of each, the newest answer that was not taken yet is kept.
    """

    def __init__(self, client: ConsulClient, blocking: int) -> None:
        self._client = client
        self._blocking = blocking
        self._tasks: dict[K, asyncio.Task[None]] = {}
        # What those that block ask.
        self._asked: dict[K, tuple[str, Query]] = {}
        self._turns: dict[K, _Turn] = {}
        self._newest: dict[K, Answer] = {}
        self._told = asyncio.Event()
        # Something moved, for each of the two that ask in turn.
        self._ring_favoured, self._ring_others = asyncio.Event(), asyncio.Event()
        self._rounds: dict[str, asyncio.Task[None]] = {}
        self._favoured: frozenset[K] = frozenset()
        # What those that ask in turn were told last when Consul failed.
        self._failing = ""

    def __contains__(self, key: K) -> bool:
        return key in self._tasks or key in self._turns

    def __len__(self) -> int:
        return len(self._tasks) + len(self._turns)

    def add(self, key: K, path: str, query: Query) -> None:
        """Watch `path` from now on."""
        if key in self:
            return
        if len(self._tasks) < self._blocking:
            self._block(key, path, query)
        else:
            self._take_turns(key, path, query)

    def favour(self, keys: frozenset[K]) -> None:
        """These are in use: they block, as far as there is room, and the rest of them is asked first."""
        self._favoured = keys
        idle = [key for key in self._tasks if key not in keys]
        waiting = [key for key in self._turns if key in keys]
        for leaving, coming in zip(idle, waiting, strict=False):
            self._tasks.pop(leaving).cancel()
            turn, asked = self._turns.pop(coming), self._asked[leaving]
            self._block(coming, turn.path, turn.query)
            self._take_turns(leaving, *asked)

    def _block(self, key: K, path: str, query: Query) -> None:
        query = {name: value for name, value in query.items() if name != "cached"}
        self._asked[key] = path, query
        self._tasks[key] = asyncio.create_task(self._follow(key, path, query))

    def _take_turns(self, key: K, path: str, query: Query) -> None:
        self._turns[key] = _Turn(path, {**query, "cached": ""})
        for name, go in (("favoured", self._ask_favoured), ("others", self._ask_others)):
            if name not in self._rounds or self._rounds[name].done():
                self._rounds[name] = asyncio.create_task(go())
        self._ring_favoured.set()

    def discard(self, key: K) -> None:
        """Watch it no more. One that took turns blocks in its place."""
        self._newest.pop(key, None)
        self._turns.pop(key, None)
        self._asked.pop(key, None)
        if (task := self._tasks.pop(key, None)) is None:
            return
        task.cancel()
        if self._turns:
            first = next((name for name in self._turns if name in self._favoured), next(iter(self._turns)))
            turn = self._turns.pop(first)
            self._block(first, turn.path, turn.query)

    def ring(self) -> None:
        """Something moved: ask those that take turns."""
        self._ring_favoured.set()
        self._ring_others.set()

    @property
    def in_turns(self) -> int:
        """How many watches take turns."""
        return len(self._turns)

    async def answers(self) -> AsyncGenerator[tuple[K, Answer], None]:
        """Every change, the newest answer of each only."""
        try:
            while True:
                await self._told.wait()
                self._told.clear()
                while self._newest:
                    key = next(iter(self._newest))
                    yield key, self._newest.pop(key)
        finally:
            await self.close()

    async def close(self) -> None:
        """End all watches."""
        tasks = [*self._tasks.values(), *self._rounds.values()]
        self._tasks.clear()
        self._turns.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def tell(self, key: K, answer: Answer) -> None:
        """As if Consul had answered this."""
        self._newest[key] = answer
        self._told.set()

    async def _follow(self, key: K, path: str, query: Query) -> None:
        async with aclosing(self._client.watch(path, query)) as answers:
            async for answer in answers:
                self.tell(key, answer)

    async def _ask_favoured(self) -> None:
        """Ask those that are in use when something moved, and those that are new, so many at a time."""
        echoes: tuple[float, ...] = ()
        # As those that block: what changes all the time is seen ten times a second.
        rounds = Bucket(ROUNDS_PER_SECOND, BURST)
        while self._turns:
            new = [key for key, turn in self._turns.items() if not turn.asked][:NEW]
            patience = 0.0 if new else echoes[0] if echoes else EVERY
            rung = await _is_set_within(self._ring_favoured, patience)
            began = self._client.clock()
            in_use = [key for key in self._turns if key in self._favoured and key not in new]
            if not await self._ask_each([*(in_use if rung or echoes else ()), *new]):
                self._ring_favoured.set()
            echoes = ECHOES if rung else echoes if new else echoes[1:]
            now = self._client.clock()
            await self._client.sleep(max(ECHO_AFTER, REST_SHARE * (now - began), rounds.take(now)))

    async def _ask_others(self) -> None:
        """Ask the rest of them in passes that begin when something moved, a slice at a time."""
        passes = PASSES
        while self._turns:
            if await _is_set_within(self._ring_others, 0.0 if passes else EVERY):
                passes = PASSES
            # When nobody has rung for long they are asked all the same.
            passes = max(passes, 1)
            began = self._client.clock()
            passes = passes - 1 if await self._pass() else PASSES
            if (left := began + PASS_EVERY - self._client.clock()) > 0:
                await self._client.sleep(left)

    async def _pass(self) -> bool:
        """False: Consul failed, and some were not asked."""
        others = [key for key, turn in self._turns.items() if turn.asked and key not in self._favoured]
        while others:
            began = self._client.clock()
            if not await self._ask_each(key for key in others[:SLICE] if key not in self._favoured):
                return False
            del others[:SLICE]
            await self._client.sleep(max(REST, REST_SHARE * (self._client.clock() - began)))
        return True

    async def _ask_each(self, keys: Iterable[K]) -> bool:
        """False: Consul failed, which is logged, and was given some time; the rest of them was not asked."""
        for key in keys:
            if (turn := self._turns.get(key)) is None:
                continue
            try:
                await self._ask(key, turn)
            except ConsulError as error:
                if str(error) != self._failing:
                    self._failing = str(error)
                    log.warning("%s; what was known last stays in force", error)
                await self._client.sleep(AFTER_FAILURE)
                return False
            self._failing = ""
        return True

    async def _ask(self, key: K, turn: _Turn) -> None:
        answer = await self._client.get(turn.path, turn.query, known=turn.digest)
        turn.asked = True
        if key in self._turns and answer.digest != turn.digest:
            turn.digest = answer.digest
            self.tell(key, answer)


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    """Whether it is set, or becomes so within so many seconds; it is not set afterwards."""
    if not event.is_set() and seconds > 0:
        with suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), seconds)
    was_set = event.is_set()
    event.clear()
    return was_set
