"""Pure: what config entries and compiled discovery chains say becomes a Chain; what it leaves out is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any

from sidecar.config.model.header_modifier import HeaderModifier
from sidecar.config.model.load_balancer import LoadBalancer
from sidecar.config.model.path import PathPattern
from sidecar.config.model.retry import CONDITIONS, Retry
from sidecar.config.where import Where, WhereError, parse
from sidecar.consul.duration import duration
from sidecar.consul.fields import Json, written
from sidecar.consul.opaque import PROTOCOLS
from sidecar.sources.chain_balancer import load_balancer
from sidecar.sources.chain_headers import header_modifier
from sidecar.sources.chain_match import chain_match
from sidecar.world import Chain, ChainBranch, ChainMatch, ChainRoute, Target, is_callable

Destinations = tuple[ChainBranch, ...]

# Those of Envoy's names that a document may have.
_CONDITIONS = frozenset(CONDITIONS)
# Of a resolver that does not say it; ours comes from the mesh document then.
_DEFAULT_CONNECT_TIMEOUT = timedelta(seconds=5)
# The bound of a document's `retry.attempts`.
_MOST_ATTEMPTS = 8


def compile_chain(chain: Json) -> Chain:
    """What `/v1/discovery-chain/<service>` answered. Raises KeyError, TypeError or ValueError for another form."""
    return _Compiler(chain).run()


@dataclass
class _Compiler:
    """One walk from the start node; node names are opaque."""

    chain: Json
    subsets: dict[tuple[str, str], Where | None] = field(default_factory=dict)
    only_passing: set[tuple[str, str]] = field(default_factory=set)
    failover: dict[Target, tuple[Target, ...]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    load_balancer: LoadBalancer | None = None
    connect_timeout: timedelta | None = None

    def run(self) -> Chain:
        start = self.chain["Nodes"][self.chain["StartNode"]]
        routes = tuple(self._routes(start))
        protocol = self.chain.get("Protocol")
        return Chain(
            # Every chain of a service whose protocol nobody has said tells tcp; who has said it tells it, too.
            protocol=protocol if protocol in PROTOCOLS and protocol != "tcp" else None,
            routes=routes,
            subsets=self.subsets,
            only_passing=frozenset(self.only_passing),
            failover=self.failover,
            load_balancer=self.load_balancer,
            connect_timeout=self.connect_timeout,
            not_carried_out=tuple(dict.fromkeys(self.missing)),
        )

    def _routes(self, start: Json) -> Iterator[ChainRoute]:
        if start["Type"] != "router":
            destinations, timeout = self._branches(start)
            # A service that leads to all its own endpoints needs no route.
            to_itself = (ChainBranch(Target(self.chain["ServiceName"])),)
            if destinations and (destinations != to_itself or timeout is not None):
                yield ChainRoute("all", destinations, timeout=timeout)
            return
        for number, route in enumerate(start["Routes"], 1):
            definition = route.get("Definition") or {}
            destination = definition.get("Destination") or {}
            what = f"service-router {self.chain['ServiceName']}: route {number}"
            http = (definition.get("Match") or {}).get("HTTP") or {}
            match = self._match(http, bool(destination.get("PrefixRewrite")), what)
            destinations, timeout = self._branches(self.chain["Nodes"][route["NextNode"]])
            if match is not None and destinations:
                yield self._route(f"router-{number}", match, destinations, timeout, destination, what)

    def _route(
        self,
        name: str,
        match: ChainMatch,
        destinations: Destinations,
        timeout: timedelta | None,
        destination: Json,
        what: str,
    ) -> ChainRoute:
        asked = _retry_on(destination)
        missing = sorted(on for on in asked if isinstance(on, str) and on not in _CONDITIONS)
        self._miss(what, [f"RetryOn {condition}" for condition in missing])
        rewrite = destination.get("PrefixRewrite")
        own = duration(destination.get("RequestTimeout"))
        request_headers, response_headers = self._headers(destination, what)
        return ChainRoute(
            name,
            destinations,
            match,
            PathPattern(rewrite.rstrip("/"), star=True) if rewrite else None,
            own if own is not None else timeout,
            _retry(destination, tuple(on for on in asked if on not in missing)),
            request_headers,
            response_headers,
        )

    def _match(self, http: Json, is_rewritten: bool, what: str) -> ChainMatch | None:
        """None: one of its conditions cannot be judged, so the route is left out."""
        match, reasons, missing = chain_match(http, is_rewritten=is_rewritten)
        self._miss(what, missing)
        self._miss(f"{what} is left out", reasons)
        return match

    def _branches(self, node: Json) -> tuple[Destinations, timedelta | None]:
        """Where a node leads, and the timeout of its resolvers."""
        timeouts: set[timedelta | None] = set()
        destinations = tuple(self._destinations(node, ChainBranch, timeouts))
        if len(timeouts) > 1:
            self._miss(f"service-splitter {_name(node)}", ["RequestTimeout differs between its resolvers"])
        return destinations, timeouts.pop() if len(timeouts) == 1 else None

    def _destinations(
        self, node: Json, branch: Callable[[Target], ChainBranch], timeouts: set[timedelta | None]
    ) -> Iterator[ChainBranch]:
        if node["Type"] == "resolver":
            self._settings(node)
            target = self._target(node["Resolver"]["Target"])
            if target is not None:
                timeouts.add(duration(node["Resolver"].get("RequestTimeout")))
                self._take_over(target, node["Resolver"].get("Failover") or {})
                yield branch(target)
            return
        if node["Type"] != "splitter":
            raise ValueError(f"a {node['Type']} follows where a splitter or a resolver was expected")
        for number, split in enumerate(node["Splits"], 1):
            # Per cent with two digits behind the point. The compiler makes one splitter of several.
            if share := round(float(split["Weight"]) * 100):
                what = f"service-splitter {_name(node)}: split {number}"
                request, response = self._headers(split.get("Definition") or {}, what)
                split_branch = partial(ChainBranch, weight=share, request_headers=request, response_headers=response)
                yield from self._destinations(self.chain["Nodes"][split["NextNode"]], split_branch, timeouts)

    def _headers(self, told: Json, what: str) -> tuple[HeaderModifier | None, HeaderModifier | None]:
        """What is changed in requests and in answers."""
        request, missing = header_modifier(told.get("RequestHeaders") or {})
        self._miss(what, [f"RequestHeaders.{text}" for text in missing])
        response, missing = header_modifier(told.get("ResponseHeaders") or {})
        self._miss(what, [f"ResponseHeaders.{text}" for text in missing])
        return request, response

    def _settings(self, node: Json) -> None:
        resolver = node["Resolver"]
        what = f"service-resolver {_name(node)}"
        connect_timeout = duration(resolver.get("ConnectTimeout"))
        if connect_timeout is not None and connect_timeout != _DEFAULT_CONNECT_TIMEOUT:
            self.connect_timeout = connect_timeout
        self.load_balancer, missing = load_balancer(node.get("LoadBalancer") or {})
        self._miss(what, [f"LoadBalancer.{field}" for field in missing])

    def _take_over(self, target: Target, failover: Json) -> None:
        others = (self._target(name) for name in failover.get("Targets") or ())
        if found := tuple(other for other in others if other is not None):
            self.failover[target] = found

    def _target(self, name: str) -> Target | None:
        """None: nobody can be reached there."""
        told = self.chain["Targets"][name]
        here = told.get("Datacenter") in (None, "", self.chain.get("Datacenter"))
        target = Target(told["Service"], told.get("ServiceSubset") or "", "" if here else told["Datacenter"])
        what = f"service-resolver {target.service}"
        reasons = [f"{key} {told[key]} is not supported yet" for key in ("Peer",) if written(told.get(key))]
        reasons += [f"External {told.get('SNI')} is not supported yet"] if told.get("External") else []
        for key in ("Namespace", "Partition"):
            if told.get(key) not in (None, "", "default", self.chain.get(key)):
                reasons.append(f"{key} {told[key]} is not supported yet")
        if not is_callable(target.service) or not is_callable(target.subset or target.service):
            reasons.append(f"{target.cluster} is no name of a host")
        mode = (told.get("MeshGateway") or {}).get("Mode")
        if target.datacenter and mode not in (None, "", "none"):
            self._miss(what, [f"MeshGateway {mode} to {target.datacenter} is not supported yet, it is called directly"])
        self._miss(what, reasons)
        if target.subset:
            self._subset(target.service, target.subset, told.get("Subset") or {})
        return None if reasons else target

    def _subset(self, service: str, subset: str, told: Json) -> None:
        self.subsets[service, subset] = self._where(told.get("Filter") or "", f"service-resolver {service}", subset)
        if told.get("OnlyPassing"):
            self.only_passing.add((service, subset))

    def _where(self, text: str, what: str, subset: str) -> Where | None:
        try:
            return parse(text) if text else EVERYBODY
        except WhereError as error:
            self._miss(f"{what} subset {subset}", [f"Filter {text}: {error}"])
            return None

    def _miss(self, what: str, fields: list[str]) -> None:
        self.missing += [f"{what}: {name}" for name in fields]


# A subset without a filter.
EVERYBODY = parse("meta is empty or meta is not empty")


def with_subsets(chain: Chain, service: str, resolver: Json, missing: list[str]) -> Chain:
    """The chain with those subsets of the service's own resolver to which nothing leads, and what else is missing."""
    compiler = _Compiler({})
    for subset, told in (resolver.get("Subsets") or {}).items():
        compiler._subset(service, subset, told)
    return replace(
        chain,
        subsets={**compiler.subsets, **chain.subsets},
        only_passing=chain.only_passing | compiler.only_passing,
        not_carried_out=tuple(dict.fromkeys((*chain.not_carried_out, *compiler.missing, *missing))),
    )


