"""What requests a list of routes sees before its own matches are asked: the match of whatever leads to it.

A gateway's route to a service puts the service's routes below its own match; both must hold then, which is one match
that is computed here. The paths of the service's routes are those that the service sees, so after a rewrite.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from sidecar.config.model.path import ALL_PATHS, PathPattern
from sidecar.config.model.route import Match
from sidecar.snapshot.conditions import Conditions, condition
from sidecar.wire import snapshot_pb2 as wire
from sidecar.world import ChainMatch

_ROOT = PathPattern("/", star=False)


class Narrowed(NamedTuple):
    """What a route of the data plane matches, and how it changes the path."""

    match: wire.Match
    rewrite: wire.PathRewrite | None


@dataclass(frozen=True, slots=True)
class Scope:
    """Requests by host (none given = all), and by the match of the outer route, whose rewrite comes first."""

    hosts: tuple[str, ...] = ()
    match: Match = field(default_factory=Match)
    rewrite: PathPattern | None = None

    def whole(self) -> Narrowed:
        """The match of everything in this scope."""
        return Narrowed(self._wire(self.match.taken_path, Conditions.of(self.match)), _rewrite(self.rewrite))

    def narrowed_by_chain(self, inner: ChainMatch) -> Iterator[Narrowed]:
        """As `narrowed`, of what Consul's config entries match; two conditions on the path are told by `can_tell`."""
        if not self.can_tell(inner):
            return
        for narrowed in self.narrowed(inner.plain):
            if inner.path_regex and self._is_of_all_paths:
                narrowed.match.path.regex = inner.path_regex
            tests = (condition(test.name, test.value, invert=test.invert) for test in inner.headers)
            narrowed.match.headers.extend(tests)
            yield narrowed

    def can_tell(self, inner: ChainMatch) -> bool:
        """Whether one match can hold both: a regular expression of the path excludes another condition on it."""
        return self._is_of_all_paths or not inner.path_regex or inner.plain.path is not None

    @property
    def _is_of_all_paths(self) -> bool:
        return self.rewrite is None and self.match.taken_path == ALL_PATHS

    def narrowed(self, inner: Match) -> Iterator[Narrowed]:
        """The matches of what `inner` takes of this scope; none when nothing can match both."""
        both = Conditions.of(self.match).both(Conditions.of(inner))
        if both is None:
            return
        for path, rewrite in self._paths(inner.taken_path):
            yield Narrowed(self._wire(path, both), _rewrite(rewrite))

    def covered_by(self, inner: Match) -> bool:
        """Whether `inner` takes everything in this scope."""
        path, own = self.rewrite or self.match.taken_path, Conditions.of(self.match)
        return path.meet(inner.taken_path) == path and own.both(Conditions.of(inner)) == own

    def _paths(self, inner: PathPattern) -> Iterator[tuple[PathPattern, PathPattern | None]]:
        """The paths as the client sends them, each with what it is rewritten to."""
        outer = self.match.taken_path
        if self.rewrite is None:
            if met := outer.meet(inner):
                yield met, None
            return
        met = self.rewrite.meet(inner)
        if met is None:
            return
        below = met.base.removeprefix(self.rewrite.base)
        sent = [f"{outer.base}{below}"]
        if met == _ROOT and self.rewrite == ALL_PATHS:
            # `/api/*` rewritten to `/*` makes `/` of `/api` too.
            sent.append(outer.base)
        for base in sent:
            if base or met.star:
                yield PathPattern(base, met.star), met

    def _wire(self, path: PathPattern, conditions: Conditions) -> wire.Match:
        match = conditions.match(self.hosts)
        if path.star and (path.base or self.rewrite is not None):
            match.path.prefix = path.base or "/"
        elif not path.star:
            match.path.exact = path.base
        return match


def _rewrite(pattern: PathPattern | None) -> wire.PathRewrite | None:
    return None if pattern is None else wire.PathRewrite(prefix=pattern.base or "/")
