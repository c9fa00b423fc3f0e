"""A gateway document: its listeners and its routes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from sidecar.config.model.admission import GatewayRateLimit
from sidecar.config.model.authenticate import Access, Methods
from sidecar.config.model.balancer import HealthPath, ProxyProtocol
from sidecar.config.model.base import Finding, Label, Model, refusal, refuse_all
from sidecar.config.model.coding import Compress, Decompress
from sidecar.config.model.cors import Cors
from sidecar.config.model.direct import DirectResponse, ErrorPages, Redirect
from sidecar.config.model.entry import ContentTypes, Sources
from sidecar.config.model.header import Method
from sidecar.config.model.header_modifier import Modifier
from sidecar.config.model.host import Host
from sidecar.config.model.https import Hsts, HttpsRedirect
from sidecar.config.model.limits import Limits
from sidecar.config.model.network import Network
from sidecar.config.model.reach import Reached, unreached
from sidecar.config.model.rewrite import Rewrite, wrong_rewrites
from sidecar.config.model.route import Match, Route, Weighted, check_methods, check_split, repeated_names
from sidecar.config.model.service import parse_ip
from sidecar.config.model.tls import ListenerTls


def _check_listen_ip(value: object) -> object:
    if isinstance(value, str):
        parse_ip(value)
    return value


class Forwarding(Model):
    """Who is believed about the way a request came; everybody else's X-Forwarded-* and X-Request-ID are replaced."""

    trusted: tuple[Network, ...] = Field(default=(), description="Networks of the proxies in front.")
    hops: int = Field(default=0, ge=0, le=16, description="Number of proxies in front, whatever their addresses.")
    forwarded: bool = Field(default=False, description="Write `Forwarded` (RFC 7239) too.")


class GatewayListener(Model):
    """Where the gateway accepts connections."""

    not_yet: ClassVar[frozenset[str]] = frozenset({"protocol", "hosts"})

    port: int = Field(ge=0, le=65535, description="Port; 0 takes a free one.")
    address: Annotated[str, BeforeValidator(_check_listen_ip)] = Field(
        default="0.0.0.0",  # noqa: S104 - a gateway is there for clients outside
        description="Local IP address; IPv6 in brackets.",
    )
    tls: ListenerTls | None = Field(default=None, description="Left out: cleartext.")
    limits: Limits = Field(
        default=Limits.defaults(), description="What clients may send; left out: as in the mesh document."
    )
    forwarding: Forwarding = Field(
        default=Forwarding.defaults(), description="Proxies in front, and what is said of them."
    )
    https_redirect: HttpsRedirect | None = Field(
        default=None,
        description="Requests in the clear are sent to TLS, but for those that a trusted proxy took by TLS.",
    )
    hsts: Hsts | None = Field(
        default=None, description="Answers to requests by TLS, whoever makes them, say Strict-Transport-Security."
    )
    proxy_protocol: ProxyProtocol | None = Field(
        default=None,
        description="A balancer in front passes connections on by their bytes, and begins each with a header of the "
        "PROXY protocol, version 1 or 2. Left out: nobody does.",
    )
    health_path: HealthPath | None = Field(
        default=None,
        description="GET and HEAD of this path, whatever the host, are answered to balancers by the gateway itself, "
        "before any route: 200, or 503 once it is about to end.",
    )

    @model_validator(mode="after")
    def _check_https(self) -> Self:
        refuse_all(self._wrong_https())
        return self

    def _wrong_https(self) -> Iterator[Finding]:
        if self.https_redirect is not None and self.tls is not None:
            error = refusal("all clients of this listener speak TLS already", hint="it belongs to that without `tls`")
            yield ("https_redirect",), self.https_redirect, error
        if self.hsts is not None and self.tls is None and not (self.forwarding.trusted or self.forwarding.hops):
            message = "no request comes here by TLS, and others must not be told this"
            yield ("hsts",), self.hsts, refusal(message, expected="`tls`, or `forwarding` that trusts a proxy with TLS")

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


class GatewayMatch(Match):
    """Which requests a route takes; all given parts must match, and no part at all matches everything."""

    host: Host | None = Field(
        default=None, description="Host without port: exact, or *.example.com for one label below it."
    )


class ServiceTarget(Model):
    """Where a gateway's route leads."""

    not_yet: ClassVar[frozenset[str]] = frozenset({"datacenter", "url"})

    service: Label = Field(description="A service; its own routes apply below the route's match.")
    subset: Label | None = Field(default=None, description="One of its subsets; its own routes do not apply then.")


