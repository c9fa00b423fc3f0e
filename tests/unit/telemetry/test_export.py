"""Sending OTLP: what may be tried again is, what may not is not, and every span is counted."""

import asyncio
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import ClientSession
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from sidecar.telemetry.attempt import ExportError
from sidecar.telemetry.export import Exporter
from sidecar.telemetry.otlp import Target
from sidecar.telemetry.peek import count_rejected, count_spans, retry_delay
from tests.unit.telemetry.receiver import Receiver, receiver, request


class Waits:
    """A sleep that only remembers."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await asyncio.sleep(0)


def target(received: Receiver, **changes: object) -> Target:
    fields = {"url": received.url, "headers": {"api-key": "k"}, "timeout": 5.0, "gzip": False}
    return Target(**{**fields, **changes})  # type: ignore[arg-type]


async def test_a_request_arrives_with_its_type_and_headers() -> None:
    async with receiver() as (received, session):
        await Exporter(session, target(received)).send(request(2), 5)

        assert received.bodies == [request(2)]
        assert received.requests[0].path == "/v1/traces"
        assert received.requests[0].headers["Content-Type"] == "application/x-protobuf"
        assert received.requests[0].headers["User-Agent"] == "sidecar"
        assert received.requests[0].headers["api-key"] == "k"


async def test_gzip_is_used_when_asked_for() -> None:
    async with receiver() as (received, session):
        await Exporter(session, target(received, gzip=True)).send(request(50), 5)

        assert received.requests[0].headers["Content-Encoding"] == "gzip"
        assert int(received.requests[0].headers["Content-Length"]) < len(request(50))
        assert received.bodies == [request(50)]


async def test_a_busy_receiver_is_tried_again_with_growing_waits() -> None:
    waits = Waits()
    async with receiver() as (received, session):
        received.statuses = [503, 502, 504, 429]
        await Exporter(session, target(received), waits.sleep, lambda: 0.0).send(request(1), 60)

        assert waits.seconds == [1, 2, 4, 8]
        assert len(received.bodies) == 5


async def test_the_wait_is_shortened_by_chance_and_set_by_the_receiver() -> None:
    waits = Waits()
    async with receiver() as (received, session):
        received.statuses = [503]
        await Exporter(session, target(received), waits.sleep, lambda: 0.5).send(request(1), 60)
        received.statuses, received.headers = [429], {"Retry-After": "7"}
        await Exporter(session, target(received), waits.sleep, lambda: 0.5).send(request(1), 60)

    assert waits.seconds == [0.75, 7]


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [
        (lambda: format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True), 27, 30),
        # Now, as it were: never sooner than by our own measure, or a collector would be asked in a loop.
        (lambda: "Sun, 06 Nov 1994 08:49:37 GMT", 1, 1),
        (lambda: "0", 1, 1),
        # Not read: we wait as if nothing had been said.
        (lambda: "soon", 1, 1),
        (lambda: "-1", 1, 1),
    ],
)
async def test_the_wait_is_read_as_a_number_or_a_date(said: Callable[[], str], least: float, most: float) -> None:
    waits = Waits()
    async with receiver() as (received, session):
        received.statuses, received.headers = [503], {"Retry-After": said()}
        await Exporter(session, target(received), waits.sleep, lambda: 0.0).send(request(1), 60)

    assert least <= waits.seconds[0] <= most


@pytest.mark.parametrize("status", [400, 401, 404, 408, 500, 501, 301])
async def test_a_refusal_is_not_tried_again(status: int) -> None:
    async with receiver() as (received, session):
        received.statuses = [status]
        with pytest.raises(ExportError, match=f"HTTP {status}"):
            await Exporter(session, target(received)).send(request(1), 5)

        assert len(received.bodies) == 1


async def test_nobody_there_is_given_up_in_time() -> None:
    async with receiver() as (_, session):
        closed = Target("http://127.0.0.1:9/v1/traces", {}, 5.0, gzip=False)
        with pytest.raises(ExportError, match=r"Cannot connect .*, given up after 0.5 s"):
            await Exporter(session, closed).send(request(1), 0.5)


def test_where_it_goes_is_told_without_credentials() -> None:
    secret = Target("https://user:pass@collector.example.com:443/v1/traces?key=k", {}, 5.0, gzip=False)

    assert Exporter(None, secret).place == "https://collector.example.com:443/v1/traces"  # type: ignore[arg-type]


async def test_the_time_of_all_tries_is_kept_when_it_is_that_of_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with ClientSession() as session:
            exporter = Exporter(session, Target(url, {}, timeout=0.2, gzip=False))
            sending = asyncio.create_task(exporter.send(request(1), 0.2))
            # A time limit around it would end it too, and prove nothing.
            done, _ = await asyncio.wait([sending], timeout=10)
            sending.cancel()
            assert done == {sending}
            with pytest.raises(ExportError, match=r"no answer in .* s, given up after 0.2 s"):
                await sending


@pytest.mark.parametrize(("scopes", "spans"), [((), 0), ((3,), 3), ((2, 0, 5), 7)])
def test_spans_are_counted_without_decoding(scopes: tuple[int, ...], spans: int) -> None:
    assert count_spans(request(*scopes)) == spans


def test_two_requests_behind_one_another_are_one_request() -> None:
    both = request(2) + request(3)

    assert count_spans(both) == 5
    assert len(ExportTraceServiceRequest.FromString(both).resource_spans) == 2


def test_spans_are_counted_among_other_fields() -> None:
    export = ExportTraceServiceRequest.FromString(request(3))
    scope = export.resource_spans[0].scope_spans[0]
    scope.scope.name, scope.schema_url = "sidecar", "https://opentelemetry.io/schemas/1.27.0"
    # Of every length that is written differently.
    for span, length in zip(scope.spans, (1, 200, 20_000), strict=True):
        span.name = "n" * length
    assert count_spans(export.SerializeToString()) == 3


def test_spans_are_counted_beside_fields_of_a_later_version() -> None:
    # Field 9 is the number 150; each span has an empty name.
    scope = b"\x12\x02\x2a\x00" + b"\x48\x96\x01" + b"\x12\x02\x2a\x00"
    resource = b"\x12" + bytes([len(scope)]) + scope
    export = b"\x0a" + bytes([len(resource)]) + resource
    assert len(ExportTraceServiceRequest.FromString(export).resource_spans[0].scope_spans[0].spans) == 2
    assert count_spans(export) == 2


@given(st.binary(max_size=200))
def test_no_bytes_can_break_the_count(message: bytes) -> None:
    assert count_spans(message) >= 0
    assert count_rejected(message) >= 0
    assert (retry_delay(message) or 0) >= 0


def test_what_the_receiver_refused_is_read_from_its_reply() -> None:
    partial = ExportTracePartialSuccess(rejected_spans=300, error_message="too old")

    assert count_rejected(ExportTraceServiceResponse(partial_success=partial).SerializeToString()) == 300
    assert count_rejected(b"") == 0
