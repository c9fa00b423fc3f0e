"""Clusters: how the endpoints of a service, or of one of its subsets, are reached."""

from __future__ import annotations

from datetime import timedelta

from sidecar.config.document import Key
from sidecar.config.load import RESERVED
from sidecar.config.model import Service
from sidecar.config.model.traffic import CircuitBreaker
from sidecar.wire import snapshot_pb2 as wire
from sidecar.world import World

# The cluster of the application beside a sidecar.
APP = RESERVED
# Names of Secrets.identities and Secrets.trust_bundles: our own leaf, and the roots of the mesh.
MESH_IDENTITY = "mesh"
MESH_TRUST_BUNDLE = "mesh"
# Without Consul there is one datacenter; the name is that of Consul's default.
DATACENTER = "dc1"

# Stands for a service whose document is missing: the mesh's defaults, and no endpoints.
NO_DOCUMENT = Service()

_PROTOCOLS = {
    "http": wire.UPSTREAM_PROTOCOL_HTTP1,
    "http2": wire.UPSTREAM_PROTOCOL_HTTP2,
    "grpc": wire.UPSTREAM_PROTOCOL_HTTP2,
}
_POLICIES = {
    "round_robin": wire.BALANCE_POLICY_ROUND_ROBIN,
    "least_request": wire.BALANCE_POLICY_LEAST_REQUEST,
    "random": wire.BALANCE_POLICY_RANDOM,
}


def name_of(service: str, subset: str | None) -> str:
    """ "orders", or "orders/v1"."""
    return f"{service}/{subset}" if subset else service


def service_of(cluster: str) -> tuple[str, str]:
    """The service and the subset ("" = all endpoints) of a cluster's name."""
    service, _, subset = cluster.partition("/")
    return service, subset


def app_cluster(world: World, service: str) -> wire.Cluster:
    """The local application: cleartext, one endpoint, no limits beyond the callers' own."""
    return wire.Cluster(
        name=APP,
        service=service,
        protocol=_PROTOCOLS[world.services.get(service, NO_DOCUMENT).protocol],
        balance=wire.BALANCE_POLICY_ROUND_ROBIN,
        connect_timeout_ms=milliseconds(world.mesh.connect_timeout),
        origin=origin(world, service),
    )


def mesh_cluster(world: World, cluster: str) -> wire.Cluster:
    """A service's sidecars, over mTLS; each shows the service's own identity. Cleartext where the document says so."""
    service, subset = service_of(cluster)
    settings = world.services.get(service, NO_DOCUMENT)
    mesh = world.mesh
    connect_timeout = mesh.connect_timeout if settings.connect_timeout is None else settings.connect_timeout
    return wire.Cluster(
        name=cluster,
        service=service,
        subset=subset,
        protocol=_PROTOCOLS[settings.protocol],
        balance=_POLICIES[settings.load_balancer or mesh.load_balancer],
        tls=_client_tls(mesh.trust_domain, service) if settings.tls == "mutual" else None,
        connect_timeout_ms=milliseconds(connect_timeout),
        limits=_limits(settings.circuit_breaker or mesh.circuit_breaker),
        origin=origin(world, service, *(("subsets", subset) if subset else ())),
    )


def origin(world: World, service: str, *path: str | int) -> wire.Origin | None:
    """Where the part at `path` of a service's document stands; None without a document."""
    document = world.documents.get(Key("service", service))
    return wire.Origin(place=document.origin(*path)) if document is not None else None


def milliseconds(duration: timedelta) -> int:
    """As the wire has it."""
    return duration // timedelta(milliseconds=1)


def _limits(breaker: CircuitBreaker) -> wire.ClusterLimits:
    return wire.ClusterLimits(
        max_connections=breaker.max_connections,
        max_pending=breaker.max_pending,
        max_requests=breaker.max_requests,
    )


def _client_tls(trust_domain: str, service: str) -> wire.ClientTls:
    """The names are those that Consul gives: its SPIFFE ids and its SNI."""
    return wire.ClientTls(
        identity=MESH_IDENTITY,
        trust_bundle=MESH_TRUST_BUNDLE,
        spiffe_ids=[f"spiffe://{trust_domain}/ns/default/dc/{DATACENTER}/svc/{service}"],
        server_name=f"{service}.default.{DATACENTER}.internal.{trust_domain}",
    )
