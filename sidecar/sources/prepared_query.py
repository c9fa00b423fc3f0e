"""Consul's prepared queries as endpoints: run again and again, for they cannot be watched.

A query says itself which datacenters take over; whoever it finds is held to the identity of the service and datacenter
where it was found.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sidecar.consul.client import ConsulClient
from sidecar.errors import ConsulError
from sidecar.world import EndpointsUpdate, Instance, QueryUpdate, Target

# Seconds between two runs of one query. Consul's own proxies poll every 10 (connect/proxy/config.go); a change of the
# catalog is routed on that much later than one that is watched.
EVERY = 10.0

log = logging.getLogger(__name__)

# Of an answer's entries the instances in the order of their ids, and what was left out and why.
Read = Callable[[object], tuple[tuple[Instance, ...], Mapping[str, str]]]
Tell = Callable[[str | Target, EndpointsUpdate | QueryUpdate], None]


class PreparedQueries:
    """Runs those that are wanted; `tell` hears each change. `datacenter` is our own."""

    def __init__(self, client: ConsulClient, datacenter: str, read: Read, tell: Tell) -> None:
        self._client = client
        self._datacenter = datacenter
        self._read = read
        self._tell = tell
        self._tasks: dict[Target, asyncio.Task[None]] = {}
        # The service that each finds.
        self._found: dict[Target, str] = {}
        # Why a query gives nobody now, for people.
        self.failing: dict[Target, str] = {}

    def want(self, target: Target, *, mesh: bool) -> None:
        """Run it from now on; `mesh`: of what it finds the sidecars are meant."""
        if target not in self._tasks:
            self._tasks[target] = asyncio.create_task(self._run(target, {"connect": ""} if mesh else {}))

    def unwant(self, target: Target) -> None:
        """Run it no more."""
        if task := self._tasks.pop(target, None):
            task.cancel()
            self.failing.pop(target, None)
            self._tell(target, EndpointsUpdate(target, None))

    async def close(self) -> None:
        """Run none."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def __len__(self) -> int:
        return len(self._tasks)

    async def _run(self, target: Target, query: Mapping[str, str]) -> None:
        known: tuple[Instance, ...] | None = None
        was_empty = False
        while True:
            found = await self._ask(target, query)
            # One that finds nobody is believed when it says so twice.
            if found is not None and (found or not known or was_empty) and found != known:
                known = found
                self._tell(target, EndpointsUpdate(target, found))
            was_empty = found == ()
            await self._client.sleep(EVERY)

    async def _ask(self, target: Target, query: Mapping[str, str]) -> tuple[Instance, ...] | None:
        """None: it did not answer, so nothing is known."""
        path = f"/v1/query/{target.service}/execute"
        try:
            answer = (await self._client.get(path, query)).value
            if answer is None:
                self._fails(target, "Consul has no such query; create it, or correct its name")
                return ()
            service, entries = str(answer["Service"]), answer.get("Nodes") or []
            instances, flaws = self._read(entries)
            places = {_id(entry): self._found_in(entry) for entry in entries if _id(entry)}
        except ConsulError as error:
            self._fails(target, str(error))
            return None
        except (KeyError, TypeError, AttributeError) as error:
            self._fails(target, f"Consul answered with another form than expected ({error!r})")
            return None
        self._fails(target, next(iter(flaws.values()), ""))
        if entries and not instances:
            return None
        if self._found.get(target) != service:
            self._found[target] = service
            self._tell(f"query {target.service}", QueryUpdate(target.service, service))
        return tuple(replace(instance, serves=places[instance.id]) for instance in instances)

    def _found_in(self, entry: Mapping[str, Any]) -> str:
        """ "orders@dc2": whose identity it has."""
        service, datacenter = entry["Service"], entry["Node"].get("Datacenter") or ""
        name = (service.get("Proxy") or {}).get("DestinationServiceName") or service["Service"]
        return Target(name, datacenter="" if datacenter == self._datacenter else datacenter).cluster

    def _fails(self, target: Target, why: str) -> None:
        if why and self.failing.get(target) != why:
            log.warning("prepared query %s: %s", target.service, why)
        if why:
            self.failing[target] = why
        else:
            self.failing.pop(target, None)


def _id(entry: object) -> str:
    """As an instance has it; "" of an entry that has none."""
    try:
        return f"{entry['Node']['Node']}/{entry['Service']['ID']}"  # type: ignore[index]
    except (KeyError, TypeError):
        return ""
