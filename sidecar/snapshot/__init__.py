"""Pure: a World and a role become the Snapshot and the endpoints that the data plane runs. No clock, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from sidecar.config.document import Key
from sidecar.config.model import Gateway
from sidecar.config.model.service import UpstreamPort
from sidecar.snapshot import route
from sidecar.snapshot.access_log import access_log
from sidecar.snapshot.admission import admission
from sidecar.snapshot.authentication import credentials, key_sets
from sidecar.snapshot.authorization import authorization, is_open, summary
from sidecar.snapshot.cluster import (
    app_cluster,
    is_local,
    mesh_cluster,
    origin,
    raw_app_cluster,
    spiffe_id,
)
from sidecar.snapshot.expose import app_address, exposed
from sidecar.snapshot.expose import clusters as exposed_clusters
from sidecar.snapshot.listener import KeyFiles, edge_listeners, inbound_limits, limits, mesh_tls
from sidecar.snapshot.parts import Compiled, Memo, Part, Table
from sidecar.snapshot.role import GatewayRole, Role, SidecarRole
from sidecar.snapshot.route import edge_table, inbound_table, outbound_table, upstream_table
from sidecar.snapshot.tcp import asks_alpn, is_copied, is_tcp
from sidecar.wire import control_pb2, telemetry_pb2
from sidecar.wire import snapshot_pb2 as wire
from sidecar.world import Instance, Target, World

__all__ = [
    "Compiled",
    "Compiler",
    "GatewayRole",
    "KeyFiles",
    "Role",
    "SidecarRole",
    "compile",
    "credentials",
    "endpoints",
    "endpoints_made_of",
    "is_open",
    "key_files",
    "key_sets",
    "summary",
    "untold",
    "watched",
]


class Compiler:
    """Compiles one snapshot after the other; what has not changed since the last one is not compiled again."""

    def __init__(self) -> None:
        self._parts: Memo[Part] = Memo()
        # By service.
        self._clusters: Memo[bytes] = Memo()
        # Of the clusters of the last snapshot.
        self._targets: dict[str, Target] = {}

    def compile(self, world: World, role: Role, version: int) -> Compiled:
        """Everything but endpoints and secrets. Never fails: what a document lacks is a default."""
        if isinstance(role, SidecarRole):
            world = role.heard_in(world)
            listeners, tables = _sidecar(world, role, self._parts)
        else:
            listeners, tables = _gateway(world, role, self._parts)
        head = wire.Snapshot(version=version, listeners=listeners, telemetry=_telemetry(world, role))
        if isinstance(role, SidecarRole):
            head.clusters.append(app_cluster(world, role.service))
            if asks_alpn(world, role.service):
                head.clusters.append(raw_app_cluster(world, role.service))
            head.clusters.extend(exposed_clusters(world, role))
        caller = role.service if isinstance(role, SidecarRole) else role.name
        rest = b"".join((*(table.serialized() for table in tables), *self._of_clusters(world, tables, caller)))
        self._parts.forget_unused()
        self._clusters.forget_unused()
        clusters = frozenset(self._targets).union(cluster.name for cluster in head.clusters)
        return Compiled(head, rest, clusters)

    def _of_clusters(self, world: World, tables: Iterable[Table], caller: str) -> Iterator[bytes]:
        """Those that the routes lead to, those of each service as a serialized Snapshot that has nothing else."""
        names = frozenset[str]().union(*(table.clusters() for table in tables))
        known = self._targets
        self._targets = {name: known.get(name) or Target.of(name) for name in sorted(names) if not is_local(name)}
        by_service: dict[str, list[str]] = {}
        for name, target in self._targets.items():
            by_service.setdefault(world.called(target), []).append(name)
        calls = world.chain(caller).calls
        for called, clusters in by_service.items():
            made_of = (world.about(called), calls, clusters)
            yield self._clusters.get(called, made_of, _clusters_of, world, called, clusters, caller)


def _clusters_of(world: World, called: str, clusters: Iterable[str], caller: str) -> bytes:
    seen = replace(world.only(called, caller), queries=world.queries)
    made = [mesh_cluster(seen, name, caller) for name in clusters]
    return wire.Snapshot(clusters=made).SerializeToString()


def compile(world: World, role: Role, version: int) -> wire.Snapshot:
    """As a new Compiler does, as one message."""
    return Compiler().compile(world, role, version).whole()


def endpoints(world: World, role: Role, cluster: str, version: int) -> control_pb2.EndpointsUpdate | None:
    """The whole endpoint list of one cluster ("app", "orders", "orders/v1"); None: it is not known (yet).

    Without discovery the list is empty when the service has no document, or nobody is in the subset: waiting would not
    help. With it a service whose document has no endpoints has those of Consul's catalog.
    """
    if is_local(cluster):
        if not isinstance(role, SidecarRole):
            return None
        address = app_address(role, cluster)
        app = control_pb2.Endpoint(id=address, address=address, weight=1, healthy=True)
        return control_pb2.EndpointsUpdate(cluster=cluster, version=version, endpoints=[app])
    told = _serving(world, Target.of(cluster))
    if told is None:
        return None
    listed = [_endpoint(called) for called in told]
    return control_pb2.EndpointsUpdate(cluster=cluster, version=version, endpoints=listed)


def watched(world: World, cluster: str) -> tuple[Target, ...]:
    """What a source has to watch for this cluster's endpoints, and for who takes over; none: a document has them."""
    if is_local(cluster) or not world.discovered:
        return ()
    target = Target.of(cluster)
    wholes = (who.whole for who in (target, *world.failover(target)))
    return tuple(dict.fromkeys(whole for whole in wholes if not _documented(world, whole)))


