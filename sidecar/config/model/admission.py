"""How many requests a service takes from its callers, and a gateway from its clients."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from sidecar.config.model.base import Model, PositiveDuration, refusal, refuse_all
from sidecar.config.model.header import HeaderName


class HeaderKey(Model):
    """The value of a header; requests without it count together."""

    header: HeaderName = Field(description="Its name; of gRPC it is metadata.")


class ClaimKey(Model):
    """What the token says; requests that show none count together."""

    claim: str = Field(min_length=1, description="Which claim: sub; dots lead into claims, `realm_access.role`.")


RateKey = Literal["source", "method"] | HeaderKey
GatewayRateKey = Literal["source", "method", "consumer", "group"] | HeaderKey | ClaimKey


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
        default=None, ge=1, le=1_000_000_000, description="How many at once of a token bucket. Left out: as `requests`."
    )
    algorithm: Literal["token_bucket", "sliding_window"] = Field(
        default="token_bucket",
        description="`token_bucket` gives back what time brings, one by one; of `sliding_window` no time of `per`, "
        "whenever it begins, has more than `requests`, as far as those of the time before came evenly.",
    )

    @model_validator(mode="after")
    def _check_burst(self) -> Self:
        if self.algorithm == "sliding_window" and self.burst is not None:
            found = refusal("a sliding window has no burst", expected="`requests` alone, or a token bucket")
            refuse_all([(("burst",), self.burst, found)])
        return self


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
        "whose credentials it shows, or the address of who shows none; `group`, the first of the consumer's, or as "
        "`consumer` of who is in none; `method`, of gRPC which one is called; `header: NAME`; `claim: NAME` of the "
        "token. Several count in combination. Left out: all count together.",
    )

    @property
    def needs_caller(self) -> bool:
        """Whether it counts by what credentials say."""
        return any(part in ("consumer", "group") or isinstance(part, ClaimKey) for part in self.by)
