"""A collector of traces: takes OTLP over HTTP as any other, and keeps the spans to be looked at."""

import gzip
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan


@dataclass(frozen=True)
class Span:
    """Ids are hex; a root has no parent. `service` is the resource's service.name, `kind` is "server" or "client"."""

    trace: str
    id: str
    parent: str
    service: str
    kind: str
    name: str
    attributes: dict[str, str]


@dataclass
class Collector:
    """Where it listens (for OTEL_EXPORTER_OTLP_ENDPOINT), and what came."""

    endpoint: str
    spans: list[Span] = field(default_factory=list)

    def environ(self) -> dict[str, str]:
        """For a program that is to send its spans here, without delay."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint,
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }

    def trace(self, trace: str) -> list[Span]:
        """Its spans that have come so far."""
        return [span for span in self.spans if span.trace == trace]


@contextmanager
def collector() -> Iterator[Collector]:
    """Listen on a free port until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            collected.spans.extend(_spans(ExportTraceServiceRequest.FromString(body)))
            # An empty body is the empty message: everything was taken.
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Say nothing: the tests look at what came."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        collected = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="collector")
        thread.start()
        try:
            yield collected
        finally:
            server.shutdown()
            thread.join()


def _spans(export: ExportTraceServiceRequest) -> Iterator[Span]:
    for of_resource in export.resource_spans:
        service = _attributes(of_resource.resource.attributes)["service.name"]
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                yield Span(
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    service,
                    OtlpSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
                    span.name,
                    _attributes(span.attributes),
                )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, str]:
    return {pair.key: str(getattr(pair.value, pair.value.WhichOneof("value") or "string_value")) for pair in pairs}
