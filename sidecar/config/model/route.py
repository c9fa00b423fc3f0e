"""What the routes of services and gateways share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, ClassVar, Self, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from sidecar.config.model.base import Duration, Finding, Model, RouteName, Size, refusal, refuse_all, size_between, text
from sidecar.config.model.header import CookieName, HeaderName, Method, ParameterName
from sidecar.config.model.header_modifier import CookieModifier, HeaderModifier, QueryModifier
from sidecar.config.model.network import Network
from sidecar.config.model.path import ALL_PATHS, Path, PathPattern
from sidecar.config.model.retry import Retry
from sidecar.config.model.value_match import Regex, ValueMatch, impossible

# Names in protobuf, which are the parts of a call's path.
_IDENTIFIER = "[A-Za-z_][A-Za-z0-9_]*"
_SERVICE, _METHOD = rf"{_IDENTIFIER}(?:\.{_IDENTIFIER})*", _IDENTIFIER
# As in Envoy, a call is known by its content type: application/grpc, application/grpc+proto, application/grpc-web.
_CALL = ("content-type", ValueMatch.model_construct(prefix="application/grpc"))

GrpcService = Annotated[
    str,
    BeforeValidator(text(_SERVICE, "this is no service of gRPC", "a name with its package, such as shop.v1.Orders")),
    Field(json_schema_extra={"pattern": f"^{_SERVICE}$"}),
]
GrpcMethod = Annotated[
    str,
    BeforeValidator(text(_METHOD, "this is no method of gRPC", "a name such as Get")),
    Field(json_schema_extra={"pattern": f"^{_METHOD}$"}),
]


def check_methods(methods: tuple[str, ...]) -> tuple[str, ...]:
    """Refuses a list of none."""
    if not methods:
        raise refusal("an empty list matches nothing", hint="leave `methods` out to match all of them")
    return methods


class HeadMatch(Model):
    """What a request's head must have; all given parts must match, and no part at all matches everything."""

    path: Path | None = Field(
        default=None,
        description="`/api` is only itself, `/api/*` is `/api` and all below it; in `/users/{id}` the parameter is any "
        "segment that is not empty, and `{rest=**}` at the end is the star with a name.",
    )
    methods: Annotated[tuple[Method, ...], AfterValidator(check_methods)] | None = Field(
        default=None, description="Any of these methods."
    )
    headers: dict[HeaderName, ValueMatch] = Field(
        default={},
        description="Each of these headers, of gRPC metadata, has this value; one of several is enough.",
    )


class GrpcMatch(Model):
    """Calls of gRPC, gRPC-Web too."""

    service: GrpcService = Field(description="Their service with its package: shop.v1.Orders.")
    method: GrpcMethod | None = Field(default=None, description="Their method: Get. Left out: all of the service.")


def _check_parameters(values: dict[str, ValueMatch]) -> dict[str, ValueMatch]:
    refuse_all(impossible(values, "&# ", "the value of a parameter"))
    return values


def _check_cookies(values: dict[str, ValueMatch]) -> dict[str, ValueMatch]:
    refuse_all(impossible(values, '; "', "the value of a cookie"))
    return values


def _check_sources(networks: tuple[str, ...]) -> tuple[str, ...]:
    if not networks:
        raise refusal("an empty list matches nobody", hint="leave `source` out to match all clients")
    return networks


