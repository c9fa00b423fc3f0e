"""Many watches on few connections: the first of them block, those beyond take turns."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Hashable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, TypeVar

from sidecar.consul.client import Answer, ConsulClient, Query
from sidecar.errors import ConsulError

K = TypeVar("K", bound=Hashable)

# Seconds. Whoever takes turns is asked when something moved, and at least so often.
EVERY = 10.0
# Seconds between two rounds, and after a round in which Consul failed.
BETWEEN, AFTER_FAILURE = 0.5, 2.0

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

    Memory is bounded by the number of watches: of each, the newest answer that was not taken yet is kept.
    """

    def __init__(self, client: ConsulClient, blocking: int) -> None:
        self._client = client
        self._blocking = blocking
        self._tasks: dict[K, asyncio.Task[None]] = {}
        self._turns: dict[K, _Turn] = {}
        self._newest: dict[K, Answer] = {}
        self._told = asyncio.Event()
        self._ring = asyncio.Event()
        self._round: asyncio.Task[None] | None = None

    def __contains__(self, key: K) -> bool:
        return key in self._tasks or key in self._turns

    def __len__(self) -> int:
        return len(self._tasks) + len(self._turns)

    def add(self, key: K, path: str, query: Query) -> None:
        """Watch `path` from now on."""
        if key in self:
            return
        if len(self._tasks) < self._blocking:
            self._tasks[key] = asyncio.create_task(self._follow(key, path, query))
            return
        self._turns[key] = _Turn(path, {**query, "cached": ""})
        if self._round is None or self._round.done():
            self._round = asyncio.create_task(self._go_round())
        self._ring.set()

    def discard(self, key: K) -> None:
        """Watch it no more. One that took turns blocks in its place."""
        self._newest.pop(key, None)
        self._turns.pop(key, None)
        if (task := self._tasks.pop(key, None)) is None:
            return
        task.cancel()
        if self._turns:
            first, turn = next(iter(self._turns.items()))
            del self._turns[first]
            query = {name: value for name, value in turn.query.items() if name != "cached"}
            self._tasks[first] = asyncio.create_task(self._follow(first, turn.path, query))

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
        """Ask everybody in turn: new ones at once, all of them after a ring or when it was long ago."""
        failing = ""
        while self._turns:
            try:
                await asyncio.wait_for(self._ring.wait(), EVERY)
            except TimeoutError:
                everybody = True
            else:
                everybody = all(turn.asked for turn in self._turns.values())
            self._ring.clear()
            try:
                for key, turn in list(self._turns.items()):
                    if everybody or not turn.asked:
                        await self._ask(key, turn)
                failing = ""
            except ConsulError as error:
                if str(error) != failing:
                    failing = str(error)
                    log.warning("%s; what was known last stays in force", failing)
                self._ring.set()
                await self._client.sleep(AFTER_FAILURE)
            await self._client.sleep(BETWEEN)

    async def _ask(self, key: K, turn: _Turn) -> None:
        answer = await self._client.get(turn.path, turn.query, known=turn.digest)
        turn.asked = True
        if key in self._turns and answer.digest != turn.digest:
            turn.digest = answer.digest
            self.tell(key, answer)
