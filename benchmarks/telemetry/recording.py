"""What a span and a line cost: CPU of the whole process per gRPC call, with and without them, beside Envoy and HAProxy.

Ours makes two spans a call, a server's and a client's. Envoy's tracer stands there twice: as it comes, with one span a
call and an export for every five; and with the same two spans in batches of the size of ours. A log line is one JSON
object in a file. What is still on its way when the load ends is waited for, and its CPU counts.
"""

import shutil
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load
from benchmarks.backends import Backend, BackendKind, backends
from benchmarks.cases import GRPC
from benchmarks.client import prove
from benchmarks.measure import WARM_UP, proxied
from benchmarks.otlp_sink import Sink, otlp_sink
from benchmarks.peers import (
    ACCESS_LOG,
    ENVOY,
    HAPROXY,
    LOGGING_ENVOY,
    LOGGING_HAPROXY,
    EnvoyTracing,
    Proxy,
    tracing_envoy,
)
from benchmarks.process import PROXY_CORE, BenchError, core_busy_nanoseconds, cpu_nanoseconds
from benchmarks.sidecar import gateway
from benchmarks.telemetry.figures import Scale, interleaved, spread, table

BATCH = 512
# A collector that shares its core with the load is slow now and then: with room, nothing is saved by dropping.
ROOM = {"OTEL_BSP_MAX_QUEUE_SIZE": "262144", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": str(BATCH)}
# Nothing new for longer than any of them holds back: ours and Envoy a batch of spans for 5 s, Envoy lines for 10 s.
QUIET_SECONDS = {"spans": 7.0, "lines": 12.0}


@dataclass(frozen=True)
class Recorder:
    """A proxy, the share of calls that it traces with how many spans, and the file of its lines if it logs."""

    name: str
    proxy: Proxy
    share: float = 0.0
    spans: int = 0
    lines: str = ""

    def made(self, calls: int) -> float:
        """What is to come of so many calls."""
        return calls if self.lines else calls * self.share * self.spans


@dataclass(frozen=True)
class Sample:
    """One round: µs of CPU per call, calls a second, share of what was made that came, foreign share of the core."""

    cpu_us: float
    per_second: float
    arrived: float
    foreign: float


def recorders(sink: Sink) -> Sequence[Recorder]:
    """Those that are compared stand side by side, so that they are measured soon after each other."""
    return (
        *(
            Recorder(f"sidecar, {share:.0%} of calls", gateway(sink.endpoint, f"{share:.0%}", ROOM), share, 2)
            for share in (1.0, 0.01, 0.0)
        ),
        Recorder("sidecar, logging", gateway(sink.endpoint, "0%", ROOM, is_logging=True), lines=ACCESS_LOG),
        Recorder("haproxy", HAPROXY),
        Recorder("haproxy, logging", LOGGING_HAPROXY, lines=f"{LOGGING_HAPROXY.name}.log"),
        Recorder("envoy, logging", LOGGING_ENVOY, lines=ACCESS_LOG),
        Recorder("envoy", ENVOY),
        Recorder("envoy, all, as it comes", tracing_envoy("envoy-all", EnvoyTracing(sink.port, False, 5)), 1.0, 1),
        Recorder("envoy, all, as ours", tracing_envoy("envoy-whole", EnvoyTracing(sink.port, True, BATCH)), 1.0, 2),
    )


def measure(recorder: Recorder, backend: Backend, sink: Sink, folder: Path, scale: float) -> Sample:
    """One round of one proxy."""
    came = _came(recorder, sink, folder)
    with proxied(recorder.proxy, backend, folder) as (port, pid):
        prove(GRPC, port)
        warm = load.run(GRPC, port, folder, WARM_UP * scale)
        _settled(recorder, came, recorder.made(1 + warm.requests), pid)
        before, begun = came(), time.monotonic_ns()
        cpu, busy = cpu_nanoseconds(pid), core_busy_nanoseconds(PROXY_CORE)
        outcome = load.run(GRPC, port, folder, scale)
        foreign = core_busy_nanoseconds(PROXY_CORE) - busy - (cpu_nanoseconds(pid) - cpu)
        elapsed = time.monotonic_ns() - begun
        made = recorder.made(outcome.requests)
        cpu = _settled(recorder, came, before + made, pid) - cpu
        arrived = (came() - before) / made if made else 0.0
    if outcome.good != outcome.requests:
        bad = outcome.requests - outcome.good
        raise BenchError(f"{recorder.name}: {bad} of {outcome.requests} answers were not good")
    return Sample(
        cpu / 1000 / outcome.requests, outcome.requests / outcome.seconds, arrived, max(0.0, foreign / elapsed)
    )


def _came(recorder: Recorder, sink: Sink, folder: Path) -> Callable[[], int]:
    """Counts what has come of it so far, since it was started."""
    if recorder.lines:
        return lambda: _lines(folder / recorder.lines)
    others = sink.spans
    return lambda: sink.spans - others


def _lines(file: Path) -> int:
    """Of JSON: what else a proxy has to say stands in the same file as HAProxy's."""
    if not file.exists():
        return 0
    with file.open("rb") as lines:
        return sum(line.startswith(b"{") and line.endswith(b"}\n") for line in lines)


def _settled(recorder: Recorder, came: Callable[[], int], expected: float, pid: int) -> int:
    """Wait until all has come, or nothing comes any more; returns the proxy's CPU time when the last came, in ns."""
    quiet = QUIET_SECONDS["lines" if recorder.lines else "spans"]
    is_exact = recorder.lines or recorder.share == 1
    count, since, cpu = came(), time.monotonic(), cpu_nanoseconds(pid)
    while expected and time.monotonic() - since < quiet and not (is_exact and count >= expected):
        time.sleep(0.25)
        if (now := came()) != count:
            count, since, cpu = now, time.monotonic(), cpu_nanoseconds(pid)
    return cpu


def recording(folder: Path, scale: Scale) -> Iterator[str]:
    """The two tables."""
    samples: Mapping[str, list[Sample]] = defaultdict(list)
    with otlp_sink() as sink, backends(folder, {BackendKind.GRPC}) as running:
        for number, recorder in interleaved(scale.rounds, recorders(sink)):
            place = folder / f"{number}-{recorder.proxy.name}"
            place.mkdir(exist_ok=True)
            sample = measure(recorder, running[BackendKind.GRPC], sink, place, scale.calls)
            samples[recorder.name].append(sample)
            shutil.rmtree(place)
            scale.say(f"round {number + 1}, {recorder.name}: {sample.cpu_us:.1f} µs a call, {sample.arrived:.1%} came")
    yield from _spans(samples)
    yield from _log(samples)


def _spans(samples: Mapping[str, Sequence[Sample]]) -> Iterator[str]:
    yield "## Spans"
    yield ""
    base = statistics.median(sample.cpu_us for sample in samples["envoy, all, as ours"])
    rows = []
    for name in ("sidecar, 0% of calls", "sidecar, 1% of calls", "sidecar, 100% of calls"):
        rows.append(_row(name, samples[name], base))
    for name in ("envoy", "envoy, all, as it comes", "envoy, all, as ours"):
        rows.append(_row(name, samples[name], base))
    yield from table(
        ("traced", "CPU µs/call", "÷ envoy, all, as ours", "calls/s", "spans that came", "others on the core"), rows
    )


def _row(name: str, samples: Sequence[Sample], base: float) -> tuple[str, ...]:
    cpu = [sample.cpu_us for sample in samples]
    arrived = statistics.mean(sample.arrived for sample in samples)
    return (
        name,
        spread(cpu),
        f"{statistics.median(cpu) / base:.2f}",
        f"{statistics.median(sample.per_second for sample in samples):.0f}",
        f"{arrived:.1%}" if arrived else "",
        f"{max(sample.foreign for sample in samples):.0%}",
    )


def _log(samples: Mapping[str, Sequence[Sample]]) -> Iterator[str]:
    """CPU per line is the difference of the two in one round."""
    yield "## Access log"
    yield ""
    lines = {}
    for name, silent in (("sidecar", "sidecar, 0% of calls"), ("haproxy", "haproxy"), ("envoy", "envoy")):
        pairs = zip(samples[f"{name}, logging"], samples[silent], strict=True)
        lines[name] = [logging.cpu_us - without.cpu_us for logging, without in pairs]
    ours = statistics.median(lines["sidecar"])
    rows = []
    for name, silent in (("sidecar", "sidecar, 0% of calls"), ("haproxy", "haproxy"), ("envoy", "envoy")):
        logging = samples[f"{name}, logging"]
        rows.append(
            (
                name,
                spread([sample.cpu_us for sample in samples[silent]]),
                spread([sample.cpu_us for sample in logging]),
                spread(lines[name]),
                "" if name == "sidecar" else f"{ours / statistics.median(lines[name]):.2f}",
                f"{min(sample.arrived for sample in logging):.1%}",
            )
        )
    yield from table(
        ("proxy", "CPU µs/call, silent", "CPU µs/call, logging", "CPU µs/line", "sidecar ÷ it", "lines that came"), rows
    )
