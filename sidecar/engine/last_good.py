"""What Consul told last, kept on disk: the world in one file, our leaf and its key in another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sidecar.engine import codec
from sidecar.errors import StateError
from sidecar.identity.authority import Leaf
from sidecar.state import StateFile
from sidecar.world import World

# Seconds that changes are collected for before they are written, and between writes: a service that flaps costs ten
# writes a minute, and a kill loses seconds of novelty.
WRITE_AFTER, WRITE_EVERY = 1.0, 5.0
# Seconds between marks that what is on disk is still true.
CONFIRM_EVERY = 30.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LastGood:
    """All that a start without Consul needs, and until when it was true. `presence` is what we are in the catalog."""

    presence: Mapping[str, Any]
    world: World
    leaf: Leaf
    true_at: datetime


class Store:
    """The two files of one instance. What fails is logged once, and again when it is another failure."""

    def __init__(self, directory: Path, name: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._world_file = StateFile(directory / "last-good" / f"{name}.world")
        self._leaf_file = StateFile(directory / "last-good" / f"{name}.leaf")
        self._clock = clock
        self._changed = asyncio.Event()
        self._failure = ""
        # What is to be written; None when the file has it.
        self._presence: Mapping[str, Any] = {}
        self._world: World | None = None
        self._leaf: Leaf | None = None

    def load(self) -> LastGood | None:
        """What was saved; None when nothing was. What cannot be used is logged, and is as if it were not there."""
        try:
            saved, leaf = self._world_file.load(), self._leaf_file.load()
            if saved is None or leaf is None:
                return None
            return LastGood(
                saved.value["presence"], codec.decode_world(saved.value), codec.decode_leaf(leaf.value), saved.true_at
            )
        except StateError as error:
            log.error("%s", error)
        except (KeyError, TypeError, ValueError) as error:
            log.error("%s holds something else than this version wrote: %r; remove it", self._world_file.path, error)
        return None

    def keep(self, presence: Mapping[str, Any], world: World) -> None:
        """Write this world soon."""
        self._presence, self._world = presence, world
        self._changed.set()

    def keep_leaf(self, leaf: Leaf) -> None:
        """Write this leaf soon."""
        self._leaf = leaf
        self._changed.set()

    async def run(self, is_true: Callable[[], bool]) -> None:
        """Write what changes, and mark what did not as still true while `is_true` says so; for ever."""
        while True:
            try:
                await asyncio.wait_for(self._changed.wait(), CONFIRM_EVERY)
            except TimeoutError:
                if is_true():
                    await asyncio.to_thread(self._try, self._confirm)
                continue
            await asyncio.sleep(WRITE_AFTER)
            await self.flush()
            await asyncio.sleep(WRITE_EVERY)

    async def flush(self) -> None:
        """Write now what waits."""
        self._changed.clear()
        presence, world, leaf = self._presence, self._world, self._leaf
        self._world = self._leaf = None
        if world is not None or leaf is not None:
            await asyncio.to_thread(self._try, lambda: self._write(presence, world, leaf))

    def _write(self, presence: Mapping[str, Any], world: World | None, leaf: Leaf | None) -> None:
        if leaf is not None:
            self._leaf_file.save(codec.encode_leaf(leaf), self._clock())
        if world is not None:
            self._world_file.save({"presence": presence, **codec.encode_world(world)}, self._clock())

    def _confirm(self) -> None:
        self._world_file.confirm(self._clock())

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except StateError as error:
            if str(error) != self._failure:
                log.error("the last good world is not kept: %s", error)
            self._failure = str(error)
        else:
            self._failure = ""
