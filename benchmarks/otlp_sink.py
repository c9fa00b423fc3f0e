"""A receiver of OTLP over HTTP that counts what arrives; it runs beside the load, on the load's core."""

import contextlib
import gzip
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass
class Received:
    """What the sink was sent."""

    endpoint: str
    exports: int = 0
    spans: int = 0
    bytes: int = 0


@contextlib.contextmanager
def otlp_sink() -> Iterator[Received]:
    """Serve until the context ends; `endpoint` is for OTEL_EXPORTER_OTLP_ENDPOINT."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["content-length"]))
            if self.path == "/v1/traces":
                plain = gzip.decompress(sent) if self.headers.get("content-encoding") == "gzip" else sent
                request = ExportTraceServiceRequest.FromString(plain)
                spans = sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)
                with lock:
                    received.exports += 1
                    received.spans += spans
                    received.bytes += len(sent)
            # An empty body is the empty protobuf message: everything was accepted.
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Say nothing; a line per export would only cost time."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    received = Received(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, name="otlp-sink")
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
