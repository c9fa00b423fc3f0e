"""Text without mistakes becomes plain values, by libyaml: many times faster than by the reader that knows all places.

Nothing is refused here. What libyaml does not read, what it might read otherwise than YAML 1.2 says, and what no
document may have is left to `marked.parse`, which tells the problems. Both read the same where this one reads at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any

from yaml import CBaseLoader, YAMLError
from yaml.events import (
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from sidecar.config.scalar import DEEPEST, NULLS, plain
from sidecar.config.source import Mark
from sidecar.config.tree import Path

# libyaml follows YAML 1.1, where more characters end a line; with tabs, carriage returns and directives readers differ.
_DOUBTFUL = re.compile("[^\n -~\u00a0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]|^%", re.M)
# How libyaml calls the style of unquoted text.
_UNQUOTED = ""


@dataclass(frozen=True, slots=True)
class Quick:
    """Values as those of a Tree, and the marks of the document and of some parts."""

    value: object
    marks: dict[Path, Mark]


def read(text: str, named: Container[str]) -> Quick | None:
    """Read a document, with the marks of what stands right below the fields `named`; None: ask `marked.parse`."""
    if _DOUBTFUL.search(text):
        return None
    try:
        return _Reader(text, named).read()
    except (YAMLError, _Doubt):
        return None


class _Doubt(Exception):
    """Not for this reader."""


class _Reader:
    def __init__(self, text: str, named: Container[str]) -> None:
        # Its stub says that events may be None; only the end of the stream is followed by None.
        self._next: Callable[[], Any] = CBaseLoader(text).get_event
        self._named = named
        self._marks: dict[Path, Mark] = {}

    def read(self) -> Quick:
        self._next()
        if not isinstance(self._next(), DocumentStartEvent):
            raise _Doubt
        first = self._next()
        self._mark(first, ())
        value = self._value(first, 0, ())
        self._next()
        if not isinstance(self._next(), StreamEndEvent):
            raise _Doubt
        return Quick(value, self._marks)

    def _value(self, event: Any, depth: int, path: Path) -> Any:
        """`path` is kept for the first two levels only."""
        kind = type(event)
        if kind is ScalarEvent:
            text = self._text(event)
            if event.style != _UNQUOTED:
                return text
            if text in NULLS:
                raise _Doubt
            return plain(text)
        if event.anchor is not None or kind not in (MappingStartEvent, SequenceStartEvent):
            raise _Doubt
        if event.tag is not None or depth == DEEPEST:
            raise _Doubt
        is_named = depth == 1 and path[0] in self._named
        return (
            self._mapping(depth, is_named, path) if kind is MappingStartEvent else self._sequence(depth, is_named, path)
        )

    def _mapping(self, depth: int, is_named: bool, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while type(event := self._next()) is not MappingEndEvent:
            key = self._text(event)
            if key in values:
                raise _Doubt
            event = self._next()
            if is_named:
                self._mark(event, (*path, key))
            values[key] = self._value(event, depth + 1, (key,) if depth == 0 else ())
        return values

    def _sequence(self, depth: int, is_named: bool, path: Path) -> tuple[Any, ...]:
        values: list[Any] = []
        while type(event := self._next()) is not SequenceEndEvent:
            if is_named:
                self._mark(event, (*path, len(values)))
            values.append(self._value(event, depth + 1, (len(values),) if depth == 0 else ()))
        return tuple(values)

    def _text(self, event: Any) -> str:
        if type(event) is not ScalarEvent or event.anchor is not None or event.tag is not None:
            raise _Doubt
        return str(event.value)

    def _mark(self, event: Any, path: Path) -> None:
        self._marks[path] = Mark(event.start_mark.line + 1, event.start_mark.column + 1)
