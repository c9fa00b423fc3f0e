"""Connect's conformance suite: what a server does reached directly, it does through a gateway and a sidecar."""

import functools
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import filterfalse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest

from tests.mesh import LOOPBACK, Mesh
from tests.real.programs import cached, free_port

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

TOOLS = "connect-conformance-1.0.7"
# Some cases measure time: on a busy machine they fail without a cause. What fails is run again alone, this often.
AGAIN = 2
HERE = Path(__file__).parent


class Outcome(NamedTuple):
    """What a run of the suite says."""

    total: int
    # What is wrong, by case.
    failed: Mapping[str, str]
    # The same of cases that failed and then passed.
    unsteady: Mapping[str, str] = {}


def suite(config: str, server: list[str], *only: str) -> Outcome:
    """Run the suite, or only these cases of it."""
    command = [
        cached(TOOLS, "connectconformance"),
        "--mode",
        "server",
        "--conf",
        str(HERE / f"conformance_{config}.yaml"),
    ]
    chosen = [flag for case in only for flag in ("--run", case)]
    # One server at a time: all of them listen on the same port.
    command += [*chosen, "--max-servers", "1", "--", *server]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    told = done.stdout + done.stderr
    total = re.search(r"^Total cases: (\d+)$", told, re.MULTILINE)
    assert total is not None, told
    failed = re.findall(r"^FAILED: (.+):\n((?:[\t ].*\n|\n(?!Total))*)", told, re.MULTILINE)
    return Outcome(int(total[1]), dict(failed))


def judged(config: str, server: list[str], excused: Callable[[str], bool] = lambda _case: False) -> Outcome:
    """The outcome in which a case has failed that fails each time. What is excused is not run again."""
    total, failed, _ = suite(config, server)
    lasting, unsteady = dict(failed), {}
    for case in filterfalse(excused, failed):
        print(f"{config}: {case}:\n{failed[case]}")
        for _ in range(AGAIN):
            again = suite(config, server, case)
            assert again.total == 1, again
            if case not in again.failed:
                unsteady[case] = lasting.pop(case)
                break
            print(f"again:\n{again.failed[case]}")
    return Outcome(total, lasting, unsteady)


@functools.cache
def directly(config: str, server: str) -> Outcome:
    """What the server does without us."""
    return judged(config, [cached(TOOLS, server)])


@contextmanager
def through_a_mesh(server: str, protocols: Mapping[int, str], *, speaks_grpc_only: bool = False) -> Iterator[list[str]]:
    """The command that serves behind a gateway and a sidecar, which speak these protocols by version of HTTP."""
    port = free_port()
    with TemporaryDirectory() as directory, Mesh(Path(directory)) as mesh:
        edges = {protocol: _edge(mesh, protocol, port) for protocol in sorted(set(protocols.values()))}
        parameters = {"server": server, "port": port, "speaks_grpc_only": speaks_grpc_only}
        parameters["edges"] = {version: edges[protocol] for version, protocol in protocols.items()}
        yield [sys.executable, "-S", str(HERE / "conformance.py"), json.dumps(parameters)]


def _edge(mesh: Mesh, protocol: str, port: int) -> str:
    """Address of a gateway before a sidecar before that port."""
    name = f"by-{protocol}"
    mesh.document(f"services/{name}", protocol=protocol)
    sidecar = mesh.sidecar(name, port)
    mesh.document(f"services/{name}", protocol=protocol, endpoints=[{"address": sidecar.inbound}])
    mesh.document(f"gateways/{name}", listeners=[LOOPBACK], routes=[{"name": "all", "to": {"service": name}}])
    return mesh.gateway(name).edge


def marked(outcome: Outcome) -> str:
    """A cell of the table."""
    passed = f"{outcome.total - len(outcome.failed)} of {outcome.total}"
    return f"{passed}, not at first: {', '.join(outcome.unsteady)}" if outcome.unsteady else passed


def tell(note: Callable[[str], None], outcome: Outcome) -> None:
    """Why cases failed that then passed: that is a defect too, somewhere."""
    for case, why in outcome.unsteady.items():
        note(f"\nfailed once: {case}:\n{why}")


@pytest.mark.parametrize(("server", "cases"), [("grpcserver", 374), ("referenceserver", 1900)])
def test_what_passes_directly_passes_through_the_mesh(
    server: str, cases: int, row: Callable[[str, str], None], note: Callable[[str], None]
) -> None:
    config = server.removesuffix("server")
    direct = directly(config, server)
    with through_a_mesh(cached(TOOLS, server), {1: "http", 2: "http2"}) as command:
        through = judged(config, command, excused=lambda case: case in direct.failed)
    row(f"Connect conformance, {server}", f"{marked(through)}; directly {marked(direct)}")
    tell(note, through)
    assert (direct.total, through.total) == (cases, cases)
    assert set(through.failed) - set(direct.failed) == set()


def twin(case: str) -> str:
    """The case that does by gRPC what this one does by gRPC-Web."""
    return case.replace("HTTPVersion:1", "HTTPVersion:2").replace("GRPC_WEB", "GRPC").replace("gRPC-Web", "gRPC")


def test_browsers_reach_a_server_that_speaks_grpc_only(
    row: Callable[[str, str], None], note: Callable[[str], None]
) -> None:
    direct = directly("grpc", "grpcserver")
    with through_a_mesh(cached(TOOLS, "grpcserver"), {1: "grpc", 2: "grpc"}, speaks_grpc_only=True) as command:
        through = judged("grpc_web", command, excused=lambda case: twin(case) in direct.failed)
    row("Connect conformance, gRPC-Web to grpcserver", marked(through))
    tell(note, through)
    assert through.total == 343
    assert {twin(case) for case in through.failed} - set(direct.failed) == set()
