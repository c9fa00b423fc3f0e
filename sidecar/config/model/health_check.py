"""What endpoints are asked, whether requests go there or not."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from sidecar.config.model.base import Model, PositiveDuration, format_duration, refusal, refuse_all
from sidecar.config.model.traffic import Statuses

# More often than this a check is load.
_LEAST_INTERVAL = timedelta(milliseconds=10)
_QUESTIONS = ("http", "grpc", "tcp")


def _check_path(path: str) -> str:
    if not path.startswith("/") or not path.isascii() or not path.isprintable() or set(path) & set(' "#<>\\^`{|}'):
        raise refusal(f"`{path}` is no path", expected="a path such as /healthz; a query may follow")
    return path


def _check_interval(interval: timedelta) -> timedelta:
    if interval < _LEAST_INTERVAL:
        raise refusal("more often than this a check is load", expected=f"at least {format_duration(_LEAST_INTERVAL)}")
    return interval


def _check_statuses(statuses: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    if not statuses:
        raise refusal("no answer would be well", expected="statuses such as [200-299]")
    return statuses


def _check_tcp(tcp: bool) -> bool:
    if not tcp:
        raise refusal("`false` asks for nothing", expected="`tcp: true`, or one of `http` and `grpc`")
    return tcp


class HealthCheck(Model):
    """A question that each caller asks every endpoint; who does not answer well gets no requests.

    Consul's own checks must be good as well. Where nobody answers well, requests go to all: then it is rather the
    question that is wrong. It is asked as calls are, with the caller's identity: intentions and `allow` must allow it.
    """

    http: Annotated[str, AfterValidator(_check_path)] | None = Field(
        default=None, description="A GET of this path, such as /healthz."
    )
    statuses: Annotated[tuple[Statuses, ...], AfterValidator(_check_statuses)] = Field(
        default=((200, 299),), description="With `http`: answers that are well, such as [200-299, 404]."
    )
    grpc: str | None = Field(
        default=None,
        max_length=255,
        description='A call of grpc.health.v1 for this service, such as shop.v1.Orders; "" is the whole server.',
    )
    tcp: Annotated[bool, AfterValidator(_check_tcp)] | None = Field(
        default=None, description="true: a connection is answer enough, with TLS where calls have it."
    )
    interval: Annotated[PositiveDuration, AfterValidator(_check_interval)] = Field(
        default=timedelta(seconds=10), description="From one check to the next; a tenth more or less at random."
    )
    timeout: PositiveDuration = Field(default=timedelta(seconds=2), description="How long an answer may take.")
    healthy_threshold: int = Field(default=2, ge=1, le=1000, description="Good answers in a row after bad ones.")
    unhealthy_threshold: int = Field(
        default=3,
        ge=1,
        le=1000,
        description="Bad answers in a row after good ones; the very first counts alone.",
    )

    @model_validator(mode="after")
    def _check_question(self) -> Self:
        asked = [name for name in _QUESTIONS if getattr(self, name) is not None]
        if not asked:
            refuse_all([((), self, refusal("nothing is asked", expected="one of `http`, `grpc`, `tcp`"))])
        refuse_all(((name,), getattr(self, name), refusal("one question is enough")) for name in asked[1:])
        if self.http is None and "statuses" in self.model_fields_set:
            refuse_all([(("statuses",), self.statuses, refusal("`statuses` are those of `http`"))])
        return self

    @property
    def question(self) -> str:
        """ "http", "grpc" or "tcp"."""
        return next(name for name in _QUESTIONS if getattr(self, name) is not None)
