"""All that is known now: frozen, and moved forward by one update at a time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from sidecar.config.document import Document, DocumentSet, Key
from sidecar.config.load import RESERVED
from sidecar.config.model import Consumer, Gateway, Mesh, Service
from sidecar.config.model.breaking import with_said
from sidecar.config.model.header_modifier import HeaderModifier
from sidecar.config.model.load_balancer import LoadBalancer
from sidecar.config.model.path import PathPattern
from sidecar.config.model.retry import Retry
from sidecar.config.model.route import Match
from sidecar.config.model.value_match import ValueMatch
from sidecar.config.references import dangling, known_of
from sidecar.config.where import Where
from sidecar.defaults import Calls, Local
from sidecar.errors import Problem
from sidecar.intentions import Intentions

# One label of a host name, as hosts, SPIFFE ids and the names of clusters have it. Consul takes any text as a name.
_CALLABLE = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")

# No name of a service has a colon.
_QUERY, _BYTES = "query:", "tcp:"


def is_callable(service: str) -> bool:
    """Whether requests can be led to a service of this name."""
    return service != RESERVED and _CALLABLE.fullmatch(service) is not None


class Target(NamedTuple):
    """A service's endpoints: all of them or a subset's, in our own datacenter ("") or in another one.

    Or, with `query`, who a prepared query of that name finds. With `raw` they get the bytes of whole connections,
    whatever the protocol of the service.
    """

    service: str
    subset: str = ""
    datacenter: str = ""
    query: bool = False
    raw: bool = False

    @property
    def cluster(self) -> str:
        """The name of its cluster: "orders", "orders/v1", "orders@dc2", "query:near-orders", "tcp:orders"."""
        if self.raw:
            return f"{_BYTES}{self.read.cluster}"
        if self.query:
            return f"{_QUERY}{self.service}"
        subset = f"/{self.subset}" if self.subset else ""
        return f"{self.service}{subset}{f'@{self.datacenter}' if self.datacenter else ''}"

    @property
    def whole(self) -> Target:
        """All endpoints of the service there: what is watched, for subsets too."""
        return self._replace(subset="", raw=False)

    @property
    def read(self) -> Target:
        """The same endpoints, called with requests."""
        return self._replace(raw=False)

    @classmethod
    def of(cls, cluster: str) -> Target:
        """What a cluster's name says."""
        if cluster.startswith(_BYTES):
            return cls.of(cluster.removeprefix(_BYTES))._replace(raw=True)
        if cluster.startswith(_QUERY):
            return cls(cluster.removeprefix(_QUERY), query=True)
        rest, _, datacenter = cluster.partition("@")
        service, _, subset = rest.partition("/")
        return cls(service, subset, datacenter)


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of a service, as Consul's catalog has it. `address` is "10.0.0.7:21000"."""

    # Stable: the node and the id of what callers connect to.
    id: str
    address: str
    weight: int = 1
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    # Passing or warning, and not in maintenance.
    healthy: bool = True
    # One of its checks warns: left out where only passing ones are wanted.
    warning: bool = False
    # "stock@dc2": the cluster whose identity it has, where that is not its own; "" for that.
    serves: str = ""


class HeaderTest(NamedTuple):
    """What a route asks of one header; `invert`: of one that is there, that it is not so."""

    name: str
    value: ValueMatch
    invert: bool = False


@dataclass(frozen=True, slots=True)
class ChainMatch:
    """What a route of Consul's config entries takes: as a document's match, and what only Consul's have."""

    # Without headers: of Consul's several may be about one name.
    plain: Match = field(default_factory=Match)
    # Of the whole path, instead of `plain.path` wherever nothing else restricts the path; "" for none.
    path_regex: str = ""
    headers: tuple[HeaderTest, ...] = ()


class ChainBranch(NamedTuple):
    """One of the ways of a route, by weight, and what is changed in the headers of what goes it."""

    target: Target
    weight: int = 1
    request_headers: HeaderModifier | None = None
    response_headers: HeaderModifier | None = None


