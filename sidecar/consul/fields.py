"""Which fields of a thing that Consul tells are carried out, and which of those that are written are not.

A table says what is done. Every other field that is written is named, so one that a newer Consul has cannot be ignored
silently.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Json = Mapping[str, Any]
# By field: None, it is done; a set, these values ask for nothing beyond what we do; a table, what is done inside of it
# or of each of its items. "*" stands for any name.
Done = Mapping[str, Any]


def written(value: object) -> bool:
    """Whether a field says anything; Consul fills what was left out with empty values."""
    if isinstance(value, Mapping):
        return any(written(item) for item in value.values())
    return bool(value) and value != "0s"


def beyond(value: Json, done: Done, path: str = "") -> Iterator[str]:
    """The paths of what is written and not done: "Routes[1].Destination.IdleTimeout"."""
    for name, item in sorted(value.items()):
        here = f"{path}.{name}" if path else name
        known = done.get(name, done.get("*", ())) if name in done or "*" in done else ()
        if known is None or not written(item):
            continue
        if isinstance(known, frozenset):
            if item not in known:
                yield f"{here} {item}"
        elif not known:
            yield here
        elif isinstance(item, Mapping):
            yield from beyond(item, known, here)
        elif isinstance(item, list):
            for number, part in enumerate(item):
                yield from beyond(part, known, f"{here}[{number}]") if isinstance(part, Mapping) else (here,)
        else:
            yield here
