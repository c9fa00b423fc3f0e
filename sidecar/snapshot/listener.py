"""What a listener's documents say, as the data plane has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sidecar.config.document import Document
from sidecar.config.model import Gateway
from sidecar.config.model.gateway import GatewayListener
from sidecar.config.model.limits import Limits
from sidecar.config.model.tls import Certificate, ListenerTls
from sidecar.snapshot.cluster import MESH_IDENTITY, MESH_TRUST_BUNDLE, tls_mode
from sidecar.snapshot.direct import error_pages, hsts, https_redirect
from sidecar.snapshot.entry import proxy_protocol, sources
from sidecar.snapshot.units import milliseconds
from sidecar.wire import snapshot_pb2 as wire
from sidecar.world import World

# Of a listener that no document speaks of.
_NONE = Limits.defaults()

_VERSIONS = {"1.2": wire.TLS_VERSION_1_2, "1.3": wire.TLS_VERSION_1_3}


@dataclass(frozen=True)
class KeyFiles:
    """What a gateway's document names, by the names that the secrets have.

    Paths are as written: relative ones are meant from the configuration directory.
    """

    # "edge/0": a chain and its key.
    pairs: Mapping[str, Certificate] = field(default_factory=dict)
    # "edge-clients/0": the roots of clients' certificates.
    roots: Mapping[str, str] = field(default_factory=dict)
    # Lists of addresses, each by its path.
    lists: frozenset[str] = frozenset()

    @classmethod
    def of(cls, gateway: Gateway) -> KeyFiles:
        """Each file once, in the order written."""
        tls = [listener.tls for listener in gateway.listeners if listener.tls is not None]
        pairs = dict.fromkeys(certificate for one in tls for certificate in one.certificates)
        roots = dict.fromkeys(one.client_certificates.ca for one in tls if one.client_certificates is not None)
        entered = (gateway.sources, *(route.sources for route in gateway.routes if route.enabled))
        return cls(
            {f"edge/{number}": pair for number, pair in enumerate(pairs)},
            {f"edge-clients/{number}": path for number, path in enumerate(roots)},
            frozenset(path for said in entered if said is not None for path in said.files),
        )


def mesh_tls(world: World, service: str) -> wire.ServerTls | None:
    """Of a service's inbound listener; None: it is reached in the clear."""
    if tls_mode(world, service) == "disabled":
        return None
    return wire.ServerTls(
        identities=[MESH_IDENTITY],
        trust_bundle=MESH_TRUST_BUNDLE,
        require_client_certificate=True,
        cleartext=tls_mode(world, service) == "permissive",
        min_version=_VERSIONS[world.mesh.tls.min_version],
    )


def edge_listeners(world: World, document: Document, gateway: Gateway) -> list[wire.Listener]:
    """All of a gateway's."""
    files = KeyFiles.of(gateway)
    return [
        wire.Listener(
            name=name,
            address=str(listener),
            direction=wire.DIRECTION_EDGE,
            route_table="edge",
            tls=_edge_tls(listener.tls, files) if listener.tls is not None else None,
            limits=limits(world, listener.limits),
            forwarding=wire.Forwarding(
                trusted=listener.forwarding.trusted,
                hops=listener.forwarding.hops,
                forwarded=listener.forwarding.forwarded,
            ),
            sources=sources(gateway.sources),
            https_redirect=https_redirect(listener.https_redirect),
            hsts=hsts(listener.hsts),
            error_pages=error_pages(gateway.error_pages),
            proxy_protocol=proxy_protocol(listener.proxy_protocol),
            health_path=str(listener.health_path or ""),
            origin=wire.Origin(place=document.origin("listeners", index), index=document.index),
        )
        for index, (name, listener) in enumerate(_named(gateway.listeners))
    ]


def _edge_tls(tls: ListenerTls, files: KeyFiles) -> wire.ServerTls:
    names = {certificate: name for name, certificate in files.pairs.items()}
    made = wire.ServerTls(
        identities=[names[certificate] for certificate in tls.certificates],
        min_version=_VERSIONS[tls.min_version],
    )
    if (clients := tls.client_certificates) is not None:
        made.trust_bundle = next(name for name, path in files.roots.items() if path == clients.ca)
        made.require_client_certificate = clients.mode == "required"
        made.any_client_name = True
    return made


def _named(listeners: Iterable[GatewayListener]) -> list[tuple[str, GatewayListener]]:
    """ "edge-8443"; where several have one port (on other addresses, or 0) the later ones are "edge-8443-2" …"""
    seen: dict[int, int] = {}
    named = []
    for listener in listeners:
        count = seen[listener.port] = seen.get(listener.port, 0) + 1
        named.append((f"edge-{listener.port}" if count == 1 else f"edge-{listener.port}-{count}", listener))
    return named


def inbound_limits(world: World, service: str) -> wire.ListenerLimits:
    """Of the callers of a service: as its document says, the mesh's, or config entries."""
    local = world.chain(service).local
    told = {"max_connections": local.max_connections, "max_header_bytes": local.max_header_bytes}
    entries = _NONE.model_copy(update={name: value for name, value in told.items() if value is not None})
    return _wire(world.service(service).limits.over(world.mesh.limits).over(entries))


def limits(world: World, own: Limits = _NONE) -> wire.ListenerLimits:
    """A listener's own limits over the mesh's."""
    return _wire(own.over(world.mesh.limits))


def _wire(held: Limits) -> wire.ListenerLimits:
    return wire.ListenerLimits(
        max_headers=held.max_headers,
        max_header_bytes=held.max_header_bytes,
        max_request_line=held.max_request_line,
        max_streams=held.max_streams,
        max_connections=held.max_connections,
        header_timeout_ms=milliseconds(held.header_timeout),
        body_timeout_ms=milliseconds(held.body_timeout),
        send_timeout_ms=milliseconds(held.send_timeout),
        idle_timeout_ms=milliseconds(held.idle_timeout),
        max_connection_age_ms=milliseconds(held.max_connection_age),
        keepalive_interval_ms=milliseconds(held.keepalive_interval),
        keepalive_timeout_ms=milliseconds(held.keepalive_timeout),
    )
