"""What a snapshot is put together from: serialized parts, each made again only when what it is made of has changed.

A change of one document among a thousand is then a change of one part, and the rest is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, ParamSpec, TypeVar

from sidecar.wire import snapshot_pb2 as wire

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

    def add_to(self, snapshot: wire.Snapshot) -> None:
        """As the snapshot's next route table."""
        # Serialized messages, one after the other, are one message with the repeated fields of all.
        table = snapshot.route_tables.add(name=self.name)
        table.MergeFromString(b"".join(part.routes for part in self.parts))
