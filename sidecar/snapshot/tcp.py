"""TCP routes: where connections lead whose bytes nobody reads on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sidecar.config.model import Service
from sidecar.snapshot.cluster import APP, RAW_APP, origin
from sidecar.snapshot.units import milliseconds
from sidecar.wire import snapshot_pb2 as wire
from sidecar.world import ChainBranch, Target, World

# The protocol of services that are reached by them.
PROTOCOL = "tcp"


def is_tcp(service: Service) -> bool:
    """Whether its bytes are passed on as they are."""
    return service.protocol == PROTOCOL


def is_copied(world: World, service: str) -> bool:
    """Whether the bytes of a port that leads to this service alone are: it is of protocol tcp, or nobody says which."""
    return is_tcp(world.service(service)) or world.is_unsaid(service)


def asks_alpn(world: World, service: str) -> bool:
    """Whether the service's own sidecar does as each caller asks, for nobody has said its protocol.

    Not where a rule is about requests: then all that comes is read as such.
    """
    intentions = world.intentions.found if world.intentions is not None else ()
    return world.is_unsaid(service) and not any(intention.permissions for intention in intentions)


def app_route(world: World, service: str) -> wire.Route:
    """Everything to the local app, once: another try would meet the same one."""
    cluster = APP if is_tcp(world.service(service)) else RAW_APP
    route = _route(world, service, cluster, (), [], origin(world, service))
    route.destinations.add(cluster=cluster, weight=1)
    route.retry.attempts = 1
    return route


def host_routes(world: World, name: str, hosts: Iterable[str]) -> Iterator[wire.Route]:
    """By the names that CONNECT may give: each subset, and the service itself."""
    for subset in world.subsets(name):
        place = origin(world, name, "subsets", subset)
        host = f"{subset}.{name}.mesh".lower()
        yield _route(world, name, f"{subset}.{name}", (host,), [(Target(name, subset), 1)], place)
    yield service_route(world, name, hosts)


def service_route(world: World, name: str, hosts: Iterable[str] = ()) -> wire.Route:
    """All endpoints of a service, or those that a resolver in Consul leads to."""
    resolved = next((route.destinations for route in world.chain(name).routes), (ChainBranch(Target(name)),))
    destinations = [(branch.target, branch.weight) for branch in resolved]
    return _route(world, name, name, hosts, destinations, origin(world, name))


def upstream_route(world: World, target: Target) -> wire.Route:
    """All of a local port."""
    return target_route(world, target) if target.query or target.datacenter else service_route(world, target.service)


def target_route(world: World, target: Target, hosts: Iterable[str] = ()) -> wire.Route:
    """All endpoints of a service in another datacenter, or of a prepared query."""
    called = world.called(target)
    return _route(world, called, target.cluster, hosts, [(target, 1)], origin(world, called))


def _route(
    world: World,
    service: str,
    name: str,
    hosts: Iterable[str],
    destinations: Iterable[tuple[Target, int]],
    place: wire.Origin | None,
) -> wire.Route:
    settings = world.service(service)
    retry = settings.retry or world.mesh.retry
    return wire.Route(
        name=name,
        match=wire.Match(hosts=hosts),
        destinations=[
            wire.Destination(cluster=_copied(world, target).cluster, weight=weight) for target, weight in destinations
        ],
        retry=wire.RetryPolicy(attempts=retry.attempts),
        idle_timeout_ms=milliseconds(settings.idle_timeout) if settings.idle_timeout else 0,
        origin=place,
    )


def _copied(world: World, target: Target) -> Target:
    """The same target, called with bytes."""
    return target if is_tcp(world.service(world.called(target))) else target._replace(raw=True)
