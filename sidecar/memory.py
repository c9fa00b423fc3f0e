"""How much memory the process may have."""

from pathlib import Path

# Bytes. Where there is no limit, version 1 of control groups says a number above it: the largest count of pages.
_NONE = 1 << 62


def limit(groups: str | None = None, root: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that the control group leaves the process; 0: there is no limit, or none that can be seen.

    `groups` is what /proc/self/cgroup says, a line for each hierarchy: "0::/system.slice/web.service" (version 2),
    "4:memory:/web" (version 1). `root` is where they are mounted. The limit of any group above holds as well.
    """
    if groups is None:
        try:
            groups = Path("/proc/self/cgroup").read_text()
        except OSError:
            return 0
    limits: list[int] = []
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            limits += _limits(root, path, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits(root / "memory", path, "memory.limit_in_bytes")
    return min(limits, default=0)


def _limits(mount: Path, path: str, name: str) -> list[int]:
    """Those of a group and of all above it. A container may see the host's path: the mount's is there then."""
    group = mount / path.lstrip("/")
    found = []
    for folder in (group, *group.parents):
        if not folder.is_relative_to(mount):
            break
        try:
            text = (folder / name).read_text().strip()
        except OSError:
            continue
        # In version 2 it is "max" where there is none.
        if text.isdecimal() and int(text) < _NONE:
            found.append(int(text))
    return found
