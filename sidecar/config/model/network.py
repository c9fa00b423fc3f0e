"""Networks of addresses, as `10.0.0.0/8`."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated

from pydantic import AfterValidator

from sidecar.config.model.base import refusal


def _check_network(value: str) -> str:
    try:
        return str(ip_network(value))
    except ValueError as error:
        raise refusal(f"this is not a network: `{value}` ({error})", expected="one like 10.0.0.0/8") from error


Network = Annotated[str, AfterValidator(_check_network)]
