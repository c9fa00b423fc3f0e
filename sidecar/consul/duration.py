"""Durations, as Go writes them and Consul tells them."""

from __future__ import annotations

import re
from datetime import timedelta

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration(value: object) -> timedelta | None:
    """Go's "1m30s", or nanoseconds; zero for a negative one, which means none; None for "" and 0, not said."""
    seconds: float | None = None
    if isinstance(value, int):
        seconds = value / 1e9
    elif isinstance(value, str) and (parts := _DURATION.findall(value)):
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts) * (-1 if value.startswith("-") else 1)
    return timedelta(seconds=max(seconds, 0.0)) if seconds else None
