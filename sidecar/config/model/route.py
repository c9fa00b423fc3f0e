"""What the routes of services and gateways share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, ClassVar, TypeVar

from pydantic import AfterValidator, Field

from sidecar.config.model.base import Duration, Finding, Model, RouteName, Size, refusal, size_between
from sidecar.config.model.header import HeaderName, HeaderValue, Method
from sidecar.config.model.path import Path
from sidecar.config.model.retry import Retry


def _check_methods(methods: tuple[str, ...]) -> tuple[str, ...]:
    if not methods:
        raise refusal("an empty list matches nothing", hint="leave `methods` out to match all of them")
    return methods


class Match(Model):
    """Which requests a route takes; all given parts must match, and no part at all matches everything."""

    not_yet: ClassVar[frozenset[str]] = frozenset({"query", "cookies", "source"})

    path: Path | None = Field(default=None, description="`/api` is only itself, `/api/*` is `/api` and all below it.")
    methods: Annotated[tuple[Method, ...], AfterValidator(_check_methods)] | None = Field(
        default=None, description="Any of these methods."
    )
    headers: dict[HeaderName, HeaderValue] = Field(default={}, description="Each of these headers has this value.")


class Route(Model):
    """One rule; the first that matches, in the order written, takes the request."""

    not_yet: ClassVar[frozenset[str]] = frozenset({"mirror", "fault", "rate_limit", "allow", "plugins", "headers"})

    name: RouteName = Field(description="Its name in metrics, logs and reports.")
    enabled: bool = Field(default=True, description="false takes the route out without deleting it.")
    timeout: Duration | None = Field(default=None, description="Instead of the service's; 0s = none.")
    retry: Retry | None = Field(default=None, description="Instead of the service's.")
    max_request_body: Annotated[Size, size_between(1, 1 << 50)] | None = Field(
        default=None,
        description="Bytes of a request's content; a larger one is answered with 413, in gRPC with RESOURCE_EXHAUSTED.",
    )


class Weighted(Model):
    """One branch of a split."""

    weight: int = Field(ge=0, le=1_000_000, description="Its share of the requests, out of the sum of all weights.")


W = TypeVar("W", bound=Weighted)


def check_split(split: tuple[W, ...]) -> tuple[W, ...]:
    """For an AfterValidator: at least one branch can be picked."""
    if not any(branch.weight for branch in split):
        raise refusal("no branch of this split can be picked", expected="at least one branch with a weight above 0")
    return split


def repeated_names(names: Iterable[str], field: str) -> Iterator[Finding]:
    """A finding for every name of a list that stood in it before; `field` is where an item holds its name."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield (index, field), name, refusal(f"`{name}` stands here twice", expected="a name of its own")
        seen.add(name)
