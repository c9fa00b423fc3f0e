"""When a request is tried again."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Self

from pydantic import Field, PlainValidator, WithJsonSchema, model_validator

from sidecar.config.model.base import Model, PositiveDuration, Share, refusal, refuse_all
from sidecar.config.spelling import did_you_mean, listed

# Envoy's names (x-envoy-retry-on, x-envoy-retry-grpc-on).
CONDITIONS = (
    "connect-failure",
    "refused-stream",
    "reset",
    "5xx",
    "gateway-error",
    "retriable-4xx",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
)


def _check_condition(value: object) -> str | int:
    if isinstance(value, str) and value in CONDITIONS:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 400 <= value <= 599:
        return value
    expected = f"{listed(CONDITIONS)}, or a status from 400 to 599"
    hint = did_you_mean(value, CONDITIONS) if isinstance(value, str) else ""
    raise refusal(f"`{value}` is nothing to try again for", expected=expected, hint=hint)


Condition = Annotated[
    str | int,
    PlainValidator(_check_condition),
    WithJsonSchema({"anyOf": [{"enum": list(CONDITIONS)}, {"type": "integer", "minimum": 400, "maximum": 599}]}),
]


class Backoff(Model):
    """How long to wait before another try: a random part of a time that doubles with each."""

    # Envoy's defaults (config.route.v3.RetryPolicy.RetryBackOff).
    base: PositiveDuration = Field(default=timedelta(milliseconds=25), description="The longest wait before the first.")
    max: PositiveDuration = Field(default=timedelta(milliseconds=250), description="The longest wait before any.")

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.max < self.base:
            refuse_all([(("max",), self.max, refusal("the longest wait is shorter than the first one"))])
        return self


class Retry(Model):
    """When a request is tried again, on another endpoint if there is one.

    What an endpoint has certainly not processed (connect-failure, refused-stream) is tried again in any case.
    """

    # Three, and a bound of eight: attempts multiply along a chain of services.
    attempts: int = Field(default=3, ge=1, le=8, description="Tries in all, the first one counted; 1 = no retry.")
    # As Istio, but for `cancelled`: that is what a call ends with that its caller has given up.
    on: tuple[Condition, ...] = Field(
        default=("connect-failure", "refused-stream", "unavailable"),
        description="What else is tried again: `reset` (the endpoint broke off before its answer began, or that was no "
        "valid HTTP), `5xx`, `gateway-error` (502, 503, 504), both with `reset`, `retriable-4xx` (409), a status such "
        "as 503; of gRPC `unavailable`, `resource-exhausted`, `internal`, `cancelled`, `deadline-exceeded`.",
    )
    per_try_timeout: PositiveDuration | None = Field(
        default=None, description="How long an endpoint may take to begin its answer; then another one is tried."
    )
    backoff: Backoff = Field(default=Backoff.defaults(), description="The wait before another try.")
    # Linkerd's and Envoy's default.
    budget: Share = Field(
        default=Decimal("0.2"),
        description="Of the requests to a service in ten seconds so many may be retries, and 30 in any case.",
    )
