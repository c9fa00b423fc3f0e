"""A document that was read: its model, and where in its text the parts stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, NamedTuple

from sidecar.config.model import Consumer, Gateway, Mesh, Service
from sidecar.config.tree import Path
from sidecar.errors import Problem

Kind = Literal["mesh", "service", "gateway", "consumer"]


class Key(NamedTuple):
    """Names a document, whatever file or key holds it; the mesh document's name is empty."""

    kind: Kind
    name: str


@dataclass(frozen=True, slots=True)
class Document:
    """One valid document. `place` is its file ("services/orders.yaml") or its key in Consul; `text` is as written."""

    key: Key
    place: str
    text: str = field(repr=False)
    model: Mesh | Service | Gateway | Consumer
    # "services/orders.yaml:12:3" of the parts that a snapshot names: routes, subsets, listeners, upstreams, allow.
    places: Mapping[Path, str] = field(repr=False)
    # ModifyIndex of its key in Consul; 0 for a file.
    index: int = 0

    def origin(self, *path: str | int) -> str:
        """The place of the part at `path`, or of the document when that part was not written."""
        return self.places.get(path, self.place)


@dataclass(frozen=True, slots=True)
class DocumentSet:
    """All documents of a source as they are now: the good ones, and by place the problems of the refused ones."""

    documents: Mapping[Key, Document] = field(default_factory=lambda: MappingProxyType({}))
    refusals: Mapping[str, tuple[Problem, ...]] = field(default_factory=lambda: MappingProxyType({}))
    # What the refused places would have been, where that can be told; a reference to it is not dangling.
    refused: frozenset[Key] = frozenset()
    # Services may exist without a document: Consul knows them.
    discovered: bool = False
