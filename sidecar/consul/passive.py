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

# As config entries and as opaque configs of upstreams write them. A share of the ejections is not carried out.
_ALL = frozenset({100})
ENTRY: Done = {
    **dict.fromkeys(("Interval", "MaxFailures", "MaxEjectionPercent", "BaseEjectionTime")),
    "EnforcingConsecutive5xx": _ALL,
}
OPAQUE: Done = {
    **dict.fromkeys(("interval", "max_failures", "max_ejection_percent", "base_ejection_time")),
    "enforcing_consecutive_5xx": _ALL,
}


class Detection(TypedDict):
    """Fields of OutlierDetection; what is None is not said."""

    consecutive_errors: int | None
    ejection: timedelta | None
    max_ejected: Decimal | None


def of_entry(told: Json) -> Detection:
    """Of `PassiveHealthCheck`."""
    return _detection(
        told.get("MaxFailures"),
        told.get("EnforcingConsecutive5xx"),
        told.get("BaseEjectionTime"),
        told.get("MaxEjectionPercent"),
    )


def of_opaque(told: Json) -> Detection:
    """Of `passive_health_check`."""
    return _detection(
        told.get("max_failures"),
        told.get("enforcing_consecutive_5xx"),
        told.get("base_ejection_time"),
        told.get("max_ejection_percent"),
    )


def _detection(failures: object, enforcing: object, ejection: object, percent: object) -> Detection:
    # Consul's 0 failures stand for the default, 0 % of enforcing and of ejection for none at all.
    errors = int(failures) if isinstance(failures, int | float) and failures > 0 else None
    time = duration(ejection)
    return Detection(
        consecutive_errors=0 if _number(enforcing) == 0 else errors,
        ejection=time if time else None,
        max_ejected=None if (most := _number(percent)) is None else Decimal(min(most, 100)) / 100,
    )


def _number(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and value >= 0 else None
