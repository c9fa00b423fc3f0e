"""A control group that bounds the memory of the processes in it."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.mesh import eventually

MOUNT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class MemoryGroup:
    """One of version 1 or 2, by its folder."""

    folder: Path

    @property
    def entering(self) -> Sequence[str]:
        """A command that goes into it and becomes what follows."""
        return "sh", "-c", f'echo $$ > {self.folder}/cgroup.procs && exec "$@"', "sh"

    @property
    def most(self) -> int:
        """Bytes that were in use at most, with pages of files."""
        names = "memory.peak", "memory.max_usage_in_bytes"
        return next(int((self.folder / name).read_text()) for name in names if (self.folder / name).exists())


@contextmanager
def bounded(limit: int) -> Iterator[MemoryGroup]:
    """A new group of so many bytes; AssertionError where none can be made."""
    version_1 = (MOUNT / "memory").is_dir()
    folder = (MOUNT / "memory" if version_1 else MOUNT) / f"sidecar-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / ("memory.limit_in_bytes" if version_1 else "memory.max")).write_text(str(limit))
    except OSError as error:
        raise AssertionError(
            f"no group with a limit of memory can be made: {error}. It takes root, and cgroups"
        ) from error
    try:
        yield MemoryGroup(folder)
    finally:
        eventually("the group is empty", lambda: not (folder / "cgroup.procs").read_text())
        folder.rmdir()
