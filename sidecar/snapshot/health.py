"""Health checks: what endpoints are asked."""

from __future__ import annotations

from sidecar.config.model.health_check import HealthCheck
from sidecar.snapshot.units import milliseconds
from sidecar.wire import snapshot_pb2 as wire


def health_check(check: HealthCheck | None) -> wire.HealthCheck | None:
    """As the wire has it; None: nobody is asked."""
    if check is None:
        return None
    made = wire.HealthCheck(
        interval_ms=milliseconds(check.interval),
        timeout_ms=milliseconds(check.timeout),
        healthy_threshold=check.healthy_threshold,
        unhealthy_threshold=check.unhealthy_threshold,
    )
    if check.http is not None:
        made.http.path = check.http
        made.http.statuses.extend(wire.StatusRange(first=first, last=last) for first, last in check.statuses)
    elif check.grpc is not None:
        made.grpc = check.grpc
    else:
        made.connect = True
    return made
