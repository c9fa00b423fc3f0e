"""Consul's catalog as the source of endpoints: who is an instance of a service, and whether it is healthy.

A service is watched from when its cluster is first wanted. An answer that leaves nobody to call is doubted: an agent
that starts calls its instances critical until they report again. Those known are held, and given up when the leader
itself says so a while later. Where it says that there are none, none of them may accept connections either: servers
that lost their data say the same. One malformed instance is left out, the rest is used.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any

from sidecar.consul.client import Answer, ConsulClient
from sidecar.consul.watches import Watches
from sidecar.errors import ConsulError
from sidecar.sources.prepared_query import PreparedQueries
from sidecar.world import EndpointsUpdate, Instance, NamesUpdate, QueryUpdate, Target

# Of the client's connections; the services beyond are asked in turns.
BLOCKING = 4
# Seconds that instances are held which all vanished or fell ill at once, before Consul is asked again.
HOLD = 10.0
# Seconds that an instance which is to be given up gets to accept a connection.
ACCEPT_WITHIN = 1.0
# Seconds without an answer until what was known of a service before it was let go serves again.
FALL_BACK_AFTER = 0.5
# Seconds between looks at what other datacenters have: their names, not their instances.
REMOTE_EVERY = 30.0
# Seconds between looks whether services take turns.
_LOOK_EVERY = 1.0
# As Consul names the proxies of its own kind of registration; their services are in the list, too.
_PROXY_SUFFIX = "-sidecar-proxy"

log = logging.getLogger(__name__)

# What is watched: a service's instances, the names of a datacenter, or that any check has changed.
_Key = Target | str
_NAMES, _CHECKS = "names", "checks"


async def accepts(address: str) -> bool:
    """Whether a listener is at "ip:port"."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(ACCEPT_WITHIN):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


