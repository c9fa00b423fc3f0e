"""The last good world on disk, by which a sidecar starts and serves while Consul is away.

    STATE_DIR/last-good/sidecar-orders-8080.world    documents, endpoints, roots: what the mesh told us
    STATE_DIR/last-good/sidecar-orders-8080.leaf     our certificate and its key

Each file is one line of header (format, SHA-256 of the rest) and one JSON value; mode 0600. It is written aside, synced
and renamed, so a kill or a power cut at any moment leaves the old file or the new one. A file that is damaged or of
another format is refused by name, never half used. Its modification time says until when its content was true.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from sidecar.errors import StateError

# Of the files; another one is not read.
FORMAT = 1
# Bytes. A file of ours is smaller at ten times the largest mesh that is measured; what is larger is none of ours.
LARGEST = 256 * 1024 * 1024

Json = dict[str, Any]


@dataclass(frozen=True)
class Saved:
    """What a file held, and until when it is known to have been true."""

    value: Json
    true_at: datetime


class StateFile:
    """One file of state; calls block for as long as the disk takes. Raises StateError naming the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(self, value: Json, true_at: datetime) -> None:
        """Replace the file's content; it is on the disk when this returns."""
        body = json.dumps(value, separators=(",", ":")).encode()
        header = {"format": FORMAT, "sha256": sha256(body).hexdigest()}
        directory = self.path.parent
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Made with mode 0600.
            descriptor, partial = tempfile.mkstemp(prefix=f".{self.path.name}-", dir=directory)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(json.dumps(header).encode() + b"\n" + body)
                    file.flush()
                    os.fsync(file.fileno())
                os.utime(partial, (true_at.timestamp(), true_at.timestamp()))
                Path(partial).rename(self.path)
            except BaseException:
                Path(partial).unlink(missing_ok=True)
                raise
            _sync(directory)
        except OSError as error:
            raise StateError(
                f"{self.path} cannot be written: {error.strerror or error}; "
                "choose a writable place with --state-dir or SIDECAR_STATE_DIR"
            ) from error

    def confirm(self, true_at: datetime) -> None:
        """What was saved is still true."""
        try:
            os.utime(self.path, (true_at.timestamp(), true_at.timestamp()))
        except OSError as error:
            raise StateError(f"{self.path} cannot be touched: {error.strerror or error}") from error

    def load(self) -> Saved | None:
        """What was last saved; None when nothing ever was."""
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                content = file.read(LARGEST + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateError(f"{self.path} cannot be read: {error.strerror or error}") from error
        mode = status.st_mode & 0o777
        if mode & 0o077:
            raise StateError(f"{self.path} can be read by others (mode {mode:04o}): run `chmod 600 {self.path}`")
        header, _, body = content.partition(b"\n")
        try:
            told = json.loads(header)
            if told["format"] != FORMAT:
                raise StateError(f"{self.path} has format {told['format']}, expected {FORMAT}: it is not used")
            if sha256(body).hexdigest() != told["sha256"]:
                raise ValueError("its checksum does not match")
            return Saved(json.loads(body), datetime.fromtimestamp(status.st_mtime, UTC))
        except (ValueError, KeyError, TypeError) as error:
            raise StateError(f"{self.path} is damaged and not used: {error}; remove it") from error


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
