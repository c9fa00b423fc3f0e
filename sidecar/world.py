"""All that is known now: frozen, and moved forward by one update at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TypeVar

from sidecar.config.document import Document, DocumentSet, Key
from sidecar.config.model import Gateway, Mesh, Service
from sidecar.config.references import dangling
from sidecar.errors import Problem

K = TypeVar("K", Key, str)
V = TypeVar("V")

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
        """The mesh document, or its defaults."""
        document = self.documents.get(Key("mesh", ""))
        return document.model if document is not None and isinstance(document.model, Mesh) else Mesh()

    @cached_property
    def services(self) -> Mapping[str, Service]:
        """By name, disabled ones included, in the order of their names."""
        return {key.name: item.model for key, item in self.documents.items() if isinstance(item.model, Service)}

    @cached_property
    def gateways(self) -> Mapping[str, Gateway]:
        """By name, in the order of their names."""
        return {key.name: item.model for key, item in self.documents.items() if isinstance(item.model, Gateway)}

    def apply(self, update: Update) -> World:
        """The world after `update`. A refused document keeps serving in its last good version, and alone.

        A document that was good and whose references lead nowhere since another one changed keeps serving too,
        with a refusal that tells so: its other routes are as good as before.
        """
        documents = dict(update.documents)
        for key in update.refused - documents.keys():
            if key in self.documents:
                documents[key] = self.documents[key]
        refusals = dict(update.refusals)
        # Services refer to the names of services only, gateways to their subsets too: services are decided first.
        for kind in ("service", "gateway"):
            services = _services(documents, update)
            for key in sorted(key for key in documents if key.kind == kind):
                document = documents[key]
                problems = dangling(document, services)
                if not problems:
                    continue
                refusals[document.place] = (*refusals.get(document.place, ()), *problems)
                last_good = self.documents.get(key)
                if last_good is None:
                    del documents[key]
                else:
                    documents[key] = last_good
        return World(
            MappingProxyType(dict(sorted(documents.items()))), MappingProxyType(dict(sorted(refusals.items())))
        )


def _in_order(mapping: dict[K, V]) -> Mapping[K, V]:
    return MappingProxyType(dict(sorted(mapping.items())))


def _services(documents: Mapping[Key, Document], update: DocumentSet) -> dict[str, Service | None]:
    """Every service that has a document, good or not."""
    names = {key.name for key in (*update.documents, *update.refused) if key.kind == "service"}
    known: dict[str, Service | None] = dict.fromkeys(sorted(names))
    for key, document in documents.items():
        if isinstance(document.model, Service):
            known[key.name] = document.model
    return known
