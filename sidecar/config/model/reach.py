"""Routes that no request reaches, because an earlier one takes all of theirs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sidecar.config.model.base import Finding, refusal
from sidecar.config.model.path import ALL_PATHS, ANY, PathPattern
from sidecar.config.model.route import Match

# What a match asks beside host and path.
Asked = tuple[frozenset[object], ...]
_NOTHING: Asked = (frozenset(),) * 5


class Reached(NamedTuple):
    """A route that is enabled, and where it stands. `host` "" is every one."""

    position: int
    name: str
    host: str
    match: Match


def unreached(routes: Iterable[Reached]) -> Iterator[Finding]:
    """A finding for each that an earlier one covers: by its path, and asking nothing beside it, or just the same."""
    earlier = _Earlier()
    for route in routes:
        # Of a name that stands there twice more is said than enough.
        if (cover := earlier.cover(route)) is not None and cover.name != route.name:
            of = f"`{cover.match.taken_path}`" if cover.match.taken_path != ALL_PATHS else "every path"
            message = f"no request comes here: `{cover.name}`, which stands before, takes all of them ({of})"
            hint = f"move it before `{cover.name}`, or take it out"
            field = next(
                (name for name in ("path", "path_regex", "grpc") if name in route.match.model_fields_set), None
            )
            place = (route.position, "match", field) if field else (route.position, "name")
            value = getattr(route.match, field) if field else route.name
            yield place, value, refusal(message, hint=hint)
        else:
            earlier.add(route)


class _Earlier:
    """Routes by host and path: a trie of segments, so that 100 000 of them are compared with few others each."""

    def __init__(self) -> None:
        # From the number of a node and a segment to that of another; roots have the segment "" of -1 and their host.
        self._next: dict[tuple[int, str], int] = {}
        # By node: routes that end there, and those that take all below it, too.
        self._closed: dict[int, dict[Asked, Reached]] = {}
        self._open: dict[int, dict[Asked, Reached]] = {}

    def add(self, route: Reached) -> None:
        """Let it cover those that come."""
        if route.match.path_regex is not None:
            # What an expression takes all of cannot be told.
            return
        pattern = route.match.taken_path
        node = self._node(-1, route.host)
        for segment in pattern.segments:
            node = self._node(node, segment)
        (self._open if pattern.star else self._closed).setdefault(node, {}).setdefault(_asked(route.match), route)

    def cover(self, route: Reached) -> Reached | None:
        """The first that takes all that this one would take."""
        asked = _asked(route.match)
        found = [
            known[asks]
            for host in _hosts_above(route.host)
            if (root := self._next.get((-1, host))) is not None
            for known in self._on_the_way(root, route.match.taken_path)
            for asks in (_NOTHING, asked)
            if asks in known
        ]
        return min(found, default=None)

    def _node(self, node: int, segment: str) -> int:
        return self._next.setdefault((node, segment), len(self._next))

    def _on_the_way(self, root: int, pattern: PathPattern) -> Iterator[dict[Asked, Reached]]:
        nodes = [root]
        for segment in pattern.segments:
            for node in nodes:
                yield self._open.get(node, {})
            # A parameter takes every segment but the empty one.
            wider = {segment, ANY if segment else segment}
            nodes = [after for node in nodes for part in wider if (after := self._next.get((node, part))) is not None]
        for node in nodes:
            yield self._open.get(node, {})
            if not pattern.star:
                yield self._closed.get(node, {})


def _hosts_above(host: str) -> Iterator[str]:
    """Itself, the wildcards that it is below, and every host: "a.b.c" -> "a.b.c", "*.b.c", "*.c", ""."""
    yield host
    if not host:
        return
    labels = host.removeprefix("*.").split(".")
    first = 0 if host.startswith("*.") else 1
    for at in range(first, len(labels)):
        if (wildcard := f"*.{'.'.join(labels[at:])}") != host:
            yield wildcard
    yield ""


def _asked(match: Match) -> Asked:
    """Beside host and path."""
    return (
        frozenset(match.methods or ()),
        frozenset(match.source or ()),
        frozenset(match.taken_headers),
        frozenset(match.query.items()),
        frozenset(match.cookies.items()),
    )
