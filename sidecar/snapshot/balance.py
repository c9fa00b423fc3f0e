"""How the endpoints of a cluster share its requests, as the data plane is told."""

from __future__ import annotations

from datetime import timedelta

from sidecar.config.model.load_balancer import HashPart, LoadBalancer, Sticky
from sidecar.wire import snapshot_pb2 as wire

POLICIES = {
    "round_robin": wire.BALANCE_POLICY_ROUND_ROBIN,
    "least_request": wire.BALANCE_POLICY_LEAST_REQUEST,
    "random": wire.BALANCE_POLICY_RANDOM,
    "peak_ewma": wire.BALANCE_POLICY_PEAK_EWMA,
    "ring_hash": wire.BALANCE_POLICY_RING_HASH,
    "maglev": wire.BALANCE_POLICY_MAGLEV,
}


def settings(balancer: LoadBalancer) -> wire.BalanceSettings:
    """All but the policy."""
    return wire.BalanceSettings(
        choices=balancer.choices,
        min_ring_size=balancer.min_ring_size,
        max_ring_size=balancer.max_ring_size,
        hash=[_hash_key(part) for part in balancer.hash],
        sticky=_sticky(balancer.sticky) if balancer.sticky is not None else None,
        slow_start_ms=_milliseconds(balancer.slow_start),
        panic_threshold=int(balancer.panic_threshold * 100),
    )


def _hash_key(part: HashPart) -> wire.HashKey:
    key = wire.HashKey(terminal=part.terminal)
    if part.header is not None:
        key.header = part.header
    elif part.cookie is not None:
        key.cookie.CopyFrom(_cookie(part.cookie, part.path, part.ttl))
    elif part.query is not None:
        key.query = part.query
    else:
        key.address = True
    return key


def _sticky(sticky: Sticky) -> wire.Cookie:
    return _cookie(sticky.cookie, sticky.path, sticky.ttl)


def _cookie(name: str, path: str, ttl: timedelta | None) -> wire.Cookie:
    return wire.Cookie(name=name, path=path, ttl_ms=_milliseconds(ttl) if ttl is not None else None)


def _milliseconds(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)
