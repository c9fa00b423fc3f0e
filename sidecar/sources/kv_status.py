"""What became of the documents at this instance, told in Consul: `sidecar-status/<service>/<id>`.

The prefix is one that no sidecar watches, so a write wakes nobody. (Consul wakes the watch of a prefix without a key at
every write, whatever its key: nothing is written before there are services with documents.) It is written when it
differs, and seldom: two hundred sidecars that take one change are spread over seconds. An agent that refuses or is away
changes nothing here.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence

from sidecar.consul.client import ConsulClient
from sidecar.errors import ConsulError
from sidecar.world import World

PREFIX = "sidecar-status/"
# Seconds between writes at least, a random part of which goes before each: those that change together write apart.
EVERY = 10.0
# Refusals that are told; the admin server has all of them.
_MOST_REFUSALS = 20

log = logging.getLogger(__name__)


def content(world: World, index: int, held: Sequence[str]) -> bytes:
    """The value: which index of our documents is in force, and what is not as its author meant it. JSON."""
    refused = [str(problem) for problems in world.refusals.values() for problem in problems]
    told = {
        "index": index,
        "documents": len(world.documents),
        "refused": refused[:_MOST_REFUSALS],
        "held": list(held),
        "not_carried_out": list(world.not_carried_out)[:_MOST_REFUSALS],
    }
    return json.dumps(told).encode()


class StatusKey:
    """Keeps one instance's key as `current` says (b"": nothing is to be told), from `run` to `remove`."""

    def __init__(self, client: ConsulClient, service: str, instance: str, current: Callable[[], bytes]) -> None:
        self._client = client
        self._path = f"/v1/kv/{PREFIX}{service}/{instance}"
        self._current = current
        # What Consul has; empty: nothing of ours.
        self.written = b""
        # Why it could not be written; "" when it could.
        self.failure = ""

    async def run(self) -> None:
        """Write when it differs, for ever."""
        while True:
            await self._client.sleep(EVERY * self._client.chance())
            await self.write()
            await self._client.sleep(EVERY)

    async def write(self) -> None:
        """Write now if there is something else to tell. An agent that refuses is logged."""
        value = self._current()
        if not value or value == self.written:
            return
        try:
            await self._client.put(self._path, value)
        except ConsulError as error:
            if str(error) != self.failure:
                self.failure = str(error)
                log.warning("the status key is not written: %s", error)
        else:
            self.written, self.failure = value, ""

    async def remove(self) -> None:
        """Delete the key of an instance that ends; one that dies leaves it behind."""
        if self.written:
            try:
                await self._client.delete(self._path)
            except ConsulError as error:
                log.debug("the status key stays: %s", error)
