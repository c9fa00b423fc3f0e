"""Consul's passive health checks: when endpoints that fail get no requests for a while.

Consul passes them on to Envoy's outlier detection. Ours ejects at the failure and lets a probe in as soon as its time
is over, so an interval between sweeps leaves nothing to be done.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TypedDict

from sidecar.consul.duration import duration
from sidecar.consul.fields import Done, Json

# As config entries write them. A share of the ejections is not carried out.
ENTRY: Done = {
    **dict.fromkeys(("Interval", "MaxFailures", "MaxEjectionPercent", "BaseEjectionTime")),
    "EnforcingConsecutive5xx": frozenset({100}),
}
# By the names in opaque configs of upstreams.
_OPAQUE = {
    "interval": "Interval",
    "max_failures": "MaxFailures",
    "max_ejection_percent": "MaxEjectionPercent",
    "base_ejection_time": "BaseEjectionTime",
    "enforcing_consecutive_5xx": "EnforcingConsecutive5xx",
}
OPAQUE: Done = {name: ENTRY[entry] for name, entry in _OPAQUE.items()}


class Detection(TypedDict):
    """Fields of OutlierDetection; what is None is not said."""

    consecutive_errors: int | None
    ejection: timedelta | None
    max_ejected: Decimal | None


def of_opaque(told: Json) -> Detection:
    """Of `passive_health_check`."""
    return of_entry({entry: told.get(name) for name, entry in _OPAQUE.items()})


def of_entry(told: Json) -> Detection:
    """Of `PassiveHealthCheck`."""
    # Consul's 0 failures stand for the default, 0 % of enforcing and of ejection for none at all.
    failures, time = told.get("MaxFailures"), duration(told.get("BaseEjectionTime"))
    errors = int(failures) if isinstance(failures, int | float) and failures > 0 else None
    most = _number(told.get("MaxEjectionPercent"))
    return Detection(
        consecutive_errors=0 if _number(told.get("EnforcingConsecutive5xx")) == 0 else errors,
        ejection=time if time else None,
        max_ejected=None if most is None else Decimal(min(most, 100)) / 100,
    )


def _number(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and value >= 0 else None
