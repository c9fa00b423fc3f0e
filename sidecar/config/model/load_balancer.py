"""How the endpoints of a service share its requests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from sidecar.config.model.base import Duration, Finding, Model, Share, refusal, refuse_all
from sidecar.config.model.header import CookieName, HeaderName

Policy = Literal["round_robin", "least_request", "random", "peak_ewma", "ring_hash", "maglev"]

_HASHED = ("ring_hash", "maglev")
# RFC 6265 section 4.1.1: any character but controls and `;`.
_PATH = re.compile(r"/[\x20-\x3a\x3c-\x7e]*")
# Envoy's defaults and bounds (config.cluster.v3.Cluster.RingHashLbConfig).
_MIN_RING_SIZE, _MAX_RING_SIZE = 1024, 8 << 20


def _check_path(value: object) -> object:
    if isinstance(value, str) and not _PATH.fullmatch(value):
        raise refusal(f"this is no path of a cookie: `{value}`", expected="`/`, or what requests begin with")
    return value


CookiePath = Annotated[str, BeforeValidator(_check_path)]


_PART_EXPECTED = "one of `header`, `cookie`, `query` and `source: true`"


class HashPart(Model):
    """One part of a request that decides where it goes: exactly one of header, cookie, query and source."""

    header: HeaderName | None = Field(default=None, description="The value of this header; of gRPC it is metadata.")
    cookie: CookieName | None = Field(default=None, description="The value of this cookie.")
    query: str | None = Field(default=None, min_length=1, description="The value of this parameter of the query.")
    source: bool = Field(default=False, description="true: the client's address.")
    ttl: Duration | None = Field(
        default=None,
        description="With `cookie`: a client that has not got it gets one for so long; 0s = until its session ends.",
    )
    path: CookiePath = Field(default="/", description="With `cookie`: of the requests that carry one that was given.")
    terminal: bool = Field(default=False, description="true: later parts count only when nothing was found up to here.")

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        refuse_all(self._unclear())
        return self

    def _unclear(self) -> Iterator[Finding]:
        said = [name for name in ("header", "cookie", "query", "source") if getattr(self, name)]
        if not said:
            yield (), None, refusal("this names no part of a request", expected=_PART_EXPECTED)
        for name in said[1:]:
            message = f"`{said[0]}` is named here already: one part has one source"
            yield (name,), getattr(self, name), refusal(message, expected=_PART_EXPECTED)
        for name in ("ttl", "path"):
            if self.cookie is None and name in self.model_fields_set:
                yield (name,), getattr(self, name), refusal(f"`{name}` is about a cookie", hint="it goes with `cookie`")


class Sticky(Model):
    """Keeps each client with the endpoint that answered it first, as long as that can be picked."""

    cookie: CookieName = Field(default="sidecar-session", description="The cookie that says which endpoint.")
    ttl: Duration = Field(default=timedelta(0), description="How long a client keeps it; 0s = until its session ends.")
    path: CookiePath = Field(default="/", description="Of the requests that carry it.")


class LoadBalancer(Model):
    """How an endpoint is picked. Most need the policy alone, which can stand for the whole: `load_balancer: random`."""

    not_yet: ClassVar[frozenset[str]] = frozenset({"zone_aware", "locality", "hash_balance_factor"})

    # Two random choices spread load nearly as well as asking all endpoints, and avoid a slow one (Mitzenmacher 2001).
    policy: Policy = Field(
        default="least_request",
        description="round_robin and random go by weight, least_request to the less loaded of two at random, "
        "peak_ewma to the faster one, ring_hash and maglev by `hash`, so that the same goes to the same endpoint.",
    )
    choices: int = Field(default=2, ge=2, le=10, description="With least_request: how many are compared.")
    hash: tuple[HashPart, ...] = Field(
        default=(),
        max_length=8,
        description="With ring_hash and maglev: what decides; requests without any of it go anywhere.",
    )
    min_ring_size: int = Field(
        default=_MIN_RING_SIZE, ge=1, le=_MAX_RING_SIZE, description="With ring_hash: points of all endpoints at least."
    )
    max_ring_size: int = Field(
        default=_MAX_RING_SIZE, ge=1, le=_MAX_RING_SIZE, description="With ring_hash: points of all endpoints at most."
    )
    sticky: Sticky | None = Field(default=None, description="Keeps each client with its endpoint, by a cookie.")
    slow_start: Duration = Field(
        default=timedelta(0),
        description="How long an endpoint that is new or back gets less than its share; 0s = none. Not for hashing.",
    )
    # Envoy's default (config.cluster.v3.Cluster.CommonLbConfig.healthy_panic_threshold).
    panic_threshold: Share = Field(
        default=Decimal("0.5"),
        description="When fewer of the endpoints that discovery calls healthy are left, others take over, and where "
        "there are none, those are picked too that this proxy took out.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        return {"policy": value} if isinstance(value, str) else value

    @model_serializer(mode="wrap")
    def _as_written(self, full: SerializerFunctionWrapHandler) -> Any:
        return self.policy if self.model_fields_set == {"policy"} else full(self)

    @model_validator(mode="after")
    def _check_policy(self) -> Self:
        refuse_all(self._misplaced())
        return self

    def _misplaced(self) -> Iterator[Finding]:
        written = self.model_fields_set
        of_policies: dict[str, tuple[str, ...]] = {
            "choices": ("least_request",),
            "hash": _HASHED,
            "min_ring_size": ("ring_hash",),
            "max_ring_size": ("ring_hash",),
        }
        for field, policies in of_policies.items():
            if field in written and self.policy not in policies:
                expected = " or ".join(policies)
                message = f"`{field}` is about {expected}, and this is {self.policy}"
                yield (
                    (field,),
                    getattr(self, field),
                    refusal(message, hint=f"leave it out, or say `policy: {policies[0]}`"),
                )
        if self.policy in _HASHED and not self.hash:
            hint = "such as `hash: [{header: x-user}]`, or `hash: [{source: true}]`"
            yield (
                ("policy",),
                self.policy,
                refusal(f"{self.policy} needs `hash`: what decides where a request goes", hint=hint),
            )
        if self.policy in _HASHED and self.slow_start:
            yield (
                ("slow_start",),
                self.slow_start,
                refusal("a key goes to its endpoint at once: hashing has no slow start"),
            )
        if self.min_ring_size > self.max_ring_size:
            message = f"a ring of at least {self.min_ring_size} points is larger than {self.max_ring_size}"
            yield ("min_ring_size",), self.min_ring_size, refusal(message, hint="max_ring_size is its bound")
