"""A receiver of OTLP over HTTP that counts what arrives, or fails on purpose; it runs beside the load, on its core."""

import contextlib
import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

# It is not there; it does not answer; it refuses for good; it has too much to do; it ends the connection unanswered.
Fault = Literal["down", "slow", "refusing", "busy", "cutting"]


class Sink:
    """What it was sent. `endpoint` is for OTEL_EXPORTER_OTLP_ENDPOINT."""

    def __init__(self) -> None:
        self.exports = 0
        self.spans = 0
        # Requests that it has had, whatever became of them.
        self.asked = 0
        self._fault: Fault | None = None
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        self._listen(0)
        self.port: int = self._server.server_port
        self.endpoint = f"http://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def failing(self, fault: Fault) -> Iterator[None]:
        """Nothing is taken while the block lasts."""
        self._is_over.clear()
        self._fault = fault
        if fault == "down":
            self.close()
        try:
            yield
        finally:
            self._fault = None
            self._is_over.set()
            if fault == "down":
                self._listen(self.port)

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _listen(self, port: int) -> None:
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                sink.take(self)

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                """Say nothing; a line per export would only cost time."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="otlp-sink")
        self._thread.start()

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request, or do what the fault says."""
        sent = _body(handler)
        with self._lock:
            self.asked += 1
        match self._fault:
            case None:
                if handler.path == "/v1/traces":
                    self._count(gzip.decompress(sent) if handler.headers.get("content-encoding") == "gzip" else sent)
                status = 200
            case "refusing" | "busy" as fault:
                status = 400 if fault == "refusing" else 503
            case fault:
                if fault == "slow":
                    # They have given up by then.
                    self._is_over.wait(60)
                handler.close_connection = True
                return
        # An empty body is the empty protobuf message: everything was accepted.
        handler.send_response(status)
        handler.send_header("content-type", "application/x-protobuf")
        handler.send_header("content-length", "0")
        handler.end_headers()

    def _count(self, message: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(message)
        spans = sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)
        with self._lock:
            self.exports += 1
            self.spans += spans


@contextlib.contextmanager
def otlp_sink() -> Iterator[Sink]:
    """Serve until the context ends."""
    sink = Sink()
    try:
        yield sink
    finally:
        sink.close()


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    if length := handler.headers["content-length"]:
        return handler.rfile.read(int(length))
    # In chunks, as Envoy sends it.
    parts = []
    while size := int(handler.rfile.readline(), 16):
        parts.append(handler.rfile.read(size))
        handler.rfile.readline()
    handler.rfile.readline()
    return b"".join(parts)
