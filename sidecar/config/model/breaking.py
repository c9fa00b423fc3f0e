"""When endpoints, and whole services, get no requests for a while."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field

from sidecar.config.model.base import Model, PositiveDuration, Share, refusal


def _check_below_all(share: Decimal) -> Decimal:
    if not 0 < share < 1:
        raise refusal("no rate is above this", expected="more than 0% and less than 100%, such as 50%")
    return share


_OWN = "Left out: no limit of its own."


class EndpointLimits(Model):
    """Bounds of what one caller has open to each endpoint of one service. Every worker may have one connection."""

    max_requests: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description=f"Requests in flight; others get what is beyond. {_OWN}",
    )
    max_pending: int | None = Field(
        default=None, ge=1, le=1_000_000, description=f"Requests that wait for a connection. {_OWN}"
    )
    max_connections: int | None = Field(default=None, ge=1, le=1_000_000, description=f"Connections. {_OWN}")
    max_retries: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description=f"Requests in flight that came to it after a failed attempt; others get what is beyond. {_OWN}",
    )


class CircuitBreaker(Model):
    """Bounds of what one caller has open to one service; beyond them requests fail at once."""

    # Envoy's defaults (config.cluster.v3.CircuitBreakers.Thresholds).
    max_requests: int = Field(default=1024, ge=1, le=1_000_000, description="Requests in flight.")
    max_pending: int = Field(default=1024, ge=1, le=1_000_000, description="Requests that wait for a connection.")
    max_connections: int = Field(default=1024, ge=1, le=1_000_000, description="Connections.")
    # Envoy has 3; here the budget of `retry` bounds them.
    max_retries: int = Field(default=1024, ge=1, le=1_000_000, description="Requests in flight that are tried again.")
    # Envoy's `per_host_thresholds`.
    per_endpoint: EndpointLimits = Field(
        default=EndpointLimits.defaults(), description="Bounds for each endpoint, beside those for the service."
    )
    failure_rate: Annotated[Share, AfterValidator(_check_below_all)] | None = Field(
        default=None,
        description="When more of the requests to the service fail in ten seconds, it gets none for a while; then a "
        "single one finds out. Left out: never.",
    )
    min_requests: int = Field(default=20, ge=1, le=1_000_000, description="Requests that must be for `failure_rate`.")
    # For so long a service that restarts is away; it doubles up to ten times this.
    open: PositiveDuration = Field(
        default=timedelta(seconds=5), description="How long the service gets none; the next time twice as long."
    )


class OutlierDetection(Model):
    """When one endpoint that fails more than it should gets no requests for a while. All workers count together."""

    enabled: bool = Field(default=True, description="false: nobody is ejected.")
    # Envoy's defaults (config.cluster.v3.OutlierDetection), but for the share, with which Envoy ejects nobody of three.
    consecutive_errors: int = Field(default=5, ge=0, le=1_000_000, description="Failures in a row; 0 = any number.")
    # Envoy's `consecutive_gateway_failure`, which it does not enforce either until that is asked for.
    consecutive_gateway_errors: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="Of these failures the gateway errors in a row: statuses 502, 503 and 504, deadline-exceeded and "
        "unavailable of gRPC, failed connections, resets and answers that do not begin in time; 0 = any number.",
    )
    success_rate: Share = Field(
        default=Decimal("0.5"),
        description="Share of its requests in ten seconds that must succeed; 0% = none need.",
    )
    min_requests: int = Field(default=20, ge=1, le=1_000_000, description="Requests that must be for `success_rate`.")
    ejection: PositiveDuration = Field(
        default=timedelta(seconds=30),
        description="How long it gets none, then a single request finds out; the next time twice as long.",
    )
    max_ejection: PositiveDuration = Field(default=timedelta(minutes=5), description="The longest.")
    max_ejected: Share = Field(
        default=Decimal("0.5"),
        description="Share of the endpoints that may be out, rounded down; of two or more one always may. 0% = none.",
    )


M = TypeVar("M", CircuitBreaker, OutlierDetection)


def with_said(settings: M, said: object) -> M | None:
    """The settings with those of their fields that `said` has as attributes and says; None: it says none."""
    told = {field: getattr(said, field, None) for field in type(settings).model_fields}
    written = {field: value for field, value in told.items() if value is not None}
    return settings.model_copy(update=written) if written else None