@dataclass(frozen=True, slots=True)
class ChainRoute:
    """A route that Consul's config entries make: as one of a service document, but it may lead to other services."""

    name: str
    destinations: tuple[ChainBranch, ...]
    match: ChainMatch = field(default_factory=ChainMatch)
    rewrite: PathPattern | None = None
    # 0 = none, None = not said.
    timeout: timedelta | None = None
    # None = not said.
    retry: Retry | None = None
    request_headers: HeaderModifier | None = None
    response_headers: HeaderModifier | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """What Consul's config entries say of one service; a field that is None is not said there."""

    protocol: str | None = None
    routes: tuple[ChainRoute, ...] = ()
    # Of this service. None: a filter that cannot be judged here; nobody is in that subset.
    subsets: Mapping[tuple[str, str], Where | None] = field(default_factory=dict)
    load_balancer: LoadBalancer | None = None
    connect_timeout: timedelta | None = None
    # Subsets whose instances that warn are left out.
    only_passing: frozenset[tuple[str, str]] = frozenset()
    # Who takes over, in this order, when nobody of a target is healthy.
    failover: Mapping[Target, tuple[Target, ...]] = field(default_factory=dict)
    local: Local = field(default_factory=Local)
    # By the called service.
    calls: Mapping[str, Calls] = field(default_factory=dict)
    # "service-resolver orders: PrioritizeByLocality": what an entry asks for and we do not do, for people.
    not_carried_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Site:
    """Where we are in Consul's mesh."""

    trust_domain: str
    datacenter: str


@dataclass(frozen=True, slots=True)
class EndpointsUpdate:
    """All instances of a service (`target` has no subset); None: they are not watched any more, and kept aside.

    `doubted`: Consul says that none of them is left, which is not believed yet.
    """

    target: Target
    instances: tuple[Instance, ...] | None
    doubted: bool = False


@dataclass(frozen=True, slots=True)
class QueryUpdate:
    """The service that a prepared query finds."""

    query: str
    service: str


@dataclass(frozen=True, slots=True)
class NamesUpdate:
    """The services that the catalog of a datacenter has ("": our own)."""

    datacenter: str
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class ChainsUpdate:
    """All that config entries say, by service; `protocol` and `local` are what proxy-defaults says for all others."""

    chains: Mapping[str, Chain]
    protocol: str | None = None
    local: Local = field(default_factory=Local)
    # Of entries that concern no single service.
    not_carried_out: tuple[str, ...] = ()


MESH_KEY = Key("mesh", "")

K = TypeVar("K", Key, str, Target)
V = TypeVar("V")

# What a source may say; a union that grows with the sources.
Update = DocumentSet | EndpointsUpdate | QueryUpdate | NamesUpdate | ChainsUpdate | Intentions | Site

# Stands for a service whose document is missing: the mesh's defaults, no endpoints.
NO_DOCUMENT = Service.defaults()
_NO_MESH = Mesh.defaults()


