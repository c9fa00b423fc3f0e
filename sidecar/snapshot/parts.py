"""What a snapshot is put together from: serialized parts, each made again only when what it is made of has changed.

A change of one document among a thousand is then a change of one part, and the rest is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, ParamSpec, TypeVar

from sidecar.wire import snapshot_pb2 as wire

# How protobuf's encoding calls a field that is a message.
_DELIMITED = 2

P = ParamSpec("P")
T = TypeVar("T")


class Memo(Generic[T]):
    """Values by key, each with what it was made of."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[object, T]] = {}
        self._used: dict[str, tuple[object, T]] = {}

    def get(self, key: str, made_of: object, make: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The value that was made of something equal, or else `make(...)`, which must depend on nothing more."""
        known = self._known.get(key)
        if known is None or known[0] != made_of:
            known = made_of, make(*args, **kwargs)
        self._used[key] = known
        return known[1]

    def forget_unused(self) -> None:
        """Keep what was asked for since the last call."""
        self._known, self._used = self._used, {}


class Part(NamedTuple):
    """Some routes of a table, as a serialized RouteTable that has nothing else, and the clusters that they lead to."""

    routes: bytes
    clusters: frozenset[str]

    @classmethod
    def of(cls, routes: Iterable[wire.Route] = (), tcp_routes: Iterable[wire.Route] = ()) -> Part:
        """Of these routes, in their order."""
        table = wire.RouteTable(routes=routes, tcp_routes=tcp_routes)
        both = (*table.routes, *table.tcp_routes)
        clusters = {item.cluster for route in both for item in route.destinations}
        clusters.update(route.mirror.cluster for route in both if route.HasField("mirror"))
        return cls(table.SerializeToString(), frozenset(clusters))


@dataclass(frozen=True)
class Table:
    """A route table in parts."""

    name: str
    parts: Sequence[Part]

    def clusters(self) -> frozenset[str]:
        """All that its routes lead to."""
        return frozenset().union(*(part.clusters for part in self.parts))

    def serialized(self) -> bytes:
        """As a serialized Snapshot that has nothing else."""
        # Serialized messages, one after the other, are one message with the repeated fields of all.
        named = wire.RouteTable(name=self.name).SerializeToString()
        table = b"".join((named, *(part.routes for part in self.parts)))
        return _varint(wire.Snapshot.ROUTE_TABLES_FIELD_NUMBER << 3 | _DELIMITED) + _varint(len(table)) + table


class Compiled(NamedTuple):
    """A snapshot whose greater part was copied, and is not decoded to be encoded again."""

    # Its listeners, telemetry, and the clusters of the application.
    head: wire.Snapshot
    # All else, serialized.
    rest: bytes
    # The names of all clusters.
    clusters: frozenset[str]

    def whole(self) -> wire.Snapshot:
        """As one message."""
        return wire.Snapshot.FromString(self.head.SerializeToString() + self.rest)


def _varint(number: int) -> bytes:
    """As protobuf's encoding has it: seven bits a byte, the lowest first."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
