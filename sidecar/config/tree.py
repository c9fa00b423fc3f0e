"""A document's text as plain values, and the place of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from sidecar.config.source import Mark
from sidecar.errors import Problem

# Where a value stands in its document: ("routes", 2, "to", "service").
Path = tuple[str | int, ...]


class Flaw(NamedTuple):
    """What is wrong with a value that could still be read around; a null, for one."""

    path: Path
    mark: Mark
    problem: Problem


@dataclass(slots=True)
class Tree:
    """Mappings are dicts, lists are tuples, scalars are str, int, float or bool; there is no null.

    A tree with flaws may only be used to find more problems.
    """

    value: object = None
    marks: dict[Path, Mark] = field(default_factory=dict)
    # Of the keys of mappings.
    key_marks: dict[Path, Mark] = field(default_factory=dict)
    flaws: list[Flaw] = field(default_factory=list)

    def mark(self, path: Path) -> Mark:
        """Of the value at `path`, or of the nearest part around it that was written."""
        while path and path not in self.marks:
            path = path[:-1]
        return self.marks.get(path, Mark(1, 1))
