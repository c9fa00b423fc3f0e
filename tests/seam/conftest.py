"""What the tests of the seam share."""

import http.server
import threading
from collections.abc import Iterator

import pytest

from sidecar._dataplane import DataPlane
from sidecar.wire import control_pb2 as control


@pytest.fixture
def plane() -> Iterator[DataPlane]:
    started = DataPlane(control.Options(service="orders").SerializeToString(), {})
    yield started
    started.shutdown(0)


@pytest.fixture
def backend() -> Iterator[str]:
    """The address of a server that answers every GET with 200."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()
