"""The pump: batches leave in time, a receiver that is down loses a counted number, and nothing waits for it."""

import asyncio
from collections.abc import Callable

import pytest

from sidecar.dataplane import DataPlane
from sidecar.telemetry.export import Exporter
from sidecar.telemetry.otlp import Batching, Target
from sidecar.telemetry.pump import OWN_SPANS, AccessLogPump, MetricPump, SpanPump
from tests.double import SeamDouble
from tests.unit.telemetry.receiver import Receiver, receiver, request


async def eventually(probe: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not probe():
            await asyncio.sleep(0.005)


def exporter(received: Receiver, session: object) -> Exporter:
    return Exporter(session, Target(received.url, {}, 5.0, gzip=False))  # type: ignore[arg-type]


def batching(schedule_delay: float = 60.0, max_export_batch_size: int = 512, export_timeout: float = 5.0) -> Batching:
    return Batching(schedule_delay, 2048, max_export_batch_size, export_timeout)


async def test_a_full_batch_leaves_before_the_delay_is_over() -> None:
    seam = SeamDouble()
    seam.spans.extend([request(4), request(6)])
    async with receiver() as (received, session):
        pump = SpanPump(DataPlane(seam), exporter(received, session), batching(max_export_batch_size=10))
        task = asyncio.create_task(pump.run())
        await eventually(lambda: pump.sent > 0)
        task.cancel()

        assert received.spans() == 10
        assert (pump.sent, pump.lost) == (10, 0)


async def test_a_few_spans_leave_when_the_delay_is_over() -> None:
    seam = SeamDouble()
    seam.spans.append(request(1))
    async with receiver() as (received, session):
        pump = SpanPump(DataPlane(seam), exporter(received, session), batching(schedule_delay=0.01))
        task = asyncio.create_task(pump.run())
        await eventually(lambda: pump.sent == 1)
        task.cancel()

        assert received.spans() == 1


async def test_a_refused_batch_is_lost_and_counted_and_the_next_one_leaves(caplog: pytest.LogCaptureFixture) -> None:
    seam = SeamDouble()
    seam.spans.append(request(3))
    async with receiver() as (received, session):
        received.statuses = [400]
        pump = SpanPump(DataPlane(seam), exporter(received, session), batching(schedule_delay=0.01))
        task = asyncio.create_task(pump.run())
        await eventually(lambda: pump.lost == 3)
        seam.spans.append(request(2))
        await eventually(lambda: pump.sent == 2)
        task.cancel()

    assert f"spans not sent to {received.url}: HTTP 400; 3 lost so far" in caplog.text


async def test_spans_of_the_control_side_leave_with_the_others_and_are_bounded() -> None:
    seam = SeamDouble()
    seam.spans.append(request(5))
    async with receiver() as (received, session):
        pump = SpanPump(DataPlane(seam), exporter(received, session), batching(max_export_batch_size=100))
        for _ in range(OWN_SPANS + 3):
            pump.offer(request(1))
        await pump.flush(5)

        assert (pump.sent, pump.lost) == (OWN_SPANS + 5, 3)
        assert received.spans() == OWN_SPANS + 5
        assert len(received.bodies) == 3


async def test_spans_that_the_receiver_refuses_one_by_one_are_lost() -> None:
    seam = SeamDouble()
    seam.spans.append(request(5))
    async with receiver() as (received, session):
        # partial_success { rejected_spans: 2 }
        received.reply = bytes([0x0A, 0x02, 0x08, 0x02])
        pump = SpanPump(DataPlane(seam), exporter(received, session), batching())
        await pump.flush(5)

    assert (pump.sent, pump.lost) == (3, 2)


async def test_nothing_is_taken_while_a_batch_is_on_its_way() -> None:
    seam = SeamDouble()
    seam.spans.extend([request(2)] * 3)
    async with receiver() as (received, session):
        received.statuses, received.headers = [503] * 100, {"Retry-After": "1"}
        pump = SpanPump(DataPlane(seam), exporter(received, session), batching(max_export_batch_size=2))
        task = asyncio.create_task(pump.run())
        await eventually(lambda: len(received.bodies) == 1)
        task.cancel()

        # The other two batches wait in the data plane, whose buffer is bounded.
        assert len(seam.spans) == 2


async def test_the_last_spans_leave_at_the_end_with_the_batch_that_was_on_its_way() -> None:
    seam = SeamDouble()
    seam.spans.append(request(2))
    async with receiver() as (received, session):
        received.statuses, received.headers = [503], {"Retry-After": "60"}
        pump = SpanPump(DataPlane(seam), exporter(received, session), batching(schedule_delay=0.01))
        task = asyncio.create_task(pump.run())
        await eventually(lambda: len(received.bodies) == 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        seam.spans.extend([request(600), request(7)])

        await pump.flush(5)

        assert (pump.sent, pump.lost) == (609, 0)


async def test_a_receiver_that_is_down_does_not_hold_up_the_end() -> None:
    seam = SeamDouble()
    seam.spans.extend([request(2), request(3)])
    async with receiver() as (_, session):
        down = Exporter(session, Target("http://127.0.0.1:9/v1/traces", {}, 5.0, gzip=False))
        pump = SpanPump(DataPlane(seam), down, batching())
        async with asyncio.timeout(3):
            await pump.flush(0.05)

    assert (pump.sent, pump.lost) == (0, 5)


async def test_a_long_failure_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    seam = SeamDouble()
    async with receiver() as (received, session):
        pump = SpanPump(DataPlane(seam), exporter(received, session), batching())
        for status in (400, 400, 400, 200):
            received.statuses = [status]
            seam.spans.append(request(1))
            await pump.flush(5)

            assert bool(pump.problem) == (status != 200)

    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "again" in caplog.records[-1].message


async def test_metrics_leave_every_interval() -> None:
    async with receiver() as (received, session):
        pump = MetricPump(DataPlane(SeamDouble()), exporter(received, session), 0.01, lambda: b" of our own")
        task = asyncio.create_task(pump.run())
        await eventually(lambda: len(received.bodies) >= 2)
        task.cancel()

    assert received.bodies[0] == b"metrics of our own"


async def test_access_log_lines_are_written_in_order() -> None:
    seam = SeamDouble()
    seam.access_log.extend([b'{"status":200}\n', b'{"status":503}\n'])
    written: list[bytes] = []

    await AccessLogPump(DataPlane(seam), written.append).flush(5)

    assert b"".join(written) == b'{"status":200}\n{"status":503}\n'


async def test_the_access_log_ends_when_its_reader_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    seam = SeamDouble()
    seam.access_log.extend([b"1\n", b"2\n"])

    def gone(_: bytes) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    async with asyncio.timeout(5):
        await AccessLogPump(DataPlane(seam), gone).run()

    assert "its reader is gone: Broken pipe" in caplog.text
    assert len(seam.access_log) == 1
