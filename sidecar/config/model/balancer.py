"""A balancer in front of a gateway: how it says whose connections it passes on, and where it asks how we are."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from sidecar.config.model.base import Model, refusal
from sidecar.config.model.entry import Networks
from sidecar.config.model.path import Path, PathPattern


def _check_trusted(networks: tuple[str, ...]) -> tuple[str, ...]:
    if not networks:
        raise refusal(
            "an empty list refuses every connection",
            expected="the networks of the balancers, such as 10.0.0.0/8",
            hint="leave `proxy_protocol` out where no balancer sends it",
        )
    return networks


class ProxyProtocol(Model):
    """Whose header is believed."""

    trusted: Annotated[Networks, Field(max_length=256), AfterValidator(_check_trusted)] = Field(
        description="Networks of the balancers. A connection from elsewhere is refused, and so is one without header."
    )


def _check_health_path(path: PathPattern) -> PathPattern:
    if path.star:
        raise refusal("this is one path", expected="a path without a star, such as /healthz")
    return path


HealthPath = Annotated[Path, AfterValidator(_check_health_path)]
