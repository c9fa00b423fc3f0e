"""How much is measured, and what a figure looks like."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.process import Memory

MIB = 2**20


@dataclass(frozen=True)
class Row:
    """One line of the result: a figure, what it may be, what it was, and how it was come by."""

    figure: str
    budget: str
    measured: str
    note: str = ""


@dataclass(frozen=True)
class Scale:
    """How much is done; QUICK is for a look whether all of it works."""

    rounds: int
    services: int
    documents: int
    watched: int
    instances: int
    idle_seconds: float


FULL = Scale(rounds=50, services=1000, documents=1000, watched=500, instances=20, idle_seconds=60)
QUICK = Scale(rounds=5, services=40, documents=40, watched=40, instances=5, idle_seconds=3)


def times(seconds: Sequence[float]) -> str:
    """p50, p99 and maximum in milliseconds; of a single time the time."""
    ordered = sorted(seconds)
    if len(ordered) == 1:
        return _milliseconds(ordered[0])
    p99 = ordered[round(0.99 * (len(ordered) - 1))]
    median = statistics.median(ordered)
    return f"p50 {_milliseconds(median)}, p99 {_milliseconds(p99)}, max {_milliseconds(ordered[-1])}"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"


def mebibytes(used: Memory) -> str:
    """RSS and PSS."""
    return f"RSS {used.rss / MIB:.1f}, PSS {used.pss / MIB:.1f} MiB"
