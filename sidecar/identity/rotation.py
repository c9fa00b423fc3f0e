"""Keeps a leaf fresh: a new one before two thirds of the old one's life, each sidecar at its own moment."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import random
from typing import Protocol

from sidecar.errors import IdentityError
from sidecar.identity.authority import Leaf
from sidecar.identity.spiffe import ServiceId
from sidecar.world import Site

# The new leaf comes between these shares of the old one's life. A third of it is left to outlast a broken authority.
EARLIEST, LATEST = 1 / 2, 2 / 3
# After a failure, but for leaves that do not live so long: for those a share of what is left. The last wait repeats.
RETRY_AFTER = (timedelta(seconds=10), timedelta(seconds=30), timedelta(minutes=2), timedelta(minutes=10))
RETRY_SHARE, RETRY_NO_SOONER = 1 / 4, timedelta(seconds=1)
# One sleep at most: so soon a rotation of the authority is seen, and that a host was suspended. A look is one stat.
LOOK_EVERY = timedelta(seconds=1)

log = logging.getLogger(__name__)


class Issuer(Protocol):
    """Signs for one trust domain when it is asked."""

    def issue(self, identity: ServiceId) -> Leaf:
        """A new leaf with a new key. May block; raises IdentityError with the next step."""

    def mark(self) -> object:
        """Another one when its key or roots are others. Does not block."""


@dataclass(frozen=True)
class Rotation:
    """Time and chance, injected. `jitter` gives numbers from 0 to below 1."""

    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[], float] = random

    def due(self, leaf: Leaf, issued: datetime) -> datetime:
        """When the next leaf should be asked for; a leaf begins before it was issued, for clocks that are behind."""
        share = EARLIEST + (LATEST - EARLIEST) * self.jitter()
        return issued + share * (leaf.not_after - issued)

    def retry(self, leaf: Leaf, failures: int) -> datetime:
        """When to ask again after so many failures."""
        now = self.clock()
        wait = RETRY_AFTER[min(failures, len(RETRY_AFTER)) - 1]
        return now + max(min(wait, RETRY_SHARE * (leaf.not_after - now)), RETRY_NO_SOONER)


class IssuedAuthority:
    """An authority of one that signs when it is asked: it is, whenever a leaf is due or the roots are others."""

    def __init__(self, name: str, issuer: Issuer, identity: ServiceId, rotation: Rotation | None = None) -> None:
        self.name = name
        self.failure = ""
        self.due: datetime | None = None
        self.site: Site | None = Site(identity.trust_domain, identity.datacenter)
        self._issuer = issuer
        self._identity = identity
        self._rotation = rotation or Rotation()

    async def watch(self) -> AsyncGenerator[Leaf, None]:
        rotation = self._rotation
        mark = self._issuer.mark()
        leaf = await self._issue()
        # The first use of an authority makes it.
        mark = self._issuer.mark() if mark is None else mark
        yield leaf
        failures = 0
        while True:
            await self._until_due(mark)
            mark = self._issuer.mark()
            try:
                leaf = await self._issue()
            except IdentityError as error:
                failures += 1
                self.failure = str(error)
                self.due = rotation.retry(leaf, failures)
                log.error(
                    "leaf not rotated (it ends at %s), next try at %s: %s",
                    leaf.not_after.isoformat(timespec="seconds"),
                    self.due.isoformat(timespec="seconds"),
                    error,
                )
                continue
            failures = 0
            self.failure = ""
            yield leaf

    async def _issue(self) -> Leaf:
        issued = self._rotation.clock()
        leaf = await asyncio.to_thread(self._issuer.issue, self._identity)
        self.due = self._rotation.due(leaf, issued)
        return leaf

    async def _until_due(self, mark: object) -> None:
        rotation = self._rotation
        while self.due is not None and (left := self.due - rotation.clock()) > timedelta():
            if self._issuer.mark() != mark:
                return
            await rotation.sleep(min(left, LOOK_EVERY).total_seconds())
