"""How we are in Consul's catalog: registered by ourselves, or as the proxy of somebody else's registration."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

import aiohttp

from sidecar.consul import opaque
from sidecar.consul.client import ConsulClient
from sidecar.control import Control
from sidecar.engine import Announcement, SidecarFor
from sidecar.errors import ConfigError, ConsulError, Problem
from sidecar.registration import adopted, own, probe
from sidecar.registration.address import advertised
from sidecar.snapshot import GatewayRole, Role, SidecarRole
from sidecar.snapshot.role import Exposed, Upstream

# Seconds between tries to follow a registration that is gone or cannot be read.
FOLLOW_AGAIN_AFTER = 2.0

log = logging.getLogger(__name__)


class Presence(Protocol):
    """find → announce → loops → withdraw."""

    # Names the files of the last good world.
    file_name: str

    async def find(self) -> Role:
        """What we are. Raises ConsulError with the next step."""

    def saved(self) -> Mapping[str, Any]:
        """What `restore` needs to say the same without Consul."""

    def restore(self, saved: Mapping[str, Any]) -> Role:
        """What we were. Raises KeyError, TypeError or ValueError for what we did not save."""

    async def announce(self, listeners: Mapping[str, str], admin: str) -> None:
        """The listeners are bound to these addresses."""

    def loops(self, control: Control, changed: Callable[[], None]) -> Sequence[Coroutine[Any, Any, None]]:
        """Keep it; `changed` is called when what is saved has changed."""

    async def withdraw(self) -> bool:
        """True: the catalog had us, and has not now."""

    def details(self) -> Mapping[str, object]:
        """What `/ready` says of it."""


class Registered:
    """We register ourselves, keep it, and take it back."""

    def __init__(
        self,
        client: ConsulClient,
        session: aiohttp.ClientSession,
        role: Role,
        announcement: Announcement,
    ) -> None:
        self._client = client
        self._role = role
        self._announcement = announcement
        self._name, self._own_port = (
            (role.name, 0) if isinstance(role, GatewayRole) else (role.service, _port(role.app_address))
        )
        # Bad arguments are told before anything starts.
        self._probe = (
            probe.parse(announcement.check, role.app_address, session)
            if isinstance(role, SidecarRole)
            else probe.always
        )
        self._grpc = probe.grpc_service(announcement.check) if isinstance(role, SidecarRole) else None
        if self._grpc is not None and not client.settings.is_local:
            problem = f"the agent at {client.settings.address} is not on this host, so it cannot ask the application"
            raise ConfigError([Problem("--check grpc", problem, expected="tcp, a path such as /healthz, or none")])
        kind = "gateway" if isinstance(role, GatewayRole) else "sidecar"
        self.file_name = "-".join(filter(None, (kind, self._name, str(self._own_port or ""))))
        self._registration: own.Registration | None = None

    async def find(self) -> Role:
        """As the command line says."""
        return self._role

    def saved(self) -> Mapping[str, Any]:
        return {}

    def restore(self, saved: Mapping[str, Any]) -> Role:
        return self._role

    async def announce(self, listeners: Mapping[str, str], admin: str) -> None:
        told, consul = self._announcement, self._client.settings
        bound = listeners.get("inbound") or next(iter(listeners.values()), admin)
        address = await advertised(told.address, bound, consul)
        # A gateway's listeners move with its document; its admin port is as unique on a host, and stays.
        port = self._own_port or _port(admin)
        own_id = f"{self._name}-{port}" if consul.is_local else f"{self._name}-{address}-{port}"
        sidecar = self._role if isinstance(self._role, SidecarRole) else None
        instance = own.Instance(
            service=self._name,
            id=told.id or own_id,
            address=address,
            port=self._own_port or _port(bound),
            inbound=bound if sidecar else "",
            app_address=sidecar.app_address if sidecar else "",
            grpc=self._grpc,
            meta=told.meta,
            tags=told.tags,
        )
        self._registration = own.Registration(self._client, instance, self._probe)

    def loops(self, control: Control, changed: Callable[[], None]) -> Sequence[Coroutine[Any, Any, None]]:
        return [self._registration.keep()] if self._registration else []

    async def withdraw(self) -> bool:
        return await self._registration.withdraw() if self._registration else False

    def details(self) -> Mapping[str, object]:
        missing = self._registration.missing if self._registration else "not registered yet"
        return {"registration": missing or "registered"}


class Adopting:
    """Somebody else registered the service and its proxy; we are that proxy, as it is told now."""

    def __init__(self, client: ConsulClient, asked: SidecarFor) -> None:
        self._client = client
        self._asked = asked
        self.file_name = f"sidecar-for-{asked.service_id}".replace("/", "%2F")
        self._found: adopted.Adopted | None = None
        self._failure = ""

    async def find(self) -> Role:
        """As the registration says."""
        return self._take(await adopted.find(self._client, self._asked.service_id))

    def saved(self) -> Mapping[str, Any]:
        return asdict(self._found) if self._found else {}

    def restore(self, saved: Mapping[str, Any]) -> Role:
        upstreams = tuple(Upstream(**upstream) for upstream in saved["upstreams"])
        exposed = tuple(Exposed(**path) for path in saved.get("exposed", ()))
        ignored = tuple(saved["not_carried_out"])
        return self._take(
            adopted.Adopted(**{**saved, "upstreams": upstreams, "exposed": exposed, "not_carried_out": ignored})
        )

    async def announce(self, listeners: Mapping[str, str], admin: str) -> None:
        """It is theirs to do."""

    def loops(self, control: Control, changed: Callable[[], None]) -> Sequence[Coroutine[Any, Any, None]]:
        return [self._follow(control, changed)]

    async def _follow(self, control: Control, changed: Callable[[], None]) -> None:
        while True:
            try:
                async for found in adopted.follow(self._client, self._proxy_id):
                    self._failure = ""
                    if found != self._found:
                        control.become(self._take(found))
                        changed()
            except ConsulError as error:
                if str(error) != self._failure:
                    log.warning("%s", error)
                self._failure = str(error)
            await asyncio.sleep(FOLLOW_AGAIN_AFTER)

    @property
    def _proxy_id(self) -> str:
        return self._found.proxy_id if self._found else ""

    def _take(self, found: adopted.Adopted) -> SidecarRole:
        if found.not_carried_out and (self._found is None or found.not_carried_out != self._found.not_carried_out):
            log.warning("registration %s: not carried out yet: %s", found.proxy_id, "; ".join(found.not_carried_out))
        self._found = found
        protocol = found.config.get("protocol")
        return SidecarRole(
            found.service,
            found.app_address,
            found.inbound,
            self._asked.outbound,
            found.upstreams,
            found.exposed,
            protocol if protocol in opaque.PROTOCOLS else None,
            opaque.local(found.config),
            {service: opaque.calls(config) for service, config in found.upstream_configs.items()},
        )

    async def withdraw(self) -> bool:
        """It is theirs to do."""
        return False

    def details(self) -> Mapping[str, object]:
        told: dict[str, object] = {"registration": self._failure or f"made by others: {self._proxy_id}"}
        if self._found and self._found.not_carried_out:
            told["not_carried_out"] = list(self._found.not_carried_out)
        return told


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])
