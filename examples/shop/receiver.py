"""A small OTLP/HTTP receiver: takes spans as a collector would, and keeps the newest traces in memory."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from aiohttp import web
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

MAX_TRACES = 256
MAX_SPANS_PER_TRACE = 1024

OF_THE_MESH = "sidecar.mesh"

KINDS = {
    trace_pb2.Span.SPAN_KIND_SERVER: "server",
    trace_pb2.Span.SPAN_KIND_CLIENT: "client",
    trace_pb2.Span.SPAN_KIND_INTERNAL: "internal",
}


@dataclass(frozen=True)
class Span:
    """One received span; ids are hex, times are Unix nanoseconds, an empty parent means a root."""

    trace_id: str
    span_id: str
    parent_id: str
    service: str
    kind: str
    name: str
    start: int
    end: int
    failed: bool
    attributes: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Which part of the service made it: "gateway", "sidecar inbound", "sidecar outbound", "proxy" or "app"."""
        if self.attributes.get("otel.scope.name") == OF_THE_MESH:
            return "proxy"
        direction = self.attributes.get("sidecar.direction")
        if direction is None:
            return "app"
        return "gateway" if direction == "edge" else f"sidecar {direction}"


class Receiver:
    """Listens on loopback; `changed` is set whenever spans arrive."""

    def __init__(self) -> None:
        self.traces: OrderedDict[str, dict[str, Span]] = OrderedDict()
        self.changed = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> str:
        """Start on `port` (0 = a free one) and return the endpoint for OTEL_EXPORTER_OTLP_ENDPOINT."""
        application = web.Application(client_max_size=16 * 1024 * 1024)
        application.router.add_post("/v1/traces", self._take_traces)
        application.router.add_post("/v1/{signal:metrics|logs}", self._ignore)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        host, bound_port = self._runner.addresses[0]
        return f"http://{host}:{bound_port}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def spans(self, trace_id: str) -> list[Span]:
        """The spans of one trace that have arrived so far, in order of their start."""
        return sorted(self.traces.get(trace_id, {}).values(), key=lambda span: span.start)

    async def _take_traces(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            export = ExportTraceServiceRequest.FromString(body)
        except DecodeError:
            return web.Response(status=400, text="not an ExportTraceServiceRequest")
        for span in _spans(export):
            self._keep(span)
        self.changed.set()
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=answer, content_type="application/x-protobuf")

    async def _ignore(self, request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=b"", content_type="application/x-protobuf")

    def _keep(self, span: Span) -> None:
        spans = self.traces.setdefault(span.trace_id, {})
        self.traces.move_to_end(span.trace_id)
        if len(spans) < MAX_SPANS_PER_TRACE:
            spans[span.span_id] = span
        while len(self.traces) > MAX_TRACES:
            self.traces.popitem(last=False)


def _spans(export: ExportTraceServiceRequest) -> Iterator[Span]:
    for of_resource in export.resource_spans:
        service = _attributes(of_resource.resource.attributes).get("service.name", "?")
        for of_scope in of_resource.scope_spans:
            if of_scope.scope.name == OF_THE_MESH:
                # What has happened to a proxy itself, not what came of a call.
                continue
            for span in of_scope.spans:
                yield Span(
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    service=service,
                    kind=KINDS.get(span.kind, "other"),
                    name=span.name,
                    start=span.start_time_unix_nano,
                    end=span.end_time_unix_nano,
                    failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
                    attributes=_attributes(span.attributes),
                )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, str]:
    return {pair.key: str(getattr(pair.value, pair.value.WhichOneof("value") or "string_value")) for pair in pairs}
