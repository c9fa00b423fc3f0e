"""The embedded engine: a directory of documents, and an authority, by itself the local CA. Nothing else need run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from sidecar.control import Control
from sidecar.engine import Beginning
from sidecar.engine.stream import Stream
from sidecar.errors import ConfigError, Problem, SourceError
from sidecar.identity.authority import Leaf
from sidecar.identity.choice import LOCAL, Choice, authority
from sidecar.snapshot import GatewayRole, Role
from sidecar.sources.files import FileSource
from sidecar.telemetry.families import Family
from sidecar.world import Target, World

# Seconds between tries to watch a directory that failed.
WATCH_AGAIN_AFTER = 2.0

# Folders whose documents only a gateway uses.
NOT_A_SIDECARS = frozenset({"gateways", "consumers"})

log = logging.getLogger(__name__)


class DirectoryEngine:
    """One host's mesh."""

    def __init__(self, directory: Path, state_directory: Path, role: Role, choice: Choice = LOCAL) -> None:
        self.directory = directory
        self._choice = choice
        self._leaves: Stream[Leaf] | None = None
        self._state_directory = state_directory
        self._role = role
        self._source = FileSource(directory, frozenset() if isinstance(role, GatewayRole) else NOT_A_SIDECARS)

    async def begin(self) -> Beginning:
        """Every document must be good: there is no last good one. Raises ConfigError, SourceError or IdentityError."""
        world = first_world(self._source, self._role)
        name = self._role.name if isinstance(self._role, GatewayRole) else self._role.service
        chosen = authority(self._choice, name, world.mesh.trust_domain, self._state_directory)
        self._leaves = Stream(chosen.watch())
        leaf = await self._leaves.peek()
        self._leaves.take()
        return Beginning(self._role, world, leaf, chosen)

    def loops(self, control: Control) -> Sequence[Coroutine[Any, Any, None]]:
        return (self._watch(control), *([self._follow(self._leaves, control)] if self._leaves else []))

    async def _watch(self, control: Control) -> None:
        """A source that fails is tried again; the last good serves."""
        while True:
            try:
                async for documents in self._source.watch():
                    control.update(documents)
            except SourceError as error:
                control.refuse(str(error))
            await asyncio.sleep(WATCH_AGAIN_AFTER)

    async def _follow(self, leaves: Stream[Leaf], control: Control) -> None:
        async for leaf in leaves:
            control.install(leaf)

    def want(self, target: Target, mesh: bool) -> None:
        """Its endpoints stand in its document."""

    def unwant(self, target: Target) -> None:
        """As above."""

    async def announce(self, listeners: Mapping[str, str], admin: str) -> None:
        """Others find us in the documents."""

    async def withdraw(self) -> None:
        """As above."""

    async def close(self) -> None:
        """Ask for no more leaves."""
        if self._leaves is not None:
            await self._leaves.close()

    def families(self) -> Sequence[Family]:
        return ()

    def details(self) -> Mapping[str, object]:
        return {}


def first_world(source: FileSource, role: Role) -> World:
    """The world to start with: there is no last good one, so every document in use must be good. Raises ConfigError."""
    world = World().apply(source.read())
    problems = [problem for found in world.refusals.values() for problem in found]
    if isinstance(role, GatewayRole) and not problems and role.name not in world.gateways:
        known = ", ".join(sorted(world.gateways)) or "none"
        problems.append(
            Problem(
                f"gateways/{role.name}.yaml",
                f"there is no document for the gateway `{role.name}`",
                expected=f"this file in {source.directory}; gateways that have one: {known}",
                hint="write it, or choose another gateway with --name",
            )
        )
    if problems:
        raise ConfigError(problems)
    return world
