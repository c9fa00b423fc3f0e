"""The directory source: DIR/mesh.yaml, and DIR/services/, DIR/gateways/, DIR/consumers/ with <name>.yaml (or .json)."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import stat
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from hashlib import blake2b
from pathlib import Path
from types import MappingProxyType

from sidecar.config.document import Document, DocumentSet, Key
from sidecar.config.load import FOLDERS, MAX_BYTES, SUFFIXES, key_of, load
from sidecar.errors import ConfigError, Problem, SourceError

log = logging.getLogger(__name__)

# Milliseconds. One save is several events (create, write, rename): the watch answers when it was quiet for a step, or
# after the debounce when it never is. Both are far below the 200 ms in which a change is to be live. The watch wakes up
# at every step for as long as we run, so a shorter one costs more than all else that an idle sidecar does.
_STEP = 40
_DEBOUNCE = 80
# Milliseconds after which a quiet watch looks whether DIR is still the directory that it watches.
_RECHECK = 1000
# Ten times the largest mesh that is measured; a wrong DIR is told instead of read for minutes.
_MOST_DOCUMENTS = 10_000

# What became of a file: its document, or why it was refused.
_Result = Document | tuple[Problem, ...]


class FileSource:
    """Reads a directory of documents, and tells when it changes. A file with the same bytes is not parsed again."""

    def __init__(self, directory: Path, unused: frozenset[str] = frozenset()) -> None:
        """Folders in `unused` ("gateways") are not looked at: a mistake in there is nobody's here."""
        self.directory = directory
        self._unused = unused
        # By place: the digest of the bytes and what became of them.
        self._results: dict[str, tuple[bytes, _Result]] = {}

    def read(self) -> DocumentSet:
        """All documents as they are now. SourceError: the directory itself cannot be read."""
        results: dict[str, tuple[bytes, _Result]] = {}
        for place in self._places():
            try:
                data = _read_bytes(self.directory / place)
            except OSError as error:
                if not os.path.lexists(self.directory / place):
                    # Gone since the directory was listed.
                    continue
                results[place] = b"", (Problem(place, f"the file cannot be read: {error.strerror}"),)
                continue
            digest = blake2b(data, digest_size=16).digest()
            known = self._results.get(place)
            results[place] = known if known is not None and known[0] == digest else (digest, _load(place, data))
        self._results = results
        return _document_set({place: result for place, (_, result) in results.items()})

    async def watch(self) -> AsyncGenerator[DocumentSet, None]:
        """First the documents as they are once the watch stands, then again after each change of them.

        While the directory is away nothing is told: what was last good keeps serving until it is back.
        """
        last: DocumentSet | None = None
        away = False
        while True:
            try:
                async with aclosing(self._changes()) as changes:
                    async for _ in changes:
                        documents = await asyncio.to_thread(self.read)
                        away = False
                        if documents != last:
                            last = documents
                            yield documents
            except (OSError, SourceError) as error:
                if not away:
                    log.warning("%s; the last good configuration keeps serving", error)
                away = True
                await asyncio.sleep(_RECHECK / 1000)

    async def _changes(self) -> AsyncGenerator[None, None]:
        """Once when the watch stands and after each change, until DIR or a folder of it is another directory."""
        # Imported here: reading once, as `config check` does, needs no watch.
        from watchfiles import awatch

        # It tells of every event; what a change led to is logged by who applies it.
        logging.getLogger("watchfiles").setLevel(logging.WARNING)
        folders = self._folders()
        changes = awatch(
            *folders, debounce=_DEBOUNCE, step=_STEP, rust_timeout=_RECHECK, yield_on_timeout=True, watch_filter=None
        )
        first = asyncio.ensure_future(anext(changes))
        try:
            # The task sets up the watch before it first waits; what changes from now on is not missed.
            await asyncio.sleep(0)
            yield
            changed = await first
            while folders == self._folders():
                if changed:
                    yield
                changed = await anext(changes)
        finally:
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            await changes.aclose()

    def _folders(self) -> dict[Path, tuple[int, int]]:
        """The directories to watch, with device and inode: DIR may be a link that is switched, or a folder one."""
        found = {}
        for path in (self.directory, *(self.directory / folder for folder in FOLDERS)):
            try:
                status = path.stat()
            except FileNotFoundError:
                if path is self.directory:
                    raise
                continue
            if stat.S_ISDIR(status.st_mode):
                found[path.resolve()] = (status.st_dev, status.st_ino)
        return found

    def _places(self) -> list[str]:
        """Every file that is or looks like a document, in order."""
        try:
            places = sorted(_documents_in(self.directory, self._unused))
        except OSError as error:
            message = f"configuration directory {self.directory} cannot be read: {error.strerror}"
            raise SourceError(f"{message}; give an existing directory") from None
        if len(places) > _MOST_DOCUMENTS:
            message = f"configuration directory {self.directory} holds more than {_MOST_DOCUMENTS} documents"
            raise SourceError(f"{message}; give the directory with mesh.yaml and services/")
        return places


def _documents_in(directory: Path, unused: frozenset[str]) -> Iterator[str]:
    """Places below DIR; hidden files and those of other kinds (certificates, notes, editors' copies) are not ours."""
    for entry in _visible(directory):
        if not entry.is_dir():
            if _looks_like_document(entry.name):
                yield entry.name
            continue
        if entry.name in unused:
            continue
        try:
            below = list(_visible(directory / entry.name))
        except PermissionError:
            if entry.name in FOLDERS:
                raise
            continue
        for nested in below:
            if _looks_like_document(nested.name) or (entry.name in FOLDERS and nested.is_dir()):
                yield f"{entry.name}/{nested.name}"


def _visible(directory: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(directory) as entries:
        yield from (entry for entry in entries if not entry.name.startswith("."))


def _looks_like_document(name: str) -> bool:
    return name.endswith((*SUFFIXES, ".yml"))


def _read_bytes(path: Path) -> bytes:
    """At most one byte more than a document may have. A pipe does not hold us up."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        return file.read(MAX_BYTES + 1)


def _load(place: str, data: bytes) -> _Result:
    try:
        return load(place, data)
    except ConfigError as error:
        return error.problems


def _document_set(results: dict[str, _Result]) -> DocumentSet:
    documents: dict[Key, Document] = {}
    refusals: dict[str, tuple[Problem, ...]] = {}
    refused: set[Key] = set()
    for place, result in results.items():
        if isinstance(result, Document) and result.key in documents:
            result = (_second_document(place, documents[result.key]),)
        if isinstance(result, Document):
            documents[result.key] = result
        else:
            refusals[place] = result
            refused |= _keys_of(place)
    return DocumentSet(MappingProxyType(documents), MappingProxyType(refusals), frozenset(refused))


def _second_document(place: str, first: Document) -> Problem:
    return Problem(place, f"this document is also {first.place}", "one of the two", "delete or rename one")


def _keys_of(place: str) -> set[Key]:
    """The document that a refused place stands for; none when the place itself is wrong."""
    try:
        return {key_of(place)}
    except ConfigError:
        return set()
