"""Which regular expressions may go to the data plane: those that every engine of the linear kind reads alike.

Documents and Consul have RE2's, the data plane has those of Rust's `regex`. One that the data plane cannot read would
refuse a whole snapshot, so only what both surely have is passed on.
"""

from __future__ import annotations

import re
import warnings
from typing import NamedTuple

# Characters of an expression, and how often its parts may be repeated in all: compiled ones stay far below the data
# plane's limit of size (10 MiB).
_LONGEST, _MOST_REPEATS = 512, 100
_PART = re.compile(
    r"""\\[dDwWsSbB]|\\[^A-Za-z0-9<>\s]     # classes, and escapes of signs
       |\((?!\?)|\(\?(?:i\)|i:|:|P<[A-Za-z_]\w*>)  # groups; of flags the one for case
       |\{(?P<counts>\d{1,3}(?:,\d{0,3})?)\}
       |\[\^?\]?(?:\\[dDwWsS]|\\[^A-Za-z0-9<>\s]|[^\]\\\[&~])*\]
       |[^\\{}\[\](]""",
    re.VERBOSE,
)


class Fault(NamedTuple):
    """What is wrong with an expression, and at which of its characters, from 0."""

    message: str
    at: int = 0


def is_common(text: str) -> bool:
    """Whether the data plane reads it, and reads it as RE2 does."""
    return fault_of(text) is None


def fault_of(text: str) -> Fault | None:
    """Why the data plane would not read it, or not as RE2 does; None: it does."""
    if len(text) > _LONGEST:
        return Fault(f"it has more than {_LONGEST} characters", _LONGEST)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)
            re.compile(text)
    except re.error as error:
        return Fault(error.msg, error.pos or 0)
    except (FutureWarning, OverflowError, RecursionError):
        return Fault("engines read it in several ways, or not at all")
    position, repeats = 0, 1
    while position < len(text):
        part = _PART.match(text, position)
        if part is None:
            return Fault(f"`{text[position : position + 3]}` is not known to all engines of the linear kind", position)
        for count in (part["counts"] or "").split(","):
            repeats *= max(1, int(count or 1))
        if repeats > _MOST_REPEATS:
            return Fault(f"its parts are repeated more than {_MOST_REPEATS} times in all", position)
        position = part.end()
    # `a++` and `a*+` are possessive here, and refused there.
    possessive = re.search(r"[*+?}]\+|[*+}]\*|\?\*", text)
    return Fault("a repeat is repeated", possessive.start()) if possessive else None
