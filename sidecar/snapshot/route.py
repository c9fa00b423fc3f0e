"""Route tables: which requests go to which clusters."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from sidecar.config.document import Document
from sidecar.config.model import Gateway, Mesh, Service
from sidecar.config.model.gateway import GatewayBranch, GatewayRoute
from sidecar.config.model.route import Route
from sidecar.config.model.service import ServiceBranch, ServiceRoute
from sidecar.snapshot import tcp
from sidecar.snapshot.admission import quotas
from sidecar.snapshot.authentication import access, authentication, methods_of
from sidecar.snapshot.cluster import APP, origin
from sidecar.snapshot.coding import compress, decompress
from sidecar.snapshot.cors import policy, preflight
from sidecar.snapshot.direct import direct, error_pages
from sidecar.snapshot.entry import shape, sources
from sidecar.snapshot.fault import fault_of
from sidecar.snapshot.headers import changes, modify
from sidecar.snapshot.mirror import mirrored, with_mirrors
from sidecar.snapshot.parts import Memo, Part, Table
from sidecar.snapshot.retry import retry_policy
from sidecar.snapshot.scope import Narrowed, Scope
from sidecar.snapshot.units import milliseconds
from sidecar.wire import snapshot_pb2 as wire
from sidecar.world import ChainBranch, ChainMatch, ChainRoute, Target, World, is_callable

# What may set a timeout and a retry, nearest to the request first.
Settings = tuple[GatewayRoute | ServiceRoute | ChainRoute | Service | Mesh, ...]

# Envoy's default (config.route.v3.RouteAction.timeout).
_TIMEOUT = timedelta(seconds=15)
# A gRPC call carries its own deadline, and its streams may be long.
_GRPC_TIMEOUT = timedelta(0)


def inbound_table(world: World, service: str) -> Table:
    """Everything to the local app; timeouts and retries are the callers', unless a config entry bounds them here."""
    if tcp.is_tcp(world.service(service)):
        return Table("inbound", [Part.of(tcp_routes=[tcp.app_route(world, service)])])
    request_timeout = world.chain(service).local.request_timeout
    tcp_routes = [tcp.app_route(world, service)] if tcp.asks_alpn(world, service) else []
    route = wire.Route(
        name=APP,
        timeout_ms=milliseconds(request_timeout) if request_timeout else 0,
        destinations=[wire.Destination(cluster=APP, weight=1)],
        retry=wire.RetryPolicy(attempts=1),
        origin=origin(world, service),
    )
    return Table("inbound", [Part.of([route], tcp_routes)])


def outbound_table(world: World, memo: Memo[Part]) -> Table:
    """By host: every service that is enabled, each of its subsets, and the services of other datacenters."""
    parts = [memo.get(name, _about(world, name), _host_part, world, name) for name in world.service_names]
    for datacenter, names in sorted(world.names.items()):
        if datacenter:
            for name in filter(is_callable, sorted(names)):
                target = Target(name, datacenter=datacenter)
                parts.append(memo.get(target.cluster, _about(world, name), _remote_part, world, target))
    return Table("outbound", parts)


def _about(world: World, *names: str) -> object:
    """What the routes to these services are made of."""
    return tuple(map(world.about, with_mirrors(world, names)))


def _host_part(world: World, name: str) -> Part:
    world = world.only(*with_mirrors(world, (name,)))
    service = world.service(name)
    if not service.enabled:
        return Part.of()
    if tcp.is_tcp(service):
        return Part.of(tcp_routes=tcp.host_routes(world, name, _hosts(world, name)))
    routes = [*_subset_routes(world, name, service), *_service_routes(world, name, Scope(_hosts(world, name)), name)]
    return Part.of(mirrored(world, routes))


def _remote_part(world: World, target: Target) -> Part:
    world = world.only(*with_mirrors(world, (target.service,)))
    hosts = (f"{target.service}.service.{target.datacenter}.consul".lower(),)
    if tcp.is_tcp(world.service(target.service)):
        return Part.of(tcp_routes=[tcp.target_route(world, target, hosts)])
    return Part.of(mirrored(world, [_remote_route(world, target, hosts)]))


def upstream_table(world: World, target: Target) -> Table:
    """One service, whatever the host; empty while the service is disabled."""
    name, called = f"upstream-{target.cluster}", world.called(target)
    service = world.service(called)
    if tcp.is_copied(world, called):
        return Table(name, [Part.of(tcp_routes=[tcp.upstream_route(world, target)] if service.enabled else ())])
    if not target.query and not target.datacenter:
        routes = _service_routes(world, target.service, Scope(), target.service)
    else:
        # A service's own routes are about those of our datacenter.
        place = origin(world, called)
        destination = wire.Destination(cluster=target.cluster, weight=1)
        whole = _route(target.cluster, Scope().whole(), [destination], (service, world.mesh), service, place)
        routes = iter([whole] if service.enabled else [])
    return Table(name, [Part.of(mirrored(world, routes))])


