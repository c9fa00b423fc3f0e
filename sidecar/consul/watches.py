"""Many watches on few connections: the first of them block, those beyond take turns."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Hashable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from sidecar.consul.client import ROUNDS_PER_SECOND, Answer, ConsulClient, Query
from sidecar.errors import ConsulError

K = TypeVar("K", bound=Hashable)

# Seconds. Whoever takes turns is asked when something moved, and at least so often.
EVERY = 10.0
# Of those that take turns the favoured are asked as soon as something moved, the others in one pass for all that moved
# in this many seconds: none is older than two passes.
PASS_EVERY = 0.9
# Seconds after which the favoured are asked once more, and passes over the others: an agent's cache hears of a change a
# little later than its watch.
ECHO_AFTER, PASSES = 0.15, 2
# So many of the others are asked before the favoured are looked after again,
SLICE = 50
# and then rest for at least so many seconds, and for so many times as long as asking took: a mesh in which something
# moves all the time costs a bounded part of a core.
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
    """`answers()` tells the changes of all that was added. At most `blocking` connections wait, one asks in turn.

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
        self._ring = asyncio.Event()
        self._round: asyncio.Task[None] | None = None
        self._favoured: frozenset[K] = frozenset()
        # Those that take turns and were not asked since something moved, in their order.
        self._owed: dict[K, None] = {}

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
        if self._round is None or self._round.done():
            self._round = asyncio.create_task(self._go_round())
        self._ring.set()

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
        self._ring.set()

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
        tasks = [*self._tasks.values(), *([self._round] if self._round else [])]
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

    async def _go_round(self) -> None:
        """Ask those that take turns: new and favoured ones when something moved, then the others, a slice at a time."""
        # When the last pass over the others began, how many are due, and when the favoured are asked once more.
        passed, passes, echo, failing = float("-inf"), 0, float("inf"), ""
        # Before it no ring is heard: as those that block, the favoured are asked at most so often.
        deaf_until = float("-inf")
        while self._turns:
            now = self._client.clock()
            due = min(echo, passed + PASS_EVERY if passes else float("inf"), now + EVERY)
            wait = 0.0 if self._owed else max(0.0, due - now)
            if now < deaf_until:
                rung = False
                await self._client.sleep(min(wait, deaf_until - now))
            else:
                rung = await self._rings_within(wait)
            began = self._client.clock()
            if rung:
                deaf_until = began + 1 / ROUNDS_PER_SECOND
            if rung or due == now + EVERY:
                # When nobody has rung for long they are asked all the same.
                passes = PASSES
            first = [
                key
                for key, turn in self._turns.items()
                if not turn.asked or (key in self._favoured and (rung or began >= echo))
            ]
            echo = began + ECHO_AFTER if rung else float("inf") if began >= echo else echo
            if passes and not self._owed and began - passed >= PASS_EVERY:
                passes, passed = passes - 1, began
                self._owed = dict.fromkeys(key for key in self._turns if key not in first)
            try:
                for key in [*first, *list(self._owed)[:SLICE]]:
                    if (turn := self._turns.get(key)) is not None:
                        await self._ask(key, turn)
                    self._owed.pop(key, None)
                failing = ""
            except ConsulError as error:
                if str(error) != failing:
                    failing = str(error)
                    log.warning("%s; what was known last stays in force", failing)
                self._ring.set()
                await self._client.sleep(AFTER_FAILURE)
            await self._client.sleep(max(REST, REST_SHARE * (self._client.clock() - began)))

    async def _rings_within(self, wait: float) -> bool:
        """Whether something moved, or does within so many seconds."""
        if not self._ring.is_set() and wait > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ring.wait(), wait)
        rung = self._ring.is_set()
        self._ring.clear()
        return rung

    async def _ask(self, key: K, turn: _Turn) -> None:
        answer = await self._client.get(turn.path, turn.query, known=turn.digest)
        turn.asked = True
        if key in self._turns and answer.digest != turn.digest:
            turn.digest = answer.digest
            self.tell(key, answer)
