"""YAML or JSON text becomes a tree, with the place of every value; all that YAML adds to JSON's values is refused.

Slow, for it is pure Python: `quick.py` reads what has no mistakes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from sidecar.config.scalar import DEEPEST, NULLS, plain
from sidecar.config.source import MOST_PROBLEMS, Mark, Source
from sidecar.config.tree import Flaw, Path, Tree
from sidecar.errors import ConfigError, Problem


def parse(source: Source) -> Tree:
    """Read a document. ConfigError: its text cannot be read to the end."""
    reader = _Reader(source)
    try:
        return reader.read()
    except _Stop as stop:
        last = stop.problem
    except YAMLError as error:
        last = _syntax_problem(source, error)
    raise ConfigError([*(flaw.problem for flaw in reader.tree.flaws), last])


class _Reader:
    """Builds the tree from the parser's events, noting problems on the way."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.tree = Tree()
        self._events = _events(_without_tabs_of_json(source.text))

    def read(self) -> Tree:
        started = next((event for event in self._events if isinstance(event, DocumentStartEvent)), None)
        if started is None:
            raise _Stop(Problem(self.source.place, "the document is empty", "a mapping of fields"))
        event = next(self._events)
        if isinstance(event, ScalarEvent) and not event.value and event.style is None:
            raise _Stop(Problem(self.source.place, "the document is empty", "a mapping of fields"))
        self.tree.value = self._value(event, ())
        second = next((event for event in self._events if isinstance(event, DocumentStartEvent)), None)
        if second is not None:
            raise _Stop(self._problem(second, "a second document begins here", "one document a file"))
        return self.tree

    def _value(self, event: Event, path: Path) -> Any:
        self._refuse_extras(event, path)
        self.tree.marks[path] = _mark(event)
        if len(path) > DEEPEST:
            raise _Stop(self._problem(event, "this is nested too deep", f"at most {DEEPEST} levels"))
        if isinstance(event, MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, SequenceStartEvent):
            return self._sequence(path)
        return self._scalar(event, path)

    def _mapping(self, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not isinstance(event := next(self._events), MappingEndEvent):
            if not isinstance(event, ScalarEvent):
                raise _Stop(self._problem(event, "a key is plain text", "`name: value`"))
            key = self._text(event, path)
            below = (*path, key)
            self._refuse_extras(event, below)
            if key in values:
                first = self.tree.key_marks[below]
                self._flaw(event, below, f"`{key}` stands here twice", f"it is first in line {first.line}")
            self.tree.key_marks.setdefault(below, _mark(event))
            values[key] = self._value(next(self._events), below)
        return values

    def _sequence(self, path: Path) -> tuple[Any, ...]:
        values: list[Any] = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            values.append(self._value(event, (*path, len(values))))
        return tuple(values)

    def _scalar(self, event: Event, path: Path) -> str | int | float | bool:
        if not isinstance(event, ScalarEvent):
            return ""
        text = self._text(event, path)
        if event.style is not None:
            return text
        if text in NULLS:
            name = f"`{path[-1]}`" if path and isinstance(path[-1], str) else "this"
            self._flaw(event, path, f"{name} has no value", "give it a value, or remove the line")
            return ""
        return plain(text)

    def _text(self, event: ScalarEvent, path: Path) -> str:
        """The escapes of JSON can write half of a UTF-16 pair, which no other part of the program can encode."""
        text = str(event.value)
        if not any("\ud800" <= character <= "\udfff" for character in text):
            return text
        self._flaw(event, path, "half of a UTF-16 pair is not a character", "write the character itself")
        return text.encode("utf-8", "replace").decode("utf-8")

    def _refuse_extras(self, event: Event, path: Path) -> None:
        """Anchors would make a small text a huge document, and tags would choose types that the schema chooses."""
        if isinstance(event, AliasEvent) or (isinstance(event, NodeEvent) and event.anchor is not None):
            self._flaw(
                event, path, "anchors and aliases (`&`, `*`) are not used here", "write the value out, or quote it"
            )
        tag = event.tag if isinstance(event, ScalarEvent | CollectionStartEvent) else None
        if tag is not None:
            self._flaw(event, path, "tags (`!`) are not used here", "the schema knows the type; quote text with a `!`")

    def _flaw(self, event: Event, path: Path, message: str, hint: str) -> None:
        mark = _mark(event)
        if isinstance(event, ScalarEvent) and not event.value:
            # Nothing is written there: the key is shown.
            mark = self.tree.key_marks.get(path, mark)
        self.tree.flaws.append(Flaw(path, mark, self.source.problem(mark, message, hint=hint)))
        if len(self.tree.flaws) == MOST_PROBLEMS:
            raise _Stop(Problem(self.source.at(mark), "there are too many problems: the rest was not read"))

    def _problem(self, event: Event, message: str, expected: str = "", hint: str = "") -> Problem:
        return self.source.problem(_mark(event), message, expected=expected, hint=hint)


class _Stop(Exception):
    """Nothing after this problem can be read."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem


def _events(text: str) -> Iterator[Event]:
    """Of the pure Python parser: it knows YAML 1.2 and reports columns."""
    yield from YAML(typ="safe", pure=True).parse(text)


def _without_tabs_of_json(text: str) -> str:
    """JSON may be indented by tabs, which YAML refuses; the columns stay the same."""
    if "\t" not in text or text.lstrip()[:1] not in ("{", "["):
        return text
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    # Inside its strings JSON has no tab, only "\t".
    return text.replace("\t", " ")


def _mark(event: Event) -> Mark:
    start, end = event.start_mark, event.end_mark
    one_line = start.line == end.line and end.column > start.column
    return Mark(start.line + 1, start.column + 1, end.column - start.column if one_line else 1)


def _syntax_problem(source: Source, error: YAMLError) -> Problem:
    if isinstance(error, ReaderError):
        return source.problem(source.mark_at(error.position), "this character does not belong in a document")
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return Problem(source.place, f"this is not YAML: {error}")
    mark = Mark(error.problem_mark.line + 1, error.problem_mark.column + 1)
    what = str(error.problem).strip()
    if "'\\t'" in what:
        return source.problem(mark, "a tab cannot indent YAML", expected="spaces")
    context = f" {error.context.strip()}" if error.context else ""
    return source.problem(mark, f"this is not YAML: {what}{context}")
