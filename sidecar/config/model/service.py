"""A service document: how to reach a service."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from sidecar.config.model.admission import RateLimit
from sidecar.config.model.allow import Allow
from sidecar.config.model.base import Duration, Finding, Label, Model, later_words, refusal, refuse_all
from sidecar.config.model.fault import Fault
from sidecar.config.model.health_check import HealthCheck
from sidecar.config.model.limits import Limits
from sidecar.config.model.mirror import Mirror
from sidecar.config.model.reach import Reached, unreached
from sidecar.config.model.route import Match, Route, Weighted, check_split, repeated_names
from sidecar.config.model.tls import Mode
from sidecar.config.model.traffic import Traffic
from sidecar.config.spelling import did_you_mean, listed
from sidecar.config.where import EXPECTED, Where, WhereError, parse

Protocol = Annotated[Literal["http", "http2", "grpc", "tcp"], later_words("udp")]

_ADDRESS_EXPECTED = "an IP address and a port, such as 10.0.0.7:21000 or [fd00::7]:21000"


def _check_address(value: object) -> object:
    if isinstance(value, str):
        host, _, port = value.rpartition(":")
        if not port.isascii() or not port.isdigit() or not 1 <= int(port[:6]) <= 65535:
            raise refusal(f"`{value}` has no port from 1 to 65535", expected=_ADDRESS_EXPECTED)
        parse_ip(host)
    return value


def parse_ip(host: str) -> IPv4Address | IPv6Address:
    """An address as it stands before a port: IPv6 is in brackets."""
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        raise refusal(f"`{host}` is not an IP address", expected=_ADDRESS_EXPECTED) from None
    if bracketed != (address.version == 6):
        raise refusal("brackets stand around an IPv6 address, and only there", expected=_ADDRESS_EXPECTED)
    return address


Address = Annotated[str, BeforeValidator(_check_address)]


class Endpoint(Model):
    """One instance of the service."""

    not_yet: ClassVar[frozenset[str]] = frozenset({"zone", "locality", "enabled", "id"})

    address: Address = Field(description="Inbound address of its sidecar, such as 10.0.0.7:21000.")
    meta: dict[str, str] = Field(default={}, description="What subsets select by.")
    # Consul's bound (service registration, Weights).
    weight: int = Field(default=1, ge=1, le=65535, description="Its share of the requests beside the other endpoints.")


class UpstreamPort(Model):
    """A local port for an app that needs one instead of a name."""

    not_yet: ClassVar[frozenset[str]] = frozenset({"subset", "address", "destination"})

    service: Label | None = Field(default=None, description="The service that the port leads to.")
    datacenter: Label | None = Field(default=None, description="Consul's datacenter of that service; ours if left out.")
    query: Label | None = Field(
        default=None, description="Instead of a service: the prepared query of Consul that finds who is called."
    )
    port: int = Field(ge=1, le=65535, description="Port on 127.0.0.1.")

    @property
    def label(self) -> str:
        """ "orders", "orders in dc2", "query near-orders"."""
        if self.query is not None:
            return f"query {self.query}"
        return f"{self.service} in {self.datacenter}" if self.datacenter else str(self.service)


def _read_where(value: object) -> Where:
    if isinstance(value, Where):
        return value
    if not isinstance(value, str):
        raise refusal("this is not a condition", expected=EXPECTED)
    try:
        return parse(value)
    except WhereError as error:
        raise refusal(str(error), expected=error.expected, hint=error.hint, column=error.column) from None


Condition = Annotated[
    Where,
    PlainValidator(_read_where),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "minLength": 1, "examples": ['meta.version == "1"']}),
]


class Subset(Model):
    """Some of a service's endpoints."""

    not_yet: ClassVar[frozenset[str]] = frozenset({"load_balancer", "circuit_breaker"})

    where: Condition = Field(description='Which endpoints: `meta.version == "1"`, with `and`, `or`, `not`, `in`.')
    only_passing: bool = Field(
        default=False,
        description="true leaves out instances of Consul whose checks warn, beside those that are critical.",
    )


class SubsetTarget(Model):
    """Where a service's route leads."""

    not_yet: ClassVar[frozenset[str]] = frozenset({"service", "datacenter"})

    subset: Label = Field(description="One of this document's subsets.")


class FailoverTarget(Model):
    """Who takes over: another service, a subset, or the service in another datacenter."""

    service: Label | None = Field(default=None, description="Another service; this one if left out.")
    subset: Label | None = Field(default=None, description="A subset of it; all of it if left out.")
    datacenter: Label | None = Field(default=None, description="Consul's datacenter; ours if left out.")