class GatewayBranch(Weighted):
    """One branch of a gateway's split; the services' own routes do not apply."""

    to: ServiceTarget = Field(description="Where this branch leads.")


class GatewayRoute(Route):
    """One rule of a gateway."""

    not_yet: ClassVar[frozenset[str]] = (Route.not_yet - {"allow", "rate_limit"}) | {"transform"}

    match: GatewayMatch = Field(default=GatewayMatch.defaults(), description="Which requests it takes.")
    to: ServiceTarget | None = Field(default=None, description="A service or one of its subsets.")
    split: Annotated[tuple[GatewayBranch, ...], AfterValidator(check_split)] | None = Field(
        default=None, description="Services or subsets by weight."
    )
    redirect: Redirect | None = Field(default=None, description="Its requests are answered with another place.")
    respond: DirectResponse | None = Field(default=None, description="Its requests are answered here, with this.")
    rewrite: Rewrite | None = Field(default=None, description="What is changed in a request before it is sent.")
    cors: Cors | None = Field(default=None, description="Which web pages of other origins may read answers.")
    allow: Annotated[tuple[Access, ...], Field(max_length=64)] | None = Field(
        default=None,
        description="Who of those that `authenticate` knows may use it: whom any rule takes. Left out: all; [] nobody.",
    )
    authenticate: Methods | None = Field(
        default=None,
        description="How its callers prove who they are, any of these in order, instead of the gateway's own "
        "`authenticate`; [] asks nobody.",
    )
    sources: Sources | None = Field(
        default=None, description="Which addresses may use it, beside `sources` of the gateway; others get 403."
    )
    rate_limit: GatewayRateLimit | None = Field(
        default=None, description="How many requests it takes, beside `rate_limit` of the gateway."
    )
    methods: Annotated[tuple[Method, ...], AfterValidator(check_methods)] | None = Field(
        default=None,
        description="It takes these methods, others get 405; those that `match` leaves out go on to the next route.",
    )
    content_types: ContentTypes | None = Field(
        default=None,
        description="Content of its requests is of any of these types, other gets 415, and such that does not tell: "
        "application/json, image/*.",
    )
    error_pages: ErrorPages = Field(
        default=(), description="The first for the status of an answer takes its place; then those of the gateway."
    )

    compress: Compress | None = Field(
        default=None, description="Which of its answers are compressed, instead of `compress` of the gateway."
    )
    decompress: Decompress | None = Field(
        default=None, description="What its compressed requests may become, instead of `decompress` of the gateway."
    )

    def targets(self) -> Iterator[tuple[tuple[str | int, ...], ServiceTarget]]:
        """The services it leads to, each with its path in the route."""
        if self.to is not None:
            yield ("to",), self.to
        for index, branch in enumerate(self.split or ()):
            yield ("split", index, "to"), branch.to


def _check_routes(routes: tuple[GatewayRoute, ...]) -> tuple[GatewayRoute, ...]:
    refuse_all(
        [
            *repeated_names((route.name for route in routes), "name"),
            *_wrong_targets(routes),
            *_wrong_redirects(routes),
            *_wrong_rewrites(routes),
            *unreached(
                Reached(index, route.name, route.match.host or "", route.match)
                for index, route in enumerate(routes)
                if route.enabled
            ),
        ]
    )
    return routes


_ENDS = ("to", "split", "redirect", "respond")
_MODIFIERS = ("request_headers", "request_query", "request_cookies", "response_headers")
# What is said of requests that are sent on, and of the answers to them.
_OF_SENDING = ("rewrite", "timeout", "retry", "max_request_body", *_MODIFIERS)


def _wrong_targets(routes: tuple[GatewayRoute, ...]) -> Iterator[Finding]:
    for index, route in enumerate(routes):
        first, *others = [name for name in _ENDS if getattr(route, name) is not None] or [""]
        if not first:
            yield (
                (index,),
                route,
                refusal("this route leads nowhere", expected="`to`, `split`, `redirect` or `respond`"),
            )
        for name in others:
            yield (index, name), getattr(route, name), refusal(f"a route has `{first}` or `{name}`, not both")
        if first in ("redirect", "respond"):
            for name in _OF_SENDING:
                if (said := getattr(route, name)) is not None:
                    yield (index, name), said, refusal(f"a route with `{first}` sends nothing on")