def by_target(chains: Mapping[str, Chain], other: Chain) -> dict[str, Chain]:
    """The chains with what each says of another service's instances told by that service; `other`: of one without."""
    found = dict(chains)
    for chain in chains.values():
        for subset, where in chain.subsets.items():
            known = found.get(subset[0], other)
            only_passing = known.only_passing | (chain.only_passing & {subset})
            found[subset[0]] = replace(known, subsets={**known.subsets, subset: where}, only_passing=only_passing)
        for target, others in chain.failover.items():
            known = found.get(target.service, other)
            found[target.service] = replace(known, failover={**known.failover, target: others})
    return found


def _name(node: Json) -> str:
    """The service that a node is about: Consul writes namespace and partition behind it."""
    return str(node["Name"]).removesuffix(".default.default")


def _retry_on(destination: Json) -> tuple[Any, ...]:
    """What is asked for, in our names, each once."""
    conditions = [*(destination.get("RetryOn") or ()), *(destination.get("RetryOnStatusCodes") or ())]
    if destination.get("RetryOnConnectFailure"):
        conditions.append("connect-failure")
    return tuple(dict.fromkeys("refused-stream" if on == "reset-before-request" else on for on in conditions))


def _retry(destination: Json, on: tuple[Any, ...]) -> Retry | None:
    """Consul tries once more where it is told when and not how often. Told only how often, it has Envoy do nothing."""
    retries = destination.get("NumRetries") or (1 if on else 0)
    return Retry(attempts=min(retries + 1, _MOST_ATTEMPTS), on=on) if retries else None
