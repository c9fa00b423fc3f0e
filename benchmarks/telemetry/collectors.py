"""What a collector that fails costs: CPU per call and memory beside one that does not, and what becomes of the spans.

Every call is traced, at a rate of which a collector that works gets every span. Queue and batches are those that a
sidecar comes with; only its times are shorter, so that it tries and gives up more often in a round than in a day.
"""

import re
import shutil
import statistics
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from benchmarks import load
from benchmarks.backends import Backend, BackendKind, backends
from benchmarks.cases import GRPC
from benchmarks.client import prove
from benchmarks.measure import WARM_UP, proxied
from benchmarks.otlp_sink import Fault, Sink, otlp_sink
from benchmarks.process import BenchError, cpu_nanoseconds
from benchmarks.sidecar import admin, gateway
from benchmarks.telemetry.figures import Scale, interleaved, spread, table

# 8000 spans a second, what the queue of a sidecar carries out of silence.
CALLS = replace(GRPC, requests=40_000, rate=4000)
TIMES = {"OTEL_BSP_SCHEDULE_DELAY": "1000", "OTEL_BSP_EXPORT_TIMEOUT": "2000", "OTEL_EXPORTER_OTLP_TIMEOUT": "1000"}
SPANS_OF_A_CALL = 2
# A batch waits for its last try, and the next one for the delay: three times what they may take.
SETTLE_SECONDS = 15.0
MIB = 2**20
MOST_CPU, MOST_GROWTH = 1.2, 16 * MIB
CONTROL = "none"


@dataclass(frozen=True)
class Counts:
    """Of spans, as the sidecar counts them: each once."""

    sent: int
    lost: int
    dropped: int

    @property
    def total(self) -> int:
        return self.sent + self.lost + self.dropped

    def since(self, before: "Counts") -> "Counts":
        """What was added."""
        return Counts(self.sent - before.sent, self.lost - before.lost, self.dropped - before.dropped)


@dataclass(frozen=True)
class Sample:
    """One round: µs of CPU per call, growth of resident memory at its highest, in bytes; what the spans became."""

    cpu_us: float
    growth: int
    counts: Counts
    made: int
    arrived: int
    asked: int
    recovered_seconds: float


def measure(fault: Fault | None, backend: Backend, folder: Path, scale: float) -> Sample:
    """One round: a collector that works, then fails while the load lasts, then works again."""
    with otlp_sink() as sink, proxied(gateway(sink.endpoint, "100%", TIMES), backend, folder) as (port, pid):
        asked = admin(folder)
        prove(CALLS, port)
        warm = load.run(CALLS, port, folder, WARM_UP * scale)
        # Those of its start are among them, so that there may be more.
        _wait(asked, (1 + warm.requests) * SPANS_OF_A_CALL)
        before, came, exports = _rest(asked), sink.spans, sink.asked
        resident = _begin_peak(pid)
        with sink.failing(fault) if fault else nullcontext():
            cpu = cpu_nanoseconds(pid)
            outcome = load.run(CALLS, port, folder, scale)
            cpu = cpu_nanoseconds(pid) - cpu
            if fault:
                _until_lost(asked, before)
        growth = _resident(pid, "VmHWM") - resident
        exports = sink.asked - exports
        recovered, calls = _recovered(asked, sink, port)
        made = (outcome.requests + calls) * SPANS_OF_A_CALL
        _wait(asked, before.total + made)
        counts, arrived = _rest(asked).since(before), sink.spans - came
    if outcome.good != outcome.requests:
        raise BenchError(f"{fault}: {outcome.requests - outcome.good} of {outcome.requests} answers were not good")
    return Sample(cpu / 1000 / outcome.requests, growth, counts, made, arrived, exports, recovered)