def endpoints_made_of(world: World, role: Role, cluster: str) -> object:
    """What `endpoints` makes its list of: equal for two worlds in which the list is the same."""
    if is_local(cluster):
        return role
    target = Target.of(cluster)
    return world.discovered, world.site, [_made_of(world, who) for who in (target, *world.failover(target))]


def _made_of(world: World, target: Target) -> object:
    return (
        target,
        world.endpoints.get(target.whole),
        target.whole in world.doubted,
        world.written(target.service).endpoints,
        (world.subset(target.service, target.subset), world.is_only_passing(target.service, target.subset)),
    )


def untold(world: World, gateway: str) -> list[str]:
    """What config entries ask for and the routes of this gateway leave out, for people."""
    document = world.documents.get(Key("gateway", gateway))
    if document is None or not isinstance(document.model, Gateway):
        return []
    return list(route.untold(world, document, document.model))


def key_files(world: World, role: Role) -> KeyFiles:
    """The files that a gateway's listeners name; none for a sidecar."""
    if isinstance(role, SidecarRole) or role.name not in world.gateways:
        return KeyFiles()
    return KeyFiles.of(world.gateways[role.name])


def _sidecar(world: World, role: SidecarRole, memo: Memo[Part]) -> tuple[list[wire.Listener], list[Table]]:
    place = origin(world, role.service)
    listeners = [
        wire.Listener(
            name="inbound",
            address=role.inbound,
            direction=wire.DIRECTION_INBOUND,
            mode=_inbound_mode(world, role.service),
            route_table="inbound",
            tls=mesh_tls(world, role.service),
            forwarding=wire.Forwarding(client_cert_by=spiffe_id(world, Target(role.service))),
            authorization=authorization(world, role.service),
            admission=admission(world.service(role.service)),
            limits=inbound_limits(world, role.service),
            origin=place,
        ),
        wire.Listener(
            name="outbound",
            address=role.outbound,
            direction=wire.DIRECTION_OUTBOUND,
            mode=wire.LISTENER_MODE_PROXY,
            route_table="outbound",
            limits=limits(world),
            origin=place,
        ),
    ]
    tables = [inbound_table(world, role.service), outbound_table(world, memo)]
    for target, (address, upstream_place) in _upstreams(world, role).items():
        name = f"upstream-{target.cluster}"
        listeners.append(
            wire.Listener(
                name=name,
                address=address,
                direction=wire.DIRECTION_OUTBOUND,
                mode=wire.LISTENER_MODE_TCP if is_copied(world, world.called(target)) else wire.LISTENER_MODE_HTTP,
                route_table=name,
                limits=limits(world),
                origin=upstream_place,
            )
        )
        tables.append(upstream_table(world, target))
    for listener, table in exposed(world, role):
        listeners.append(listener)
        tables.append(table)
    return listeners, tables


def _inbound_mode(world: World, service: str) -> wire.ListenerMode:
    """Of the listener of a service's own sidecar."""
    if asks_alpn(world, service):
        return wire.LISTENER_MODE_BY_ALPN
    return wire.LISTENER_MODE_TCP if is_tcp(world.service(service)) else wire.LISTENER_MODE_HTTP