class Catalog:
    """Instances of the services that are wanted, and the names of all there are."""

    def __init__(
        self,
        client: ConsulClient,
        datacenter: str = "",
        *,
        names: bool = True,
        known: Mapping[Target, tuple[Instance, ...]] = MappingProxyType({}),
        accepts: Callable[[str], Awaitable[bool]] = accepts,
    ) -> None:
        """`datacenter` is our own: when it is known, the names of the others are told, too.

        `known` is what serves already, by whole services: the first answer is doubted as any later one.
        """
        self._client = client
        self._datacenter = datacenter
        self._services: Watches[Target] = Watches(client, BLOCKING)
        self._queries = PreparedQueries(client, datacenter, _instances, self._tell)
        self._names = names
        self._accepts = accepts
        # By datacenter what its catalog said last.
        self._named: dict[str, frozenset[str]] = {}
        self._known: dict[Target, tuple[Instance, ...]] = dict(known)
        # What was known of those that are watched no more, while their names exist.
        self._idle: dict[Target, tuple[Instance, ...]] = {}
        self._falls_back: dict[Target, asyncio.Task[None]] = {}
        self._outside: set[Target] = set()
        self._updates: dict[_Key, EndpointsUpdate | QueryUpdate | NamesUpdate] = {}
        self._told = asyncio.Event()
        self._doubts: dict[Target, asyncio.Task[None]] = {}
        # What is held or left out now and why, for people.
        self.held: dict[Target, str] = {}
        self.malformed: dict[Target, str] = {}

    def want(self, target: Target, *, mesh: bool = True) -> None:
        """Watch a service from now on; `mesh`: its sidecars, else its own instances, which are reached in the clear."""
        if target.query:
            self._queries.want(target, mesh=mesh)
            return
        target = target.whole
        if target in self._services:
            if mesh != (target in self._outside):
                return
            self.unwant(target)
        self._outside = self._outside - {target} if mesh else self._outside | {target}
        if (kept := self._idle.pop(target, None)) is not None:
            self._known[target] = kept
            self._falls_back[target] = asyncio.create_task(self._fall_back(target))
        self._services.add(target, self._path(target), {**_query(target), "stale": ""})

    def unwant(self, target: Target) -> None:
        """Watch it no more; the world keeps it aside."""
        if target.query:
            self._queries.unwant(target)
            return
        target = target.whole
        self._services.discard(target)
        if (known := self._known.pop(target, None)) is not None:
            self._idle[target] = known
        if task := self._falls_back.pop(target, None):
            task.cancel()
        self.held.pop(target, None)
        self.malformed.pop(target, None)
        if task := self._doubts.pop(target, None):
            task.cancel()
        self._tell(target, EndpointsUpdate(target, None))

    async def watch(self) -> AsyncGenerator[EndpointsUpdate | QueryUpdate | NamesUpdate, None]:
        """Every change of what is wanted, for ever; of each service the newest state only."""
        loops = [self._follow_services(), self._follow_checks()]
        if self._names:
            loops.append(self._follow_names())
        if self._names and self._datacenter:
            loops.append(self._look_around())
        tasks = [asyncio.create_task(loop) for loop in loops]
        for task in tasks:
            # They never end but by a fault, which is raised here.
            task.add_done_callback(lambda _: self._told.set())
        try:
            while True:
                await self._told.wait()
                self._told.clear()
                for task in tasks:
                    if task.done():
                        task.result()
                while self._updates:
                    yield self._updates.pop(next(iter(self._updates)))
        finally:
            ending = [*tasks, *self._doubts.values(), *self._falls_back.values()]
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)
            await self._queries.close()

    async def _fall_back(self, target: Target) -> None:
        """What was known before it was let go serves when Consul does not answer now."""
        await self._client.sleep(FALL_BACK_AFTER)
        self._tell(target, EndpointsUpdate(target, self._known[target]))

    def favour(self, targets: frozenset[Target]) -> None:
        """These are in use: they are the freshest."""
        self._services.favour(targets)

    @property
    def watched(self) -> Mapping[str, int]:
        """How many services are watched: by blocking queries, and in turns."""
        in_turns = self._services.in_turns
        return {
            "blocking": len(self._services) - in_turns,
            "turns": in_turns,
            "polling": len(self._queries),
        }

    def _tell(self, key: _Key, update: EndpointsUpdate | QueryUpdate | NamesUpdate) -> None:
        self._updates[key] = update
        self._told.set()

    def _path(self, target: Target) -> str:
        kind = "service" if target in self._outside else "connect"
        return f"/v1/health/{kind}/{target.service}"

    # --- instances ------------------------------------------------------------------------------------------------

    async def _follow_services(self) -> None:
        async with aclosing(self._services.answers()) as answers:
            async for target, answer in answers:
                if target in self._services:
                    self._take(target, answer)

    def _take(self, target: Target, answer: Answer, *, confirmed: bool = False) -> None:
        known = self._known.get(target)
        if task := self._falls_back.pop(target, None):
            task.cancel()
            # Nobody has been told since it was wanted again; what follows from the answer comes after it.
            self._tell(target, EndpointsUpdate(target, known))
        instances, flaws = _instances(answer.value)
        self._report(target, list(flaws.values()))
        if known and instances:
            instances = _with_malformed(instances, known, flaws)
        if known and _any_healthy(known) and not _any_healthy(instances) and not confirmed:
            self._doubt(target, answer, bool(instances))
            return
        if was_held := bool(self.held.pop(target, "")):
            log.info("%s has instances again", target.cluster)
        if task := self._doubts.pop(target, None):
            task.cancel()
        if instances != known or was_held:
            self._known[target] = instances
            self._tell(target, EndpointsUpdate(target, instances))
            if bool(instances) != bool(known) and target.datacenter in self._named:
                self._tell_names(target.datacenter)

    def _report(self, target: Target, flaws: list[str]) -> None:
        text = f"{target.cluster}: {len(flaws)} of Consul's entries left out: {flaws[0]}" if flaws else ""
        if text and self.malformed.get(target) != text:
            log.warning("%s", text)
        if text:
            self.malformed[target] = text
        else:
            self.malformed.pop(target, None)

    def _doubt(self, target: Target, answer: Answer, are_there: bool) -> None:
        if target not in self.held:
            why = f"Consul says that {'none is healthy' if are_there else 'there are none'}"
            if answer.filtered:
                why = "the token may no longer read them"
            self.held[target] = self._holds(target, why)
            log.warning("%s", self.held[target])
            if not answer.filtered:
                # Who takes over for them does so now.
                self._tell(target, EndpointsUpdate(target, self._known[target], doubted=True))
        if target not in self._doubts:
            self._doubts[target] = asyncio.create_task(self._confirm(target))

    def _holds(self, target: Target, why: str) -> str:
        """What is said while the known instances stay in use against Consul's word."""
        count = len(self._known[target])
        return f"{count} instance{'' if count == 1 else 's'} of {target.cluster} held: {why}"

    async def _confirm(self, target: Target) -> None:
        """Ask the leader itself after a while; what it says with our token in force is true."""
        while True:
            await self._client.sleep(HOLD)
            try:
                answer = await self._client.get(self._path(target), {**_query(target), "consistent": ""})
            except ConsulError:
                continue
            # A list from which nothing was filtered; an answer of another form is no news.
            if answer.filtered or not isinstance(answer.value, list):
                continue
            if not answer.value and (alive := await self._alive(target)):
                why = f"Consul says that there are none, but {alive} accepts connections"
                self.held[target] = self._holds(target, why)
                continue
            del self._doubts[target]
            self._take(target, answer, confirmed=not answer.value or bool(_instances(answer.value)[0]))
            return

    async def _alive(self, target: Target) -> str:
        """The address of one known instance that accepts connections, "" when none does."""
        for instance in self._known.get(target, ()):
            if instance.healthy and await self._accepts(instance.address):
                return instance.address
        return ""

    async def _follow_checks(self) -> None:
        """Ask those that take turns when a check of any service has changed; only while there are such."""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            if not self._services.in_turns:
                continue
            # The index moves with every check; the list itself is of no use and empty.
            query = {"filter": 'CheckID == ""', "stale": ""}
            async with aclosing(self._client.watch("/v1/health/state/any", query, every_index=True)) as answers:
                async for _ in answers:
                    self._services.ring()
                    if not self._services.in_turns:
                        break

    # --- names ----------------------------------------------------------------------------------------------------

    async def _follow_names(self) -> None:
        # Its index moves with every instance, those without checks too.
        watch = self._client.watch("/v1/catalog/services", {"stale": ""}, every_index=True)
        async with aclosing(watch) as answers:
            async for answer in answers:
                self._services.ring()
                self._take_names("", answer)

    async def _look_around(self) -> None:
        """What other datacenters have; one that cannot be reached keeps what it had."""
        while True:
            try:
                told = (await self._client.get("/v1/catalog/datacenters")).value
                datacenters = {name for name in told if isinstance(name, str)} if isinstance(told, list) else set()
                for datacenter in sorted(datacenters - {self._datacenter}):
                    query = {"dc": datacenter, "cached": "", "stale": ""}
                    self._take_names(datacenter, await self._client.get("/v1/catalog/services", query))
            except ConsulError as error:
                log.debug("other datacenters were not asked: %s", error)
            await self._client.sleep(REMOTE_EVERY)

    def _take_names(self, datacenter: str, answer: Answer) -> None:
        # Every datacenter has a service `consul`, so an empty answer is none, or the token may not read it. It takes no
        # name away; as the first one it counts, so that a start does not wait for another.
        if not isinstance(answer.value, Mapping) or (not answer.value and datacenter in self._named):
            return
        self._named[datacenter] = frozenset(
            name for name in answer.value if not name.endswith(_PROXY_SUFFIX) and name != "consul"
        )
        self._idle = {
            target: known
            for target, known in self._idle.items()
            if target.datacenter != datacenter or target.service in self._named[datacenter]
        }
        self._tell_names(datacenter)

    def _tell_names(self, datacenter: str) -> None:
        """What the catalog says, and whoever has instances that are in use: a half answer takes no route away."""
        used = {target.service for target, known in self._known.items() if known and target.datacenter == datacenter}
        self._tell(f"{_NAMES} {datacenter}", NamesUpdate(datacenter, self._named[datacenter] | used))


