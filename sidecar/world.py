"""All that is known now: frozen, and moved forward by one update at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from sidecar.config.document import Document, DocumentSet, Key
from sidecar.config.model import Gateway, Mesh, Service
from sidecar.errors import Problem

# What a source may say; a union that grows with the sources.
Update = DocumentSet


@dataclass(frozen=True)
class World:
    """The documents that serve, and by place the problems of what was refused. `World()` is empty: all defaults."""

    documents: Mapping[Key, Document] = field(default_factory=lambda: MappingProxyType({}))
    # "services/orders.yaml" -> its problems. An entry clears when the document is fixed or removed.
    refusals: Mapping[str, tuple[Problem, ...]] = field(default_factory=lambda: MappingProxyType({}))

    @cached_property
    def mesh(self) -> Mesh:
        raise NotImplementedError

    @cached_property
    def services(self) -> Mapping[str, Service]:
        raise NotImplementedError

    @cached_property
    def gateways(self) -> Mapping[str, Gateway]:
        raise NotImplementedError

    def apply(self, update: Update) -> World:
        """The world after `update`. A refused document keeps serving in its last good version."""
        raise NotImplementedError
