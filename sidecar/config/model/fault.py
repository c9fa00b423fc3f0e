"""Faults on purpose, to see what callers make of them."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, Field

from sidecar.config.model.base import Model, PositiveDuration, Share, refusal
from sidecar.config.model.route import Match
from sidecar.config.model.traffic import GrpcStatus

_LONGEST = timedelta(minutes=1)


def _check_delay(delay: timedelta) -> timedelta:
    if delay > _LONGEST:
        raise refusal("no test needs a delay like this", expected="at most 1m")
    return delay


class Delay(Model):
    """Requests that wait before they are sent."""

    time: Annotated[PositiveDuration, AfterValidator(_check_delay)] = Field(description="How long they wait.")
    share: Share = Field(default=Decimal(1), description="How many of the requests.")


class Abort(Model):
    """Requests that are answered with an error, and not sent."""

    status: int = Field(default=503, ge=400, le=599, description="What HTTP callers get.")
    grpc: GrpcStatus = Field(default="unavailable", description="What gRPC callers get.")
    share: Share = Field(default=Decimal(1), description="How many of the requests.")


class Reset(Model):
    """Requests that are broken off without an answer."""

    share: Share = Field(default=Decimal(1), description="How many of the requests.")


class Fault(Model):
    """What callers of the service suffer on purpose, from their own proxy."""

    match: Match = Field(default=Match.defaults(), description="Which requests; left out: all.")
    delay: Delay | None = Field(default=None, description="Requests that wait.")
    abort: Abort | None = Field(default=None, description="Requests that are answered with an error.")
    reset: Reset | None = Field(default=None, description="Requests that are broken off.")
    by_header: bool = Field(
        default=False,
        description="true: a caller inside the mesh may ask: `x-sidecar-fault: delay=200`, `abort=503` or `reset`.",
    )
