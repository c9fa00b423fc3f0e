"""The gRPC interoperability cases of grpc-go, client to server, through a gateway and a sidecar.

The cases are defined by gRPC's "Interoperability Test Case Descriptions"; these are all that need no cloud credentials.
"""

import subprocess
from collections.abc import Iterator

import pytest

from tests.mesh import Mesh
from tests.real.programs import cached, free_port, serving

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


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The gateway's address before grpc-go's interop server, for all cases."""
    directory, port = tmp_path_factory.mktemp("interop"), free_port()
    with (
        serving([cached(TOOLS, "server"), f"--port={port}"], port, directory / "server.log"),
        Mesh(directory) as mesh,
    ):
        yield mesh.exposed("interop", port, protocol="grpc").edge


@pytest.mark.parametrize("case", CASES)
def test_case(edge: str, case: str) -> None:
    host, port = edge.rsplit(":", 1)
    command = [cached(TOOLS, "client"), f"--server_host={host}", f"--server_port={port}", f"--test_case={case}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
