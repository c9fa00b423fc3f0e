"""OTLP over gRPC, at a server of grpcio's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import grpc.aio
import pytest
import trustme
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from sidecar.telemetry.attempt import ExportError
from sidecar.telemetry.export import Exporter
from sidecar.telemetry.otlp import Target, Tls
from sidecar.telemetry.peek import count_rejected, retry_delay
from tests.unit.telemetry.receiver import request
from tests.unit.telemetry.test_export import Waits

# google.rpc.Status { code: 8, details: [RetryInfo { retry_delay { seconds: 3, nanos: 500000000 } }] }
DELAY = b"\x0a\x08\x08\x03\x10\x80\xca\xb5\xee\x01"
INFO = b"\x0a\x28type.googleapis.com/google.rpc.RetryInfo\x12" + bytes([len(DELAY)]) + DELAY
RETRY_INFO = b"\x08\x08\x1a" + bytes([len(INFO)]) + INFO


@dataclass
class Receiver:
    """What it answers with, in order, and then OK for ever; and what came."""

    port: int = 0
    codes: list[grpc.StatusCode] = field(default_factory=list)
    details: bytes = b""
    reply: bytes = b""
    bodies: list[bytes] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    metadata: list[dict[str, str | bytes]] = field(default_factory=list)

    async def handle(self, body: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        self.bodies.append(body)
        self.metadata.append(dict(context.invocation_metadata() or ()))
        if self.codes:
            if self.details:
                context.set_trailing_metadata((("grpc-status-details-bin", self.details),))
            await context.abort(self.codes.pop(0), "asked for by the test")
        return self.reply


class Anything(grpc.GenericRpcHandler):
    """Takes every method."""

    def __init__(self, received: Receiver) -> None:
        self._received = received

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        self._received.methods.append(handler_call_details.method)
        return grpc.unary_unary_rpc_method_handler(self._received.handle)


@asynccontextmanager
async def receiver(credentials: grpc.ServerCredentials | None = None) -> AsyncIterator[Receiver]:
    received = Receiver()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Anything(received),))
    if credentials is None:
        received.port = server.add_insecure_port("127.0.0.1:0")
    else:
        received.port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    yield received
    await server.stop(None)


def target(received: Receiver, scheme: str = "http", tls: Tls | None = None, *, gzip: bool = False) -> Target:
    url = f"{scheme}://localhost:{received.port}"
    return Target(url, {"Api-Key": "k"}, 5.0, gzip, "grpc", tls or Tls(), "traces")


def exporter(target: Target, waits: Waits | None = None) -> Exporter:
    return Exporter(None, target, (waits or Waits()).sleep, lambda: 0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("gzip", [False, True])
async def test_a_request_arrives_with_its_metadata(gzip: bool) -> None:
    async with receiver() as received:
        received.reply = ExportTraceServiceResponse(
            partial_success=ExportTracePartialSuccess(rejected_spans=2)
        ).SerializeToString()
        reply = await exporter(target(received, gzip=gzip)).send(request(50), 5)

    assert count_rejected(reply) == 2
    assert received.bodies == [request(50)]
    assert received.methods == ["/opentelemetry.proto.collector.trace.v1.TraceService/Export"]
    assert received.metadata[0]["api-key"] == "k"
    assert str(received.metadata[0]["user-agent"]).startswith("sidecar ")


async def test_what_may_be_tried_again_is() -> None:
    waits = Waits()
    codes = ["CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"]
    async with receiver() as received:
        received.codes = [grpc.StatusCode[code] for code in codes]
        await exporter(target(received), waits).send(request(1), 60)

    assert waits.seconds == [1, 2, 4, 8, 16, 16]
    assert len(received.bodies) == 7


async def test_a_receiver_with_too_much_to_do_says_when_to_come_back() -> None:
    waits = Waits()
    async with receiver() as received:
        received.codes, received.details = [grpc.StatusCode.RESOURCE_EXHAUSTED], RETRY_INFO
        await exporter(target(received), waits).send(request(1), 60)

    assert waits.seconds == [3.5]


@pytest.mark.parametrize("code", ["RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "UNIMPLEMENTED", "UNAUTHENTICATED"])
async def test_a_refusal_is_not_tried_again(code: str) -> None:
    async with receiver() as received:
        received.codes = [grpc.StatusCode[code]]
        with pytest.raises(ExportError, match=f"{code}: asked for by the test"):
            await exporter(target(received)).send(request(1), 5)

    assert len(received.bodies) == 1


async def test_nobody_there_is_given_up_in_time_and_found_when_it_comes() -> None:
    async with receiver() as received:
        gone = target(received)
    sender = Exporter(None, gone)  # type: ignore[arg-type]
    with pytest.raises(ExportError, match="UNAVAILABLE"):
        await sender.send(request(1), 0.3)
    late, server = Receiver(), grpc.aio.server()
    server.add_generic_rpc_handlers((Anything(late),))
    assert server.add_insecure_port(f"127.0.0.1:{received.port}") == received.port
    await server.start()
    await sender.send(request(1), 5)
    await server.stop(None)

    assert late.bodies == [request(1)]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, Tls]:
    """One that the receiver and its clients have in common, and the files of a client."""
    directory, authority = tmp_path_factory.mktemp("tls"), trustme.CA()
    client = authority.issue_cert("client")
    tls = Tls(*(str(directory / name) for name in ("roots.pem", "client.pem", "client.key")))
    authority.cert_pem.write_to_path(tls.certificate)
    client.cert_chain_pems[0].write_to_path(tls.client_certificate)
    client.private_key_pem.write_to_path(tls.client_key)
    return authority, tls


def server_credentials(authority: trustme.CA) -> grpc.ServerCredentials:
    issued = authority.issue_cert("localhost")
    pair = [(issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes())]
    return grpc.ssl_server_credentials(pair, authority.cert_pem.bytes(), require_client_auth=True)


async def test_tls_shows_a_certificate_and_checks_the_receivers(authority: tuple[trustme.CA, Tls]) -> None:
    issuer, tls = authority
    async with receiver(server_credentials(issuer)) as received:
        await exporter(target(received, "https", tls)).send(request(3), 5)
        with pytest.raises(ExportError):
            await exporter(target(received, "https", Tls(tls.certificate))).send(request(3), 0.5)

    assert received.bodies == [request(3)]


async def test_a_file_that_cannot_be_read_is_named(authority: tuple[trustme.CA, Tls], tmp_path: Path) -> None:
    _, tls = authority
    missing = Tls(str(tmp_path / "gone.pem"), tls.client_certificate, tls.client_key)
    with pytest.raises(ExportError, match=r"gone\.pem: No such file"):
        await exporter(Target("https://localhost:1", {}, 5.0, gzip=False, protocol="grpc", tls=missing)).send(b"", 1)


def test_the_wait_is_read_from_the_details_of_a_status() -> None:
    assert retry_delay(RETRY_INFO) == 3.5
    assert retry_delay(b"") is None
    assert retry_delay(b"\x08\x08\x1a\x05\x0a\x03abc") is None


def test_where_it_goes_is_told_without_credentials() -> None:
    secret = Target("https://user:pass@c.example.com:4317/x", {}, 5.0, gzip=False, protocol="grpc")
    assert exporter(secret).place == "https://c.example.com:4317 (gRPC)"
