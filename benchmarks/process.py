"""Child processes pinned to a core, and what the kernel knows about their time and memory."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# The proxy under test has this core for itself; load generator, backend, trace sink and this program share the other.
PROXY_CORE = 0
LOAD_CORE = 1

STOP_SECONDS = 5.0


class BenchError(Exception):
    """A measurement could not be made; the message says what to do next."""


@dataclass(frozen=True)
class Memory:
    """Bytes of a process tree: RSS counts a shared page once for each process, PSS gives each its share."""

    rss: int
    pss: int


@contextlib.contextmanager
def spawned(
    command: Sequence[str], core: int, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` on one core with its output in `log`; stop it and its children at the end."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            ["taskset", "--cpu-list", str(core), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    try:
        yield child
    finally:
        stop(child)


def stop(child: subprocess.Popen[bytes]) -> None:
    """End a child by SIGTERM and its process group by SIGKILL once it had its time."""
    child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(STOP_SECONDS)
    # The child leads its own session, so the group holds its children (a master's workers) and nobody else.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def wait_until(true: Callable[[], bool], child: subprocess.Popen[bytes], log: Path, seconds: float = 15.0) -> float:
    """Poll until `true()`; returns the seconds it took. BenchError with the child's output when it dies or is late."""
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        if true():
            return time.monotonic() - begun
        if child.poll() is not None:
            break
        time.sleep(0.005)
    state = "is not ready" if child.poll() is None else f"ended with status {child.returncode}"
    raise BenchError(f"{log.stem} {state}; its output:\n{log.read_text(errors='replace')[-2000:]}")


def listening(port: int) -> bool:
    """Whether a connection to the loopback port is accepted now."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def tree(root: int) -> list[int]:
    """Process ids of `root` and all its living descendants."""
    found = [root]
    for pid in found:
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                found.extend(int(child) for child in (thread / "children").read_text().split())
    return found


def cpu_nanoseconds(root: int) -> int:
    """CPU time that the scheduler has charged to a process tree: user and system, all threads, ended ones too."""
    return sum(_process_clock(pid) for pid in tree(root))


def _process_clock(pid: int) -> int:
    """One process's CPU clock in ns, named by clock_getcpuclockid(3), which Python does not offer for other processes.

    The clock id is CPUCLOCK_SCHED (2) in the low bits and the inverted pid above them (Linux, posix-timers_types.h).
    It reads the same sum_exec_runtime as /proc/PID/schedstat, without that file's blind spot for ended threads.
    """
    try:
        return time.clock_gettime_ns((~pid << 3) | 2)
    except OSError:  # It has ended since the tree was listed.
        return 0


def memory(root: int) -> Memory:
    """Resident memory of a process tree."""
    rss = pss = 0
    for pid in tree(root):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                name, _, rest = line.partition(":")
                if name == "Rss":
                    rss += int(rest.split()[0]) * 1024
                elif name == "Pss":
                    pss += int(rest.split()[0]) * 1024
    return Memory(rss, pss)


def core_busy_nanoseconds(core: int) -> int:
    """Time that a core was not idle since boot; the kernel counts it in ticks of usually 10 ms."""
    tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{core} "):
            user, nice, system, _idle, _iowait, interrupt, soft_interrupt, steal, *_ = map(int, line.split()[1:])
            return (user + nice + system + interrupt + soft_interrupt + steal) * tick
    raise BenchError(f"/proc/stat knows no core {core}; the bench needs cores {PROXY_CORE} and {LOAD_CORE}")
