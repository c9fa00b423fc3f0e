"""Keeps a leaf fresh: a new one before two thirds of the old one's life, each sidecar at its own moment."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import random

from sidecar.errors import IdentityError
from sidecar.identity.authority import Leaf

# The new leaf comes between these shares of the old one's life. A third of it is left to outlast a broken authority.
EARLIEST, LATEST = 1 / 2, 2 / 3
# After a failure. The last wait repeats.
RETRY_AFTER = (timedelta(seconds=10), timedelta(seconds=30), timedelta(minutes=2), timedelta(minutes=10))
# One sleep at most: a host that was suspended notices within it that its leaf is due.
LONGEST_SLEEP = timedelta(minutes=1)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rotation:
    """Time and chance, injected. `jitter` gives numbers from 0 to below 1."""

    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[], float] = random

    def due(self, leaf: Leaf) -> datetime:
        """When the next leaf should be asked for."""
        share = EARLIEST + (LATEST - EARLIEST) * self.jitter()
        return leaf.not_before + share * (leaf.not_after - leaf.not_before)

    async def run(self, leaf: Leaf, issue: Callable[[], Awaitable[Leaf]], install: Callable[[Leaf], None]) -> None:
        """Replace `leaf` for ever. A failure is logged and tried again; the old leaf serves meanwhile."""
        while True:
            await self._sleep_until(self.due(leaf))
            leaf = await self._issue(leaf, issue)
            install(leaf)
            log.info("leaf rotated, the new one ends at %s", leaf.not_after.isoformat(timespec="seconds"))

    async def _issue(self, old: Leaf, issue: Callable[[], Awaitable[Leaf]]) -> Leaf:
        failures = 0
        while True:
            try:
                return await issue()
            except IdentityError as error:
                wait = RETRY_AFTER[min(failures, len(RETRY_AFTER) - 1)]
                failures += 1
                log.error(
                    "leaf not rotated (it ends at %s), next try in %d s: %s",
                    old.not_after.isoformat(timespec="seconds"),
                    wait.total_seconds(),
                    error,
                )
                await self._sleep_until(self.clock() + wait)

    async def _sleep_until(self, moment: datetime) -> None:
        while (left := moment - self.clock()) > timedelta():
            await self.sleep(min(left, LONGEST_SLEEP).total_seconds())
