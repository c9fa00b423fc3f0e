"""The run directory: one JSON file for each running instance, by which other commands find it.

The directory is $SIDECAR_RUN_DIR, else $XDG_RUNTIME_DIR/sidecar, else /tmp/sidecar-<uid>; mode 0700. A file is named
`<role>-<name>-<pid>.json`, is written in one step, and goes away with its instance; one whose process is dead (SIGKILL)
is skipped by readers and removed by the next instance that starts.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from sidecar.errors import SidecarError


@dataclass(frozen=True)
class Instance:
    """A running instance: who it is and where its listeners are bound ("address:port" by listener name)."""

    role: str
    name: str
    pid: int
    # Start time of the process in clock ticks since boot: a reused pid has another one. 0 where /proc does not tell.
    started: int
    admin: str
    listeners: Mapping[str, str]


class RunDirectory:
    """Writes and reads instance files. Raises SidecarError when the directory cannot be used safely."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, role: str, name: str, admin: str, listeners: Mapping[str, str]) -> Path:
        """Announce this process; returns the file, which the caller removes at the end."""
        self._prepare()
        self._remove_stale()
        pid = os.getpid()
        instance = Instance(role, name, pid, _started(pid), admin, dict(listeners))
        target = self._path / f"{role}-{name}-{pid}.json"
        partial = target.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(instance), indent=2) + "\n")
        partial.replace(target)
        return target

    def instances(self) -> Iterator[Instance]:
        """The instances that are alive, by file name."""
        for file in sorted(self._path.glob("*.json")):
            instance = _read(file)
            if instance is not None and _alive(instance):
                yield instance

    def _prepare(self) -> None:
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = self._path.stat()
        except OSError as error:
            raise SidecarError(
                f"run directory {self._path} cannot be made: {error.strerror}; set SIDECAR_RUN_DIR to another place"
            ) from error
        # In /tmp anyone could have made it first, to feed us false instances or read ours.
        if status.st_uid != os.getuid():
            raise SidecarError(
                f"run directory {self._path} belongs to another user; set SIDECAR_RUN_DIR to another place"
            )

    def _remove_stale(self) -> None:
        for file in self._path.glob("*-*.json"):
            instance = _read(file)
            if instance is not None and not _alive(instance):
                file.unlink(missing_ok=True)


def default_directory(environ: Mapping[str, str]) -> Path:
    """Where the run directory is by this environment."""
    if chosen := environ.get("SIDECAR_RUN_DIR"):
        return Path(chosen)
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime) / "sidecar"
    # Safe there: made with mode 0700, and refused when it belongs to another user.
    return Path(f"/tmp/sidecar-{os.getuid()}")  # noqa: S108


def _read(file: Path) -> Instance | None:
    try:
        return Instance(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _alive(instance: Instance) -> bool:
    try:
        os.kill(instance.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return _started(instance.pid) == instance.started


def _started(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    # Field 22 of proc(5); the command (field 2) may hold spaces and parentheses, so count from the last one.
    return int(stat.rpartition(")")[2].split()[19])
