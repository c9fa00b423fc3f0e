"""What this process is in the mesh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypeVar

from sidecar.config.load import RESERVED
from sidecar.defaults import Calls, Local
from sidecar.world import Target, World


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
    # What the registration says of the application and of its calls, by service; it goes before config entries.
    protocol: str | None = None
    local: Local = field(default_factory=Local)
    calls: Mapping[str, Calls] = field(default_factory=dict)

    def heard_in(self, world: World) -> World:
        """The world with what the registration says in place of what config entries say."""
        if self.protocol is None and self.local == Local() and not self.calls:
            return world
        chain, entries = world.chain(self.service), world.entries
        others = chain.calls.get("") or Calls()
        calls = {name: _over(said, chain.calls.get(name) or others) for name, said in self.calls.items()}
        own = replace(
            chain,
            protocol=self.protocol or chain.protocol,
            local=_over(self.local, chain.local),
            calls={**chain.calls, **calls},
        )
        return replace(world, entries=replace(entries, chains={**entries.chains, self.service: own}))


@dataclass(frozen=True, slots=True)
class GatewayRole:
    """At the edge, with the listeners of the gateway document `name`."""

    name: str


Role = SidecarRole | GatewayRole

S = TypeVar("S", Calls, Local)


def _over(said: S, other: S) -> S:
    """What `said` does not say, `other` says."""
    found: dict[str, Any] = {name.name: getattr(said, name.name) for name in fields(said)}
    return replace(other, **{name: value for name, value in found.items() if value is not None})
