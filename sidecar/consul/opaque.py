"""Opaque `Config` of a registration, of its upstreams and of proxy-defaults: Consul passes it on as it was written.

The names are those that Consul's documentation has for Envoy (connect/proxies/envoy).
"""

from __future__ import annotations

from datetime import timedelta

from sidecar.consul import passive
from sidecar.consul.fields import Done, Json
from sidecar.defaults import Calls, Local

# Consul's protocols that a service document has, too.
PROTOCOLS = ("tcp", "http", "http2", "grpc")
# What `local` and `calls` read. A sidecar has one worker, so connections need no balancing between workers.
LOCAL: Done = dict.fromkeys(
    ("local_connect_timeout_ms", "local_request_timeout_ms", "max_inbound_connections", "balance_inbound_connections")
)
CALLS: Done = {
    "connect_timeout_ms": None,
    "limits": dict.fromkeys(("max_connections", "max_pending_requests", "max_concurrent_requests")),
    "passive_health_check": passive.OPAQUE,
}


def local(config: Json) -> Local:
    """What the `Config` of proxy-defaults, or of a proxy's registration, says of the service's own sidecar."""
    return Local(
        connect_timeout=milliseconds(config.get("local_connect_timeout_ms")),
        request_timeout=milliseconds(config.get("local_request_timeout_ms")),
        max_connections=number(config.get("max_inbound_connections")),
    )


def calls(config: Json) -> Calls:
    """What the `Config` of one upstream says of the calls to it."""
    limits = config.get("limits") or {}
    return Calls(
        connect_timeout=milliseconds(config.get("connect_timeout_ms")),
        max_connections=number(limits.get("max_connections")),
        max_pending=number(limits.get("max_pending_requests")),
        max_requests=number(limits.get("max_concurrent_requests")),
        **passive.of_opaque(config.get("passive_health_check") or {}),
    )


def milliseconds(value: object) -> timedelta | None:
    """A duration above zero; Consul's 0 stands for its default."""
    told = number(value)
    return timedelta(milliseconds=told) if told else None


def number(value: object) -> int | None:
    """A positive number; Consul's 0 stands for its default."""
    return int(value) if isinstance(value, int | float) and value > 0 else None
