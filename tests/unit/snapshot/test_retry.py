"""What is tried again, as the data plane reads it."""

from datetime import timedelta

import pytest

from sidecar.config.model.retry import Backoff, Retry
from sidecar.snapshot.retry import retry_policy
from sidecar.wire import snapshot_pb2 as wire


def test_by_default_only_what_was_not_processed_and_unavailable_calls() -> None:
    assert retry_policy(Retry()) == wire.RetryPolicy(
        attempts=3, calls=[14], backoff_ms=25, backoff_max_ms=250, budget=200
    )


@pytest.mark.parametrize(
    ("on", "reset", "statuses", "calls"),
    [
        (("connect-failure", "refused-stream"), False, [], []),
        (("reset",), True, [], []),
        (("5xx", "5xx"), True, [(500, 599)], []),
        (("gateway-error", "retriable-4xx"), True, [(502, 504), (409, 409)], []),
        ((503, "resource-exhausted", "internal"), False, [(503, 503)], [8, 13]),
    ],
)
def test_conditions_become_statuses(
    on: tuple[str | int, ...], reset: bool, statuses: list[tuple[int, int]], calls: list[int]
) -> None:
    policy = retry_policy(Retry.model_validate({"on": on}))

    assert (policy.reset, list(policy.calls)) == (reset, calls)
    assert [(found.first, found.last) for found in policy.statuses] == statuses


def test_times_and_the_budget_are_passed_on() -> None:
    half = timedelta(milliseconds=500)
    written = {"budget": "5%", "per_try_timeout": half, "backoff": Backoff(base=half, max=2 * half)}
    policy = retry_policy(Retry.model_validate(written))

    assert (policy.budget, policy.per_try_timeout_ms) == (50, 500)
    assert (policy.backoff_ms, policy.backoff_max_ms) == (500, 1000)
