"""The registration that we make: the service and its proxy, or a gateway as a service.

    register ──▶ tell the health, every few seconds and when it changes ──▶ withdraw
        ▲                     │ the agent has forgotten us (404)
        └─────────────────────┘

Everything we register carries Meta `sidecar-instance`, a number that this process drew. What lacks it was registered
by others and is neither replaced nor removed; what has another one was left by a process before us and is replaced.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

from sidecar.consul.client import ConsulClient
from sidecar.consul.shape import fields
from sidecar.errors import ConsulError
from sidecar.registration.probe import FAILURES, Health, Probe, Steady, tcp

# Who registered it, and which process of ours.
BY, INSTANCE = "sidecar-registered-by", "sidecar-instance"
# Seconds. A sidecar that cannot speak to the agent may serve all the same, so the agent itself looks whether its
# listener accepts, and what we said last stays in force for a day; the agent keeps it through a restart.
LISTENER_EVERY, SAID_FOR = 5.0, 86400.0
# A gateway has no listener that stays: when it dies without a word the agent calls it critical after so long ...
TTL = 10.0
# ... which needs a word from us so often, with room for one that is lost,
TELL_EVERY = 3.0
# and when nobody came back after so long, removes it.
REMOVE_AFTER = "1h"
# Seconds between probes of a healthy application, and of one that is not: a start is noticed soon.
PROBE_EVERY, PROBE_AGAIN_AFTER = 2.0, 0.2
# Seconds between tries while the agent does not answer.
AGAIN_AFTER = 1.0
# HTTP's.
NOT_FOUND = 404
# Seconds that the agent may take to answer at our end; without an answer the TTL tells the mesh.
WITHDRAW_WITHIN = 2.0

log = logging.getLogger(__name__)

Json = dict[str, Any]


@dataclass(frozen=True)
class Instance:
    """What the mesh is told of this instance; `address` "" stands for the agent's own."""

    service: str
    id: str
    address: str
    # A sidecar: the application's port. A gateway: that of its first listener, 0 for none.
    port: int
    # Of a sidecar: where its inbound listener is bound, "ip:port", and where the application is. "" for a gateway.
    inbound: str = ""
    app_address: str = ""
    # The service that the agent asks the application about by gRPC's health protocol ("": the application as a whole);
    # None: it does not ask.
    grpc: str | None = None
    meta: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()

    @property
    def proxy_id(self) -> str:
        """As Consul names the proxy of a service's own registration."""
        return f"{self.id}-sidecar-proxy"

    @property
    def check_id(self) -> str:
        """Of the check that we feed."""
        return f"service:{self.id}"

    def bodies(self, token: str, health: Health) -> list[Json]:
        """What the agent is asked to register, in order."""
        meta = {**self.meta, BY: "sidecar-mesh", INSTANCE: token}
        told: Json = {"Address": self.address, "Meta": meta, "Tags": list(self.tags)}
        check = {
            "CheckID": self.check_id,
            "Name": "sidecar and application",
            "TTL": f"{SAID_FOR if self.inbound else TTL:g}s",
            "Status": _status(health),
            "DeregisterCriticalServiceAfter": REMOVE_AFTER,
        }
        checks = [check, self._listener()] if self.inbound else [check]
        if self.grpc is not None:
            checks.append(self._application(self.grpc))
        service = {"ID": self.id, "Name": self.service, "Port": self.port, "Checks": checks, **told}
        return [service, {**self._proxy(), **told}] if self.inbound else [service]

    def _application(self, service: str) -> Json:
        return {
            "CheckID": f"grpc:{self.id}",
            "Name": "application by gRPC",
            "GRPC": f"{self.app_address}/{service}" if service else self.app_address,
            "Interval": f"{PROBE_EVERY:g}s",
            "Timeout": f"{PROBE_EVERY:g}s",
            # As often as our own probes must fail: one lost answer is no illness.
            "FailuresBeforeCritical": FAILURES,
            "Status": "critical",
        }

    def _listener(self) -> Json:
        host, port = _split(self.inbound)
        # A wildcard address is none that an agent could connect to.
        reached = self.address or ("127.0.0.1" if host in ("0.0.0.0", "::") else host)  # noqa: S104
        return {
            "Name": "inbound listener",
            "TCP": f"[{reached}]:{port}" if ":" in reached else f"{reached}:{port}",
            "Interval": f"{LISTENER_EVERY:g}s",
            "Timeout": "2s",
            # It is bound, or we would not be here: nobody waits for the first try.
            "Status": "passing",
            "DeregisterCriticalServiceAfter": REMOVE_AFTER,
        }

    def _proxy(self) -> Json:
        _, port = _split(self.inbound)
        app_host, app_port = _split(self.app_address)
        return {
            "Kind": "connect-proxy",
            "ID": self.proxy_id,
            "Name": f"{self.service}-sidecar-proxy",
            "Port": port,
            "Proxy": {
                "DestinationServiceName": self.service,
                "DestinationServiceID": self.id,
                "LocalServiceAddress": app_host,
                "LocalServicePort": app_port,
            },
            "Checks": [{"Name": "the service", "AliasService": self.id}],
        }


