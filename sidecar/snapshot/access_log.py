"""What the access log is, as the data plane has it."""

from __future__ import annotations

from sidecar.config.model.access_log import PATTERNS, AccessLog
from sidecar.snapshot.units import millionths, milliseconds
from sidecar.wire import telemetry_pb2 as wire


def access_log(log: AccessLog) -> wire.AccessLog:
    """Of the mesh document."""
    made = wire.AccessLog(
        enabled=log.enabled,
        pattern=PATTERNS.get(log.format, log.format),
        sample=millionths(log.sample),
        redact=log.redact,
    )
    if (only := log.only) is not None:
        made.min_status = only.min_status or 0
        made.slower_than_ms = milliseconds(only.slower_than) if only.slower_than is not None else 0
    return made
