"""Copies of requests, for a service that is tried out."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from sidecar.config.model.base import Label, Model, Share, refusal, refuse_all


class MirrorTarget(Model):
    """Who gets the copies: another service, or a subset."""

    service: Label | None = Field(default=None, description="Another service; this one if left out.")
    subset: Label | None = Field(default=None, description="A subset of it; all of it if left out.")

    @model_validator(mode="after")
    def _check_target(self) -> Self:
        if self.service is None and self.subset is None:
            refuse_all([((), self, refusal("this leads to nobody else", expected="`service` or `subset`"))])
        return self


def _check_share(share: Decimal) -> Decimal:
    if not share:
        raise refusal("nobody is copied", expected="more than 0%, such as 10%", hint="leave `mirror` out")
    return share


class Mirror(Model):
    """Requests to the service that are sent to somebody else too, by the caller's proxy.

    Nobody waits for the answers of these, nor hears of them. A copy is marked: its host is that of the request with
    `-shadow`, as Envoy writes it.
    """

    to: MirrorTarget = Field(description="Who gets the copies.")
    share: Annotated[Share, AfterValidator(_check_share)] = Field(
        default=Decimal(1), description="How many of the requests are copied."
    )
