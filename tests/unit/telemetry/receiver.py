"""An OTLP receiver on a real socket that answers as a test wants."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import ClientSession, web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span


@dataclass
class Receiver:
    """What arrived, and the statuses to answer with: in order, then 200 for ever."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    reply: bytes = b""
    bodies: list[bytes] = field(default_factory=list)
    requests: list[web.Request] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        """Record and answer."""
        status = self.statuses.pop(0) if self.statuses else 200
        self.requests.append(request)
        self.bodies.append(await request.read())
        return web.Response(status=status, body=self.reply, headers=self.headers)

    def spans(self) -> int:
        """Spans in all requests that came."""
        return sum(count(ExportTraceServiceRequest.FromString(body)) for body in self.bodies)

    def names(self) -> list[str]:
        """Of the spans in all requests that came."""
        exports = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        scopes = [scope for export in exports for of in export.resource_spans for scope in of.scope_spans]
        return [span.name for scope in scopes for span in scope.spans]


@asynccontextmanager
async def receiver() -> AsyncIterator[tuple[Receiver, ClientSession]]:
    """A receiver that listens, and a session to reach it."""
    received = Receiver()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", received.handle)
    # aiohttp's server undoes a Content-Encoding by itself.
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    received.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces"
    async with ClientSession() as session:
        yield received, session
    await runner.cleanup()


def request(*scopes: int) -> bytes:
    """An ExportTraceServiceRequest with one resource and so many spans in each of its scopes."""
    resource_spans = ResourceSpans(scope_spans=[ScopeSpans(spans=_spans(number)) for number in scopes])
    return ExportTraceServiceRequest(resource_spans=[resource_spans]).SerializeToString()


def count(message: ExportTraceServiceRequest) -> int:
    """Spans, by the official decoder."""
    return sum(len(scope.spans) for resource in message.resource_spans for scope in resource.scope_spans)


def _spans(number: int) -> Iterator[Span]:
    return (Span(name=f"span {index}", start_time_unix_nano=index, flags=1) for index in range(number))
