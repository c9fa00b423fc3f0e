"""Measure the control side on real Consul: `python -m benchmarks.consul --help`."""

import argparse
import os
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import prerequisites
from benchmarks.consul.cases import CASES
from benchmarks.consul.figures import FULL, QUICK, Row
from benchmarks.process import LOAD_CORE, PROXY_CORE, BenchError
from benchmarks.report import machine
from tests.real.consul_agent import VERSION as CONSUL

RESULTS = Path(__file__).parent.parent / "results"


def main() -> int:
    """Run the cases, write the table; 1 when a case is broken."""
    today = datetime.now(UTC).date().isoformat()
    names = [case.__name__ for case in CASES]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.consul", description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=names, default=names, metavar="CASE", help=", ".join(names))
    parser.add_argument("--quick", action="store_true", help="small numbers, to see whether everything works")
    parser.add_argument("--note", default="", help="a sentence for the head of the table")
    parser.add_argument("--output", type=Path, default=RESULTS / f"{today}-consul.md", help="default: %(default)s")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CORE})
    began = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    rows: list[Row] = []
    broken = False
    for case in CASES:
        if case.__name__ in arguments.cases:
            with tempfile.TemporaryDirectory(prefix="sidecar-bench-") as folder:
                started = time.monotonic()
                try:
                    for row in case(Path(folder), QUICK if arguments.quick else FULL):
                        rows.append(row)
                        print(f"{row.figure}: {row.measured} ({row.note})", file=sys.stderr, flush=True)
                except (BenchError, AssertionError, OSError) as error:
                    broken = True
                    rows.append(Row(f"{case.__name__} is BROKEN", "", " ".join(str(error).split())[:400]))
                    print(f"BROKEN: {error}", file=sys.stderr)
                print(f"{case.__name__}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    text = render(began, rows, arguments.note)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(text)
    print(text)
    return 1 if broken else 0


def render(began: str, rows: list[Row], note: str) -> str:
    """The whole file."""
    versions = prerequisites.versions()
    load = os.getloadavg()
    lines = [
        f"# Control side on Consul, {began}",
        "",
        f"Machine: {machine()}. Load at the end: {load[0]:.1f} in the last minute, {load[2]:.1f} in the last fifteen.",
        f"Versions: {', '.join(f'{name} {versions[name]}' for name in ('sidecar', 'envoy', 'Python'))}, {CONSUL}.",
        f"The sidecar has core {PROXY_CORE}; Consul, the applications and the callers share core {LOAD_CORE}.",
        "How to read this: [README](../README.md).",
        *(["", f"**{note}**"] if note else []),
        "",
        "| figure | budget | measured | |",
        "|---|---|---:|---|",
        *(f"| {row.figure} | {row.budget} | {row.measured} | {row.note} |" for row in rows),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
