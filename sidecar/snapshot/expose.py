"""Ports without mutual TLS that lead to single paths of the local application: probes have no certificate."""

from __future__ import annotations

from sidecar.snapshot.cluster import PROTOCOLS, app_cluster, origin
from sidecar.snapshot.listener import limits
from sidecar.snapshot.parts import Part, Table
from sidecar.snapshot.role import Exposed, SidecarRole
from sidecar.wire import snapshot_pb2 as wire
from sidecar.world import World


def exposed(world: World, role: SidecarRole) -> list[tuple[wire.Listener, Table]]:
    """A listener and its routes for each port; a path that no route names is refused there."""
    ports: dict[str, list[Exposed]] = {}
    for item in role.exposed:
        ports.setdefault(item.address, []).append(item)
    return [_port(world, role, address, items) for address, items in ports.items()]


def clusters(world: World, role: SidecarRole) -> list[wire.Cluster]:
    """The local application by each port and protocol that a path asks for."""
    wanted = {item.cluster: item for item in role.exposed}
    made = []
    for name, item in wanted.items():
        cluster = app_cluster(world, role.service)
        cluster.name, cluster.protocol = name, PROTOCOLS[item.protocol]
        made.append(cluster)
    return made


def app_address(role: SidecarRole, cluster: str) -> str:
    """Where the local application is asked for by this cluster."""
    port = next((item.port for item in role.exposed if item.cluster == cluster), None)
    return role.app_address if port is None else f"{role.app_address.rpartition(':')[0]}:{port}"


def _port(world: World, role: SidecarRole, address: str, items: list[Exposed]) -> tuple[wire.Listener, Table]:
    name = f"exposed-{address.rpartition(':')[2]}"
    listener = wire.Listener(
        name=name,
        address=address,
        direction=wire.DIRECTION_INBOUND,
        route_table=name,
        limits=limits(world),
        origin=origin(world, role.service),
    )
    return listener, Table(name, [Part.of(map(_route, items))])


def _route(item: Exposed) -> wire.Route:
    # The path itself and nothing below it, as Envoy under Consul.
    return wire.Route(
        name=f"exposed{item.path}",
        match=wire.Match(path=wire.PathMatch(exact=item.path)),
        destinations=[wire.Destination(cluster=item.cluster, weight=1)],
        retry=wire.RetryPolicy(attempts=1),
    )
