"""What a scrape costs in a mesh of many services: its time, its size, its CPU and its memory, beside Envoy.

A sidecar that calls every service once has the series of a thousand clusters and as many endpoints. Envoy has the same
as static configuration and is called alike.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from benchmarks.consul.envoy import envoy_with
from benchmarks.consul.site import on_core
from benchmarks.process import PROXY_CORE, Memory, cpu_nanoseconds, free_port, memory
from benchmarks.telemetry.figures import Scale, spread, table
from tests.mesh import Mesh
from tests.peers import http1
from tests.peers.http1 import Http1
from tests.peers.message import Answer, Request, sized

TEXT = "text/plain"
OPENMETRICS = "application/openmetrics-text;version=1.0.0"
SCRAPES = 20
MIB = 2**20


@dataclass(frozen=True)
class Scraped:
    """One way of asking: milliseconds of each, CPU of each in ms, lines and bytes of the last; memory after all."""

    milliseconds: Sequence[float]
    cpu_ms: float
    lines: int
    size: int
    before: Memory
    after: Memory


def scrape(folder: Path, scale: Scale) -> Iterator[str]:
    """The table."""
    names = [f"service-{number}" for number in range(scale.services)]
    with http1.server(lambda request: Answer(200, sized(b"ok"), b"ok")) as app:
        rows = [*_ours(folder / "mesh", names, app.port), *_envoy(folder, names, app.port)]
    yield f"## A scrape of {scale.services} clusters"
    yield ""
    head = ("asked", "ms (≤ 100)", "CPU ms", "lines", "KiB", "RSS MiB before", "RSS MiB after")
    yield from table(head, [_row(name, scraped) for name, scraped in rows])


def _ours(folder: Path, names: Sequence[str], port: int) -> Iterator[tuple[str, Scraped]]:
    with Mesh(folder) as mesh:
        for name in names:
            mesh.document(f"services/{name}", tls="disabled", endpoints=[{"address": f"127.0.0.1:{port}"}])
        with on_core(PROXY_CORE):
            web = mesh.sidecar("web", 1)
        _call_each(web.outbound, names)
        for form, accept in (("text", TEXT), ("OpenMetrics", OPENMETRICS)):
            yield f"sidecar, {form}", _scraped(web.admin, "/metrics", accept, web.process.pid)


def _envoy(folder: Path, names: Sequence[str], port: int) -> Iterator[tuple[str, Scraped]]:
    admin = free_port()
    with envoy_with(folder, {name: [("127.0.0.1", port)] for name in names}, admin) as (pid, edge):
        _call_each(edge, names)
        yield "envoy, text", _scraped(f"127.0.0.1:{admin}", "/stats/prometheus", TEXT, pid)
        yield "envoy, text, used only", _scraped(f"127.0.0.1:{admin}", "/stats/prometheus?usedonly", TEXT, pid)


def _call_each(address: str, names: Sequence[str]) -> None:
    with Http1.connect(address) as client:
        for name in names:
            answer = client.ask(Request(host=name))
            assert answer.status == 200, f"{name}: {answer}"


def _scraped(address: str, path: str, accept: str, pid: int) -> Scraped:
    before, cpu, took, body = memory(pid), cpu_nanoseconds(pid), [], b""
    for _ in range(SCRAPES):
        with closing(HTTPConnection(address, timeout=30)) as connection:
            began = time.perf_counter()
            connection.request("GET", path, headers={"accept": accept})
            answer = connection.getresponse()
            body = answer.read()
            took.append((time.perf_counter() - began) * 1000)
        assert answer.status == 200, f"{path}: {answer.status}"
    return Scraped(
        took, (cpu_nanoseconds(pid) - cpu) / 1e6 / SCRAPES, body.count(b"\n"), len(body), before, memory(pid)
    )


def _row(name: str, scraped: Scraped) -> tuple[str, ...]:
    return (
        name,
        spread(scraped.milliseconds),
        f"{scraped.cpu_ms:.1f}",
        f"{scraped.lines}",
        f"{scraped.size / 1024:.0f}",
        f"{scraped.before.rss / MIB:.1f}",
        f"{scraped.after.rss / MIB:.1f}",
    )
