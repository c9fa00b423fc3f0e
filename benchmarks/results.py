"""All samples of a run, and the medians drawn from them."""

import statistics
from collections import defaultdict
from dataclasses import dataclass, field

from benchmarks.backends import BackendKind
from benchmarks.cases import IDLE_CONNECTIONS
from benchmarks.measure import IdleSample, LoadSample
from benchmarks.sidecar import SidecarSample

# Rounds of one proxy spread this far on a quiet machine, so a smaller difference between two proxies says nothing.
NO_FINDING = 0.20

KIB = 1024
MIB = 1024 * 1024


@dataclass(frozen=True)
class LoadRow:
    """Medians of a proxy in a case; `spread` is the smallest and largest CPU µs per request of its rounds."""

    cpu_us: float
    spread: tuple[float, float]
    per_second: float
    p50_us: float
    p99_us: float
    rss: float
    pss: float
    good: int
    requests: int
    foreign: float


@dataclass(frozen=True)
class IdleRow:
    """Medians of a proxy's memory in bytes: with no connection, and for each connection beyond that."""

    rss: float
    pss: float
    silent: float
    used: float
    spread: tuple[float, float]
    good: int
    requests: int


@dataclass
class Results:
    """Samples by (case, proxy), and why a row is broken."""

    loads: dict[tuple[str, str], list[LoadSample]] = field(default_factory=lambda: defaultdict(list))
    idles: dict[str, list[IdleSample]] = field(default_factory=lambda: defaultdict(list))
    # Bytes for each stalled reader.
    stalled: dict[tuple[BackendKind, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    sidecars: list[SidecarSample] = field(default_factory=list)
    broken: dict[tuple[str, str], str] = field(default_factory=dict)

    def load(self, case: str, proxy: str) -> LoadRow | None:
        """Medians of a row; None when it is broken or was not run."""
        samples = self.loads.get((case, proxy))
        if not samples or (case, proxy) in self.broken:
            return None
        costs = [sample.cpu_us for sample in samples]
        return LoadRow(
            cpu_us=statistics.median(costs),
            spread=(min(costs), max(costs)),
            per_second=statistics.median(sample.outcome.requests / sample.outcome.seconds for sample in samples),
            p50_us=statistics.median(sample.outcome.p50_us for sample in samples),
            p99_us=statistics.median(sample.outcome.p99_us for sample in samples),
            rss=statistics.median(sample.memory.rss for sample in samples),
            pss=statistics.median(sample.memory.pss for sample in samples),
            good=sum(sample.outcome.good for sample in samples),
            requests=sum(sample.outcome.requests for sample in samples),
            foreign=max(sample.foreign for sample in samples),
        )

    def idle(self, proxy: str) -> IdleRow | None:
        """Medians of a proxy's idle memory; None when it is broken or was not run."""
        samples = self.idles.get(proxy)
        if not samples or ("idle", proxy) in self.broken:
            return None
        used = [(sample.used.rss - sample.empty.rss) / IDLE_CONNECTIONS for sample in samples]
        return IdleRow(
            rss=statistics.median(sample.empty.rss for sample in samples),
            pss=statistics.median(sample.empty.pss for sample in samples),
            silent=statistics.median((sample.silent.rss - sample.empty.rss) / IDLE_CONNECTIONS for sample in samples),
            used=statistics.median(used),
            spread=(min(used), max(used)),
            good=sum(sample.good for sample in samples),
            requests=IDLE_CONNECTIONS * len(samples),
        )
