"""How a caller treats a service; the mesh document gives the defaults, a service document replaces them by field."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema

from sidecar.config.model.base import Duration, Model, refusal
from sidecar.config.model.breaking import CircuitBreaker, OutlierDetection
from sidecar.config.model.load_balancer import LoadBalancer
from sidecar.config.model.retry import Retry

_RANGE = re.compile(r"([1-5][0-9][0-9])-([1-5][0-9][0-9])")
_STATUSES_EXPECTED = "a status such as 503, or a range such as 500-599"


def parse_statuses(value: object) -> tuple[int, int]:
    """503 -> (503, 503), "500-599" -> (500, 599); both ends belong to it."""
    if isinstance(value, tuple):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599:
        return value, value
    if isinstance(value, str) and (match := _RANGE.fullmatch(value)):
        first, last = int(match[1]), int(match[2])
        if first <= last:
            return first, last
        raise refusal(
            f"`{value}` ends before it begins", expected=_STATUSES_EXPECTED, hint=f"did you mean `{last}-{first}`?"
        )
    raise refusal(f"`{value}` is no status of HTTP", expected=_STATUSES_EXPECTED)


def format_statuses(value: tuple[int, int]) -> int | str:
    """What parse_statuses reads as `value`."""
    first, last = value
    return first if first == last else f"{first}-{last}"


Statuses = Annotated[
    tuple[int, int],
    PlainValidator(parse_statuses),
    PlainSerializer(format_statuses),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 100, "maximum": 599},
                {"type": "string", "pattern": f"^{_RANGE.pattern}$"},
            ],
            "examples": [503, "500-599"],
        }
    ),
]
# Every status of gRPC but OK, by its number (https://grpc.github.io/grpc/core/md_doc_statuscodes.html).
GRPC_STATUSES = {
    "cancelled": 1,
    "unknown": 2,
    "invalid-argument": 3,
    "deadline-exceeded": 4,
    "not-found": 5,
    "already-exists": 6,
    "permission-denied": 7,
    "resource-exhausted": 8,
    "failed-precondition": 9,
    "aborted": 10,
    "out-of-range": 11,
    "unimplemented": 12,
    "internal": 13,
    "unavailable": 14,
    "data-loss": 15,
    "unauthenticated": 16,
}
GrpcStatus = Literal[
    "cancelled",
    "unknown",
    "invalid-argument",
    "deadline-exceeded",
    "not-found",
    "already-exists",
    "permission-denied",
    "resource-exhausted",
    "failed-precondition",
    "aborted",
    "out-of-range",
    "unimplemented",
    "internal",
    "unavailable",
    "data-loss",
    "unauthenticated",
]


class Failures(Model):
    """Which answers are the endpoint's failure. Balancing, ejection, breaking and retries all read this.

    Resets, failed connections, and answers that do not begin in time always are. Of what is left 429, 503 with
    `Retry-After` and resource-exhausted say that an endpoint has too much to do; other errors are the caller's fault.
    """

    statuses: tuple[Statuses, ...] = Field(default=((500, 599),), description="Of HTTP: `[500-599]`.")
    # As Linkerd has it, without permission-denied, which is about the caller.
    grpc: tuple[GrpcStatus, ...] = Field(
        default=("unknown", "deadline-exceeded", "internal", "unavailable", "data-loss"),
        description="Of gRPC, wherever the status is: in the head or in the trailers.",
    )


class Traffic(Model):
    """The caller's side of a service. A field that is left out has the mesh document's value."""

    load_balancer: LoadBalancer | None = Field(
        default=None, description="How an endpoint is picked: a policy's name, or a policy with settings."
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
    outlier_detection: OutlierDetection | None = Field(
        default=None, description="When an endpoint that fails gets no requests for a while."
    )
    failures: Failures | None = Field(default=None, description="Which answers are an endpoint's failure.")
