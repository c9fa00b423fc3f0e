"""Consul's KV as the source of documents: `sidecar/mesh`, and below `sidecar/services/`, `sidecar/gateways/` and
`sidecar/consumers/`.

A value is parsed when its key's ModifyIndex has moved, and never otherwise. What vanishes all at once, or when the
token loses rights, is held: Consul's answer is doubted before a mesh loses its configuration.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from sidecar.config.document import Document, DocumentSet, Key
from sidecar.config.load import PREFIX, key_of_consul, load
from sidecar.consul.client import Answer, ConsulClient
from sidecar.consul.watches import Watches
from sidecar.errors import ConfigError, ConsulError, Problem

# Seconds that documents are held which all vanished at once, before Consul is asked again.
HOLD = 10.0

log = logging.getLogger(__name__)

# A key's ModifyIndex, and what became of its value: the document, or why it was refused.
_Result = tuple[int, Document | tuple[Problem, ...]]


class KvSource:
    """All documents that a role uses. `gateway`: also those of gateways and their consumers."""

    def __init__(self, client: ConsulClient, *, gateway: bool = False) -> None:
        self._client = client
        folders = ("services/", "gateways/", "consumers/") if gateway else ("services/",)
        self.prefixes = (f"{PREFIX}mesh", *(f"{PREFIX}{folder}" for folder in folders))
        # By prefix and key; a prefix is there once it has answered.
        self._results: dict[str, dict[str, _Result]] = {}
        # Prefixes of which the token may not see everything, so that what it never saw is not missed.
        self._filtered: set[str] = set()
        # By prefix: who asks again, and the digest of what is true although it was doubted.
        self._doubts: dict[str, asyncio.Task[None]] = {}
        self._confirmed: dict[str, bytes] = {}
        # What is held now and why, by prefix, for people.
        self.held: dict[str, str] = {}
        # The highest index that was read.
        self.index = 0

    @property
    def has_services(self) -> bool:
        """Whether any service has a key."""
        return bool(self._results.get(f"{PREFIX}services/"))

    async def read(self) -> DocumentSet:
        """All documents as they are now. Raises ConsulError."""
        for prefix in self.prefixes:
            await self._take(prefix, await self._client.get(_path(prefix), _query(prefix)))
        return self._documents()

    async def watch(self) -> AsyncGenerator[DocumentSet, None]:
        """First all documents, once every prefix has answered, then again after each change of them."""
        watches: Watches[str] = Watches(self._client, len(self.prefixes))
        last: DocumentSet | None = None
        for prefix in self.prefixes:
            watches.add(prefix, _path(prefix), {**_query(prefix), "stale": ""})
        try:
            async with aclosing(watches.answers()) as answers:
                async for prefix, answer in answers:
                    if self._is_doubtful(prefix, answer):
                        self._doubt(prefix, answer, watches)
                        continue
                    self._trust(prefix)
                    await self._take(prefix, answer)
                    documents = self._documents()
                    if len(self._results) == len(self.prefixes) and documents != last:
                        last = documents
                        yield documents
        finally:
            for task in self._doubts.values():
                task.cancel()

    def _is_doubtful(self, prefix: str, answer: Answer) -> bool:
        known = self._results.get(prefix, {}).keys()
        told = {entry.get("Key") for entry in _entries(answer)}
        if not known - told or answer.digest == self._confirmed.get(prefix):
            return False
        if not _is_whole(answer):
            # What a malformed entry stands for is not known, so nothing is missed for sure.
            return True
        return not known & told or (answer.filtered and prefix not in self._filtered)

    def _doubt(self, prefix: str, answer: Answer, watches: Watches[str]) -> None:
        if prefix not in self.held:
            count = len(self._results[prefix])
            why = "Consul says that they are all gone" if _is_whole(answer) else "Consul's answer is malformed"
            if answer.filtered:
                why = "the token may no longer read them"
            self.held[prefix] = f"{count} document{'' if count == 1 else 's'} below {prefix} held: {why}"
            log.warning("%s", self.held[prefix])
        if prefix not in self._doubts or self._doubts[prefix].done():
            self._doubts[prefix] = asyncio.create_task(self._confirm(prefix, watches))

    def _trust(self, prefix: str) -> None:
        if self.held.pop(prefix, ""):
            log.info("documents below %s are told again", prefix)
        if (task := self._doubts.pop(prefix, None)) is not None:
            task.cancel()

    async def _confirm(self, prefix: str, watches: Watches[str]) -> None:
        """Ask the leader itself after a while; what it says with our token in force is true."""
        while True:
            await self._client.sleep(HOLD)
            try:
                answer = await self._client.get(_path(prefix), {**_query(prefix), "consistent": ""})
            except ConsulError:
                continue
            if not answer.filtered and _is_whole(answer):
                self._confirmed[prefix] = answer.digest
                watches.tell(prefix, answer)
                return

    async def _take(self, prefix: str, answer: Answer) -> None:
        before = self._results.get(prefix, {})
        results: dict[str, _Result] = {}
        for entry in _entries(answer):
            name, index = entry.get("Key"), entry.get("ModifyIndex")
            if not isinstance(name, str) or not isinstance(index, int) or name.endswith("/"):
                # A key that ends with a slash is a folder of Consul's own page.
                continue
            known = before.get(name)
            if known is not None and known[0] == index:
                results[name] = known
                continue
            results[name] = _load(name, index, entry)
            # A thousand documents take seconds; a sidecar does other things, too.
            await asyncio.sleep(0)
        self._results[prefix] = results
        self._filtered = self._filtered | {prefix} if answer.filtered else self._filtered - {prefix}
        self.index = max(self.index, answer.index)

    def _documents(self) -> DocumentSet:
        documents: dict[Key, Document] = {}
        refusals: dict[str, tuple[Problem, ...]] = {}
        refused: set[Key] = set()
        for results in self._results.values():
            for name, (_, result) in results.items():
                if isinstance(result, Document):
                    documents[result.key] = result
                else:
                    refusals[name] = result
                    refused |= _keys_of(name)
        return DocumentSet(MappingProxyType(documents), MappingProxyType(refusals), frozenset(refused), discovered=True)


def _path(prefix: str) -> str:
    return f"/v1/kv/{prefix}"


def _query(prefix: str) -> dict[str, str]:
    return {"recurse": ""} if prefix.endswith("/") else {}


def _is_whole(answer: Answer) -> bool:
    """Whether it has the form of Consul's API: 404, or a list of keys. An empty list never comes from Consul."""
    if answer.value is None:
        return True
    return (
        isinstance(answer.value, list)
        and bool(answer.value)
        and all(
            isinstance(entry, Mapping)
            and isinstance(entry.get("Key"), str)
            and isinstance(entry.get("ModifyIndex"), int)
            for entry in answer.value
        )
    )


def _entries(answer: Answer) -> list[Mapping[str, Any]]:
    value = answer.value if isinstance(answer.value, list) else []
    return [entry for entry in value if isinstance(entry, Mapping)]


def _load(name: str, index: int, entry: Mapping[str, Any]) -> _Result:
    try:
        data = base64.b64decode(entry.get("Value") or "", validate=True)
        return index, replace(load(name, data, key_of_consul(name)), index=index)
    except (binascii.Error, TypeError):
        return index, (Problem(name, "Consul's answer for this key cannot be read", index=index),)
    except ConfigError as error:
        return index, tuple(replace(problem, index=index) for problem in error.problems)


def _keys_of(name: str) -> set[Key]:
    """The document that a refused key stands for; none when the key itself is wrong."""
    try:
        return {key_of_consul(name)}
    except ConfigError:
        return set()
