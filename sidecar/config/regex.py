"""Which regular expressions may go to the data plane: those that every engine of the linear kind reads alike.

Documents and Consul have RE2's, the data plane has those of Rust's `regex`. One that the data plane cannot read would
refuse a whole snapshot, so only what both surely have is passed on.
"""

from __future__ import annotations

import re
import warnings

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


def is_common(text: str) -> bool:
    """Whether the data plane reads it, and reads it as RE2 does."""
    if len(text) > _LONGEST:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)
            re.compile(text)
    except (re.error, FutureWarning, OverflowError, RecursionError):
        return False
    position, repeats = 0, 1
    while position < len(text):
        part = _PART.match(text, position)
        if part is None:
            return False
        for count in (part["counts"] or "").split(","):
            repeats *= max(1, int(count or 1))
        position = part.end()
    # `a++` and `a*+` are possessive here, and refused there.
    return repeats <= _MOST_REPEATS and not re.search(r"[*+?}]\+|[*+}]\*|\?\*", text)
