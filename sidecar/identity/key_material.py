"""A gateway's certificates, its clients' roots and lists of addresses, as fresh as the files that they are in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sidecar.errors import IdentityError
from sidecar.identity import address_lists
from sidecar.identity.process import load
from sidecar.snapshot import KeyFiles
from sidecar.wire import control_pb2 as control

# Seconds between two looks. A look is one stat of each file: it follows links, and sees what the notifications of a
# directory do not tell (a link that leads out of it, a network file system).
LOOK_EVERY = 0.5

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeyMaterial:
    """What the data plane is given, by name."""

    identities: Mapping[str, control.Identity] = field(default_factory=dict)
    roots: Mapping[str, control.TrustBundle] = field(default_factory=dict)
    lists: Mapping[str, control.AddressList] = field(default_factory=dict)

    def beside(self, other: KeyMaterial) -> KeyMaterial:
        """Both; where they have the same name, this one."""
        return KeyMaterial(
            {**other.identities, **self.identities}, {**other.roots, **self.roots}, {**other.lists, **self.lists}
        )

    def names(self) -> frozenset[str]:
        """Of all of it."""
        return frozenset(self.identities) | frozenset(self.roots) | frozenset(self.lists)


NONE = KeyMaterial()

# What tells that a file was written anew, by path.
Stamps = Mapping[Path, object]


class KeyReader:
    """Reads key files when they are others than before. Called from one thread."""

    def __init__(self, directory: Path, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """`directory` is where relative paths start."""
        self._directory = directory
        self._sleep = sleep
        self._files = KeyFiles()
        self._held = NONE
        # Of the files when they were read.
        self._stamps: Stamps = {}

    def read(self, files: KeyFiles) -> KeyMaterial:
        """What these files hold. Raises IdentityError; then what was read before stands."""
        # Reading them takes longer than all the rest of a change, so it is done when they differ.
        stamps = self._look(files)
        if (files, stamps) != (self._files, self._stamps):
            self._held = self._load(files)
            self._files, self._stamps = files, stamps
        return self._held

    async def follow(self, install: Callable[[KeyMaterial], None]) -> None:
        """Call `install` whenever the files that were read last hold something else, for ever.

        Certificate and key are two files: they are read once neither changes any more, and while they do not belong
        together, or cannot be read, what was read before stays.
        """
        seen: Stamps | None = None
        refused: Stamps | None = None
        while True:
            await self._sleep(LOOK_EVERY)
            files, before, seen = self._files, seen, self._look(self._files)
            if seen != before or seen in (self._stamps, refused):
                continue
            try:
                held = await asyncio.to_thread(self._load, files)
            except IdentityError as error:
                refused = seen
                log.warning("named files have changed, what they held before keeps serving: %s", error)
                continue
            # A document or a file may have changed meanwhile.
            if files == self._files and seen == self._look(files):
                self._held, self._stamps = held, seen
                install(held)

    def _load(self, files: KeyFiles) -> KeyMaterial:
        at = self._directory
        lists = {
            path: control.AddressList(name=path, networks=address_lists.read(at / path)) for path in sorted(files.lists)
        }
        if not files.pairs and not files.roots:
            return KeyMaterial(lists=lists)
        pairs, roots = load(
            {name: (at / pair.cert, at / pair.key) for name, pair in files.pairs.items()},
            {name: at / path for name, path in files.roots.items()},
        )
        return KeyMaterial(
            {
                name: control.Identity(
                    name=name, certificate_chain=pair.certificate_chain, private_key=pair.private_key
                )
                for name, pair in pairs.items()
            },
            {name: control.TrustBundle(name=name, roots=held) for name, held in roots.items()},
            lists,
        )

    def _look(self, files: KeyFiles) -> Stamps:
        pairs = [path for pair in files.pairs.values() for path in (pair.cert, pair.key)]
        named = (*pairs, *files.roots.values(), *files.lists)
        return {path: stamp(path) for path in (self._directory / path for path in named)}


def stamp(path: Path) -> object:
    """Differs when the file was written anew; None when it cannot be looked at."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
