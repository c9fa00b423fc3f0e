"""Times and shares as the wire has them."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal


def milliseconds(duration: timedelta) -> int:
    """Whole ones; a document holds no others."""
    return duration // timedelta(milliseconds=1)


def millionths(share: Decimal) -> int:
    """Whole ones of a share of one; what is less is none."""
    return int(share * 1_000_000)
