"""How long our leaf has to live, and the warnings long before it ends without another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from sidecar.identity.authority import Authority, Leaf

# Shares of a leaf's life that are left. Every authority has renewed before the first (Consul's agent by nine tenths).
WARN_AT = (1 / 10, 1 / 30, 0.0)
# Leaves begin so long before they are issued (Consul, the local CA).
BACKDATE = timedelta(minutes=1)
LOOK_EVERY = timedelta(seconds=10)

log = logging.getLogger(__name__)


class Lifetime:
    """Of the leaf that `leaf` gives."""

    def __init__(
        self,
        leaf: Callable[[], Leaf],
        authority: Authority,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._leaf = leaf
        self._authority = authority
        self._clock = clock
        self._sleep = sleep

    def left(self) -> timedelta:
        """Until it ends; negative when it has."""
        return self._leaf().not_after - self._clock()

    async def warn(self) -> None:
        """Log once at each share of `WARN_AT` that a leaf reaches, for ever."""
        told: tuple[Leaf | None, int] = None, 0
        while True:
            leaf = self._leaf()
            life = max(leaf.not_after - leaf.not_before - BACKDATE, timedelta(seconds=1))
            reached = sum(self.left() <= share * life for share in WARN_AT)
            if reached > (told[1] if told[0] == leaf else 0):
                log.log(logging.ERROR if reached == len(WARN_AT) else logging.WARNING, "%s", self._describe(leaf))
            told = leaf, reached
            await self._sleep(min(LOOK_EVERY, max(life / 30, timedelta(seconds=1))).total_seconds())

    def _describe(self, leaf: Leaf) -> str:
        seconds = round(self.left().total_seconds())
        when = f"ends in {seconds} s" if seconds > 0 else "has ended, and no peer takes new connections"
        why = self._authority.failure or "it has said nothing"
        ends = leaf.not_after.isoformat(timespec="seconds")
        return f"our certificate {when} (at {ends}), and {self._authority.name} gave no other: {why}"