@dataclass(frozen=True)
class World:
    """What serves: documents, and from Consul endpoints and config entries. `World()` is empty: all defaults."""

    documents: Mapping[Key, Document] = field(default_factory=lambda: MappingProxyType({}))
    # "services/orders.yaml" -> its problems. An entry clears when the document is fixed or removed.
    refusals: Mapping[str, tuple[Problem, ...]] = field(default_factory=lambda: MappingProxyType({}))
    # Whether services may exist without a document: Consul knows them.
    discovered: bool = False
    # By service and datacenter; what is not in it is not known (yet).
    endpoints: Mapping[Target, tuple[Instance, ...]] = field(default_factory=lambda: MappingProxyType({}))
    # What was known of those that are not watched any more: it serves when Consul is away at a start.
    idle: Mapping[Target, tuple[Instance, ...]] = field(default_factory=lambda: MappingProxyType({}))
    # Those that serve only where nobody takes over.
    doubted: frozenset[Target] = frozenset()
    # The services of each datacenter ("": our own).
    names: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    # By prepared query the service that it finds.
    queries: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    entries: ChainsUpdate = field(default_factory=lambda: ChainsUpdate(MappingProxyType({})))
    # Of our own service. None: there are none to ask, and `allow` of its document decides alone.
    intentions: Intentions | None = None
    # None without Consul.
    site: Site | None = None

    @cached_property
    def trust_domain(self) -> str:
        """Of our mesh: Consul's own, else that of the mesh document."""
        return self.site.trust_domain if self.site is not None else self.mesh.trust_domain

    @cached_property
    def datacenter(self) -> str:
        """Our own. Without Consul there is one, and its name is that of Consul's default."""
        return self.site.datacenter if self.site is not None else "dc1"

    @cached_property
    def service_names(self) -> tuple[str, ...]:
        """Every service of our datacenter that has a document, config entries or instances, in order."""
        return tuple(sorted(filter(is_callable, self._all_names)))

    @cached_property
    def _all_names(self) -> frozenset[str]:
        return frozenset({*self.services, *self.entries.chains, *self.names.get("", ())})

    def chain(self, service: str) -> Chain:
        """What config entries say of a service."""
        return self.entries.chains.get(service) or self._chain_of_others

    @cached_property
    def _chain_of_others(self) -> Chain:
        return Chain(protocol=self.entries.protocol, local=self.entries.local)

    def written(self, service: str) -> Service:
        """Its document alone, or none: for the fields that config entries do not have."""
        return self.services.get(service, NO_DOCUMENT)

    def service(self, name: str, caller: str = "") -> Service:
        """Its document, or none; a field that is not written there is as config entries say, those of `caller` too."""
        service, chain = self.written(name), self.chain(name)
        said: dict[str, object] = {
            "protocol": chain.protocol,
            "load_balancer": chain.load_balancer,
            "connect_timeout": chain.connect_timeout,
        }
        if (calls := self._calls(caller, name)) is not None:
            said["connect_timeout"] = calls.connect_timeout or chain.connect_timeout
            said["circuit_breaker"] = with_said(self.mesh.circuit_breaker, calls)
            said["outlier_detection"] = with_said(self.mesh.outlier_detection, calls)
        filled = {
            field: value for field, value in said.items() if value is not None and field not in service.model_fields_set
        }
        return service.model_copy(update=filled) if filled else service

    def _calls(self, caller: str, service: str) -> Calls | None:
        told = self.chain(caller).calls if caller else {}
        return told.get(service) or told.get("")

    def called(self, target: Target) -> str:
        """The service whose settings hold for a target: of a query the one that it finds."""
        return self.queries.get(target.service, target.service) if target.query else target.service

    def is_unsaid(self, service: str) -> bool:
        """Whether nobody says which protocol a service of Consul has. Consul calls it tcp then."""
        return self.discovered and service not in self.services and self.chain(service).protocol is None

    def astray(self, service: str) -> tuple[str, ...]:
        """The services of protocol tcp to which Consul's entries lead requests for this one: none can be led then."""
        if self.service(service).protocol == "tcp" or "routes" in self.written(service).model_fields_set:
            return ()
        return tuple(name for name in self._led_to(service) if self.service(name).protocol == "tcp")

    def _led_to(self, service: str) -> tuple[str, ...]:
        """The other services to which its discovery chain leads."""
        if not (routes := self.chain(service).routes):
            # Most have none, and this is asked for every service at every change.
            return ()
        found = (target.service for route in routes for target, *_ in route.destinations)
        return tuple(dict.fromkeys(name for name in found if name != service))

    def about(self, service: str) -> object:
        """What this service's routes and clusters are made of; equal for two worlds in which they are the same."""
        # Routes and clusters ask for each of a thousand services.
        if service not in self._abouts:
            self._abouts[service] = (
                self.documents.get(MESH_KEY),
                self.documents.get(Key("service", service)),
                self.entries.chains.get(service),
                self.entries.protocol,
                self.site,
                [(name, self.service(name).protocol) for name in self._led_to(service)],
            )
        return self._abouts[service]

    @cached_property
    def _abouts(self) -> dict[str, object]:
        return {}

    def only(self, *services: str) -> World:
        """The world with what `about` tells of these services, and nothing else."""
        told = dict.fromkeys((*services, *(name for service in services for name in self._led_to(service))))
        keys = (MESH_KEY, *(Key("service", service) for service in told))
        chains = {service: self.entries.chains[service] for service in told if service in self.entries.chains}
        return World(
            documents={key: self.documents[key] for key in keys if key in self.documents},
            entries=ChainsUpdate(chains, self.entries.protocol),
            site=self.site,
        )

    @cached_property
    def not_carried_out(self) -> tuple[str, ...]:
        """All that Consul asks for and we do not do, for people."""
        of_services = (text for chain in self.entries.chains.values() for text in chain.not_carried_out)
        nameless = (
            f"service {name!r}: no request can be led to it, for its name is not one label of a host name"
            for name in sorted(self._all_names)
            if not is_callable(name)
        )
        astray = (
            f"service {name!r}: no request can be led to it, for its chain leads to {other!r}, which is of protocol tcp"
            for name in sorted(self.entries.chains)
            for other in self.astray(name)
        )
        of_intentions = self.intentions.not_carried_out if self.intentions is not None else ()
        return (*self.entries.not_carried_out, *of_services, *of_intentions, *astray, *nameless)

    def subset(self, service: str, subset: str) -> Where | None:
        """Who is in a subset: what the document says, else what a resolver says; None: nobody."""
        document = self.written(service)
        if subset in document.subsets:
            return document.subsets[subset].where
        return self.chain(service).subsets.get((service, subset))

    def subsets(self, service: str) -> tuple[str, ...]:
        """Those of its document, and those that resolvers say; in order."""
        resolved = (subset for _, subset in self.chain(service).subsets if is_callable(subset))
        return tuple(dict.fromkeys((*self.written(service).subsets, *resolved)))

    def is_only_passing(self, service: str, subset: str) -> bool:
        """Whether instances that warn are left out of a subset."""
        document = self.written(service)
        if subset in document.subsets:
            return document.subsets[subset].only_passing
        return (service, subset) in self.chain(service).only_passing

    def failover(self, target: Target) -> tuple[Target, ...]:
        """Who takes over, in this order, when too few of this target are available: as its document says, else as a
        resolver does."""
        target = target.read
        written = self.written(target.service).failover
        if written is None or target.query or target.datacenter:
            return self.chain(target.service).failover.get(target, ())
        others = (
            Target(other.service or target.service, other.subset or "", other.datacenter or "") for other in written
        )
        return tuple(other for other in others if other != target)

    @cached_property
    def mesh(self) -> Mesh:
        """The mesh document, or its defaults."""
        document = self.documents.get(MESH_KEY)
        return document.model if document is not None and isinstance(document.model, Mesh) else _NO_MESH

    @cached_property
    def services(self) -> Mapping[str, Service]:
        """By name, disabled ones included, in the order of their names."""
        return {key.name: item.model for key, item in self.documents.items() if isinstance(item.model, Service)}

    @cached_property
    def gateways(self) -> Mapping[str, Gateway]:
        """By name, in the order of their names."""
        return {key.name: item.model for key, item in self.documents.items() if isinstance(item.model, Gateway)}

    @cached_property
    def consumers(self) -> Mapping[str, Consumer]:
        """By name, disabled ones included, in the order of their names."""
        return {key.name: item.model for key, item in self.documents.items() if isinstance(item.model, Consumer)}

    def apply(self, update: Update) -> World:
        """The world after `update`."""
        match update:
            case DocumentSet():
                return self._with_documents(update)
            case EndpointsUpdate():
                endpoints, idle = {**self.endpoints}, {**self.idle}
                known = endpoints.pop(update.target, None)
                idle.pop(update.target, None)
                if update.instances is not None:
                    endpoints[update.target] = update.instances
                elif known is not None:
                    idle[update.target] = known
                doubted = self.doubted | {update.target} if update.doubted else self.doubted - {update.target}
                return replace(
                    self, endpoints=MappingProxyType(endpoints), idle=MappingProxyType(idle), doubted=doubted
                )
            case NamesUpdate(datacenter, names):
                idle = {
                    target: known
                    for target, known in self.idle.items()
                    if target.datacenter != datacenter or target.service in names
                }
                return replace(
                    self,
                    names=MappingProxyType({**self.names, datacenter: names}),
                    idle=MappingProxyType(idle),
                )
            case QueryUpdate(query, service):
                return replace(self, queries=MappingProxyType({**self.queries, query: service}))
            case ChainsUpdate():
                return replace(self, entries=update)
            case Intentions():
                return replace(self, intentions=update)
            case Site():
                return replace(self, site=update)

    def _with_documents(self, update: DocumentSet) -> World:
        """A refused document keeps serving in its last good version, and alone.

        A document that was good and whose references lead nowhere since another one changed keeps serving too,
        with a refusal that tells so: its other routes are as good as before.
        """
        documents = dict(update.documents)
        for key in update.refused - documents.keys():
            if key in self.documents:
                documents[key] = self.documents[key]
        refusals = dict(update.refusals)
        # Services refer to the names of services only, gateways to their subsets too: services are decided first.
        # Where Consul knows the services, the document of one may refer to any.
        for kind in ("consumer", "gateway") if update.discovered else ("consumer", "service", "gateway"):
            known = known_of(documents, (*update.documents, *update.refused))
            for key in sorted(key for key in documents if key.kind == kind):
                document = documents[key]
                problems = dangling(document, known, discovered=update.discovered)
                if not problems:
                    continue
                refusals[document.place] = (*refusals.get(document.place, ()), *problems)
                last_good = self.documents.get(key)
                if last_good is None:
                    del documents[key]
                else:
                    documents[key] = last_good
        return replace(self, documents=_in_order(documents), refusals=_in_order(refusals), discovered=update.discovered)


def _in_order(mapping: Mapping[K, V]) -> Mapping[K, V]:
    return MappingProxyType(dict(sorted(mapping.items())))