def _any_healthy(instances: tuple[Instance, ...]) -> bool:
    return any(instance.healthy for instance in instances)


def _query(target: Target) -> dict[str, str]:
    return {"dc": target.datacenter} if target.datacenter else {}


def _instances(value: object) -> tuple[tuple[Instance, ...], dict[str, str]]:
    """What an answer of `/v1/health/…` holds, in the order of ids; by id ("" for none) what was left out and why."""
    if value is None:
        return (), {}
    if not isinstance(value, list):
        return (), {"": "the answer is not a list"}
    found: dict[str, Instance] = {}
    flaws = {}
    for entry in value:
        try:
            instance = _instance(entry)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            flaws[_id(entry)] = _flaw(entry, error)
        else:
            found[instance.id] = instance
    return tuple(found[name] for name in sorted(found)), flaws


def _with_malformed(
    instances: tuple[Instance, ...], known: tuple[Instance, ...], flaws: Mapping[str, str]
) -> tuple[Instance, ...]:
    """Also those known that a malformed entry names, or may mean when it names nobody."""
    told = {instance.id for instance in instances}
    kept = [item for item in known if item.id not in told and (item.id in flaws or "" in flaws)]
    return tuple(sorted((*instances, *kept), key=lambda instance: instance.id)) if kept else instances


def _id(entry: object) -> str:
    """Of the instance that a malformed entry is about; "" when that cannot be told."""
    try:
        return f"{entry['Node']['Node']}/{entry['Service']['ID']}"  # type: ignore[index]
    except (KeyError, TypeError):
        return ""


def _instance(entry: Mapping[str, Any]) -> Instance:
    node, service = entry["Node"], entry["Service"]
    host, port = service.get("Address") or node["Address"], service["Port"]
    address = ip_address(host)
    if not isinstance(port, int) or not 1 <= port <= 65535:
        raise ValueError(f"port {port!r} is none from 1 to 65535")
    states = {check["Status"] for check in entry.get("Checks") or ()}
    weights = service.get("Weights") or {}
    weight = int(weights.get("Warning" if "warning" in states else "Passing", 1))
    return Instance(
        id=f"{node['Node']}/{service['ID']}",
        address=f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}",
        weight=max(weight, 1),
        tags=tuple(map(str, service.get("Tags") or ())),
        meta={str(key): str(text) for key, text in (service.get("Meta") or {}).items()},
        # Maintenance is a critical check of the node or the service. A weight of 0 takes out, too.
        healthy=states <= {"passing", "warning"} and weight > 0,
        warning="warning" in states,
    )


def _flaw(entry: object, error: Exception) -> str:
    """Which entry, as far as that can be told, and what is wrong with it."""
    service = entry.get("Service") if isinstance(entry, Mapping) else None
    name = service.get("ID") if isinstance(service, Mapping) else None
    reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
    return f"{name or 'one without an id'}: {reason}"