def _counts(asked: str) -> Counts:
    with urllib.request.urlopen(f"http://{asked}/metrics", timeout=10) as reply:
        text = reply.read().decode()
    outcomes = dict(re.findall(r'sidecar_exported_spans_total\{outcome="(\w+)"\} (\d+)', text))
    (dropped,) = re.findall(r'sidecar_dropped_total\{buffer="spans"\} (\d+)', text)
    return Counts(int(outcomes["sent"]), int(outcomes["lost"]), int(dropped))


def _wait(asked: str, total: int) -> None:
    deadline = time.monotonic() + SETTLE_SECONDS
    while _counts(asked).total < total and time.monotonic() < deadline:
        time.sleep(0.1)


def _rest(asked: str) -> Counts:
    """The counts when they have stopped growing: one more delay and nothing has come."""
    counts = _counts(asked)
    while True:
        time.sleep(2.5)
        if (now := _counts(asked)) == counts:
            return counts
        counts = now


def _until_lost(asked: str, before: Counts) -> None:
    deadline = time.monotonic() + SETTLE_SECONDS
    while _counts(asked).lost == before.lost:
        if time.monotonic() > deadline:
            raise BenchError("no batch was given up although the collector fails")
        time.sleep(0.1)


def _recovered(asked: str, sink: Sink, port: int) -> tuple[float, int]:
    """Seconds from the end of the fault to spans that come, and the calls made meanwhile."""
    began, came, calls = time.monotonic(), sink.spans, 0
    while sink.spans == came:
        if time.monotonic() - began > SETTLE_SECONDS:
            raise BenchError(f"no spans come although the collector works again; counted: {_counts(asked)}")
        prove(CALLS, port)
        calls += 1
        time.sleep(0.05)
    return time.monotonic() - began, calls


def _begin_peak(pid: int) -> int:
    """Resident bytes now; the peak counts from here (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return _resident(pid, "VmRSS")


def _resident(pid: int, which: str) -> int:
    (kilobytes,) = re.findall(rf"{which}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(kilobytes) * 1024


def collectors(folder: Path, scale: Scale) -> Iterator[str]:
    """The table."""
    faults: Sequence[Fault | None] = (None, *get_args(Fault))
    samples: Mapping[str, list[Sample]] = defaultdict(list)
    with backends(folder, {BackendKind.GRPC}) as running:
        for number, fault in interleaved(scale.rounds, faults):
            place = folder / f"{number}-{fault}"
            place.mkdir()
            sample = measure(fault, running[BackendKind.GRPC], place, scale.calls)
            samples[fault or CONTROL].append(sample)
            shutil.rmtree(place)
            scale.say(f"round {number + 1}, collector {fault}: {sample}")
    yield "## A collector that fails"
    yield ""
    control = statistics.median(sample.cpu_us for sample in samples[CONTROL])
    yield from table(
        (
            "fault",
            "CPU µs/call",
            f"÷ none (≤ {MOST_CPU:g})",
            f"RSS growth MiB (≤ {MOST_GROWTH // MIB})",
            "spans made",
            "sent + lost + dropped",
            "difference",
            "arrived",
            "exports it saw",
            "spans came again after",
        ),
        [_row(name, rows, control) for name, rows in samples.items()],
    )


def _row(name: str, samples: Sequence[Sample], control: float) -> tuple[str, ...]:
    """Counts are of all rounds."""
    cpu = [sample.cpu_us for sample in samples]
    sent, lost, dropped = (
        sum(each) for each in zip(*((s.counts.sent, s.counts.lost, s.counts.dropped) for s in samples), strict=True)
    )
    made = sum(sample.made for sample in samples)
    return (
        name,
        spread(cpu),
        f"{statistics.median(cpu) / control:.2f}",
        spread([sample.growth / MIB for sample in samples]),
        f"{made}",
        f"{sent} + {lost} + {dropped}",
        f"{sent + lost + dropped - made}",
        f"{sum(sample.arrived for sample in samples)}",
        f"{sum(sample.asked for sample in samples)}",
        "" if name == CONTROL else f"{max(sample.recovered_seconds for sample in samples):.1f} s",
    )
