"""Files as the authority: a pair and a bundle that others keep fresh (cert-manager, Vault Agent, spiffe-helper).

    DIR/tls.crt   our chain, leaf first       DIR/tls.key   its key       DIR/ca.crt   the roots of the mesh

Those are the names in a Kubernetes secret. Who writes them may rename files or switch a link of the directory. Three
files cannot be replaced at once: they are read when none of them changes any more, and while they do not belong
together what was read before stays.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import datetime
from pathlib import Path

from sidecar.errors import IdentityError
from sidecar.identity.authority import Leaf
from sidecar.identity.key_material import LOOK_EVERY, stamp
from sidecar.identity.process import load_leaf
from sidecar.identity.spiffe import ServiceId
from sidecar.world import Site

CHAIN, KEY, ROOTS = "tls.crt", "tls.key", "ca.crt"
# Looks at the start, five seconds of them: who writes the files may start with us.
LOOKS_AT_START = 10

log = logging.getLogger(__name__)


class LeafFiles:
    """The authority that `--identity files:DIR` names."""

    def __init__(
        self,
        directory: Path,
        service: str,
        trust_domain: str = "",
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Of whatever trust domain the leaf is, where that is ""."""
        self.name = f"the files in {directory}"
        self.site: Site | None = None
        self.failure = ""
        self.due: datetime | None = None
        self._paths = directory / CHAIN, directory / KEY, directory / ROOTS
        self._service, self._trust_domain = service, trust_domain
        self._sleep = sleep

    async def watch(self) -> AsyncGenerator[Leaf, None]:
        leaf, held = await self._first()
        self._tell_mode()
        yield leaf
        seen = refused = held
        while True:
            await self._sleep(LOOK_EVERY)
            before, seen = seen, self._look()
            if seen != before or seen in (held, refused):
                continue
            try:
                leaf, read = await self._read()
            except IdentityError as error:
                refused = seen
                self.failure = str(error)
                log.warning("%s have changed, what they held before keeps serving: %s", self.name, error)
                continue
            # Another file may have changed meanwhile.
            if read == seen == self._look():
                held = seen
                self.failure = ""
                yield leaf

    async def _first(self) -> tuple[Leaf, object]:
        for _ in range(LOOKS_AT_START - 1):
            try:
                return await self._read()
            except IdentityError:
                await self._sleep(LOOK_EVERY)
        return await self._read()

    async def _read(self) -> tuple[Leaf, object]:
        """The leaf, and how the files looked before. Raises IdentityError."""
        seen = self._look()
        leaf, identity = await asyncio.to_thread(self._load)
        self.site = Site(identity.trust_domain, identity.datacenter)
        return leaf, seen

    def _tell_mode(self) -> None:
        """A key in a secret of Kubernetes is 0644 on a disk of one pod: that is told, and no reason to refuse it."""
        if (mode := self._paths[1].stat().st_mode & 0o777) & 0o077:
            log.warning("%s can be read by others (mode %04o): have it written with mode 0600", self._paths[1], mode)

    def _load(self) -> tuple[Leaf, ServiceId]:
        chain, key, roots = self._paths
        return load_leaf(chain, key, roots, self._service, self._trust_domain)

    def _look(self) -> tuple[object, ...]:
        return tuple(stamp(path) for path in self._paths)
