"""Pure: what config entries and compiled discovery chains say becomes a Chain; what it leaves out is named."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from sidecar.config.model.path import PathPattern
from sidecar.config.model.route import Match
from sidecar.config.where import Where, WhereError, parse
from sidecar.world import Chain, ChainRoute, Target

Json = Mapping[str, Any]

# Consul's protocols that a service document has, too.
PROTOCOLS = ("http", "http2", "grpc")
# Consul's name: ours. The others are named as not carried out.
_POLICIES = {"random": "random", "round_robin": "round_robin", "least_request": "least_request"}
# Of a resolver that does not say it; ours comes from the mesh document then.
_DEFAULT_CONNECT_TIMEOUT = timedelta(seconds=5)
# The bound of a document's `retry.attempts`.
_MOST_ATTEMPTS = 10
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
# Every entry's own; they ask for nothing.
_PLAIN = frozenset({"Kind", "Name", "Namespace", "Partition", "Meta", "CreateIndex", "ModifyIndex", "Hash"})


def protocol_of(entry: Json, value: object) -> tuple[str | None, list[str]]:
    """The protocol that an entry says, when we can speak it, and what is to be told when not."""
    if not value:
        return None, []
    if value in PROTOCOLS:
        return str(value), []
    return None, [f"{label(entry)}: Protocol {value} is not supported yet"]


def label(entry: Json) -> str:
    """ "service-defaults orders"."""
    return f"{entry['Kind']} {entry['Name']}"


def written(value: object) -> bool:
    """Whether a field says anything; Consul fills what was left out with empty values."""
    if isinstance(value, Mapping):
        return any(written(item) for item in value.values())
    return bool(value)


def left_out(entry: Json, carried_out: frozenset[str]) -> list[str]:
    """The fields of an entry that are written and not among those that we do."""
    names = sorted(name for name, value in entry.items() if written(value) and name not in carried_out | _PLAIN)
    return [f"{label(entry)}: {name}" for name in names]


def compile_chain(chain: Json) -> Chain:
    """What `/v1/discovery-chain/<service>` answered. Raises KeyError, TypeError or ValueError for another form."""
    return _Compiler(chain).run()


@dataclass
class _Compiler:
    """One walk from the start node; node names are opaque."""

    chain: Json
    subsets: dict[tuple[str, str], Where | None] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    load_balancer: str | None = None
    connect_timeout: timedelta | None = None

    def run(self) -> Chain:
        start = self.chain["Nodes"][self.chain["StartNode"]]
        routes = tuple(self._routes(start))
        protocol = self.chain.get("Protocol")
        return Chain(
            protocol=protocol if protocol in PROTOCOLS else None,
            routes=routes,
            subsets=self.subsets,
            load_balancer=self.load_balancer,
            connect_timeout=self.connect_timeout,
            not_carried_out=tuple(dict.fromkeys(self.missing)),
        )

    def _routes(self, start: Json) -> Iterator[ChainRoute]:
        if start["Type"] != "router":
            destinations = tuple(self._destinations(start, 1))
            # A service that leads to all its own endpoints needs no route.
            if destinations != ((Target(self.chain["ServiceName"]), 1),):
                yield ChainRoute("all", destinations)
            return
        for number, route in enumerate(start["Routes"], 1):
            definition = route.get("Definition") or {}
            what = f"service-router {self.chain['ServiceName']}: route {number}"
            match = self._match((definition.get("Match") or {}).get("HTTP") or {}, what)
            destinations = tuple(self._destinations(self.chain["Nodes"][route["NextNode"]], 1))
            if match is not None:
                yield self._route(f"router-{number}", match, destinations, definition.get("Destination") or {}, what)

    def _route(
        self, name: str, match: Match, destinations: tuple[tuple[Target, int], ...], destination: Json, what: str
    ) -> ChainRoute:
        done = {"Service", "ServiceSubset", "PrefixRewrite", "RequestTimeout", "NumRetries", *_PLAIN}
        self._miss(what, (key for key, value in destination.items() if written(value) and key not in done))
        timeout = duration(destination.get("RequestTimeout"))
        retries, rewrite = destination.get("NumRetries") or 0, destination.get("PrefixRewrite")
        return ChainRoute(
            name,
            destinations,
            match,
            PathPattern(rewrite.rstrip("/"), star=True) if rewrite else None,
            timeout or None,
            min(retries + 1, _MOST_ATTEMPTS) if retries else None,
        )

    def _match(self, http: Json, what: str) -> Match | None:
        """None: one of its conditions cannot be judged, so the route is left out."""
        conditions = [name for name in ("PathRegex", "CaseInsensitive", "QueryParam") if http.get(name)]
        headers: dict[str, str] = {}
        for header in http.get("Header") or ():
            if written({key: value for key, value in header.items() if key not in ("Name", "Exact")}):
                conditions.append(f"Header {header.get('Name')}")
            headers[str(header.get("Name")).lower()] = header.get("Exact") or ""
        if conditions:
            self._miss(f"{what} is left out", conditions)
            return None
        path = None
        if exact := http.get("PathExact"):
            path = PathPattern(exact, star=False)
        elif prefix := http.get("PathPrefix"):
            path = PathPattern(prefix.rstrip("/"), star=True)
            if not prefix.endswith("/"):
                self._miss(what, [f"PathPrefix {prefix} matches whole segments only"])
        try:
            return Match(path=path, methods=tuple(http.get("Methods") or ()) or None, headers=headers)
        except ValidationError as error:
            self._miss(f"{what} is left out", [problem["msg"] for problem in error.errors()])
            return None

    def _destinations(self, node: Json, weight: int) -> Iterator[tuple[Target, int]]:
        if node["Type"] == "resolver":
            self._settings(node)
            yield self._target(node["Resolver"]["Target"]), weight
            return
        if node["Type"] != "splitter":
            raise ValueError(f"a {node['Type']} follows where a splitter or a resolver was expected")
        for split in node["Splits"]:
            definition = split.get("Definition") or {}
            what = f"service-splitter {node['Name']}"
            self._miss(what, (key for key in ("RequestHeaders", "ResponseHeaders") if written(definition.get(key))))
            # Per cent with two digits behind the point. The compiler makes one splitter of several.
            share = round(float(split["Weight"]) * 100)
            if share:
                yield from self._destinations(self.chain["Nodes"][split["NextNode"]], share)

    def _settings(self, node: Json) -> None:
        resolver = node["Resolver"]
        what = f"service-resolver {node['Name']}"
        self._miss(what, (key for key in ("Failover", "RequestTimeout") if written(resolver.get(key))))
        connect_timeout = duration(resolver.get("ConnectTimeout"))
        if connect_timeout and connect_timeout != _DEFAULT_CONNECT_TIMEOUT:
            self.connect_timeout = connect_timeout
        balancer = node.get("LoadBalancer") or {}
        if policy := balancer.get("Policy"):
            self.load_balancer = _POLICIES.get(policy)
            if self.load_balancer is None:
                self._miss(what, [f"LoadBalancer.Policy {policy}"])
        self._miss(what, (f"LoadBalancer.{key}" for key, item in balancer.items() if key != "Policy" and written(item)))

    def _target(self, name: str) -> Target:
        told = self.chain["Targets"][name]
        here = told.get("Datacenter") in (None, "", self.chain.get("Datacenter"))
        target = Target(told["Service"], told.get("ServiceSubset") or "", "" if here else told["Datacenter"])
        what = f"service-resolver {target.service}"
        self._miss(what, (key for key in ("Peer", "External") if written(told.get(key))))
        subset = told.get("Subset") or {}
        if subset.get("OnlyPassing"):
            self._miss(f"{what} subset {target.subset}", ["OnlyPassing"])
        if target.subset:
            self.subsets[target.service, target.subset] = self._where(subset.get("Filter") or "", what, target.subset)
        return target

    def _where(self, text: str, what: str, subset: str) -> Where | None:
        try:
            return parse(text) if text else EVERYBODY
        except WhereError as error:
            self._miss(f"{what} subset {subset}", [f"Filter {text}: {error}"])
            return None

    def _miss(self, what: str, fields: Iterator[str] | list[str]) -> None:
        self.missing += [f"{what}: {name}" for name in fields]


# A subset without a filter.
EVERYBODY = parse("meta is empty or meta is not empty")


def duration(value: object) -> timedelta | None:
    """Go's "1m30s", or nanoseconds; None for neither."""
    if isinstance(value, int):
        return timedelta(microseconds=value / 1000)
    if isinstance(value, str) and (parts := _DURATION.findall(value)):
        return timedelta(seconds=sum(float(number) * _SECONDS[unit] for number, unit in parts))
    return None
