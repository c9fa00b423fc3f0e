"""What a match asks of a request beside host and path, and what two of them ask together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from sidecar.config.model.route import Match
from sidecar.config.model.value_match import ValueMatch
from sidecar.wire import snapshot_pb2 as wire

# By name, in order; a name may stand in several.
Values = tuple[tuple[str, ValueMatch], ...]


@dataclass(frozen=True, slots=True)
class Conditions:
    """All of it must hold; None: any."""

    methods: tuple[str, ...] | None
    headers: Values
    query: Values
    cookies: Values
    sources: tuple[str, ...] | None

    @classmethod
    def of(cls, match: Match) -> Conditions:
        """What it asks."""
        return cls(
            match.methods, match.taken_headers, tuple(match.query.items()), tuple(match.cookies.items()), match.source
        )

    def both(self, inner: Conditions) -> Conditions | None:
        """What meets these and those; equal to these where those ask nothing more. None: nothing can meet both."""
        methods = _both_methods(self.methods, inner.methods)
        sources = _both_sources(self.sources, inner.sources)
        headers = _both_values(self.headers, inner.headers)
        query = _both_values(self.query, inner.query)
        cookies = _both_values(self.cookies, inner.cookies)
        if () in (methods, sources) or headers is None or query is None or cookies is None:
            return None
        return Conditions(methods, headers, query, cookies, sources)

    def match(self, hosts: tuple[str, ...]) -> wire.Match:
        """As the data plane reads it, for these hosts and every path."""
        return wire.Match(
            hosts=hosts,
            methods=self.methods or (),
            headers=_wire(self.headers),
            query=_wire(self.query),
            cookies=_wire(self.cookies),
            sources=self.sources or (),
        )


def condition(name: str, match: ValueMatch, *, invert: bool = False) -> wire.ValueMatch:
    """As the data plane reads it."""
    made = wire.ValueMatch(name=name, invert=invert)
    kind, value = match.asked
    setattr(made, kind, value)
    return made


def _wire(values: Values) -> Iterator[wire.ValueMatch]:
    return (condition(name, match) for name, match in values)


def _both_methods(outer: tuple[str, ...] | None, inner: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """() = none."""
    if outer is None or inner is None:
        return inner if outer is None else outer
    return tuple(method for method in outer if method in inner)


def _both_values(outer: Values, inner: Values) -> Values | None:
    """None: one value cannot be two."""
    both = tuple(dict.fromkeys((*outer, *inner)))
    exact: dict[str, str] = {}
    for name, match in both:
        if match.exact is not None and exact.setdefault(name, match.exact) != match.exact:
            return None
    return both


def _both_sources(outer: tuple[str, ...] | None, inner: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """() = none. Of two networks that meet one holds the other."""
    if outer is None or inner is None:
        return inner if outer is None else outer
    pairs = ((ip_network(one), ip_network(other)) for one in outer for other in inner)
    met = (_narrower(one, other) for one, other in pairs)
    return tuple(dict.fromkeys(str(network) for network in met if network is not None))


def _narrower(one: IPv4Network | IPv6Network, other: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network | None:
    if not one.overlaps(other):
        return None
    return max(one, other, key=lambda network: network.prefixlen)
