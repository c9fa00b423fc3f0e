"""How a caller treats a service; the mesh document gives the defaults, a service document replaces them by field."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from sidecar.config.model.base import Duration, Model, later

_LATER_POLICIES = ("peak_ewma", "ring_hash", "maglev")


def _later_policy(value: object) -> str | None:
    if isinstance(value, dict):
        return "a load balancer with settings"
    return f"`{value}`" if value in _LATER_POLICIES else None


LoadBalancer = Annotated[Literal["round_robin", "least_request", "random"], later(_later_policy)]


class Retry(Model):
    """When a request that failed before it reached an app is tried on another endpoint."""

    not_yet: ClassVar[frozenset[str]] = frozenset({"on", "per_try_timeout", "budget", "backoff"})

    # Three, and a bound of ten: attempts multiply along a chain of services.
    attempts: int = Field(default=3, ge=1, le=10, description="Tries in all, the first one counted; 1 = no retry.")


class CircuitBreaker(Model):
    """Bounds of what one caller has open to one service; beyond them requests fail at once."""

    # Envoy's defaults (config.cluster.v3.CircuitBreakers.Thresholds).
    max_requests: int = Field(default=1024, ge=1, le=1_000_000, description="Requests in flight.")
    max_pending: int = Field(default=1024, ge=1, le=1_000_000, description="Requests that wait for a connection.")
    max_connections: int = Field(default=1024, ge=1, le=1_000_000, description="Connections.")


class Traffic(Model):
    """The caller's side of a service. A field that is left out has the mesh document's value."""

    load_balancer: LoadBalancer | None = Field(
        default=None, description="How an endpoint is picked: round_robin, least_request (of two at random) or random."
    )
    timeout: Duration | None = Field(
        default=None,
        description="Limit from the last progress of the request to the end of the response, retries included; 0s = "
        "none. Left out everywhere: 15s, and none for grpc, whose calls carry their own deadline and whose streams may "
        "be long.",
    )
    connect_timeout: Duration | None = Field(default=None, description="Limit of opening a connection to an endpoint.")
    retry: Retry | None = Field(default=None, description="Tries on other endpoints.")
    circuit_breaker: CircuitBreaker | None = Field(default=None, description="Bounds of what is open at once.")