def _check_failover(failover: tuple[FailoverTarget, ...]) -> tuple[FailoverTarget, ...]:
    message, expected = "this leads to nobody else", "`service`, `subset` or `datacenter`"
    refuse_all(
        ((index,), other, refusal(message, expected=expected))
        for index, other in enumerate(failover)
        if other == FailoverTarget()
    )
    return failover


class ServiceBranch(Weighted):
    """One branch of a service's split."""

    to: SubsetTarget = Field(description="Where this branch leads.")


class ServiceRoute(Route):
    """One rule of a service, applied by its callers."""

    not_yet: ClassVar[frozenset[str]] = Route.not_yet | {"rewrite"}

    match: Match = Field(default=Match.defaults(), description="Which requests it takes.")
    to: SubsetTarget | None = Field(default=None, description="A subset; without `to` and `split` all endpoints.")
    split: Annotated[tuple[ServiceBranch, ...], AfterValidator(check_split)] | None = Field(
        default=None, description="Subsets by weight."
    )

    def subsets(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """The subsets it leads to, each with its path in the route."""
        if self.to is not None:
            yield ("to", "subset"), self.to.subset
        for index, branch in enumerate(self.split or ()):
            yield ("split", index, "to", "subset"), branch.to.subset


def _check_routes(routes: tuple[ServiceRoute, ...], info: ValidationInfo) -> tuple[ServiceRoute, ...]:
    # Absent when the subsets themselves are refused: then nothing can be said about references to them.
    subsets: dict[str, Subset] | None = info.data.get("subsets")
    refuse_all(
        [
            *repeated_names((route.name for route in routes), "name"),
            *_double_targets(routes),
            *unreached(
                Reached(index, route.name, "", route.match) for index, route in enumerate(routes) if route.enabled
            ),
            *(_dangling_subsets(routes, subsets) if subsets is not None else ()),
        ]
    )
    return routes


def _double_targets(routes: tuple[ServiceRoute, ...]) -> Iterator[Finding]:
    for index, route in enumerate(routes):
        if route.to is not None and route.split is not None:
            yield (index, "split"), route.split, refusal("a route has `to` or `split`, not both")


def _dangling_subsets(routes: tuple[ServiceRoute, ...], subsets: dict[str, Subset]) -> Iterator[Finding]:
    for index, route in enumerate(routes):
        for path, subset in route.subsets():
            if subset not in subsets:
                message = f"this service has no subset `{subset}`"
                error = refusal(message, expected=listed(subsets), hint=did_you_mean(subset, subsets))
                yield (index, *path), subset, error


def _check_endpoints(endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    refuse_all(repeated_names((endpoint.address for endpoint in endpoints), "address"))
    return endpoints


def _unclear_targets(upstreams: tuple[UpstreamPort, ...]) -> Iterator[Finding]:
    for index, upstream in enumerate(upstreams):
        if (upstream.service is None) == (upstream.query is None):
            expected = "the name of a service, or of a prepared query"
            yield (index,), upstream.service, refusal("an upstream has `service` or `query`", expected=expected)
        elif upstream.query is not None and upstream.datacenter is not None:
            yield (index, "datacenter"), upstream.datacenter, refusal("a prepared query says itself which datacenters")


def _check_upstreams(upstreams: tuple[UpstreamPort, ...]) -> tuple[UpstreamPort, ...]:
    refuse_all(
        [
            *_unclear_targets(upstreams),
            *repeated_names((upstream.label for upstream in upstreams), "service"),
            *repeated_names((str(upstream.port) for upstream in upstreams), "port"),
        ]
    )
    return upstreams


def _check_idle_timeout(timeout: timedelta) -> timedelta:
    if not timeout:
        raise refusal("a connection that nobody ends would stay for ever", expected="more than 0s, such as 1h")
    return timeout


# What has no meaning where requests are not read.
_OF_REQUESTS = frozenset({"routes", "timeout", "fault", "mirror", "concurrency", "rate_limit"})


class Service(Traffic):
    """How to reach a service: the caller's side of it, and its endpoints where there is no discovery."""

    not_yet: ClassVar[frozenset[str]] = frozenset(
        {
            "plugins",
            "warm_timeout",
        }
    )

    protocol: Protocol = Field(
        default="http",
        description="What its app speaks: http (HTTP/1.1), http2 or grpc; tcp is anything, and passed on as it is.",
    )
    enabled: bool = Field(default=True, description="false takes the service out without deleting it.")
    endpoints: Annotated[tuple[Endpoint, ...], AfterValidator(_check_endpoints)] = Field(
        default=(), description="Its instances; only without discovery."
    )
    tls: Mode | None = Field(
        default=None,
        description="Left out: as in the mesh document. permissive: its sidecars take callers without TLS too, whom no "
        "rule judges, and count them; disabled: it is reached in the clear, as a server without a sidecar is.",
    )
    limits: Limits = Field(
        default=Limits.defaults(),
        description="What callers may send to its sidecars; left out: as in the mesh document.",
    )
    upstreams: Annotated[tuple[UpstreamPort, ...], AfterValidator(_check_upstreams)] = Field(
        default=(), description="Local ports for an app that needs them; names on the outbound port need none."
    )
    allow: tuple[Allow, ...] | None = Field(
        default=None,
        description="Who may call it; Consul's intentions must allow too. Left out: no restriction; []: nobody.",
    )
    allow_candidate: tuple[Allow, ...] | None = Field(
        default=None,
        description="An `allow` to be tried: it refuses nobody; what it would refuse is counted by caller and method.",
    )
    subsets: dict[Label, Subset] = Field(default={}, description="Named parts of its endpoints.")
    routes: Annotated[tuple[ServiceRoute, ...], AfterValidator(_check_routes)] = Field(
        default=(), description="The first that matches takes the request; without a match all endpoints do."
    )
    failover: Annotated[tuple[FailoverTarget, ...], Field(max_length=16), AfterValidator(_check_failover)] | None = (
        Field(
            default=None,
            description="Who takes over, in this order, when too few of the service or subset called are available.",
        )
    )
    # Traefik's InFlightReq, and Envoy's local_ratelimit.
    concurrency: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Requests that each of its instances has in flight at most; others are refused at once with 503, "
        "of gRPC with resource-exhausted. Left out: any number.",
    )
    rate_limit: RateLimit | None = Field(
        default=None, description="Requests that each of its instances takes in a time. Left out: any number."
    )
    health_check: HealthCheck | None = Field(
        default=None, description="What callers ask its endpoints, beside Consul's checks. Left out: nothing."
    )
    fault: Fault | None = Field(default=None, description="What its callers suffer on purpose.")
    mirror: Mirror | None = Field(default=None, description="Who else gets its requests, without being waited for.")
    # Envoy's default (extensions.filters.network.tcp_proxy.v3.TcpProxy.idle_timeout).
    idle_timeout: Annotated[Duration, AfterValidator(_check_idle_timeout)] | None = Field(
        default=None, description="With protocol tcp: how long a connection may be still. Left out: 1h."
    )

    @model_validator(mode="after")
    def _check_protocol(self) -> Self:
        refuse_all([*_beyond_protocol(self), *_unknown_subsets(self)])
        return self


def _unknown_subsets(service: Service) -> Iterator[Finding]:
    mirror = service.mirror
    if mirror is not None and mirror.to.service is None and mirror.to.subset not in service.subsets:
        yield ("mirror", "to", "subset"), mirror.to.subset, _no_subset(service, str(mirror.to.subset))
    for index, other in enumerate(service.failover or ()):
        if other.service is None and other.subset is not None and other.subset not in service.subsets:
            yield ("failover", index, "subset"), other.subset, _no_subset(service, other.subset)


def _no_subset(service: Service, name: str) -> PydanticCustomError:
    hint = did_you_mean(name, service.subsets)
    return refusal(f"this service has no subset `{name}`", expected=listed(service.subsets), hint=hint)


# The protocols whose endpoints can answer the questions of a health check.
_ANSWERED = {"http": ("http", "http2", "grpc"), "grpc": ("http2", "grpc"), "tcp": ("http", "http2", "grpc", "tcp")}


def _beyond_protocol(service: Service) -> Iterator[Finding]:
    written = service.model_fields_set
    if (check := service.health_check) is not None and service.protocol not in _ANSWERED[check.question]:
        message = f"with `protocol: {service.protocol}` nobody answers this"
        expected = " or ".join(f"`{name}`" for name, protocols in _ANSWERED.items() if service.protocol in protocols)
        path = ("health_check", check.question)
        yield path, getattr(check, check.question), refusal(message, expected=expected)
    if service.protocol == "tcp":
        for field in sorted(_OF_REQUESTS & written):
            message = f"`{field}` is about requests, and with `protocol: tcp` nobody reads any"
            yield (field,), getattr(service, field), refusal(message, hint="leave it out, or say what the app speaks")
        for field in ("allow", "allow_candidate"):
            for index, rule in enumerate(getattr(service, field) or ()):
                if rule.is_about_requests:
                    message = "this rule is about requests, and with `protocol: tcp` nobody reads any"
                    yield (field, index), rule, refusal(message, expected="`from` alone")
    elif "protocol" in written and "idle_timeout" in written:
        message = f"`idle_timeout` is about connections of `protocol: tcp`, and this is {service.protocol}"
        yield ("idle_timeout",), service.idle_timeout, refusal(message, hint="`timeout` bounds a request")
