"""Run the bench: `python -m benchmarks --help`."""

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import prerequisites
from benchmarks.backends import Backend, BackendKind, backends
from benchmarks.cases import CASES, IDLE, IDLE_CONNECTIONS, STALLED, Case
from benchmarks.measure import measure_idle, measure_load, measure_stalled
from benchmarks.otlp_sink import otlp_sink
from benchmarks.peers import PEERS, Proxy
from benchmarks.process import LOAD_CORE, BenchError
from benchmarks.report import Run, render
from benchmarks.results import Results
from benchmarks.sidecar import NAME, gateway, measure_sidecar

RESULTS = Path(__file__).parent / "results"

# What the budget of the idle sidecar names.
IDLE_SECONDS = 60.0


def main() -> int:
    """Run, write the Markdown file, print it; 1 when a row is broken."""
    arguments = _arguments()
    try:
        prerequisites.check()
        # The children of a pinned process start pinned, so nothing of the bench ever touches the proxy's core.
        os.sched_setaffinity(0, {LOAD_CORE})
        text, broken = _run(arguments)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(text)
    print(text)
    print(f"bench: written to {arguments.output}", file=sys.stderr)
    return 1 if broken else 0


def _arguments() -> argparse.Namespace:
    cases = [case.name for case in CASES] + [IDLE, STALLED, NAME]
    proxies = [peer.name for peer in PEERS] + [NAME]
    today = datetime.now(UTC).date().isoformat()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: %(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of each round's load (default: %(default)s)")
    parser.add_argument("--cases", nargs="+", choices=cases, default=cases, metavar="CASE", help=", ".join(cases))
    parser.add_argument("--proxies", nargs="+", choices=proxies, default=proxies, metavar="P", help=", ".join(proxies))
    parser.add_argument(
        "--idle-seconds", type=float, default=IDLE_SECONDS, help="idle time of the sidecar alone (default: %(default)s)"
    )
    parser.add_argument(
        "--output", type=Path, default=RESULTS / f"{today}.md", help="file to write (default: %(default)s)"
    )
    return parser.parse_args()


def _run(arguments: argparse.Namespace) -> tuple[str, bool]:
    results = Results()
    began = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    cases = [case for case in CASES if case.name in arguments.cases]
    kinds = {case.backend for case in cases} | ({BackendKind.H2} if IDLE in arguments.cases else set())
    if STALLED in arguments.cases:
        kinds |= {BackendKind.H1, BackendKind.H2}
    with contextlib.ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="sidecar-bench-")))
        sink = running.enter_context(otlp_sink())
        servers = running.enter_context(backends(folder, kinds))
        proxies = [proxy for proxy in (*PEERS, gateway(sink.endpoint)) if proxy.name in arguments.proxies]
        for number in range(arguments.rounds):
            # Each round starts with another proxy, so that none always comes after the same one.
            turn = number % len(proxies)
            order = proxies[turn:] + proxies[:turn]
            for case in cases:
                for proxy in order:
                    _load(results, number, proxy, case, servers[case.backend], folder, arguments.scale)
            if IDLE in arguments.cases:
                for proxy in order:
                    _idle(results, number, proxy, servers[BackendKind.H2], folder)
            if STALLED in arguments.cases:
                for proxy in order:
                    for kind in (BackendKind.H1, BackendKind.H2):
                        _stalled(results, number, proxy, servers[kind], folder)
            if NAME in arguments.cases and NAME in arguments.proxies:
                _sidecar(results, number, sink.endpoint, folder, arguments.idle_seconds)
    run = Run(
        began=began,
        rounds=arguments.rounds,
        scale=arguments.scale,
        idle_seconds=arguments.idle_seconds,
        cases=cases,
        proxies=[proxy.name for proxy in proxies],
        versions=prerequisites.versions(),
        spans=sink.spans,
        exports=sink.exports,
    )
    return render(run, results), bool(results.broken)


def _load(
    results: Results, number: int, proxy: Proxy, case: Case, backend: Backend, folder: Path, scale: float
) -> None:
    def measure() -> str:
        sample = measure_load(proxy, case, backend, folder, scale)
        results.loads[case.name, proxy.name].append(sample)
        if sample.outcome.good != sample.outcome.requests:
            raise BenchError(f"{sample.outcome.good} of {sample.outcome.requests} answers were 2xx")
        return f"{sample.cpu_us:.1f} µs/req, {sample.outcome.requests / sample.outcome.seconds:.0f} req/s"

    _step(results, number, (case.name, proxy.name), measure)


def _idle(results: Results, number: int, proxy: Proxy, backend: Backend, folder: Path) -> None:
    def measure() -> str:
        sample = measure_idle(proxy, backend, folder)
        results.idles[proxy.name].append(sample)
        if sample.good != IDLE_CONNECTIONS:
            raise BenchError(f"{sample.good} of {IDLE_CONNECTIONS} answers were whole and 200")
        return f"{(sample.used.rss - sample.empty.rss) / 2**20:.1f} MiB for all connections"

    _step(results, number, (IDLE, proxy.name), measure)


def _stalled(results: Results, number: int, proxy: Proxy, backend: Backend, folder: Path) -> None:
    def measure() -> str:
        held = measure_stalled(proxy, backend, folder)
        results.stalled[backend.kind, proxy.name].append(held)
        return f"{held / 2**10:.0f} KiB for each reader"

    _step(results, number, (f"{STALLED} {backend.kind.value}", proxy.name), measure)


def _sidecar(results: Results, number: int, otlp_endpoint: str, folder: Path, seconds: float) -> None:
    def measure() -> str:
        sample = measure_sidecar(otlp_endpoint, folder, seconds)
        results.sidecars.append(sample)
        took = f"ready after {sample.ready_seconds:.2f} s, {sample.ready_cpu_seconds:.2f} s of CPU"
        return f"{took}, RSS {sample.memory.rss / 2**20:.1f} MiB"

    _step(results, number, (NAME, NAME), measure)


def _step(results: Results, number: int, row: tuple[str, str], measure: Callable[[], str]) -> None:
    """Measure once and say what came out. A row that broke stays broken, but the others go on."""
    if row in results.broken:
        return
    try:
        said = measure()
    except (BenchError, OSError) as error:
        results.broken[row] = str(error)
        said = f"BROKEN: {error}"
    print(f"round {number + 1} {row[0]:8} {row[1]:8} {said}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
