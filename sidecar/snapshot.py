"""Pure: a World and a role become the Snapshot and the endpoints that the data plane runs. No clock, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sidecar.config.model import Certificate
from sidecar.wire import control_pb2, snapshot_pb2
from sidecar.world import World


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


def compile(world: World, role: Role, version: int) -> snapshot_pb2.Snapshot:
    """Everything but endpoints and secrets. Never fails: what a document lacks is a default."""
    raise NotImplementedError


def endpoints(world: World, role: Role, cluster: str, version: int) -> control_pb2.EndpointsUpdate | None:
    """The whole endpoint list of one cluster ("app", "orders", "orders/v1"); None: this world has no such service."""
    raise NotImplementedError


def certificates(world: World, role: Role) -> Mapping[str, Certificate]:
    """By Secrets.identities name ("edge/0") the certificate files that a gateway's listeners show; `{}` for a sidecar.

    Paths are as written: relative ones are meant from the configuration directory.
    """
    raise NotImplementedError