def edge_table(world: World, document: Document, gateway: Gateway, memo: Memo[Part]) -> Table:
    """A gateway's routes; one that leads to a whole service stands for the service's own routes below its match."""
    parts = []
    for index, route in enumerate(gateway.routes):
        if route.enabled:
            place = wire.Origin(place=document.origin("routes", index), index=document.index)
            methods = methods_of(gateway, route)
            whole = (gateway.rate_limit, gateway.compress, gateway.decompress)
            made_of = (route, place, methods, whole, _about(world, *_services(route)))
            asked = wire.Route(
                authentication=authentication(methods, document.key.name),
                access=access(route),
                shape=shape(route),
                compress=compress(gateway, route),
                decompress=decompress(gateway, route),
                quotas=quotas(gateway, route),
            )
            parts.append(memo.get(route.name, made_of, _edge_part, world, route, place, asked))
    return Table("edge", parts)


def _edge_part(world: World, route: GatewayRoute, place: wire.Origin, asked: wire.Route) -> Part:
    """`asked`: what is asked of its requests, and how content is coded."""
    world = world.only(*with_mirrors(world, _services(route)))
    made = list(mirrored(world, _gateway_routes(world, route, place)))
    taken = wire.Route(sources=sources(route.sources), error_pages=error_pages(route.error_pages))
    for leading in made:
        leading.MergeFrom(taken)
        # A page's preflight shows no credentials (https://fetch.spec.whatwg.org/#cors-preflight-fetch), and is answered
        # here.
        if not leading.preflight:
            leading.MergeFrom(asked)
    return Part.of(made)


def _services(route: GatewayRoute) -> list[str]:
    return [target.service for _, target in route.targets()]


def _hosts(world: World, name: str) -> tuple[str, ...]:
    # Host names have no case, and those of a match are in lower case.
    host = name.lower()
    hosts = (host, f"{host}.mesh", f"{host}.service.consul")
    return hosts if world.site is None else (*hosts, f"{host}.service.{world.datacenter}.consul")


def _remote_route(world: World, target: Target, hosts: tuple[str, ...]) -> wire.Route:
    """All endpoints there; a service's own routes are about those of our datacenter."""
    service = world.service(target.service)
    return _route(
        target.cluster,
        Scope(hosts).whole(),
        [wire.Destination(cluster=target.cluster, weight=1)],
        (service, world.mesh),
        service,
        origin(world, target.service),
    )


def _subset_routes(world: World, name: str, service: Service) -> Iterator[wire.Route]:
    """By the host of each subset; the service's own routes do not apply to who asks for one."""
    for subset in world.subsets(name):
        yield _route(
            f"{subset}.{name}",
            Scope((f"{subset}.{name}.mesh".lower(),)).whole(),
            [wire.Destination(cluster=Target(name, subset).cluster, weight=1)],
            (service, world.mesh),
            service,
            origin(world, name, "subsets", subset),
        )


def _service_routes(
    world: World,
    name: str,
    scope: Scope,
    label: str,
    outer: tuple[GatewayRoute, ...] = (),
    place: wire.Origin | None = None,
) -> Iterator[wire.Route]:
    """A service's own routes in this scope, and last all its endpoints; nothing when it takes no requests.

    A service without a document has all its (no) endpoints, so that the answer says what is missing. `place` is of what
    leads to all of them; None: nothing but the service itself.
    """
    service = world.service(name)
    if not _takes_requests(service) or world.astray(name):
        return
    if "routes" not in service.model_fields_set and (routes := world.chain(name).routes):
        for chain_route in routes:
            yield from _chain_routes(world, service, chain_route, scope, label, outer)
            if chain_route.match == ChainMatch(chain_route.match.plain) and scope.covered_by(chain_route.match.plain):
                return
    for index, route in enumerate(service.routes):
        if not route.enabled:
            continue
        for narrowed in scope.narrowed(route.match):
            yield _route(
                f"{label}/{route.name}",
                narrowed,
                _service_destinations(name, route),
                (*outer, route, service, world.mesh),
                service,
                origin(world, name, "routes", index),
            )
        if scope.covered_by(route.match):
            return
    yield _route(
        label,
        scope.whole(),
        [wire.Destination(cluster=name, weight=1)],
        (*outer, service, world.mesh),
        service,
        place or origin(world, name),
    )


def _chain_routes(
    world: World, service: Service, route: ChainRoute, scope: Scope, label: str, outer: tuple[GatewayRoute, ...]
) -> Iterator[wire.Route]:
    """One route of Consul's config entries in this scope. An outer rewrite goes first: two cannot be told at once."""
    for narrowed in scope.narrowed_by_chain(route.match):
        rewrite = narrowed.rewrite
        if rewrite is None and route.rewrite is not None:
            rewrite = wire.PathRewrite(prefix=route.rewrite.base or "/")
        yield _route(
            f"{label}/{route.name}",
            Narrowed(narrowed.match, rewrite),
            [_destination(branch.target, branch) for branch in route.destinations],
            (*outer, route, service, world.mesh),
            service,
            wire.Origin(place=f"Consul's discovery chain of {label}"),
        )


