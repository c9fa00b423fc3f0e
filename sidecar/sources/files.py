"""The directory source: DIR/mesh.yaml, DIR/services/<service>.yaml, DIR/gateways/<gateway>.yaml (or .json)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from sidecar.config.document import DocumentSet


class FileSource:
    """Reads a directory of documents, and tells when it changes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def read(self) -> DocumentSet:
        """All documents as they are now. SourceError: the directory itself cannot be read."""
        raise NotImplementedError

    async def watch(self) -> AsyncIterator[DocumentSet]:
        """First the documents as they are when the watch stands, then again after each change."""
        raise NotImplementedError
        yield DocumentSet()
