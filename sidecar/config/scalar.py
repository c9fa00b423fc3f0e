"""What unquoted text means, by YAML 1.2: `no` and `on` are text, `12:30` is text, `010` is ten."""

from __future__ import annotations

import re

# The deepest document of ours has 8 levels.
DEEPEST = 32
NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_WORDS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def plain(text: str) -> str | int | float | bool:
    """The value of unquoted text that is none of NULLS."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