class Registration:
    """Keeps one instance registered from `keep` to `withdraw`."""

    def __init__(
        self,
        client: ConsulClient,
        instance: Instance,
        probe: Probe,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._instance = instance
        self._health = Steady(probe)
        self._sleep = sleep
        self._token = token_hex(8)
        # One call at a time that changes the agent: what is withdrawn must not be registered behind it.
        self._turn = asyncio.Lock()
        self._began = self._withdrawn = False
        self._told = Health(False, "")
        # Why the agent does not have us now; "" while it has.
        self.missing = "not registered yet"

    async def keep(self) -> None:
        """Register and tell the application's health until withdrawn; an agent that forgot us is told anew."""
        while not self._withdrawn:
            try:
                await self._register()
                await self._tell_health()
            except ConsulError as error:
                self._lost(str(error))
                await self._sleep(AGAIN_AFTER)

    async def withdraw(self) -> bool:
        """Take out of the catalog what this process registered; an agent that does not answer is not waited for.

        True: something was taken out.
        """
        self._withdrawn = True
        removed = False
        if not self._began:
            return removed
        try:
            async with asyncio.timeout(WITHDRAW_WITHIN), self._turn:
                for name in (self._instance.proxy_id, self._instance.id):
                    if (await self._known(name))[1] == self._token:
                        await self._client.put(f"/v1/agent/service/deregister/{name}")
                        removed = True
        except (ConsulError, TimeoutError) as error:
            log.warning("not deregistered, the agent will call us critical within seconds: %s", error)
        else:
            log.info("%s is deregistered", self._instance.id)
        return removed

    async def _register(self) -> None:
        health = await self._health.ask()
        async with self._turn:
            bodies = self._instance.bodies(self._token, health)
            for body in bodies:
                await self._refuse_other(body)
            for body in bodies:
                if self._withdrawn:
                    return
                self._began = True
                await self._client.put("/v1/agent/service/register", body, {"replace-existing-checks": "true"})
        log.info("%s is registered, %s: %s", self._instance.id, _status(health), health.output)
        self.missing = ""
        self._told = health

    async def _tell_health(self) -> None:
        """Until the agent has forgotten us, or we are withdrawn."""
        waited = 0.0
        while True:
            pause = PROBE_EVERY if self._told.passing and not self._health.in_doubt else PROBE_AGAIN_AFTER
            await self._sleep(pause)
            waited += pause
            health = await self._health.ask()
            if health.passing == self._told.passing and waited < TELL_EVERY:
                continue
            async with self._turn:
                if self._withdrawn or not await self._tell(health):
                    return
            if health.passing != self._told.passing:
                level = logging.INFO if health.passing else logging.WARNING
                log.log(level, "%s is %s: %s", self._instance.id, _status(health), health.output)
            self._told, waited = health, 0.0

    async def _tell(self, health: Health) -> bool:
        """False: the agent has forgotten us."""
        path = f"/v1/agent/check/update/{self._instance.check_id}"
        try:
            await self._client.put(path, {"Status": _status(health), "Output": health.output})
        except ConsulError as error:
            if error.status != NOT_FOUND:
                raise
            self.missing = "the agent has forgotten it"
            log.warning("%s is registered again: the agent has forgotten it", self._instance.id)
            return False
        return True

    async def _refuse_other(self, body: Json) -> None:
        """Nobody else's registration is replaced; that of a sidecar which ended without a word is."""
        known, owner = await self._known(body["ID"])
        if known is None or owner == self._token:
            return
        if not owner:
            raise ConsulError(
                f"a service with the id {body['ID']!r} was registered by somebody else: choose another with --id, "
                "or be the sidecar of that registration with --sidecar-for"
            )
        its = str(known.get("Address") or ""), known.get("Port")
        # Its listener, on another port than ours, accepts: it runs.
        if "Kind" in body and its != (body["Address"], body["Port"]):
            where = f"{its[0] or '127.0.0.1'}:{its[1]}"
            if (await tcp(where)).passing:
                raise ConsulError(
                    f"another sidecar with the id {self._instance.id!r} runs at {where}: "
                    "give each instance an id of its own with --id, or stop the other one"
                )

    async def _known(self, name: str) -> tuple[Json | None, str]:
        """Who has this id, None for nobody, and the number of the process of ours that registered it, "" for none."""
        path = f"/v1/agent/service/{name}"
        told = (await self._client.get(path)).value
        if told is None:
            return None, ""
        known = fields(told, path)
        return dict(known), str(fields(known.get("Meta"), path).get(INSTANCE, ""))

    def _lost(self, why: str) -> None:
        if self.missing != why:
            log.error("%s is not registered, trying again: %s", self._instance.id, why)
        self.missing = why


def _status(health: Health) -> str:
    return "passing" if health.passing else "critical"


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
