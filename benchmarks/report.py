"""A run as a Markdown file."""

import os
import platform
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.backends import BackendKind
from benchmarks.budgets import BUDGETS, Budget
from benchmarks.cases import IDLE, IDLE_CONNECTIONS, STALLED, STALLED_READERS, Case
from benchmarks.process import LOAD_CORE, PROXY_CORE
from benchmarks.results import KIB, MIB, NO_FINDING, IdleRow, LoadRow, Results
from benchmarks.sidecar import NAME, TRACED

# Above this share of the proxy's core, work of others may have changed the figures of a round.
FOREIGN = 0.05


@dataclass(frozen=True)
class Run:
    """What was run, when and where."""

    began: str
    rounds: int
    scale: float
    idle_seconds: float
    cases: Sequence[Case]
    proxies: Sequence[str]
    versions: dict[str, str]
    spans: int
    exports: int


def machine() -> str:
    """Processor, cores, memory and system in a line."""
    processor = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "unknown"
    )
    memory = next(int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal"))
    system = next((line.split("=", 1)[1].strip('"') for line in _lines("/etc/os-release") if "PRETTY_NAME" in line), "")
    return f"{processor}, {os.cpu_count()} cores, {memory / 1024**2:.0f} GiB; {system}, Linux {platform.release()}"


def render(run: Run, results: Results) -> str:
    """The whole file."""
    parts = (
        _head(run, results),
        _budgets(results),
        _loads(run, results),
        _idle(run, results),
        _stalled(run, results),
        _alone(run, results),
        _noise(run, results),
    )
    return "\n".join(line for part in parts for line in part)


def _head(run: Run, results: Results) -> Iterator[str]:
    yield f"# Run of {run.began}"
    yield ""
    yield f"Machine: {machine()}."
    yield f"Versions: {', '.join(f'{name} {version}' for name, version in run.versions.items())}."
    yield f"Rounds: {run.rounds}, interleaved; scale {run.scale:g}. How to read this: [README](../README.md)."
    yield ""
    yield f"Every proxy has one worker on core {PROXY_CORE}; load, backend and trace sink share core {LOAD_CORE}."
    if NAME in run.proxies:
        yield f"{NAME} traces {TRACED} of requests: {run.spans} spans arrived at the sink in {run.exports} exports."
        yield "The peers trace nothing. Nobody writes an access log."
    yield ""
    if _disturbed(run, results):
        yield "**The machine was not quiet.** These figures are not to be quoted; see Noise at the end."
        yield ""


def _budgets(results: Results) -> Iterator[str]:
    yield "## Budgets"
    yield ""
    yield "| figure | budget | measured | verdict |"
    yield "|---|---|---:|---|"
    for budget in BUDGETS:
        yield _row(*_budget(budget, results))
    yield ""


def _budget(budget: Budget, results: Results) -> tuple[str, ...]:
    limit = f"aim: {budget.limit}" if budget.aim else budget.limit
    measured = budget.measure(results) if budget.measure else None
    if measured is None:
        return budget.figure, limit, "", "not measured"
    return budget.figure, limit, f"{measured.value:.2f}{measured.unit}", measured.verdict


def _loads(run: Run, results: Results) -> Iterator[str]:
    for case in run.cases:
        rows = {proxy: results.load(case.name, proxy) for proxy in run.proxies}
        yield f"## {case.name}: {case.title}"
        yield ""
        yield _row(
            "proxy", "CPU µs/req", "rounds", f"{NAME} ÷ it", "req/s", "p50 µs", "p99 µs", "RSS MiB", "PSS MiB", "2xx"
        )
        yield "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
        ours = rows.get(NAME)
        for proxy, row in sorted(rows.items(), key=lambda item: item[1].cpu_us if item[1] else float("inf")):
            yield _row(proxy, *_load(row, None if proxy == NAME else ours))
        yield from _reasons(case.name, run.proxies, results)
        yield ""


def _load(row: LoadRow | None, ours: LoadRow | None) -> tuple[str, ...]:
    if row is None:
        return ("BROKEN", *[""] * 8)
    return (
        _short(row.cpu_us),
        " to ".join(map(_short, row.spread)),
        _ratio(ours.cpu_us / row.cpu_us) if ours else "",
        f"{row.per_second:.0f}",
        f"{row.p50_us:.0f}",
        f"{row.p99_us:.0f}",
        f"{row.rss / MIB:.1f}",
        f"{row.pss / MIB:.1f}",
        f"{row.good}/{row.requests}",
    )


def _ratio(ratio: float) -> str:
    """A ratio, marked when the difference is too small to be a finding, whichever of the two is taken as the base."""
    small = 1 / (1 + NO_FINDING) < ratio < 1 + NO_FINDING
    return f"{ratio:.2f} (no finding)" if small else f"{ratio:.2f}"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _reasons(case: str, proxies: Sequence[str], results: Results) -> Iterator[str]:
    for proxy in proxies:
        if reason := results.broken.get((case, proxy)):
            yield ""
            yield f"{proxy} is BROKEN: {' '.join(reason.split())[:400]}"


def _idle(run: Run, results: Results) -> Iterator[str]:
    if not results.idles and not any((IDLE, proxy) in results.broken for proxy in run.proxies):
        return
    yield f"## {IDLE}: memory of {IDLE_CONNECTIONS} cleartext HTTP/2 connections that wait"
    yield ""
    yield "KiB are the growth of the process tree's RSS for each connection; kernel socket buffers are not in it."
    yield ""
    yield _row("proxy", "RSS MiB, none", "PSS MiB, none", "KiB, silent", "KiB, after one GET", "rounds", "2xx")
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for proxy in run.proxies:
        yield _row(proxy, *_idle_cells(results.idle(proxy)))
    yield from _reasons(IDLE, run.proxies, results)
    yield ""


def _idle_cells(row: IdleRow | None) -> tuple[str, ...]:
    if row is None:
        return ("BROKEN", *[""] * 5)
    return (
        f"{row.rss / MIB:.1f}",
        f"{row.pss / MIB:.1f}",
        f"{row.silent / KIB:.1f}",
        f"{row.used / KIB:.1f}",
        " to ".join(f"{each / KIB:.1f}" for each in row.spread),
        f"{row.good}/{row.requests}",
    )


def _stalled(run: Run, results: Results) -> Iterator[str]:
    rows = {kind: f"{STALLED} {kind.value}" for kind in (BackendKind.H1, BackendKind.H2)}
    if not results.stalled and not any(
        (row, proxy) in results.broken for row in rows.values() for proxy in run.proxies
    ):
        return
    yield f"## {STALLED}: memory of {STALLED_READERS} readers of 1 MiB that have stopped"
    yield ""
    yield "KiB are the growth of the process tree's RSS for each; kernel socket buffers are not in it."
    yield ""
    yield _row("proxy", "KiB, HTTP/1.1", "KiB, HTTP/2")
    yield "|---|---:|---:|"
    for proxy in run.proxies:
        cells = (
            _stalled_cell(results.stalled[kind, proxy], (row, proxy) in results.broken) for kind, row in rows.items()
        )
        yield _row(proxy, *cells)
    for row in rows.values():
        yield from _reasons(row, run.proxies, results)
    yield ""


def _stalled_cell(samples: Sequence[float], is_broken: bool) -> str:
    return "BROKEN" if is_broken or not samples else f"{statistics.median(samples) / KIB:.0f}"


def _alone(run: Run, results: Results) -> Iterator[str]:
    reason = results.broken.get((NAME, NAME))
    if not results.sidecars and not reason:
        return
    yield f"## {NAME}: one alone, {run.idle_seconds:g} s after it was ready"
    yield ""
    yield "Directory source, admin interface and OTLP endpoint set, no traffic."
    yield ""
    yield _row("round", "ready after s", "CPU s until then", "RSS MiB", "PSS MiB")
    yield "|---|---:|---:|---:|---:|"
    for number, sample in enumerate(results.sidecars, 1):
        start = (f"{sample.ready_seconds:.2f}", f"{sample.ready_cpu_seconds:.2f}")
        yield _row(str(number), *start, f"{sample.memory.rss / MIB:.1f}", f"{sample.memory.pss / MIB:.1f}")
    if reason:
        yield ""
        yield f"It is BROKEN: {' '.join(reason.split())[:400]}"
    yield ""


def _disturbed(run: Run, results: Results) -> list[str]:
    """Rows with a round in which others used the proxy's core, each with the worst share."""
    return [f"{name} {row.foreign:.0%}" for name, row in _rows(run, results) if row.foreign > FOREIGN]


def _rows(run: Run, results: Results) -> Iterator[tuple[str, LoadRow]]:
    for case in run.cases:
        for proxy in run.proxies:
            if row := results.load(case.name, proxy):
                yield f"{case.name}/{proxy}", row


def _noise(run: Run, results: Results) -> Iterator[str]:
    foreign = _disturbed(run, results)
    wide = [name for name, row in _rows(run, results) if row.spread[1] - row.spread[0] > NO_FINDING * row.cpu_us]
    yield "## Noise"
    yield ""
    yield f"Others used more than {FOREIGN:.0%} of the proxy's core in a round of: {', '.join(foreign) or 'no row'}."
    yield f"Rounds differ by more than {NO_FINDING:.0%} of their median in: {', '.join(wide) or 'no row'}."
    yield ""


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
