"""A file of log lines that others may move away: SIGUSR1 begins a new one of its name."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from sidecar.errors import SidecarError

log = logging.getLogger(__name__)

# As a person of the same group may read logs.
MODE = 0o640


class LogFile:
    """Appends. Raises SidecarError when it cannot be opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._outdated = False
        self._failing = False
        # Lines that could not be written.
        self.lost = 0
        try:
            self._descriptor = self._open()
        except OSError as error:
            raise SidecarError(
                f"the access log {path} cannot be opened: {error.strerror}; choose another place with --access-log"
            ) from error

    def reopen(self) -> None:
        """Go on in a file of this name with the next lines. Called from any thread."""
        self._outdated = True

    def write(self, lines: bytes) -> None:
        """Append them; what cannot be written is lost and counted, and serving goes on."""
        try:
            if self._outdated:
                self._outdated = False
                self._replace()
            written = 0
            while written < len(lines):
                written += os.write(self._descriptor, lines[written:])
        except OSError as error:
            self.lost += lines.count(b"\n")
            if not self._failing:
                log.warning("the access log %s cannot be written: %s", self._path, error.strerror)
            self._failing = True
        else:
            self._failing = False

    def close(self) -> None:
        """No more lines."""
        os.close(self._descriptor)

    def _replace(self) -> None:
        new = self._open()
        os.close(self._descriptor)
        self._descriptor = new

    def _open(self) -> int:
        # With O_APPEND each write goes to the end, whoever else writes there.
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, MODE)
