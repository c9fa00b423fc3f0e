"""Consul's config entries as a source: protocols, and the routes, splits and subsets of compiled discovery chains.

One watch tells that any entry has changed; then the lists are read, and the compiled chain of each service that has a
router, splitter or resolver. What an entry asks for and this version does not do is named, never dropped silently.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict, replace
from types import MappingProxyType

from sidecar.consul import opaque
from sidecar.consul.client import ConsulClient
from sidecar.consul.fields import Json
from sidecar.consul.shape import odd, rows
from sidecar.errors import ConsulError
from sidecar.sources.compiled_chain import by_target, compile_chain, with_subsets
from sidecar.sources.config_entries import (
    calls_of,
    label,
    left_out,
    local_of_service,
    permissive,
    protocol_of,
)
from sidecar.world import Chain, ChainsUpdate

# Seconds until entries are read again after a failure; that entries are held which all vanished at once.
AGAIN_AFTER, HOLD = 2.0, 10.0
# Seconds of one wait for a change: so late is seen what was changed in entries of a kind that is not watched itself.
WAIT = 2.0
# The services that these name have a compiled chain of their own.
_CHAINED = ("service-router", "service-splitter", "service-resolver")
# Said by name when there are any. Intentions are announced as a whole at each start; `rate-limit` and
# `control-plane-request-limit` limit Consul's servers, not the mesh.
_NOT_YET = ("mesh", "ingress-gateway", "terminating-gateway", "api-gateway", "http-route", "tcp-route", "jwt-provider",
            "exported-services", "sameness-group", "inline-certificate", "file-system-certificate")  # fmt: skip

log = logging.getLogger(__name__)


class DiscoveryChains:
    """All config entries that concern routing, as one update."""

    def __init__(self, client: ConsulClient) -> None:
        self._client = client
        # What is in force, and whether the token saw all of it; whether it saw all that was read since.
        self._last = ChainsUpdate(MappingProxyType({}))
        self._was_filtered = self._filtered = False
        # What is held now and why, for people; "" for nothing.
        self.held = ""

    async def watch(self) -> AsyncGenerator[ChainsUpdate, None]:
        """What they say now, and again after each change of it."""
        told = False
        # The index of every kind is that of all kinds together, but only a change of its own kind ends the wait (Consul
        # 1.22, measured). A watch for each kind would take connections of which the agent has few.
        changes = self._client.watch("/v1/config/service-defaults", {"stale": ""}, wait=WAIT, every_index=True)
        async with aclosing(changes):
            async for _ in changes:
                update = await self._believed()
                self._was_filtered = self._filtered
                if update != self._last or not told:
                    self._last, told = update, True
                    yield update

    async def _believed(self) -> ChainsUpdate:
        """What is read: what takes all away only when it is said twice, and none of it while the token hides it."""
        update = await self._read_until_told()
        while self._is_doubtful(update):
            why = "the token may no longer read them" if self._filtered else "Consul says that they are all gone"
            count = len(self._last.chains)
            self.held = f"config entries of {count} service{'' if count == 1 else 's'} held: {why}"
            log.warning("%s", self.held)
            await self._client.sleep(HOLD)
            update = await self._read_until_told()
            if not self._filtered:
                break
        self.held = ""
        return update

    def _is_doubtful(self, update: ChainsUpdate) -> bool:
        """Everything is gone, or something since the token lost rights."""
        lost = bool(self._last.chains.keys() - update.chains.keys()) or (self._last.protocol and not update.protocol)
        gone = not update.chains and not update.protocol
        return bool(lost) and (gone or (self._filtered and not self._was_filtered))

    async def read(self) -> ChainsUpdate:
        """All as it is now. Raises ConsulError."""
        self._filtered = False
        defaults = await self._entries("service-defaults")
        overall = _proxy_defaults(await self._entries("proxy-defaults"))
        entries = {kind: await self._entries(kind) for kind in _CHAINED}
        general = list(overall.not_carried_out)
        for kind in _NOT_YET:
            general += [f"{label(entry)} is not supported yet" for entry in await self._entries(kind)]
        chains = {entry["Name"]: _service_defaults(entry, overall) for entry in defaults}
        for name in sorted({entry["Name"] for found in entries.values() for entry in found}):
            chain = await self._chain(name, chains.get(name, Chain(protocol=overall.protocol, local=overall.local)))
            own = {kind: entry for kind, found in entries.items() for entry in found if entry["Name"] == name}
            missing = [text for entry in own.values() for text in left_out(entry)]
            chains[name] = with_subsets(chain, name, own.get("service-resolver", {}), missing)
        chains = by_target(chains, Chain(protocol=overall.protocol, local=overall.local))
        return ChainsUpdate(
            MappingProxyType(dict(sorted(chains.items()))), overall.protocol, overall.local, tuple(general)
        )

    async def _read_until_told(self) -> ChainsUpdate:
        while True:
            try:
                return await self.read()
            except ConsulError as error:
                log.warning("config entries were not read, those known last stay in force: %s", error)
                await self._client.sleep(AGAIN_AFTER)

    async def _entries(self, kind: str) -> list[Json]:
        path = f"/v1/config/{kind}"
        try:
            answer = await self._client.get(path)
        except ConsulError as error:
            # Some kinds need rights of an operator; without them nothing is known about those.
            if error.status == 403 and kind in _NOT_YET:
                return []
            raise
        # The one entry for the mesh has no name in Consul's answers.
        entries = [{"Name": "mesh", **entry} if kind == "mesh" else entry for entry in rows(answer.value, path)]
        if not all(isinstance(entry.get("Name"), str) for entry in entries):
            raise odd(path, "entries with names")
        self._filtered |= answer.filtered
        return entries

    async def _chain(self, service: str, defaults: Chain) -> Chain:
        answer = await self._client.get(f"/v1/discovery-chain/{service}")
        try:
            chain = compile_chain(answer.value["Chain"])
        except (KeyError, TypeError, ValueError) as error:
            reason = f"discovery chain of {service}: it has another form than expected ({error!r})"
            # What was good last is better than none.
            known = replace(self._last.chains.get(service, defaults), protocol=defaults.protocol)
            return replace(known, not_carried_out=(*defaults.not_carried_out, reason))
        return replace(
            defaults,
            protocol=chain.protocol or defaults.protocol,
            routes=chain.routes,
            subsets=chain.subsets,
            only_passing=chain.only_passing,
            failover=chain.failover,
            load_balancer=chain.load_balancer,
            connect_timeout=chain.connect_timeout,
            not_carried_out=(*defaults.not_carried_out, *chain.not_carried_out),
        )


def _service_defaults(entry: Json, overall: Chain) -> Chain:
    """What one entry says, and of what it leaves open what proxy-defaults say."""
    protocol, missing = protocol_of(entry, entry.get("Protocol"))
    own = local_of_service(entry)
    local = replace(overall.local, **{name: value for name, value in asdict(own).items() if value is not None})
    return Chain(
        # One that we do not speak leaves nothing open.
        protocol=protocol or (None if missing else overall.protocol),
        local=local,
        calls=calls_of(entry),
        not_carried_out=(*missing, *left_out(entry)),
    )


def _proxy_defaults(entries: list[Json]) -> Chain:
    """What holds for every service that does not say it; there is one entry at most."""
    for entry in entries:
        config = entry.get("Config") or {}
        protocol, missing = protocol_of(entry, config.get("protocol"))
        local = replace(opaque.local(config), permissive=permissive(entry))
        return Chain(protocol=protocol, local=local, not_carried_out=(*missing, *left_out(entry)))
    return Chain()
