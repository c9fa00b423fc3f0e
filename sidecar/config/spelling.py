"""The nearest valid name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

# Longer names than this are not compared: the comparison is quadratic in their length.
_LONGEST = 100


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name that `name` was probably meant to be."""
    if len(name) > _LONGEST:
        return None
    spelt = {word.lower().replace("-", "_"): word for word in sorted(valid)}
    found = get_close_matches(name.lower().replace("-", "_"), spelt, n=1, cutoff=0.6)
    return spelt[found[0]] if found else None


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """A hint with the nearest valid name; empty when none is near."""
    found = nearest(name, valid)
    return f"did you mean `{found}`?" if found else ""


def listed(names: Iterable[str], limit: int = 12) -> str:
    """ "`a`, `b` and 7 more", sorted; "none" when there are no names."""
    words = sorted(names)
    shown = ", ".join(f"`{word}`" for word in words[:limit])
    return f"{shown} and {len(words) - limit} more" if len(words) > limit else shown or "none"
