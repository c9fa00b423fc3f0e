"""Changes of header fields, parameters of the query, and cookies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from sidecar.config.model.header_modifier import HeaderModifier, Modifier
from sidecar.wire import snapshot_pb2 as wire


class Modifies(Protocol):
    """Whatever says what is changed: a route, or a branch of its split."""

    @property
    def request_headers(self) -> HeaderModifier | None:
        """In requests."""

    @property
    def response_headers(self) -> HeaderModifier | None:
        """In answers."""


def modify(destination: wire.Destination, by: Modifies) -> None:
    """Put its changes behind those that the destination has."""
    destination.request_headers.extend(changes(by.request_headers))
    destination.response_headers.extend(changes(by.response_headers))


def changes(modifier: Modifier | None) -> Iterator[wire.HeaderChange]:
    """In the order in which they are made."""
    if modifier is None:
        return
    yield from (wire.HeaderChange(name=name, remove=True) for name in modifier.remove)
    yield from (wire.HeaderChange(name=name, set=value) for name, value in modifier.set.items())
    yield from (wire.HeaderChange(name=name, add=value) for name, value in modifier.add.items())
