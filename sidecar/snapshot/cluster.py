"""Clusters: how the endpoints of a service, or of one of its subsets, are reached."""

from __future__ import annotations

from datetime import timedelta

from sidecar.config.document import Key
from sidecar.config.load import RESERVED
from sidecar.config.model.tls import Mode
from sidecar.config.model.traffic import GRPC_STATUSES, Failures
from sidecar.snapshot.balance import POLICIES
from sidecar.snapshot.balance import settings as balance_settings
from sidecar.snapshot.breaking import error_rate, limits, outlier
from sidecar.snapshot.health import health_check
from sidecar.snapshot.units import milliseconds
from sidecar.wire import snapshot_pb2 as wire
from sidecar.world import Target, World

# The cluster of the application beside a sidecar.
APP = RESERVED
# The same, with the bytes of connections that nobody reads.
RAW_APP = f"{APP}:tcp"
# Names of Secrets.identities and Secrets.trust_bundles: our own leaf, and the roots of the mesh.
MESH_IDENTITY = "mesh"
MESH_TRUST_BUNDLE = "mesh"

PROTOCOLS = {
    "http": wire.UPSTREAM_PROTOCOL_HTTP1,
    "http2": wire.UPSTREAM_PROTOCOL_HTTP2,
    "grpc": wire.UPSTREAM_PROTOCOL_GRPC,
    "tcp": wire.UPSTREAM_PROTOCOL_TCP,
}


def is_local(cluster: str) -> bool:
    """Whether it is the application beside a sidecar, by whichever port."""
    return cluster == APP or cluster.startswith(f"{APP}:")


def app_cluster(world: World, service: str) -> wire.Cluster:
    """The local application: cleartext, one endpoint, no limits beyond the callers' own."""
    return wire.Cluster(
        name=APP,
        service=service,
        protocol=PROTOCOLS[world.service(service).protocol],
        balance=wire.BALANCE_POLICY_ROUND_ROBIN,
        connect_timeout_ms=milliseconds(_app_connect_timeout(world, service)),
        origin=origin(world, service),
    )


def raw_app_cluster(world: World, service: str) -> wire.Cluster:
    """The local application, for connections whose bytes nobody reads."""
    cluster = app_cluster(world, service)
    cluster.name, cluster.protocol = RAW_APP, PROTOCOLS["tcp"]
    return cluster


def _app_connect_timeout(world: World, service: str) -> timedelta:
    told = world.chain(service).local.connect_timeout
    return world.mesh.connect_timeout if told is None or "connect_timeout" in world.mesh.model_fields_set else told


def tls_mode(world: World, service: str) -> Mode:
    """How it is reached: as its document says, the mesh's, or config entries."""
    if (written := world.written(service).tls) is not None:
        return written
    if "mode" in world.mesh.tls.model_fields_set:
        return world.mesh.tls.mode
    return "permissive" if world.chain(service).local.permissive else world.mesh.tls.mode


def mesh_cluster(world: World, cluster: str, caller: str) -> wire.Cluster:
    """A service's sidecars, over mTLS; each shows the service's own identity. Cleartext where the document says so."""
    target = Target.of(cluster)
    called = world.called(target)
    settings = world.service(called, caller)
    mesh = world.mesh
    balancer = settings.load_balancer or mesh.load_balancer
    connect_timeout = mesh.connect_timeout if settings.connect_timeout is None else settings.connect_timeout
    breaker = settings.circuit_breaker or mesh.circuit_breaker
    return wire.Cluster(
        name=cluster,
        service=called,
        subset=target.subset,
        protocol=PROTOCOLS["tcp" if target.raw else settings.protocol],
        balance=POLICIES[balancer.policy],
        balance_settings=balance_settings(balancer),
        tls=None if tls_mode(world, called) == "disabled" else _client_tls(world, target),
        connect_timeout_ms=milliseconds(connect_timeout),
        limits=limits(breaker),
        breaker=error_rate(breaker),
        outlier=outlier(settings.outlier_detection or mesh.outlier_detection),
        failures=_failures(settings.failures or mesh.failures),
        health_check=health_check(settings.health_check),
        origin=origin(world, called, *(("subsets", target.subset) if target.subset else ())),
    )


def spiffe_id(world: World, target: Target) -> str:
    """What a service's certificates say there."""
    datacenter = target.datacenter or world.datacenter
    return f"spiffe://{world.trust_domain}/ns/default/dc/{datacenter}/svc/{world.called(target)}"


def origin(world: World, service: str, *path: str | int) -> wire.Origin | None:
    """Where the part at `path` of a service's document stands; None without a document."""
    document = world.documents.get(Key("service", service))
    return wire.Origin(place=document.origin(*path), index=document.index) if document is not None else None


def _failures(failures: Failures) -> wire.FailureStatuses:
    return wire.FailureStatuses(
        http=[wire.StatusRange(first=first, last=last) for first, last in failures.statuses],
        grpc=[GRPC_STATUSES[status] for status in failures.grpc],
    )


def _client_tls(world: World, target: Target) -> wire.ClientTls:
    """The names are those that Consul gives: its SPIFFE ids, of those who take over too, and its SNI."""
    datacenter, called = target.datacenter or world.datacenter, world.called(target)
    return wire.ClientTls(
        identity=MESH_IDENTITY,
        trust_bundle=MESH_TRUST_BUNDLE,
        spiffe_ids=dict.fromkeys(spiffe_id(world, who) for who in (target, *world.failover(target))),
        server_name=f"{called}.default.{datacenter}.internal.{world.trust_domain}",
    )
