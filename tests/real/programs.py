"""The programs of others that these tests run, and where `install.sh` has put them."""

import os
import random
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.mesh import eventually


def debian(command: str) -> str:
    """Path of a program from a Debian package; AssertionError with the way to get it."""
    path = shutil.which(command, path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    assert path is not None, f"{command} is missing: run `make real`, which installs it"
    return path


def cached(version: str, command: str) -> str:
    """Path of a Go program at its pinned version; AssertionError with the way to get it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = cache / "sidecar-mesh/tools" / version / command
    assert path.exists(), f"{path} is missing: run `make real`, which installs it"
    return str(path)


# Below those that Linux gives to connections (net.ipv4.ip_local_port_range begins at 32768): none of them takes a port
# between here and its use.
_PORTS = range(23000, 32768)


def free_port() -> int:
    """A port that was free a moment ago, for programs that cannot say which one they took."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """So many of them, each another one."""
    found: list[int] = []
    with ExitStack() as stack:
        for port in random.sample(_PORTS, len(_PORTS)):
            with suppress(OSError):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
                found.append(port)
            if len(found) == count:
                return found
    raise AssertionError(f"no {count} ports of {_PORTS} are free")


@contextmanager
def serving(command: list[str], port: int, log: Path) -> Iterator[None]:
    """Run a server of others until the block ends; it is ready when `port` accepts."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:

        def accepts() -> bool:
            assert process.poll() is None, f"{command[0]} exited:\n{log.read_text()}"
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        eventually(f"{command[0]} accepts on {port}", accepts, within=10)
        yield
    finally:
        process.terminate()
        process.wait(10)
