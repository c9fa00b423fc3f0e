"""What this process is in the mesh."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SidecarRole:
    """Beside one instance of `service`; all addresses are "ip:port", port 0 takes a free one."""

    service: str
    app_address: str = "127.0.0.1:8080"
    inbound: str = "0.0.0.0:21000"
    outbound: str = "127.0.0.1:15001"


@dataclass(frozen=True, slots=True)
class GatewayRole:
    """At the edge, with the listeners of the gateway document `name`."""

    name: str


Role = SidecarRole | GatewayRole
