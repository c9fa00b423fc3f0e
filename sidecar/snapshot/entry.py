"""From where requests may come to a gateway, and what they must be like."""

from __future__ import annotations

from sidecar.config.model.balancer import ProxyProtocol
from sidecar.config.model.entry import Sources
from sidecar.config.model.gateway import GatewayRoute
from sidecar.wire import snapshot_pb2 as wire


def sources(said: Sources | None) -> wire.Sources | None:
    """None: from anywhere."""
    if said is None:
        return None
    return wire.Sources(
        only=said.allow is not None or said.allow_files is not None,
        allow=said.allow,
        allow_lists=said.allow_files,
        deny=said.deny,
        deny_lists=said.deny_files,
    )


def proxy_protocol(said: ProxyProtocol | None) -> wire.ProxyProtocol | None:
    """None: connections are of whoever connects."""
    return None if said is None else wire.ProxyProtocol(trusted=said.trusted)


def shape(route: GatewayRoute) -> wire.Shape | None:
    """None: whatever they are."""
    if route.methods is None and route.content_types is None:
        return None
    return wire.Shape(methods=route.methods, content_types=route.content_types)
