"""What requests a list of routes sees before its own matches are asked: the match of whatever leads to it.

A gateway's route to a service puts the service's routes below its own match; both must hold then, which is one match
that is computed here. The paths of the service's routes are those that the service sees, so after a rewrite.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from sidecar.config.model.gateway import GatewayRoute
from sidecar.config.model.path import ALL_PATHS, ANY, Parameter, PathPattern, below_root
from sidecar.config.model.rewrite import PathSubstitution
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
    # Instead of it: parts of the path are replaced.
    substitution: PathSubstitution | None = None

    @classmethod
    def of(cls, route: GatewayRoute) -> Scope:
        """What a gateway's route leads to."""
        hosts = (route.match.host,) if route.match.host else ()
        if route.rewrite is None:
            return cls(hosts, route.match)
        path = route.rewrite.path
        for parameter in route.match.taken_path.parameters:
            # `{rest}` at the end is what the star stood for, as `*` is.
            path = path.with_rest(parameter.name) if path is not None and parameter.is_rest else path
        return cls(hosts, route.match, path, route.rewrite.regex)

    def whole(self) -> Narrowed:
        """The match of everything in this scope."""
        taken = self.match.taken_path
        return Narrowed(self._wire(taken, self._regexes(), Conditions.of(self.match)), self._change())

    def narrowed_by_chain(self, inner: ChainMatch) -> Iterator[Narrowed]:
        """As `narrowed`, of what Consul's config entries match."""
        for narrowed in self.narrowed(self.plain(inner)):
            tests = (condition(test.name, test.value, invert=test.invert) for test in inner.headers)
            narrowed.match.headers.extend(tests)
            yield narrowed

    def plain(self, inner: ChainMatch) -> Match:
        """All of it but its headers: an expression says exactly what the pattern beside it says nearly."""
        if not inner.path_regex or (inner.plain.path is not None and not self._sees_what_is_sent):
            return inner.plain
        said = {name: getattr(inner.plain, name) for name in inner.plain.model_fields_set}
        return Match.model_construct(**{**said, "path": None, "path_regex": inner.path_regex})

    def can_tell(self, inner: Match) -> bool:
        """Whether one match can hold both: what a path becomes is known of patterns alone."""
        if self._is_opaque:
            return inner.taken_path == ALL_PATHS and inner.path_regex is None
        return self._sees_what_is_sent or inner.path_regex is None

    @property
    def _sees_what_is_sent(self) -> bool:
        return self.rewrite is None and self.substitution is None

    @property
    def _is_opaque(self) -> bool:
        """Whether what the service sees is not told by what the client sends: it is made by an expression."""
        return self.substitution is not None or (self.rewrite is not None and self.match.path_regex is not None)

    def narrowed(self, inner: Match) -> Iterator[Narrowed]:
        """The matches of what `inner` takes of this scope; none when nothing can match both."""
        both = Conditions.of(self.match).both(Conditions.of(inner))
        if both is None or not self.can_tell(inner):
            return
        regexes = self._regexes(inner)
        if self._is_opaque:
            yield Narrowed(self._wire(self.match.taken_path, regexes, both), self._change())
            return
        for path, below in self._paths(inner.taken_path):
            yield Narrowed(self._wire(path, regexes, both), self._change(below))

    def covered_by(self, inner: Match) -> bool:
        """Whether `inner` takes everything in this scope."""
        own = Conditions.of(self.match)
        if inner.path_regex not in (None, self.match.path_regex) or not self.can_tell(inner):
            return False
        path = self.match.taken_path if self._is_opaque else self.rewrite or self.match.taken_path
        return path.meet(inner.taken_path) == path and own.both(Conditions.of(inner)) == own

    def _regexes(self, inner: Match | None = None) -> list[str]:
        """That of the outer route, whose groups are parameters, comes first."""
        both = (self.match.path_regex, inner.path_regex if inner is not None else None)
        return list(dict.fromkeys(regex for regex in both if regex is not None))

    def _paths(self, inner: PathPattern) -> Iterator[tuple[PathPattern, str]]:
        """The paths as the client sends them, each with what it has below those of the outer route."""
        outer, made = self.match.taken_path, self.rewrite
        if made is None:
            if met := outer.meet(inner):
                yield met, ""
            return
        known = _unified(made, inner)
        if known is None:
            return
        segments = outer.segments
        for parameter in outer.parameters:
            if parameter.name in known:
                segments[parameter.segment] = known[parameter.name]
        base, star = below_root(segments), made.star and inner.star
        below = below_root(inner.segments[len(made.segments) :])
        # `/api/*` rewritten to `/*` makes `/` of `/api` too.
        sent = [below, ""] if inner == _ROOT and made == ALL_PATHS else [below]
        for below in sent:
            if base + below or star:
                yield PathPattern(base + below, star, outer.parameters), below

    def _wire(self, path: PathPattern, regexes: Iterable[str], conditions: Conditions) -> wire.Match:
        match = conditions.match(self.hosts)
        if not path.star or path.base or self.rewrite is not None:
            match.path.CopyFrom(path_match(path))
        match.path_regexes.extend(regexes)
        if self.match.path_regex is not None:
            match.parameters.extend(wire.PathParameter(name=name, group=True) for name in self.match.parameters)
        else:
            match.parameters.extend(map(_parameter, path.parameters))
        return match

    def _change(self, below: str = "") -> wire.PathRewrite | None:
        """`below`: what the match has below that of the outer route."""
        made, outer = self.rewrite, self.match.taken_path
        if self.substitution is not None:
            pattern, substitution = self.substitution.pattern, self.substitution.substitution
            return wire.PathRewrite(regex=pattern, substitution=substitution)
        if made is None:
            return None
        if not made.parameters and not outer.is_template and self.match.path_regex is None:
            return wire.PathRewrite(prefix=f"{made.base}{below}" or "/")
        kept = len(outer.segments) if made.star else None
        return wire.PathRewrite(
            template=str(PathPattern(made.base, star=False, parameters=made.parameters)), replaced=kept
        )


def path_match(path: PathPattern) -> wire.PathMatch:
    """As the data plane reads it."""
    kind = ("template" if path.is_template else "exact", "template_prefix" if path.is_template else "prefix")[path.star]
    return wire.PathMatch(**{kind: path.base or "/"})


def _parameter(parameter: Parameter) -> wire.PathParameter:
    name, segment, is_rest = parameter
    return wire.PathParameter(name=name, rest=segment) if is_rest else wire.PathParameter(name=name, segment=segment)


def _unified(made: PathPattern, inner: PathPattern) -> dict[str, str] | None:
    """What the parameters of a rewrite are where its result is one that `inner` takes; None: it never is."""
    results, wanted = made.segments, inner.segments
    if (len(wanted) > len(results) and not made.star) or (len(results) > len(wanted) and not inner.star):
        return None
    names = {parameter.segment: parameter.name for parameter in made.parameters}
    known: dict[str, str] = {}
    for at, (result, one) in enumerate(zip(results, wanted, strict=False)):
        if result == ANY and one != ANY:
            if not one or known.setdefault(names[at], one) != one:
                return None
        elif result != one and (one != ANY or not result):
            return None
    return known
