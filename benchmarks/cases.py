"""The cases: what is asked of every proxy in turn."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.backends import (
    GRPC_BYTES,
    GRPC_MESSAGE,
    GRPC_PATH,
    LARGE_BYTES,
    LARGE_PATH,
    SMALL_BYTES,
    SMALL_PATH,
    BackendKind,
)


@dataclass(frozen=True)
class Case:
    """A load of a fixed shape. `requests` is for one round; 0: `seconds` of wrk over HTTP/1.1 instead of h2load."""

    name: str
    title: str
    backend: BackendKind
    path: str
    answer_bytes: int
    connections: int
    streams: int = 1
    requests: int = 0
    # Requests a second of all connections together; 0: as many as come back.
    rate: int = 0
    seconds: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    trailers: Mapping[str, str] = field(default_factory=dict)


GRPC = Case(
    name="grpc",
    title="gRPC unary call, 100 bytes each way, trailers; 16 connections x 16 streams",
    backend=BackendKind.GRPC,
    path=GRPC_PATH,
    answer_bytes=GRPC_BYTES,
    connections=16,
    streams=16,
    requests=80_000,
    headers={"content-type": "application/grpc", "te": "trailers"},
    body=GRPC_MESSAGE,
    trailers={"grpc-status": "0"},
)
GET = Case(
    name="get",
    title="1 KiB GET; 16 connections x 16 streams",
    backend=BackendKind.H2,
    path=SMALL_PATH,
    answer_bytes=SMALL_BYTES,
    connections=16,
    streams=16,
    requests=80_000,
)
LATENCY = Case(
    name="latency",
    title="one 1 KiB GET at a time; 1 connection",
    backend=BackendKind.H2,
    path=SMALL_PATH,
    answer_bytes=SMALL_BYTES,
    connections=1,
    requests=12_000,
)
LARGE = Case(
    name="large",
    title="1 MiB bodies; 8 connections x 4 streams",
    backend=BackendKind.H2,
    path=LARGE_PATH,
    answer_bytes=LARGE_BYTES,
    connections=8,
    streams=4,
    requests=1_600,
)
CONNECTIONS = Case(
    name="conns",
    title="1 KiB GET; 1000 connections x 1 stream",
    backend=BackendKind.H2,
    path=SMALL_PATH,
    answer_bytes=SMALL_BYTES,
    connections=1000,
    requests=40_000,
)
H1 = Case(
    name="h1",
    title="1 KiB GET over HTTP/1.1 on both legs; 64 keep-alive connections (wrk, nginx behind)",
    backend=BackendKind.H1,
    path=SMALL_PATH,
    answer_bytes=SMALL_BYTES,
    connections=64,
    seconds=5,
)
CASES = (GRPC, GET, LATENCY, LARGE, CONNECTIONS, H1)

# The memory case is not a load: IDLE_CONNECTIONS are opened, kept silent, then asked one GET each.
IDLE = "idle"
IDLE_CONNECTIONS = 2000

# The other memory case: so many readers ask for 1 MiB and stop, over HTTP/2 once they have taken a window of 64 KiB.
STALLED = "stalled"
STALLED_READERS = 100
