"""Times as the wire has them."""

from __future__ import annotations

from datetime import timedelta


def milliseconds(duration: timedelta) -> int:
    """Whole ones; a document holds no others."""
    return duration // timedelta(milliseconds=1)
