"""The engine of a mesh: where all that a sidecar knows comes from. A directory with a local CA, or Consul.

Which one is chosen at the start, and never changed for the other: a mesh that cannot be reached is told, not replaced.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sidecar.control import Control
from sidecar.identity.authority import Authority, Leaf
from sidecar.snapshot import Role
from sidecar.telemetry.families import Family
from sidecar.world import Target, World

__all__ = ["Announcement", "Beginning", "Engine", "SidecarFor"]


@dataclass(frozen=True)
class SidecarFor:
    """The sidecar of a service that somebody else registered; its registration says the rest."""

    service_id: str
    outbound: str


@dataclass(frozen=True)
class Announcement:
    """How the mesh is told of us; an empty text is filled in."""

    id: str = ""
    address: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    check: str = "tcp"


@dataclass(frozen=True)
class Beginning:
    """What a start needs: who we are, what is known, our certificate, and who says so."""

    role: Role
    world: World
    leaf: Leaf
    authority: Authority


class Engine(Protocol):
    """begin → loops beside all others → announce → withdraw → close; only `begin` and `close` are always called."""

    # Where the relative paths of certificates in documents start.
    directory: Path

    async def begin(self) -> Beginning:
        """The first knowledge. Raises SidecarError when there is none to start with."""

    def loops(self, control: Control) -> Sequence[Coroutine[Any, Any, None]]:
        """What brings every later change to `control`; none of them ends."""

    def want(self, target: Target, mesh: bool) -> None:
        """A request needs this service's endpoints: its sidecars', or (not `mesh`) its own."""

    def unwant(self, target: Target) -> None:
        """No route leads to this service any more."""

    async def announce(self, listeners: Mapping[str, str], admin: str) -> None:
        """The listeners are bound to these addresses: others may be told of us."""

    async def withdraw(self) -> None:
        """We are about to end: nobody new shall come."""

    async def close(self) -> None:
        """Keep what should be kept, let go of everything."""

    def families(self) -> Sequence[Family]:
        """Its metrics."""

    def details(self) -> Mapping[str, object]:
        """What `/ready` says of it."""
