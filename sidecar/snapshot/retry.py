"""Retry policies: what is tried again, as statuses."""

from __future__ import annotations

from sidecar.config.model.retry import Retry
from sidecar.snapshot.units import milliseconds
from sidecar.wire import snapshot_pb2 as wire

_STATUSES = {"5xx": (500, 599), "gateway-error": (502, 504), "retriable-4xx": (409, 409)}
# https://grpc.github.io/grpc/core/md_doc_statuscodes.html
_CALLS = {"cancelled": 1, "deadline-exceeded": 4, "resource-exhausted": 8, "internal": 13, "unavailable": 14}
# As with Envoy, whoever means an error of the server means that it broke off, too.
_RESETS = frozenset({"reset", "5xx", "gateway-error"})


def retry_policy(retry: Retry) -> wire.RetryPolicy:
    """As the wire has it. What was not processed is tried again without being named."""
    ranges = [_STATUSES.get(on) if isinstance(on, str) else (on, on) for on in dict.fromkeys(retry.on)]
    return wire.RetryPolicy(
        attempts=retry.attempts,
        reset=not _RESETS.isdisjoint(retry.on),
        statuses=[wire.StatusRange(first=given[0], last=given[1]) for given in ranges if given is not None],
        calls=[_CALLS[on] for on in dict.fromkeys(retry.on) if isinstance(on, str) and on in _CALLS],
        per_try_timeout_ms=milliseconds(retry.per_try_timeout) if retry.per_try_timeout else 0,
        backoff_ms=milliseconds(retry.backoff.base),
        backoff_max_ms=milliseconds(retry.backoff.max),
        budget=int(retry.budget * 1000),
    )
