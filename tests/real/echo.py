"""An HTTP/1.1 application that answers with what it was sent."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class _Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and content leave as two writes, and the second would wait for the first one's ACK.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """The request line and headers, as text."""
        self._reply(f"{self.requestline}\n{self.headers}".encode())

    def do_POST(self) -> None:
        """The body, however it was framed."""
        self._reply(self._chunked() if "chunked" in self.headers.get("transfer-encoding", "") else self._sized())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Say nothing: the tests read what comes back."""

    def _sized(self) -> bytes:
        return self.rfile.read(int(self.headers["content-length"]))

    def _chunked(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _reply(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that go away: some tests send one away."""


@contextmanager
def echo_server() -> Iterator[int]:
    """Serve until the block ends; gives the port."""
    with _Server(("127.0.0.1", 0), _Echo) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
