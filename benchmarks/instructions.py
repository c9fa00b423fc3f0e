"""Instructions and system calls that a request costs: `python -m benchmarks.instructions --help`.

Both are counted, not timed: a busy machine does not change them. Needs valgrind, and strace for `--calls`. Instructions
are those of the program itself; the kernel's share shows in the system calls. Under valgrind a proxy is slow, so it
finds more to read at once than it would otherwise: compare counts with counts, and prove a gain by the bench.
"""

import argparse
import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.backends import Backend, backends
from benchmarks.cases import GET, GRPC, H1, LARGE, LATENCY, Case
from benchmarks.client import prove
from benchmarks.otlp_sink import otlp_sink
from benchmarks.peers import PEERS, Proxy
from benchmarks.prerequisites import find
from benchmarks.process import PROXY_CORE, BenchError, free_port, listening, spawned, tree, wait_until
from benchmarks.sidecar import NAME, gateway

CASES = {case.name: case for case in (GRPC, GET, LATENCY, LARGE, H1)}

# A start takes 1 s of CPU time; valgrind makes it about 20 times slower.
START_SECONDS = 120.0


def main() -> int:
    """Count and print; 1 when something could not be counted."""
    arguments = _arguments()
    try:
        _check(["valgrind", *(["strace"] if arguments.calls else [])])
        _run(arguments)
    except BenchError as error:
        print(f"instructions: {error}", file=sys.stderr)
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    proxies = [NAME, *(peer.name for peer in PEERS)]
    parser.add_argument("--cases", nargs="+", choices=CASES, default=["grpc", "get", "h1"], metavar="CASE")
    parser.add_argument("--proxies", nargs="+", choices=proxies, default=[NAME], metavar="P", help=", ".join(proxies))
    parser.add_argument("--requests", type=int, default=4000, help="that are counted (default: %(default)s)")
    parser.add_argument("--calls", action="store_true", help="count system calls too, in a run of their own")
    parser.add_argument("--keep", type=Path, help="folder to keep callgrind's files in, for callgrind_annotate")
    return parser.parse_args()


def _check(commands: list[str]) -> None:
    missing = [command for command in commands if shutil.which(command) is None]
    if missing:
        raise BenchError(f"these Debian packages are missing; run: apt-get install --yes {' '.join(missing)}")


def _run(arguments: argparse.Namespace) -> None:
    cases = [CASES[name] for name in arguments.cases]
    with contextlib.ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="sidecar-instructions-")))
        sink = running.enter_context(otlp_sink())
        servers = running.enter_context(backends(folder, {case.backend for case in cases}))
        proxies = [proxy for proxy in (gateway(sink.endpoint), *PEERS) if proxy.name in arguments.proxies]
        for case in cases:
            for proxy in proxies:
                kept = (arguments.keep or folder) / f"{case.name}-{proxy.name}"
                kept.mkdir(parents=True, exist_ok=True)
                thread, process = _instructions(proxy, case, servers[case.backend], folder, arguments.requests, kept)
                counts = f"{thread:10.0f} instructions a request by the thread, {process:.0f} by the process"
                print(f"{case.name:8} {proxy.name:8} {counts}", flush=True)
                if arguments.calls:
                    calls = _system_calls(proxy, case, servers[case.backend], folder, arguments.requests)
                    told = ", ".join(f"{name} {number:.2f}" for name, number in calls.items() if number >= 0.005)
                    print(f"{'':17} {sum(calls.values()):10.2f} system calls a request: {told}", flush=True)


def _instructions(
    proxy: Proxy, case: Case, backend: Backend, folder: Path, requests: int, kept: Path
) -> tuple[float, float]:
    """Instructions of the busiest thread and of the whole process tree while `requests` are answered, for each."""
    for old in kept.glob("callgrind.out.*"):
        old.unlink()
    valgrind = ["valgrind", "--quiet", "--tool=callgrind", "--trace-children=yes", "--instr-atstart=no"]
    valgrind += ["--separate-threads=yes", f"--callgrind-out-file={kept}/callgrind.out.%p"]
    with _proxied(proxy, case, backend, folder, valgrind) as (port, pid):
        _load(case, port, max(1, requests // 4))
        control("--instr=on", pid)
        _load(case, port, requests)
        # Its own end writes files too, but is not waited for.
        control("--dump", pid)
        counted = [total(file) for file in kept.glob("callgrind.out.*.1-*")]
    return max(counted) / requests, sum(counted) / requests


def control(option: str, root: int) -> None:
    """Tell callgrind, in all processes of a tree."""
    for pid in tree(root):
        subprocess.run(["callgrind_control", option, str(pid)], check=True, capture_output=True)


def total(file: Path) -> int:
    """Instructions that a file of callgrind's counts."""
    return sum(int(number) for number in re.findall(r"^totals: (\d+)", file.read_text(), re.MULTILINE))


def _system_calls(proxy: Proxy, case: Case, backend: Backend, folder: Path, requests: int) -> dict[str, float]:
    """System calls by name for each request, most frequent first."""
    table = folder / "strace"
    with _proxied(proxy, case, backend, folder, []) as (port, pid):
        _load(case, port, max(1, requests // 4))
        attached = ["strace", "-c", "-f", "-S", "calls", "-o", str(table)]
        for traced in tree(pid):
            attached += ["-p", str(traced)]
        log = folder / "strace.log"
        with spawned(attached, PROXY_CORE, log) as tracer:
            wait_until(lambda: b"attached" in log.read_bytes(), tracer, log)
            _load(case, port, requests)
    rows = [line.split() for line in table.read_text().splitlines() if re.match(r"\s+\d", line)]
    return {row[-1]: int(row[3]) / requests for row in rows if row[-1] != "total"}


@contextlib.contextmanager
def _proxied(proxy: Proxy, case: Case, backend: Backend, folder: Path, under: list[str]) -> Iterator[tuple[int, int]]:
    """Start a proxy `under` a tool and prove it; gives its port and process id."""
    port = free_port()
    launch = proxy.launch(folder, port, backend)
    log = folder / f"{proxy.name}.log"
    with spawned([*under, *launch.command], PROXY_CORE, log, launch.environment) as child:
        wait_until(partial(listening, port), child, log, START_SECONDS)
        prove(case, port)
        yield port, child.pid


def _load(case: Case, port: int, requests: int) -> None:
    """So many requests, all answered well. BenchError when they are not."""
    command = [find("h2load") or "h2load", f"--requests={requests}", f"--clients={case.connections}"]
    command += [f"--max-concurrent-streams={case.streams}"]
    command += [f"--header={name}: {value}" for name, value in case.headers.items()]
    if case is H1:
        command.append("--h1")
    with tempfile.NamedTemporaryFile() as body:
        if case.body is not None:
            body.write(case.body)
            body.flush()
            command.append(f"--data={body.name}")
        told = subprocess.run([*command, f"http://127.0.0.1:{port}{case.path}"], capture_output=True, text=True)
    if f"status codes: {requests} 2xx" not in told.stdout:
        raise BenchError(f"{case.name}: not all of {requests} requests were answered well:\n{told.stdout[-1000:]}")


if __name__ == "__main__":
    sys.exit(main())
