"""A collector: takes OTLP over HTTP as any other, and keeps the spans and the metrics to be looked at.

with collector() as collected, collected.failing("cut"):
    ...
"""

import gzip
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan

# It refuses; it has too much to do; it does not answer; it ends the connection instead of an answer, or within one.
Fault = Literal["refusing", "busy", "slow", "cutting", "cutting its answer"]


@dataclass(frozen=True)
class Span:
    """Ids are hex; a root has no parent. `service` is the resource's service.name.

    `kind` is "server" or "client", or "internal" for what happened to a proxy itself; `links` are to such spans.
    """

    trace: str
    id: str
    parent: str
    service: str
    kind: str
    name: str
    attributes: dict[str, str]
    links: tuple[tuple[str, str], ...]
    error: str


@dataclass
class Collector:
    """Where it listens (for OTEL_EXPORTER_OTLP_ENDPOINT), and what came."""

    endpoint: str
    spans: list[Span] = field(default_factory=list)
    # By service and name: what each of its samples says now.
    metrics: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    # Requests that it has had, whatever became of them.
    asked: int = 0
    _fault: Fault | None = None
    _is_over: threading.Event = field(default_factory=threading.Event)

    def environ(self) -> dict[str, str]:
        """For a program that is to send its spans here, without delay."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint,
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }

    def of_requests(self) -> list[Span]:
        """Those that have come, but for what happened to the proxies themselves."""
        return [span for span in self.spans if span.kind != "internal"]

    @contextmanager
    def failing(self, fault: Fault) -> Iterator[None]:
        """While the block lasts, it takes nothing."""
        self._is_over.clear()
        self._fault = fault
        try:
            yield
        finally:
            self._fault = None
            self._is_over.set()

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request, or do what the fault says."""
        body = handler.rfile.read(int(handler.headers["content-length"]))
        self.asked += 1
        match self._fault:
            case "refusing" | "busy" as fault:
                handler.send_response(400 if fault == "refusing" else 503)
                handler.send_header("retry-after", "0")
                handler.send_header("content-length", "0")
                handler.end_headers()
            case "slow":
                # It has given up by then.
                self._is_over.wait(60)
                handler.close_connection = True
            case "cutting":
                handler.close_connection = True
            case fault:
                if handler.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                if handler.path == "/v1/metrics":
                    self._take_metrics(ExportMetricsServiceRequest.FromString(body))
                else:
                    self.spans.extend(_spans(ExportTraceServiceRequest.FromString(body)))
                handler.send_response(200)
                handler.send_header("content-type", "application/x-protobuf")
                # An empty body is the empty message: everything was taken.
                handler.send_header("content-length", "0" if fault is None else "100")
                handler.end_headers()
                handler.close_connection |= fault is not None

    def _take_metrics(self, export: ExportMetricsServiceRequest) -> None:
        for of_resource in export.resource_metrics:
            of_service = self.metrics.setdefault(_attributes(of_resource.resource.attributes)["service.name"], {})
            for metric in (metric for of_scope in of_resource.scope_metrics for metric in of_scope.metrics):
                points = (*metric.gauge.data_points, *metric.sum.data_points)
                of_service[metric.name] = [point.as_int or point.as_double for point in points]

    def trace(self, trace: str) -> list[Span]:
        """Its spans that have come so far."""
        return [span for span in self.spans if span.trace == trace]


@contextmanager
def collector(port: int = 0) -> Iterator[Collector]:
    """Listen until the block ends, on that port or on a free one."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            collected.take(self)

        def log_message(self, *_: object) -> None:
            """Say nothing: the tests look at what came."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
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
                    tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
                    span.status.message,
                )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, str]:
    return {pair.key: str(getattr(pair.value, pair.value.WhichOneof("value") or "string_value")) for pair in pairs}
