"""The text of a document, and how a place in it is shown to a person."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from sidecar.errors import Problem

# A line's end in YAML 1.2; str.splitlines() counts others too.
_LINE_BREAK = re.compile("\r\n|[\n\r]")
# Problems of one document that are told; more of them have one cause, or one file that is none of ours.
MOST_PROBLEMS = 100
# Columns of a source line that a snippet shows.
_SNIPPET_WIDTH = 100


class Mark(NamedTuple):
    """Where something stands: line and column from 1, and how many columns a caret line underlines."""

    line: int
    column: int
    width: int = 1


@dataclass(frozen=True, slots=True)
class Source:
    """A document as it was written. `place` is its file, such as "services/orders.yaml"."""

    place: str
    text: str
    # Problems are told without the line that they are in.
    is_secret: bool = False

    def at(self, mark: Mark) -> str:
        """ "services/orders.yaml:12:3"."""
        return f"{self.place}:{mark.line}:{mark.column}"

    def problem(self, mark: Mark, message: str, *, expected: str = "", hint: str = "") -> Problem:
        """A problem with the line it is in."""
        return Problem(self.at(mark), message, expected, hint, self._snippet(mark))

    def mark_at(self, offset: int) -> Mark:
        """Of the character at `offset`, counted from 0."""
        starts = [0, *(found.end() for found in _LINE_BREAK.finditer(self.text, 0, offset))]
        return Mark(len(starts), offset - starts[-1] + 1)

    def line(self, number: int) -> str:
        """A line, counted from 1 as the YAML reader counts; empty behind the last one."""
        lines = _LINE_BREAK.split(self.text, number)
        return lines[number - 1] if number <= len(lines) else ""

    def _snippet(self, mark: Mark) -> str:
        if self.is_secret:
            return ""
        line = "".join(_printable(character) for character in self.line(mark.line))
        # A long line is shown around the caret only.
        start = max(0, mark.column - _SNIPPET_WIDTH // 2) if len(line) > _SNIPPET_WIDTH else 0
        shown = line[start : start + _SNIPPET_WIDTH]
        offset = mark.column - 1 - start
        number = str(mark.line)
        carets = "^" * max(1, min(mark.width, len(shown) - offset))
        return f"{number} | {shown}\n{' ' * len(number)} | {' ' * offset}{carets}"


def _printable(character: str) -> str:
    """One column for one column, and nothing that would move a terminal's cursor."""
    if character.isprintable():
        return character
    return " " if character == "\t" else "\N{REPLACEMENT CHARACTER}"
