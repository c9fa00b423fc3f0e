"""Moves what the data plane recorded to where people read it: spans and metrics by OTLP, access-log lines to stdout.

The data plane's buffers are the only queues: while a receiver is slow nothing is taken from them, they fill up, drop
the newest and count it. What was taken and then given up is counted here, so the two counts together are exact.
"""

import asyncio
import logging
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from sidecar.dataplane import DataPlane
from sidecar.telemetry.attempt import ExportError
from sidecar.telemetry.export import Exporter
from sidecar.telemetry.otlp import Batching
from sidecar.telemetry.peek import count_rejected, count_spans

# Seconds between looks at the data plane's buffers, while something comes and while nothing does. With the default
# queue of 2048 spans they carry 20,000 a second, and 8,000 out of silence.
POLL, IDLE_POLL = 0.1, 0.25
# Lines taken at once: about 1 MiB.
ACCESS_LOG_LINES = 4096
# Spans of the control side that wait while a batch is on its way: more changes than a mesh has in the worst minute.
OWN_SPANS = 256

log = logging.getLogger(__name__)


class SpanPump:
    """Sends spans in batches: when one is full, or `schedule_delay` after the last."""

    def __init__(self, dataplane: DataPlane, exporter: Exporter, batching: Batching) -> None:
        self._dataplane = dataplane
        self._exporter = exporter
        self._batching = batching
        self._report = _Report("spans", exporter.place)
        # One batch. Concatenated protobuf messages are one message with the repeated fields of both.
        self._batch = b""
        self._batch_spans = 0
        self._own: deque[bytes] = deque()
        self.sent = 0
        self.lost = 0

    @property
    def place(self) -> str:
        """Where spans go, without credentials."""
        return self._exporter.place

    @property
    def problem(self) -> str:
        """Why the last batch did not arrive; "" when it did."""
        return self._report.problem

    def offer(self, span: bytes) -> None:
        """Send a span of the control side with the next batch, as one ExportTraceServiceRequest."""
        if len(self._own) < OWN_SPANS:
            self._own.append(span)
        else:
            self.lost += 1

    async def run(self) -> None:
        """Send for ever."""
        while True:
            await self._gather()
            await self._send(self._batching.export_timeout)

    async def flush(self, within: float) -> None:
        """Send all that is left; what does not leave within `within` seconds is lost and counted."""
        deadline = time.monotonic() + within
        while True:
            self._take()
            if not self._batch_spans:
                return
            await self._send(max(0.0, deadline - time.monotonic()))

    async def _gather(self) -> None:
        deadline = time.monotonic() + self._batching.schedule_delay
        while True:
            taken = self._take()
            left = deadline - time.monotonic()
            if self._batch_spans >= self._batching.max_export_batch_size or left <= 0:
                return
            await asyncio.sleep(min(POLL if taken else IDLE_POLL, left))

    def _take(self) -> bool:
        while self._own and self._batch_spans < self._batching.max_export_batch_size:
            self._batch += self._own.popleft()
            self._batch_spans += 1
        room = self._batching.max_export_batch_size - self._batch_spans
        spans = self._dataplane.drain_spans(room) if room > 0 else b""
        self._batch += spans
        self._batch_spans += count_spans(spans)
        return bool(spans)

    async def _send(self, within: float) -> None:
        if not self._batch_spans:
            return
        try:
            rejected = count_rejected(await self._exporter.send(self._batch, within))
        except ExportError as error:
            self.lost += self._batch_spans
            self._report.failed(f"{error}; {self.lost} lost so far")
        else:
            self.sent += self._batch_spans - rejected
            self.lost += rejected
            if rejected:
                self._report.failed(f"the receiver refused {rejected} of {self._batch_spans}; {self.lost} lost so far")
            else:
                self._report.succeeded()
        # Only now: a cancelled send leaves the batch for `flush`.
        self._batch, self._batch_spans = b"", 0


class MetricPump:
    """Sends all metrics every `interval` seconds; `own` gives those of the control side, as a request."""

    def __init__(self, dataplane: DataPlane, exporter: Exporter, interval: float, own: Callable[[], bytes]) -> None:
        self._dataplane = dataplane
        self._exporter = exporter
        self._own = own
        self._interval = interval
        self._report = _Report("metrics", exporter.place)

    async def run(self) -> None:
        """Send for ever."""
        while True:
            await asyncio.sleep(self._interval)
            await self.flush(self._interval)

    async def flush(self, within: float) -> None:
        """Send the metrics of now. A failure loses nothing: the next report holds the same counters."""
        try:
            await self._exporter.send(self._dataplane.metrics("otlp") + self._own(), within)
        except ExportError as error:
            self._report.failed(str(error))
        else:
            self._report.succeeded()


class AccessLogPump:
    """Writes access-log lines; `write` may block, it runs on a thread."""

    def __init__(self, dataplane: DataPlane, write: Callable[[bytes], None]) -> None:
        self._dataplane = dataplane
        self._write = write

    async def run(self) -> None:
        """Write for ever, or until the reader is gone."""
        wrote: bool | None = False
        while wrote is not None:
            await asyncio.sleep(POLL if wrote else IDLE_POLL)
            wrote = await self._write_lines()

    async def flush(self, within: float) -> None:
        """Write all that is left, unless the reader is stuck for `within` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._write_lines()

    async def _write_lines(self) -> bool | None:
        """Whether there were any; None when nobody reads them."""
        wrote = False
        while lines := self._dataplane.drain_access_log(ACCESS_LOG_LINES):
            try:
                await asyncio.to_thread(self._write, lines)
            except OSError as error:
                log.warning("the access log ends here, its reader is gone: %s", error.strerror)
                return None
            wrote = True
        return wrote


def write_stdout(lines: bytes) -> None:
    """Write to standard output and flush."""
    sys.stdout.buffer.write(lines)
    sys.stdout.buffer.flush()


class _Report:
    """Says once that something stopped arriving, and once that it arrives again."""

    def __init__(self, what: str, place: str) -> None:
        self._what = what
        self._place = place
        self.problem = ""

    def failed(self, why: str) -> None:
        level = logging.DEBUG if self.problem else logging.WARNING
        log.log(level, "%s not sent to %s: %s", self._what, self._place, why)
        self.problem = why

    def succeeded(self) -> None:
        if self.problem:
            log.info("%s reach %s again", self._what, self._place)
        self.problem = ""
