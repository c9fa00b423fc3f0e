"""The gRPC interoperability cases of grpc-go, client to server, on every way through the mesh.

The cases are defined by gRPC's "Interoperability Test Case Descriptions"; these are all that need no cloud credentials.
"""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mesh import Mesh
from tests.real.programs import cached, free_port, serving
from tests.tls import secured

pytestmark = pytest.mark.real

TOOLS = "grpc-interop-1.85.0"
CASES = (
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
)
SOAK = 1000


def gateway(mesh: Mesh, directory: Path, port: int) -> list[str]:
    """A gateway in the clear, and a sidecar."""
    return client(mesh.exposed("interop", port, protocol="grpc").edge)


def gateway_by_tls(mesh: Mesh, directory: Path, port: int) -> list[str]:
    """A gateway that speaks TLS, and a sidecar."""
    edge = secured(directory)
    address = mesh.exposed("interop", port, edge.listener, protocol="grpc").edge
    return [
        *client(address),
        "--use_tls",
        "--use_test_ca",
        f"--ca_file={edge.authority}",
        "--server_host_override=localhost",
    ]


def sidecars(mesh: Mesh, directory: Path, port: int) -> list[str]:
    """Two sidecars, mTLS between them."""
    mesh.document("services/interop", protocol="grpc")
    interop = mesh.sidecar("interop", port)
    mesh.document("services/interop", protocol="grpc", endpoints=[{"address": interop.inbound}])
    mesh.document("services/caller", protocol="grpc", upstreams=[{"service": "interop", "port": free_port()}])
    return client(mesh.sidecar("caller", 1).listeners["upstream-interop"])


def tunnel(mesh: Mesh, directory: Path, port: int) -> list[str]:
    """Two sidecars, the first told of as the proxy for everything: grpc-go sends it CONNECT."""
    mesh.document("services/interop", protocol="grpc")
    interop = mesh.sidecar("interop", port)
    mesh.document("services/interop", protocol="grpc", endpoints=[{"address": interop.inbound}])
    proxy = mesh.sidecar("caller", 1).outbound
    return ["env", f"HTTPS_PROXY=http://{proxy}", "NO_PROXY=", *client("interop:80")]


def client(address: str) -> list[str]:
    """grpc-go's interop client, which calls `address`."""
    host, port = address.rsplit(":", 1)
    return [cached(TOOLS, "client"), f"--server_host={host}", f"--server_port={port}"]


@pytest.fixture(scope="module", params=[gateway, gateway_by_tls, sidecars, tunnel], ids=lambda way: way.__name__)
def caller(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The client before each way to grpc-go's interop server."""
    directory, port = tmp_path_factory.mktemp("interop"), free_port()
    with (
        serving([cached(TOOLS, "server"), f"--port={port}"], port, directory / "server.log"),
        Mesh(directory) as mesh,
    ):
        yield request.param(mesh, directory, port)


@pytest.mark.timeout(120)
def test_every_case(caller: list[str], request: pytest.FixtureRequest, row: Callable[[str, str], None]) -> None:
    told = {}
    for case in CASES:
        command = [*caller, f"--test_case={case}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode != 0:
            told[case] = done.stderr
    row(f"gRPC interop, {request.node.callspec.id}", f"{len(CASES) - len(told)} of {len(CASES)}")
    assert told == {}


@pytest.mark.timeout(320)
def test_soak(caller: list[str], request: pytest.FixtureRequest, row: Callable[[str, str], None]) -> None:
    # A call that takes long is no failure here, nor all of them: those bounds are of the machine, which may be shared.
    slow = "--soak_per_iteration_max_acceptable_latency_ms=60000"
    bounds = [f"--soak_iterations={SOAK}", "--soak_max_failures=0", "--soak_overall_timeout_seconds=300", slow]
    # The default size of a message is that of large_unary, 300 KB each way.
    command = [*caller, "--test_case=rpc_soak", *bounds]
    done = subprocess.run(command, capture_output=True, text=True, timeout=310, check=False)
    row(f"gRPC rpc_soak {SOAK}, {request.node.callspec.id}", "no failure" if done.returncode == 0 else "failures")
    assert done.returncode == 0, done.stderr