def _upstreams(world: World, role: SidecarRole) -> dict[Target, tuple[str, wire.Origin | None]]:
    """By target the address and the place of its local port; the document's word goes before the registration's."""
    registered: dict[Target, tuple[str, wire.Origin | None]] = {
        _at_home(world, upstream.target): (upstream.address, None) for upstream in role.upstreams
    }
    return registered | {
        _at_home(world, _target(upstream)): (
            f"127.0.0.1:{upstream.port}",
            origin(world, role.service, "upstreams", index),
        )
        for index, upstream in enumerate(world.service(role.service).upstreams)
    }


def _at_home(world: World, target: Target) -> Target:
    """Our own datacenter is not named."""
    return target._replace(datacenter="") if target.datacenter == world.datacenter else target


def _target(upstream: UpstreamPort) -> Target:
    if upstream.query is not None:
        return Target(upstream.query, query=True)
    return Target(upstream.service or "", datacenter=upstream.datacenter or "")


def _gateway(world: World, role: GatewayRole, memo: Memo[Part]) -> tuple[list[wire.Listener], list[Table]]:
    document = world.documents.get(Key("gateway", role.name))
    if document is None or not isinstance(document.model, Gateway):
        return [], []
    return edge_listeners(world, document, document.model), [edge_table(world, document, document.model, memo)]


class _Called(NamedTuple):
    """One who may be called, the SPIFFE id that it is held to ("": the cluster's), and after whom it takes over."""

    instance: Instance
    identity: str
    priority: int


def _serving(world: World, target: Target) -> list[_Called] | None:
    """Who is called for a target: its own instances, and in the order of failover those who take over. None: not known
    yet. Those of whom Consul says that they are gone, which is doubted, serve where nobody else does."""
    own = _members(world, target)
    others = world.failover(target)
    if own is None:
        return None
    if not others:
        return [
            _Called(instance, spiffe_id(world, Target.of(instance.serves)) if instance.serves else "", 0)
            for instance in own
        ]
    known = [(who, _members(world, who)) for who in (target, *others)]
    is_anybody_healthy = any(instance.healthy for _, members in known for instance in members or ())
    if not own and not is_anybody_healthy and any(members is None for _, members in known):
        return None
    there = [(who, members) for who, members in known if members]
    there.sort(key=lambda pair: pair[0].whole in world.doubted)
    return [
        _Called(instance, spiffe_id(world, who), priority)
        for priority, (who, members) in enumerate(there)
        for instance in members
    ]


def _members(world: World, target: Target) -> tuple[Instance, ...] | None:
    """The instances of a subset, or of all the service; None: not known yet."""
    instances = _instances(world, target)
    if instances is None or not target.subset:
        return instances
    where = world.subset(target.service, target.subset)
    chosen = (item for item in instances if where is not None and where.matches(item.meta, item.tags))
    if world.is_only_passing(target.service, target.subset):
        return tuple(replace(item, healthy=item.healthy and not item.warning) for item in chosen)
    return tuple(chosen)


def _instances(world: World, target: Target) -> tuple[Instance, ...] | None:
    """All endpoints of the service; None: not known yet."""
    if world.discovered and not _documented(world, target):
        return world.endpoints.get(target.whole)
    return tuple(
        Instance(id=endpoint.address, address=endpoint.address, weight=endpoint.weight, meta=endpoint.meta)
        for endpoint in world.written(target.service).endpoints
    )


def _documented(world: World, target: Target) -> bool:
    return not target.datacenter and not target.query and bool(world.written(target.service).endpoints)


def _endpoint(called: _Called) -> control_pb2.Endpoint:
    instance = called.instance
    return control_pb2.Endpoint(
        id=instance.id,
        address=instance.address,
        weight=instance.weight,
        meta=instance.meta,
        healthy=instance.healthy,
        spiffe_ids=[called.identity] if called.identity else (),
        priority=called.priority,
    )


def _telemetry(world: World, role: Role) -> telemetry_pb2.Telemetry:
    mesh = world.mesh
    name = role.service if isinstance(role, SidecarRole) else role.name
    return telemetry_pb2.Telemetry(
        tracing=telemetry_pb2.Tracing(
            enabled=mesh.tracing.enabled, ratio=float(mesh.tracing.ratio), resource={"service.name": name}
        ),
        access_log=access_log(mesh.access_log),
    )
