"""Instructions of a request by the number of routes: `python -m benchmarks.routes --kinds template --counts 10 100000`.

The data plane alone, under callgrind: a snapshot of so many routes of one kind, and 1 KiB GETs of what the last
of them takes. Instructions are those of the worker's thread; a busy machine does not change them. Also printed: the
snapshot's bytes, and seconds and memory that it takes to apply, without valgrind.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.instructions import control, total
from benchmarks.prerequisites import find
from benchmarks.process import LOAD_CORE, PROXY_CORE, BenchError, free_port, listening, spawned, wait_until
from sidecar._dataplane import DataPlane
from sidecar.wire import control_pb2
from sidecar.wire import snapshot_pb2 as wire

KINDS = ("exact", "prefix", "template", "regex", "blind")
# Under valgrind a snapshot of 100 000 routes is read for a minute or two.
START_SECONDS = 400.0
WARM, COUNTED = 500, 2000


def main() -> int:
    """Count and print; 1 when something could not be counted."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.routes", description=__doc__)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS[:4]), metavar="KIND", help=str(KINDS))
    parser.add_argument("--counts", nargs="+", type=int, default=[10, 100_000], metavar="N", help="of routes")
    parser.add_argument("--serve", nargs=2, type=int, metavar=("PORT", "BACKEND"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        _serve(_snapshot(arguments.kinds[0], arguments.counts[0], arguments.serve[0]), arguments.serve[1])
        return 0
    try:
        for kind in arguments.kinds:
            for count in arguments.counts:
                print(
                    f"{kind:9} {count:7}  {_applied(kind, count)}  {_counted(kind, count):8.0f} instructions",
                    flush=True,
                )
    except BenchError as error:
        print(f"routes: {error}", file=sys.stderr)
        return 1
    return 0


def _path(number: int) -> str:
    return f"/api/service-{number}/items/7"


def _match(kind: str, number: int) -> wire.Match:
    if kind == "exact":
        return wire.Match(path=wire.PathMatch(exact=_path(number)))
    if kind == "prefix":
        return wire.Match(path=wire.PathMatch(prefix=f"/api/service-{number}"))
    if kind == "template":
        return wire.Match(path=wire.PathMatch(template=f"/api/service-{number}/items/{{}}"))
    # Of a blind one nothing is known before it is asked.
    beginning = "/api" if kind == "regex" else ".*"
    return wire.Match(path_regexes=[f"{beginning}/service-{number}/items/[0-9]+"])


def _snapshot(kind: str, count: int, port: int) -> bytes:
    backend = wire.Cluster(
        name="backend", protocol=wire.UPSTREAM_PROTOCOL_HTTP2, balance=wire.BALANCE_POLICY_ROUND_ROBIN
    )
    to = [wire.Destination(cluster="backend", weight=1)]
    routes = (wire.Route(name=f"r{number}", match=_match(kind, number), destinations=to) for number in range(count))
    listener = wire.Listener(
        name="edge", address=f"127.0.0.1:{port}", direction=wire.DIRECTION_EDGE, route_table="edge"
    )
    table = wire.RouteTable(name="edge", routes=routes)
    return wire.Snapshot(version=1, listeners=[listener], route_tables=[table], clusters=[backend]).SerializeToString()


def _plane(snapshot: bytes, backend: int) -> DataPlane:
    plane = DataPlane(control_pb2.Options(workers=1, service="bench").SerializeToString(), {})
    plane.apply(snapshot)
    update = control_pb2.EndpointsUpdate(cluster="backend", version=1)
    address = f"127.0.0.1:{backend}"
    update.endpoints.add(id=address, address=address, weight=1, healthy=True)
    plane.apply_endpoints(update.SerializeToString())
    return plane


def _serve(snapshot: bytes, backend: int) -> None:
    plane = _plane(snapshot, backend)
    while True:
        plane.poll_events(100, 1.0)


def _applied(kind: str, count: int) -> str:
    """What a snapshot costs, in a process of its own."""
    code = f"from benchmarks.routes import cost; cost({kind!r}, {count})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(done.stderr[-2000:])
    return done.stdout.strip()


def cost(kind: str, count: int) -> None:
    """Prints the bytes of a snapshot, and CPU seconds and growth of memory when it is applied."""
    snapshot = _snapshot(kind, count, 0)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    plane = _plane(snapshot, 1)
    seconds, grown = time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    plane.shutdown(0)
    print(f"{len(snapshot) / 2**20:6.2f} MiB, applied in {seconds:6.2f} s, {grown / 1024:6.0f} MiB more memory")


def _counted(kind: str, count: int) -> float:
    """Instructions of the worker for one request."""
    with tempfile.TemporaryDirectory(prefix="sidecar-routes-") as name:
        folder, port, behind = Path(name), free_port(), free_port()
        file = folder / "files" / _path(count - 1).removeprefix("/")
        file.parent.mkdir(parents=True)
        file.write_bytes(bytes(1024))
        nghttpd = [
            find("nghttpd") or "nghttpd",
            "--no-tls",
            "--address=127.0.0.1",
            f"--htdocs={folder}/files",
            str(behind),
        ]
        valgrind = ["valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no", "--separate-threads=yes"]
        valgrind += [f"--callgrind-out-file={folder}/callgrind.out.%p"]
        serve = [sys.executable, "-m", "benchmarks.routes", "--kinds", kind, "--counts", str(count)]
        serve += ["--serve", str(port), str(behind)]
        with (
            spawned(nghttpd, LOAD_CORE, folder / "nghttpd.log") as backend,
            spawned([*valgrind, *serve], PROXY_CORE, folder / "proxy.log") as child,
        ):
            wait_until(partial(listening, behind), backend, folder / "nghttpd.log")
            wait_until(partial(listening, port), child, folder / "proxy.log", START_SECONDS)
            _load(port, count, WARM)
            control("--instr=on", child.pid)
            _load(port, count, COUNTED)
            control("--dump", child.pid)
            return max(total(file) for file in folder.glob("callgrind.out.*.1-*")) / COUNTED


def _load(port: int, count: int, requests: int) -> None:
    url = f"http://127.0.0.1:{port}{_path(count - 1)}"
    command = [find("h2load") or "h2load", f"--requests={requests}", "--clients=4", "--max-concurrent-streams=4", url]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    if f"status codes: {requests} 2xx" not in told.stdout:
        raise BenchError(f"not all of {requests} requests were answered well:\n{told.stdout[-1000:]}")


if __name__ == "__main__":
    sys.exit(main())