def _wrong_redirects(routes: tuple[GatewayRoute, ...]) -> Iterator[Finding]:
    for index, route in enumerate(routes):
        if route.redirect is None or (path := route.redirect.path) is None:
            continue
        matched, place = route.match.taken_path, (index, "redirect", "path")
        if path.star and (not matched.star or route.match.path_regex is not None):
            error = refusal("the path of the match has no star", expected=f"a whole path: `{matched}` has none")
            yield place, str(path), error
        elif path == matched and route.redirect.leads_back:
            yield place, str(path), refusal("this leads back to itself", expected="another path")


def _wrong_rewrites(routes: tuple[GatewayRoute, ...]) -> Iterator[Finding]:
    for index, route in enumerate(routes):
        if route.rewrite is not None:
            for place, value, error in wrong_rewrites(route.match, route.rewrite):
                yield (index, "rewrite", *place), value, error


def _check_listeners(listeners: tuple[GatewayListener, ...]) -> tuple[GatewayListener, ...]:
    refuse_all(_repeated_ports(listeners))
    return listeners


def _repeated_ports(listeners: tuple[GatewayListener, ...]) -> Iterator[Finding]:
    taken: set[tuple[str, int]] = set()
    for index, listener in enumerate(listeners):
        if listener.port and (listener.address, listener.port) in taken:
            yield (index, "port"), listener.port, refusal(f"{listener} stands here twice", expected="a port of its own")
        taken.add((listener.address, listener.port))


class Gateway(Model):
    """The edge: from clients outside to services of the mesh."""

    not_yet: ClassVar[frozenset[str]] = frozenset({"tls", "hosts", "limits", "transformation", "plugins"})

    listeners: Annotated[tuple[GatewayListener, ...], AfterValidator(_check_listeners)] = Field(
        default=(), description="Where it accepts connections."
    )
    authenticate: Methods = Field(
        default=(),
        description="How the callers of all routes prove who they are: the first of these whose credentials a request "
        "shows, and that holds, tells it. The service is told by x-consumer-username and x-consumer-groups.",
    )
    sources: Sources | None = Field(default=None, description="Which addresses may come in; others get 403.")
    rate_limit: GatewayRateLimit | None = Field(default=None, description="How many requests all its routes take.")
    error_pages: ErrorPages = Field(
        default=(),
        description="Pages in place of what the gateway, or a service's sidecar, says of why there is no answer. The "
        "reason stays in the access log and in `sidecar why`.",
    )
    compress: Compress | None = Field(
        default=None, description="Which answers are compressed; {} those that are text. Left out: none."
    )
    decompress: Decompress | None = Field(
        default=None, description="What compressed requests may become. Left out: they go on as they are."
    )
    routes: Annotated[tuple[GatewayRoute, ...], AfterValidator(_check_routes)] = Field(
        default=(), description="The first that matches takes the request; without a match the answer is 404."
    )

    @model_validator(mode="after")
    def _check_callers(self) -> Self:
        refuse_all(_unknown_callers(self))
        return self


def _modifiers(route: GatewayRoute) -> Iterator[tuple[tuple[str | int, ...], Modifier]]:
    """All of a route, each with its path in the route."""
    for name in _MODIFIERS:
        if (modifier := getattr(route, name)) is not None:
            yield (name,), modifier
    for index, branch in enumerate(route.split or ()):
        for name in ("request_headers", "response_headers"):
            if (modifier := getattr(branch, name)) is not None:
                yield ("split", index, name), modifier


def _unknown_callers(gateway: Gateway) -> Iterator[Finding]:
    """Rules about callers whom nobody asks."""
    message, expected = "nobody is asked who calls", "`authenticate` of the route or the gateway"
    asks = [
        bool(gateway.authenticate if route.authenticate is None else route.authenticate) for route in gateway.routes
    ]
    whole = gateway.rate_limit
    if whole is not None and whole.needs_caller and not any(asks):
        yield ("rate_limit", "by"), whole.by, refusal(message, expected=expected)
    for index, route in enumerate(gateway.routes):
        if asks[index]:
            continue
        for path, modifier in _modifiers(route):
            if modifier.needs_caller:
                yield ("routes", index, *path), modifier, refusal(message, expected=expected)
        if route.allow:
            yield ("routes", index, "allow"), route.allow, refusal(message, expected=expected)
        if route.rate_limit is not None and route.rate_limit.needs_caller:
            place = ("routes", index, "rate_limit", "by")
            yield place, route.rate_limit.by, refusal(message, expected=expected)
