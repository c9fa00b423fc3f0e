"""What `/api/v1/certs` answers: certificates that are shown and trusted, when they end, and who renews them. No key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sidecar.identity import process
from sidecar.identity.authority import Authority, Leaf

Json = dict[str, Any]


class Certificates:
    """Of one instance. `files` are the chains (DER) of its listeners' own certificates, by name."""

    def __init__(
        self,
        authority: Authority,
        leaf: Callable[[], Leaf],
        rotations: Callable[[], int],
        files: Callable[[], Mapping[str, Sequence[bytes]]],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._authority = authority
        self._leaf = leaf
        self._rotations = rotations
        self._files = files
        self._clock = clock
        # What is known of the certificates that were asked for last: reading them takes a process of its own.
        self._known: dict[bytes, Json] = {}

    async def view(self) -> Json:
        """As JSON. Raises IdentityError when a certificate cannot be read."""
        leaf, files, due = self._leaf(), self._files(), self._authority.due
        await self._learn([*leaf.certificate_chain, *leaf.roots, *(each for chain in files.values() for each in chain)])
        return {
            "authority": self._authority.name,
            "failure": self._authority.failure,
            "identity": {
                **self._chain(leaf.certificate_chain),
                # None: the authority tells by itself.
                "next_rotation": due.isoformat(timespec="seconds") if due else None,
                "rotations": self._rotations(),
            },
            "roots": [self._known[root] for root in leaf.roots],
            "listeners": {name: self._chain(chain) for name, chain in files.items()},
        }

    async def _learn(self, certificates: Sequence[bytes]) -> None:
        if new := [each for each in dict.fromkeys(certificates) if each not in self._known]:
            told = await asyncio.to_thread(process.describe, new)
            known = {**self._known, **dict(zip(new, told, strict=True))}
            self._known = {each: known[each] for each in certificates}

    def _chain(self, chain: Sequence[bytes]) -> Json:
        leaf = self._known[chain[0]]
        left = datetime.fromisoformat(leaf["not_after"]) - self._clock()
        return {
            "uri": next(iter(leaf["uris"]), ""),
            "ends": leaf["not_after"],
            "seconds_left": round(left.total_seconds()),
            "chain": [self._known[each] for each in chain],
        }