class Match(HeadMatch):
    """Which requests a route takes; all given parts must match, and no part at all matches everything."""

    path_regex: Regex | None = Field(
        default=None,
        description="A regular expression (RE2) of the whole path, instead of `path`; its groups with names, "
        "`(?P<id>[0-9]+)`, are parameters.",
    )
    query: Annotated[dict[ParameterName, ValueMatch], AfterValidator(_check_parameters)] = Field(
        default={},
        description="Each of these parameters of the query has this value: the first of its name, as it is written, "
        "`a%20b` for `a b`.",
    )
    cookies: Annotated[dict[CookieName, ValueMatch], AfterValidator(_check_cookies)] = Field(
        default={}, description="Each of these cookies has this value; the first of its name counts."
    )
    source: Annotated[tuple[Network, ...], AfterValidator(_check_sources)] | None = Field(
        default=None,
        description="The client's address is in one of these networks: at a gateway who came to it, or whom a trusted "
        "proxy in front names; a sidecar's client is its own application.",
    )
    grpc: GrpcMatch | None = Field(default=None, description="Calls of gRPC, by service and method; instead of `path`.")

    @model_validator(mode="after")
    def _check_one_path(self) -> Self:
        if self.path_regex is not None and self.path is not None:
            refuse_all([(("path_regex",), self.path_regex, refusal("`path` is said already"))])
        if self.grpc is not None and (self.path is not None or self.path_regex is not None):
            said = "path" if self.path is not None else "path_regex"
            refuse_all([(("grpc",), self.grpc, refusal(f"`{said}` is said already, and a call's path is its method"))])
        return self

    @property
    def taken_path(self) -> PathPattern:
        """That of `path`, or of the calls; an expression is not asked."""
        if self.grpc is None:
            return self.path or ALL_PATHS
        service = PathPattern(f"/{self.grpc.service}", star=True)
        return service if self.grpc.method is None else PathPattern(f"{service.base}/{self.grpc.method}", star=False)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of what the path has."""
        if self.path_regex is not None:
            return tuple(re.compile(self.path_regex).groupindex)
        return tuple(parameter.name for parameter in self.taken_path.parameters)

    @property
    def taken_headers(self) -> tuple[tuple[str, ValueMatch], ...]:
        """Those of `headers`, and what tells calls from other requests."""
        return (*self.headers.items(), *((_CALL,) if self.grpc is not None else ()))


class Route(Model):
    """One rule; the first that matches, in the order written, takes the request."""

    not_yet: ClassVar[frozenset[str]] = frozenset({"mirror", "fault", "rate_limit", "allow", "plugins"})

    name: RouteName = Field(description="Its name in metrics, logs and reports.")
    enabled: bool = Field(default=True, description="false takes the route out without deleting it.")
    timeout: Duration | None = Field(default=None, description="Instead of the service's; 0s = none.")
    retry: Retry | None = Field(default=None, description="Instead of the service's.")
    max_request_body: Annotated[Size, size_between(1, 1 << 50)] | None = Field(
        default=None,
        description="Bytes of a request's content; a larger one is answered with 413, in gRPC with RESOURCE_EXHAUSTED.",
    )
    request_headers: HeaderModifier | None = Field(
        default=None,
        description="Changed in its requests before they are sent. What a branch of its split changes comes first, and "
        "what a gateway's route changes that leads here comes last: the last `set` of a name holds, as in Envoy.",
    )
    request_query: QueryModifier | None = Field(
        default=None,
        description="Changed in the query of its requests, after a rewrite. What a gateway's route changes that leads "
        "here comes last.",
    )
    request_cookies: CookieModifier | None = Field(
        default=None, description="Changed in the cookies of its requests, in the same order."
    )
    response_headers: HeaderModifier | None = Field(
        default=None,
        description="Changed in the answers to its requests, in the same order. What this proxy answers by itself "
        "stays as it is, as in Envoy.",
    )


class Weighted(Model):
    """One branch of a split."""

    weight: int = Field(ge=0, le=1_000_000, description="Its share of the requests, out of the sum of all weights.")
    request_headers: HeaderModifier | None = Field(default=None, description="Changed in the requests that go here.")
    response_headers: HeaderModifier | None = Field(default=None, description="Changed in the answers from here.")


W = TypeVar("W", bound=Weighted)


def check_split(split: tuple[W, ...]) -> tuple[W, ...]:
    """For an AfterValidator: at least one branch can be picked."""
    if not any(branch.weight for branch in split):
        raise refusal("no branch of this split can be picked", expected="at least one branch with a weight above 0")
    return split


def repeated_names(names: Iterable[str], field: str) -> Iterator[Finding]:
    """A finding for every name of a list that stood in it before; `field` is where an item holds its name."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield (index, field), name, refusal(f"`{name}` stands here twice", expected="a name of its own")
        seen.add(name)
