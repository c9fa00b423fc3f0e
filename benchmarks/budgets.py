"""What we promise ourselves, and whether a run kept it."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from benchmarks.peers import ENVOY, HAPROXY, NGHTTPX
from benchmarks.results import KIB, MIB, NO_FINDING, LoadRow, Results
from benchmarks.sidecar import NAME


@dataclass(frozen=True)
class Measured:
    """A figure and the most it may be, with how to print both."""

    value: float
    limit: float
    unit: str

    @property
    def verdict(self) -> str:
        """ "met" or "not met"; a margin that the spread of a quiet machine could make up is said to be one."""
        verdict = "met" if self.value <= self.limit else "not met"
        return verdict if abs(self.value / self.limit - 1) >= NO_FINDING else f"{verdict}, margin under 20 %"


@dataclass(frozen=True)
class Budget:
    """One line of the table. `measure` gives None where this run has no figure for it, or is absent: no case does."""

    figure: str
    limit: str
    measure: Callable[[Results], Measured | None] | None = None
    # An aim is stated beside a budget and does not fail a run.
    aim: bool = False


def _cost(row: LoadRow) -> float:
    return row.cpu_us


def _p50(row: LoadRow) -> float:
    return row.p50_us


def _ratio(
    case: str, peer: str, limit: float, of: Callable[[LoadRow], float] = _cost
) -> Callable[[Results], Measured | None]:
    def measure(results: Results) -> Measured | None:
        ours, theirs = results.load(case, NAME), results.load(case, peer)
        return Measured(of(ours) / of(theirs), limit, "x") if ours and theirs else None

    return measure


def _idle_connection(limit: float) -> Callable[[Results], Measured | None]:
    def measure(results: Results) -> Measured | None:
        row = results.idle(NAME)
        return Measured(max(row.silent, row.used) / KIB, limit, " KiB") if row else None

    return measure


def _idle_rss(results: Results) -> Measured | None:
    return Measured(median(s.memory.rss for s in results.sidecars) / MIB, 64, " MiB") if results.sidecars else None


def _idle_pss(results: Results) -> Measured | None:
    return Measured(median(s.memory.pss for s in results.sidecars) / MIB, 64, " MiB") if results.sidecars else None


def _ready(results: Results) -> Measured | None:
    return Measured(median(s.ready_seconds for s in results.sidecars), 1.0, " s") if results.sidecars else None


BUDGETS = (
    Budget("CPU per gRPC call, 1 % traced", "≤ 0.6 x HAProxy", _ratio("grpc", HAPROXY.name, 0.6)),
    Budget("CPU per gRPC call, 1 % traced", "≤ 0.4 x Envoy", _ratio("grpc", ENVOY.name, 0.4)),
    Budget("CPU per gRPC call, 1 % traced", "≤ 1.3 x nghttpx", _ratio("grpc", NGHTTPX.name, 1.3), aim=True),
    Budget("CPU per gRPC call, all spans exported", "≤ 0.35 x Envoy with OTLP tracing"),
    Budget("CPU per gRPC call, mTLS on both sides", "≤ 0.6 x Envoy with the same"),
    Budget("CPU per 1 KiB GET", "≤ 0.7 x HAProxy", _ratio("get", HAPROXY.name, 0.7)),
    Budget("CPU per 1 MiB body", "≤ 1.0 x Envoy", _ratio("large", ENVOY.name, 1.0)),
    Budget("one call at a time, p50", "≤ 1.0 x HAProxy", _ratio("latency", HAPROXY.name, 1.0, _p50)),
    Budget("one call at a time, CPU", "≤ 1.0 x HAProxy", _ratio("latency", HAPROXY.name, 1.0)),
    Budget("HTTP/1.1, 64 connections, CPU", "≤ 1.2 x HAProxy", _ratio("h1", HAPROXY.name, 1.2)),
    Budget("HTTP/1.1, 64 connections, CPU", "≤ 0.6 x Envoy", _ratio("h1", ENVOY.name, 0.6)),
    Budget("1000 connections, CPU per call", "≤ 1.0 x HAProxy", _ratio("conns", HAPROXY.name, 1.0)),
    Budget("memory per idle connection, cleartext", "≤ 40 KiB", _idle_connection(40)),
    Budget("memory per idle connection, cleartext", "≤ 20 KiB", _idle_connection(20), aim=True),
    Budget("memory per idle connection, TLS", "≤ 50 KiB"),
    Budget("idle sidecar, RSS (directory source)", "≤ 64 MiB", _idle_rss),
    Budget("idle sidecar, PSS (directory source)", "≤ 64 MiB", _idle_pss),
    Budget("start to `/ready` (directory source)", "≤ 1 s", _ready),
)