def _service_destinations(name: str, route: ServiceRoute) -> list[wire.Destination]:
    if route.split is None:
        return [wire.Destination(cluster=Target(name, route.to.subset if route.to else "").cluster, weight=1)]
    return [_destination(Target(name, branch.to.subset), branch) for branch in route.split if branch.weight]


def _destination(target: Target, branch: ServiceBranch | GatewayBranch | ChainBranch) -> wire.Destination:
    """One branch of a split."""
    made = wire.Destination(cluster=target.cluster, weight=branch.weight)
    modify(made, branch)
    return made


def _gateway_routes(world: World, route: GatewayRoute, place: wire.Origin) -> Iterator[wire.Route]:
    """What stands for one route of a gateway; preflights of all of it come first."""
    scope = Scope.of(route)
    routes = list(_leading_routes(world, route, scope, place))
    if route.rewrite is not None and route.rewrite.host is not None:
        for leading in routes:
            leading.rewrite_host = route.rewrite.host
    if route.cors is not None and routes:
        cors = policy(route.cors)
        match = preflight(scope.whole().match)
        yield wire.Route(name=route.name, match=match, cors=cors, preflight=True, origin=place)
        for leading in routes:
            leading.cors.CopyFrom(cors)
    yield from routes


def untold(world: World, document: Document, gateway: Gateway) -> Iterator[str]:
    """The routes of services that a gateway's routes leave out, for no match of the data plane holds both paths."""
    for index, route in enumerate(gateway.routes):
        if not route.enabled or route.to is None or route.to.subset is not None:
            continue
        name, scope = route.to.service, Scope.of(route)
        service = world.written(name)
        if "routes" in service.model_fields_set:
            inner = [(f"{name}/{item.name}", item.match) for item in service.routes if item.enabled]
        else:
            items = world.chain(name).routes
            inner = [(f"{name}/{item.name} of Consul's discovery chain", scope.plain(item.match)) for item in items]
        for label, match in inner:
            if not scope.can_tell(match):
                place, path = document.origin("routes", index), match.path_regex or str(match.taken_path)
                yield (
                    f"{place}: route {route.name}: its rewrite leaves out {label}, which matches the path {path!r}: "
                    "what paths become is told beforehand of patterns alone, without expressions"
                )


def _leading_routes(world: World, route: GatewayRoute, scope: Scope, place: wire.Origin) -> Iterator[wire.Route]:
    if (answering := direct(route)) is not None:
        answering.MergeFrom(wire.Route(name=route.name, match=scope.whole().match, origin=place))
        yield answering
        return
    if route.to is not None and route.to.subset is None:
        yield from _service_routes(world, route.to.service, scope, route.name, (route,), place)
        return
    branches = [branch for branch in _branches(route) if _takes_requests(world.service(branch.to.service))]
    if not branches:
        return
    # Of several services the first decides what the route leaves open.
    service = world.service(branches[0].to.service)
    yield _route(
        route.name,
        scope.whole(),
        [_destination(Target(branch.to.service, branch.to.subset or ""), branch) for branch in branches],
        (route, service, world.mesh),
        service,
        place,
    )


def _branches(route: GatewayRoute) -> Iterator[GatewayBranch]:
    if route.to is not None:
        yield GatewayBranch.model_construct(weight=1, to=route.to)
    yield from (branch for branch in route.split or () if branch.weight)


def _takes_requests(service: Service) -> bool:
    return service.enabled and not tcp.is_tcp(service)


def _route(
    name: str,
    narrowed: Narrowed,
    destinations: list[wire.Destination],
    settings: Settings,
    service: Service,
    place: wire.Origin | None,
) -> wire.Route:
    timeout = next((item.timeout for item in settings if item.timeout is not None), None)
    if timeout is None:
        timeout = _GRPC_TIMEOUT if service.protocol == "grpc" else _TIMEOUT
    retry = next(item.retry for item in settings if item.retry is not None)
    routes = [item for item in settings if isinstance(item, Route)]
    rules = (route.max_request_body for route in routes)
    # As in Envoy what is said of more requests goes last.
    for item in reversed(settings):
        if isinstance(item, Route | ChainRoute):
            for destination in destinations:
                modify(destination, item)
    return wire.Route(
        name=name,
        match=narrowed.match,
        destinations=destinations,
        timeout_ms=milliseconds(timeout),
        retry=retry_policy(retry),
        origin=place,
        fault=fault_of(service.fault),
        rewrite=narrowed.rewrite,
        max_request_body=next((most for most in rules if most is not None), 0),
        query_changes=[change for route in reversed(routes) for change in changes(route.request_query)],
        cookie_changes=[change for route in reversed(routes) for change in changes(route.request_cookies)],
    )
