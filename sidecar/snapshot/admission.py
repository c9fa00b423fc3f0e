"""How many requests a service takes from its callers, and a gateway from its clients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sidecar.config.model import Gateway, Service
from sidecar.config.model.admission import GatewayRateKey, HeaderKey, Rate
from sidecar.config.model.gateway import GatewayRoute
from sidecar.snapshot.tcp import is_tcp
from sidecar.snapshot.units import milliseconds
from sidecar.wire import snapshot_pb2 as wire

_ALGORITHMS = {
    "token_bucket": wire.RATE_ALGORITHM_TOKEN_BUCKET,
    "sliding_window": wire.RATE_ALGORITHM_SLIDING_WINDOW,
}


def admission(service: Service) -> wire.Admission | None:
    """None: whatever comes is taken. Of bytes nobody counts requests: that they are such, Consul may have said."""
    if is_tcp(service) or (service.concurrency is None and service.rate_limit is None):
        return None
    limit = service.rate_limit
    return wire.Admission(concurrency=service.concurrency, rate=None if limit is None else rate(limit, limit.by))


def quotas(gateway: Gateway, route: GatewayRoute) -> list[wire.Quota]:
    """The narrow one first: what it refuses is not taken from the wide one."""
    return list(_quotas(gateway, route))


def _quotas(gateway: Gateway, route: GatewayRoute) -> Iterator[wire.Quota]:
    if route.rate_limit is not None:
        yield wire.Quota(name="route", scope=route.name, rate=rate(route.rate_limit, route.rate_limit.by))
    if gateway.rate_limit is not None:
        yield wire.Quota(name="gateway", rate=rate(gateway.rate_limit, gateway.rate_limit.by))


def rate(limit: Rate, by: Iterable[GatewayRateKey] = ()) -> wire.RateLimit:
    """One that counts apart by these."""
    return wire.RateLimit(
        requests=limit.requests,
        period_ms=milliseconds(limit.per),
        burst=limit.burst,
        by=[_key(part) for part in by],
        algorithm=_ALGORITHMS[limit.algorithm],
    )


def _key(part: GatewayRateKey) -> wire.RateKey:
    match part:
        case "source":
            return wire.RateKey(source=True)
        case "method":
            return wire.RateKey(method=True)
        case "consumer":
            return wire.RateKey(consumer=True)
        case "group":
            return wire.RateKey(group=True)
        case HeaderKey():
            return wire.RateKey(header=part.header)
    return wire.RateKey(claim=part.claim)
