"""How many requests a service takes from its callers, and a gateway from its clients."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from sidecar.config.model.base import Model, PositiveDuration, refusal
from sidecar.config.model.header import HeaderName


class HeaderKey(Model):
    """The value of a header; requests without it count together."""

    header: HeaderName = Field(description="Its name; of gRPC it is metadata.")


class ClaimKey(Model):
    """What the token says; requests that show none count together."""

    claim: str = Field(min_length=1, description="Which claim: sub; dots lead into claims, `realm_access.role`.")


RateKey = Literal["source", "method"] | HeaderKey
GatewayRateKey = Literal["source", "method", "consumer"] | HeaderKey | ClaimKey


def _check_per(per: timedelta) -> timedelta:
    if per < timedelta(milliseconds=1):
        raise refusal("nothing is counted in less than a millisecond", expected="1ms or more, such as 1s")
    if per > timedelta(days=1):
        raise refusal("one proxy does not count for longer than a day", expected="24h at most, such as 1h")
    return per


class Rate(Model):
    """So many requests in a time, and what is beyond is refused with 429, of gRPC with resource-exhausted."""

    not_yet: ClassVar[frozenset[str]] = frozenset({"match", "redis", "global"})

    requests: int = Field(ge=1, le=1_000_000_000, description="How many in each `per`.")
    per: Annotated[PositiveDuration, AfterValidator(_check_per)] = Field(
        default=timedelta(seconds=1), description="In how long."
    )
    burst: int | None = Field(
        default=None, ge=1, le=1_000_000_000, description="How many at once. Left out: as `requests`."
    )


class RateLimit(Rate):
    """So many requests in a time, and what is beyond is refused with 429, of gRPC with resource-exhausted.

    Each instance counts for itself. Answers tell what is left by `RateLimit`, refusals when to come back by
    `Retry-After`, of gRPC by `grpc-retry-pushback-ms`.
    """

    by: Annotated[tuple[RateKey, ...], Field(max_length=8)] = Field(
        default=(),
        description="Who counts apart: `source`, the verified identity of the caller or its address; `method`, of gRPC "
        "which one is called; `header: NAME`. Several count in combination. Left out: all count together.",
    )


class GatewayRateLimit(Rate):
    """So many requests in a time, and what is beyond is refused with 429, of gRPC with resource-exhausted.

    Each gateway counts for itself. Answers tell what is left by `RateLimit`, refusals when to come back by
    `Retry-After`, of gRPC by `grpc-retry-pushback-ms`.
    """

    by: Annotated[tuple[GatewayRateKey, ...], Field(max_length=8)] = Field(
        default=(),
        description="Who counts apart: `source`, the client's address, of IPv6 its /64 network; `consumer`, the one "
        "whose credentials it shows, or the address of who shows none; `method`, of gRPC which one is called; "
        "`header: NAME`; `claim: NAME` of the token. Several count in combination. Left out: all count together.",
    )

    @property
    def needs_caller(self) -> bool:
        """Whether it counts by what credentials say."""
        return any(part == "consumer" or isinstance(part, ClaimKey) for part in self.by)
