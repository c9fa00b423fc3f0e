"""Applications that answer with their name, and callers that never stop, with what they saw."""

import http.client
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType, TracebackType
from typing import Self

# Seconds between two calls of one caller.
PAUSE = 0.005
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@contextmanager
def application(
    name: str, port: int = 0, address: str = "127.0.0.1", context: ssl.SSLContext | None = None
) -> Iterator[int]:
    """An HTTP application that answers with `name`, until the block ends; gives its port (0: a free one).

    With `context` it speaks TLS itself.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            body = name.encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            """Say nothing."""

    server = ThreadingHTTPServer((address, port), Handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def call(address: str, host: str, path: str = "/", headers: Mapping[str, str] = NO_HEADERS) -> tuple[int, str]:
    """Status and body of one GET to `address` for `host`, on a connection of its own."""
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("GET", path, headers={"Host": host, **headers})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@dataclass
class Seen:
    """What one call came to, and when it was sent (time.monotonic)."""

    at: float
    status: int
    body: str


@dataclass
class Caller:
    """Calls `host` through `address` again and again while the block lasts."""

    address: str
    host: str
    seen: list[Seen] = field(default_factory=list)

    @property
    def failures(self) -> list[Seen]:
        """Every call that got no 200."""
        return [one for one in self.seen if one.status != 200]

    def since(self, moment: float) -> list[Seen]:
        """The calls sent after `moment`."""
        return [one for one in self.seen if one.at >= moment]

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            at = time.monotonic()
            try:
                status, body = call(self.address, self.host)
            except (OSError, http.client.HTTPException) as error:
                status, body = 0, repr(error)
            self.seen.append(Seen(at, status, body))
            self._stop.wait(PAUSE)
