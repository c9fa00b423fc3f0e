"""Route tables: which requests go to which clusters."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from sidecar.config.document import Document
from sidecar.config.model import Gateway, Mesh, Service
from sidecar.config.model.gateway import GatewayRoute, ServiceTarget
from sidecar.config.model.service import ServiceRoute
from sidecar.snapshot.cluster import APP, NO_DOCUMENT, milliseconds, name_of, origin
from sidecar.snapshot.scope import Narrowed, Scope
from sidecar.wire import snapshot_pb2 as wire
from sidecar.world import World

# What may set a timeout and a retry, nearest to the request first.
Settings = tuple[GatewayRoute | ServiceRoute | Service | Mesh, ...]

# Envoy's default (config.route.v3.RouteAction.timeout).
_TIMEOUT = timedelta(seconds=15)
# A gRPC call carries its own deadline, and its streams may be long.
_GRPC_TIMEOUT = timedelta(0)


def inbound_table(world: World, service: str) -> wire.RouteTable:
    """Everything to the local app; timeouts and retries are the callers'."""
    route = wire.Route(
        name=APP,
        destinations=[wire.Destination(cluster=APP, weight=1)],
        retry=wire.RetryPolicy(attempts=1),
        origin=origin(world, service),
    )
    return wire.RouteTable(name="inbound", routes=[route])


def outbound_table(world: World) -> wire.RouteTable:
    """By host: every service that is enabled, and each of its subsets."""
    table = wire.RouteTable(name="outbound")
    for name, service in world.services.items():
        if service.enabled:
            table.routes.extend(_subset_routes(world, name, service))
            hosts = (name, f"{name}.mesh", f"{name}.service.consul")
            table.routes.extend(_service_routes(world, name, Scope(hosts), name))
    return table


def upstream_table(world: World, service: str) -> wire.RouteTable:
    """One service, whatever the host; empty while the service is disabled."""
    return wire.RouteTable(name=f"upstream-{service}", routes=_service_routes(world, service, Scope(), service))


def edge_table(world: World, document: Document, gateway: Gateway) -> wire.RouteTable:
    """A gateway's routes; one that leads to a whole service stands for the service's own routes below its match."""
    table = wire.RouteTable(name="edge")
    for index, route in enumerate(gateway.routes):
        if route.enabled:
            table.routes.extend(_gateway_routes(world, route, wire.Origin(place=document.origin("routes", index))))
    return table


def _subset_routes(world: World, name: str, service: Service) -> Iterator[wire.Route]:
    """By the host of each subset; the service's own routes do not apply to who asks for one."""
    for subset in service.subsets:
        yield _route(
            f"{subset}.{name}",
            Scope((f"{subset}.{name}.mesh",)).whole(),
            [wire.Destination(cluster=name_of(name, subset), weight=1)],
            (service, world.mesh),
            service,
            origin(world, name, "subsets", subset),
        )


def _service_routes(
    world: World, name: str, scope: Scope, label: str, outer: tuple[GatewayRoute, ...] = ()
) -> Iterator[wire.Route]:
    """A service's own routes in this scope, and last all its endpoints; nothing when it is disabled.

    A service without a document has all its (no) endpoints, so that the answer says what is missing.
    """
    service = world.services.get(name, NO_DOCUMENT)
    if not service.enabled:
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
        origin(world, name),
    )


def _service_destinations(name: str, route: ServiceRoute) -> list[wire.Destination]:
    if route.split is None:
        return [wire.Destination(cluster=name_of(name, route.to.subset if route.to else None), weight=1)]
    return [
        wire.Destination(cluster=name_of(name, branch.to.subset), weight=branch.weight)
        for branch in route.split
        if branch.weight
    ]


def _gateway_routes(world: World, route: GatewayRoute, place: wire.Origin) -> Iterator[wire.Route]:
    scope = Scope(
        hosts=(route.match.host,) if route.match.host else (),
        match=route.match,
        rewrite=route.rewrite.path if route.rewrite else None,
    )
    if route.to is not None and route.to.subset is None:
        yield from _service_routes(world, route.to.service, scope, route.name, (route,))
        return
    targets = [(target, weight) for target, weight in _weighted(route) if _is_enabled(world, target)]
    if not targets:
        return
    # Of several services the first decides what the route leaves open.
    service = world.services.get(targets[0][0].service, NO_DOCUMENT)
    yield _route(
        route.name,
        scope.whole(),
        [wire.Destination(cluster=name_of(target.service, target.subset), weight=weight) for target, weight in targets],
        (route, service, world.mesh),
        service,
        place,
    )


def _weighted(route: GatewayRoute) -> Iterator[tuple[ServiceTarget, int]]:
    if route.to is not None:
        yield route.to, 1
    for branch in route.split or ():
        if branch.weight:
            yield branch.to, branch.weight


def _is_enabled(world: World, target: ServiceTarget) -> bool:
    service = world.services.get(target.service)
    return service is None or service.enabled


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
    return wire.Route(
        name=name,
        match=narrowed.match,
        destinations=destinations,
        timeout_ms=milliseconds(timeout),
        retry=wire.RetryPolicy(attempts=retry.attempts),
        origin=place,
        rewrite=narrowed.rewrite,
    )
