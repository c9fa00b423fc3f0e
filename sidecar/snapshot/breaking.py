"""When endpoints, and whole services, get no requests for a while; and how many at most."""

from __future__ import annotations

from sidecar.config.model.breaking import CircuitBreaker, OutlierDetection
from sidecar.snapshot.units import milliseconds
from sidecar.wire import snapshot_pb2 as wire


def limits(breaker: CircuitBreaker) -> wire.ClusterLimits:
    """What may be open at a time."""
    return wire.ClusterLimits(
        max_connections=breaker.max_connections,
        max_pending=breaker.max_pending,
        max_requests=breaker.max_requests,
        max_retries=breaker.max_retries,
        per_endpoint=wire.EndpointLimits(
            max_connections=breaker.per_endpoint.max_connections,
            max_pending=breaker.per_endpoint.max_pending,
            max_requests=breaker.per_endpoint.max_requests,
            max_retries=breaker.per_endpoint.max_retries,
        ),
    )


def error_rate(breaker: CircuitBreaker) -> wire.ErrorRate | None:
    """None: the service is always tried."""
    if breaker.failure_rate is None:
        return None
    return wire.ErrorRate(
        failures=max(1, int(breaker.failure_rate * 1000)),
        min_requests=breaker.min_requests,
        open_ms=milliseconds(breaker.open),
    )


def outlier(detection: OutlierDetection) -> wire.Outlier | None:
    """None: nobody is ejected."""
    if not detection.enabled:
        return None
    return wire.Outlier(
        consecutive_errors=detection.consecutive_errors,
        consecutive_gateway_errors=detection.consecutive_gateway_errors,
        success_rate=int(detection.success_rate * 1000),
        min_requests=detection.min_requests,
        ejection_ms=milliseconds(detection.ejection),
        max_ejection_ms=milliseconds(detection.max_ejection),
        max_ejected=int(detection.max_ejected * 1000),
    )
