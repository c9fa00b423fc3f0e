"""Measure what it costs to observe: `python -m benchmarks.telemetry --help`."""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import prerequisites
from benchmarks.process import LOAD_CORE, PROXY_CORE, BenchError
from benchmarks.report import machine
from benchmarks.telemetry.collectors import collectors
from benchmarks.telemetry.figures import Scale
from benchmarks.telemetry.recording import recording
from benchmarks.telemetry.scrape import scrape

RESULTS = Path(__file__).parent.parent / "results"
Case = Callable[[Path, Scale], Iterator[str]]
CASES: dict[str, Case] = {"recording": recording, "collectors": collectors, "scrape": scrape}


def main() -> int:
    """Run the cases, write the tables; 1 when a case is broken."""
    today = datetime.now(UTC).date().isoformat()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.telemetry", description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=[*CASES], metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: %(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of each round's calls (default: %(default)s)")
    parser.add_argument("--services", type=int, default=1000, help="of the mesh that is scraped (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS / f"{today}-telemetry.md", help="default: %(default)s")
    parser.add_argument("--note", default="", help="a sentence for the head of the file")
    arguments = parser.parse_args()
    began = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    scale = Scale(arguments.rounds, arguments.scale, arguments.services)
    tables: list[str] = []
    broken = False
    try:
        prerequisites.check()
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    # As in the bench: nothing of ours touches the proxy's core.
    os.sched_setaffinity(0, {LOAD_CORE})
    for name in arguments.cases:
        with tempfile.TemporaryDirectory(prefix="sidecar-bench-") as folder:
            try:
                tables.extend(CASES[name](Path(folder), scale))
            except (BenchError, AssertionError, OSError) as error:
                broken = True
                tables += [f"## {name} is BROKEN", "", " ".join(str(error).split())[:400], ""]
                print(f"BROKEN: {error}", file=sys.stderr)
    text = "\n".join((*_head(began, scale, arguments.note), *tables))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(text)
    print(text)
    return 1 if broken else 0


def _head(began: str, scale: Scale, note: str) -> Sequence[str]:
    versions = prerequisites.versions()
    recent, _, long = os.getloadavg()
    return (
        f"# What it costs to observe, {began}",
        "",
        f"Machine: {machine()}. Load at the end: {recent:.1f} in the last minute, {long:.1f} in the last fifteen.",
        f"Versions: {', '.join(f'{name} {versions[name]}' for name in ('sidecar', 'envoy', 'haproxy', 'Python'))}.",
        f"The proxy has core {PROXY_CORE} and one worker; load, backend and collector share core {LOAD_CORE}. "
        f"Rounds: {scale.rounds}, interleaved; scale {scale.calls:g}. A cell is the median, in parentheses the "
        "smallest and the largest round. How to read this: [README](../README.md).",
        *(["", f"**{note}**"] if note else []),
        "",
    )


if __name__ == "__main__":
    sys.exit(main())
