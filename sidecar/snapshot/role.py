"""What this process is in the mesh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sidecar.config.load import RESERVED
from sidecar.world import Target


@dataclass(frozen=True, slots=True)
class Upstream:
    """A local port for the application's calls to one service, as its registration in Consul asks for."""

    service: str
    address: str
    datacenter: str = ""
    # `service` is the name of a prepared query.
    query: bool = False

    @property
    def target(self) -> Target:
        """Where it leads."""
        return Target(self.service, datacenter=self.datacenter, query=self.query)


@dataclass(frozen=True, slots=True)
class Exposed:
    """One path of the local application, reached without mutual TLS: by probes."""

    # Where it is reached.
    address: str
    path: str
    # Of the application.
    port: int
    protocol: Literal["http", "http2"] = "http"

    @property
    def cluster(self) -> str:
        """The application by that port."""
        return f"{RESERVED}:{self.protocol}:{self.port}"


@dataclass(frozen=True, slots=True)
class SidecarRole:
    """Beside one instance of `service`; all addresses are "ip:port", port 0 takes a free one."""

    service: str
    app_address: str = "127.0.0.1:8080"
    inbound: str = "0.0.0.0:21000"
    outbound: str = "127.0.0.1:15001"
    # Beside those of the service's document.
    upstreams: tuple[Upstream, ...] = ()
    exposed: tuple[Exposed, ...] = ()


@dataclass(frozen=True, slots=True)
class GatewayRole:
    """At the edge, with the listeners of the gateway document `name`."""

    name: str


Role = SidecarRole | GatewayRole
