"""What a service takes from its callers."""

from __future__ import annotations

from sidecar.config.model import Service
from sidecar.config.model.admission import RateKey, RateLimit
from sidecar.snapshot.tcp import is_tcp
from sidecar.snapshot.units import milliseconds
from sidecar.wire import snapshot_pb2 as wire


def admission(service: Service) -> wire.Admission | None:
    """None: whatever comes is taken. Of bytes nobody counts requests: that they are such, Consul may have said."""
    if is_tcp(service) or (service.concurrency is None and service.rate_limit is None):
        return None
    rate = None if service.rate_limit is None else _rate(service.rate_limit)
    return wire.Admission(concurrency=service.concurrency, rate=rate)


def _rate(limit: RateLimit) -> wire.RateLimit:
    return wire.RateLimit(
        requests=limit.requests,
        period_ms=milliseconds(limit.per),
        burst=limit.burst,
        by=[_key(part) for part in limit.by],
    )


def _key(part: RateKey) -> wire.RateKey:
    if isinstance(part, str):
        return wire.RateKey(source=True) if part == "source" else wire.RateKey(method=True)
    return wire.RateKey(header=part.header)
