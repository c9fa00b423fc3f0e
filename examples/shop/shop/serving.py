"""What every service of the shop does alike: tracing with OpenTelemetry, and serving until told to stop."""

import asyncio
import signal
from typing import Any

import grpc.aio
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.grpc import GrpcAioInstrumentorClient, GrpcAioInstrumentorServer
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

# What every method of a service is given beside its request.
Context = grpc.aio.ServicerContext[Any, Any]


def set_up_tracing() -> TracerProvider:
    """Instrument both sides of grpcio; OTEL_SERVICE_NAME, OTEL_EXPORTER_OTLP_ENDPOINT and their kin say the rest."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    GrpcAioInstrumentorServer().instrument()  # type: ignore[no-untyped-call]
    GrpcAioInstrumentorClient().instrument()  # type: ignore[no-untyped-call]
    return provider


async def serve(server: grpc.aio.Server, port: int) -> None:
    """Serve on loopback until SIGTERM or SIGINT, then let running calls end for up to two seconds."""
    server.add_insecure_port(f"127.0.0.1:{port}")
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stopped.set)
    await server.start()
    await stopped.wait()
    await server.stop(grace=2)
