"""One measurement: a fresh proxy alone on its core, proved, warmed up, loaded, read."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load
from benchmarks.backends import LARGE_PATH, SMALL_BYTES, SMALL_PATH, Backend, BackendKind
from benchmarks.cases import IDLE_CONNECTIONS, STALLED_READERS, Case
from benchmarks.client import Http2Client, prove, stalled_http1
from benchmarks.peers import Proxy
from benchmarks.process import (
    PROXY_CORE,
    Memory,
    core_busy_nanoseconds,
    cpu_nanoseconds,
    free_port,
    listening,
    memory,
    spawned,
    wait_until,
)

# Share of a round's load sent before it is measured: fills pools, caches and allocators.
WARM_UP = 0.1

# Time for a proxy to do what it does after connections went quiet.
SETTLE_SECONDS = 0.5


@dataclass(frozen=True)
class LoadSample:
    """One round of a case through a proxy. `foreign` is the share of the proxy's core that others used meanwhile."""

    outcome: load.Outcome
    cpu_us: float
    memory: Memory
    foreign: float


@dataclass(frozen=True)
class IdleSample:
    """Memory of a proxy with no connection, with silent ones, and with ones that are silent after one GET each."""

    empty: Memory
    silent: Memory
    used: Memory
    good: int


@contextlib.contextmanager
def proxied(proxy: Proxy, backend: Backend, folder: Path) -> Iterator[tuple[int, int]]:
    """Start a proxy before a backend; gives its port and process id."""
    port = free_port()
    launch = proxy.launch(folder, port, backend)
    log = folder / f"{proxy.name}.log"
    with spawned(launch.command, PROXY_CORE, log, launch.environment) as child:
        wait_until(lambda: listening(port), child, log)
        yield port, child.pid


def measure_load(proxy: Proxy, case: Case, backend: Backend, folder: Path, scale: float) -> LoadSample:
    """Cost and speed of a case. BenchError when the proxy does not start or its answers are not the backend's."""
    with proxied(proxy, backend, folder) as (port, pid):
        prove(case, port)
        load.run(case, port, folder, WARM_UP * scale)
        cpu, busy, begun = cpu_nanoseconds(pid), core_busy_nanoseconds(PROXY_CORE), time.monotonic_ns()
        outcome = load.run(case, port, folder, scale)
        cpu, busy, elapsed = (
            cpu_nanoseconds(pid) - cpu,
            core_busy_nanoseconds(PROXY_CORE) - busy,
            time.monotonic_ns() - begun,
        )
        return LoadSample(outcome, cpu / 1000 / max(1, outcome.requests), memory(pid), max(0.0, (busy - cpu) / elapsed))


def measure_idle(proxy: Proxy, backend: Backend, folder: Path) -> IdleSample:
    """Memory that idle HTTP/2 connections hold in a proxy; kernel socket buffers are not in it."""
    with proxied(proxy, backend, folder) as (port, pid), contextlib.ExitStack() as open_connections:
        with Http2Client(port) as first:  # The upstream connection and what the first request allocates is not theirs.
            first.request(SMALL_PATH, {}, None)
        empty = _settled(pid)
        clients = [open_connections.enter_context(Http2Client(port)) for _ in range(IDLE_CONNECTIONS)]
        silent = _settled(pid)
        answers = [client.request(SMALL_PATH, {}, None) for client in clients]
        used = _settled(pid)
        good = sum(answer.status == 200 and answer.body_bytes == SMALL_BYTES for answer in answers)
        return IdleSample(empty, silent, used, good)


def measure_stalled(proxy: Proxy, backend: Backend, folder: Path) -> float:
    """Bytes that a reader who has stopped holds in a proxy, without kernel buffers; the backend tells the protocol."""
    with proxied(proxy, backend, folder) as (port, pid), contextlib.ExitStack() as open_connections:
        if backend.kind is BackendKind.H1:
            with contextlib.closing(stalled_http1(port, LARGE_PATH)) as first:
                first.recv(1)
            empty = _settled(pid)
            for _ in range(STALLED_READERS):
                open_connections.enter_context(contextlib.closing(stalled_http1(port, LARGE_PATH)))
        else:
            with Http2Client(port) as first_client:
                first_client.request(SMALL_PATH, {}, None)
            empty = _settled(pid)
            for _ in range(STALLED_READERS // 10):
                open_connections.enter_context(Http2Client(port)).stall(LARGE_PATH, 10)
        return (_settled(pid).rss - empty.rss) / STALLED_READERS


def _settled(pid: int) -> Memory:
    time.sleep(SETTLE_SECONDS)
    return memory(pid)
