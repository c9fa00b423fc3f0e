"""The load generators, and what they say about the answers they got."""

import re
import statistics
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import Case
from benchmarks.prerequisites import find
from benchmarks.process import LOAD_CORE, BenchError

# Over ten times the slowest round seen (envoy, 80 000 calls in 8 s), so what is still running then hangs.
LOAD_SECONDS = 180.0


@dataclass(frozen=True)
class Outcome:
    """One run of a load generator. Latencies are closed-loop: at full load they are queueing, not a service time."""

    requests: int
    good: int
    seconds: float
    p50_us: float
    p99_us: float


def run(case: Case, port: int, folder: Path, share: float) -> Outcome:
    """Load a proxy with `share` of the case's requests or seconds."""
    if case.requests:
        return _h2load(case, port, folder, max(case.connections, round(case.requests * share)))
    return _wrk(case, port, max(1, round(case.seconds * share)))


def _h2load(case: Case, port: int, folder: Path, requests: int) -> Outcome:
    log = folder / "h2load.log"
    log.unlink(missing_ok=True)
    command = ["h2load", f"--requests={requests}", f"--clients={case.connections}", f"--log-file={log}"]
    command += [f"--max-concurrent-streams={case.streams}"]
    if case.rate:
        command.append(f"--rps={case.rate / case.connections}")
    command += [f"--header={name}: {value}" for name, value in case.headers.items()]
    if case.body is not None:
        body = folder / "request-body"
        body.write_bytes(case.body)
        command.append(f"--data={body}")
    output = _output([*command, f"http://127.0.0.1:{port}{case.path}"])

    total, succeeded = _numbers(output, r"requests: (\d+) total, .* (\d+) succeeded")
    (good,) = _numbers(output, r"status codes: (\d+) 2xx")
    (data,) = _numbers(output, r"traffic: .*headers.*, \S+ \((\d+)\) data")
    good = min(good, succeeded)
    if good == total and data != total * case.answer_bytes:
        raise BenchError(f"{case.name}: bodies held {data} bytes in all, expected {total} x {case.answer_bytes}")
    # A line per answer: start in µs since 1970, status, duration in µs.
    durations = [int(line.split("\t")[2]) for line in log.read_text().splitlines()]
    p50, p99 = _percentiles(durations)
    return Outcome(total, good, _seconds(_found(output, r"finished in (\S+),")), p50, p99)


def _wrk(case: Case, port: int, seconds: int) -> Outcome:
    command = ["wrk", "--threads=1", f"--connections={case.connections}", f"--duration={seconds}s", "--latency"]
    output = _output([*command, f"http://127.0.0.1:{port}{case.path}"])
    (total,) = _numbers(output, r"(\d+) requests in")
    bad = sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", output)))
    for errors in re.findall(r"Socket errors: (.*)", output):
        bad += sum(map(int, re.findall(r"\d+", errors)))
    p50, p99 = (_seconds(_found(output, rf"(?m)^ *{share}%\s+(\S+)")) * 1e6 for share in (50, 99))
    return Outcome(total, total - bad, _seconds(_found(output, r"requests in (\S+),")), p50, p99)


def _output(command: list[str]) -> str:
    path = find(command[0]) or command[0]
    pinned = ["taskset", "--cpu-list", str(LOAD_CORE), path, *command[1:]]
    try:
        ended = subprocess.run(pinned, capture_output=True, text=True, timeout=LOAD_SECONDS)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{command[0]} had no end after {LOAD_SECONDS:.0f} s; the proxy hangs") from None
    if ended.returncode:
        raise BenchError(f"{command[0]} ended with status {ended.returncode}: {ended.stderr[-500:]}")
    return ended.stdout


def _found(output: str, pattern: str) -> str:
    match = re.search(pattern, output)
    if match is None:
        raise BenchError(f"the load generator's output lacks {pattern!r}:\n{output[-1000:]}")
    return match.group(1)


def _numbers(output: str, pattern: str) -> tuple[int, ...]:
    match = re.search(pattern, output)
    if match is None:
        raise BenchError(f"the load generator's output lacks {pattern!r}:\n{output[-1000:]}")
    return tuple(map(int, match.groups()))


def _seconds(text: str) -> float:
    """Seconds of "435.62ms", "1.2s", "675.00us", "1.00m"."""
    match = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text)
    if match is None:
        raise BenchError(f"the load generator gave a duration as {text!r}, expected a number with us, ms, s or m")
    return float(match.group(1)) * {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}[match.group(2)]


def _percentiles(durations: list[int]) -> tuple[float, float]:
    if len(durations) < 2:
        raise BenchError("h2load logged fewer than two answers, so there are no percentiles")
    hundredths = statistics.quantiles(durations, n=100)
    return hundredths[49], hundredths[98]
