"""Every error that the control side raises on purpose, and the Problem that explains bad configuration.

SidecarError
├── ConfigError       documents that were refused; carries every Problem found
├── SourceError       a source of configuration cannot be read at all
├── IdentityError     a key, certificate or authority that cannot be used
└── SeamError         the data plane refused bytes or cannot be reached
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a document, and the next step.

    `place` is "services/orders.yaml:12:3" (line and column from 1), or without them when the whole file is meant.
    `snippet` is the source line and a caret line below it; empty parts are left out when printed.
    """

    place: str
    message: str
    expected: str = ""
    hint: str = ""
    snippet: str = ""

    def __str__(self) -> str:
        lines = [f"{self.place}: {self.message}"]
        lines += [f"  {line}" for line in self.snippet.splitlines()]
        if self.expected:
            lines.append(f"  expected: {self.expected}")
        if self.hint:
            lines.append(f"  {self.hint}")
        return "\n".join(lines)


class SidecarError(Exception):
    """The root: everything below is told to a person as its message, without a traceback."""


class ConfigError(SidecarError):
    """Documents that were refused, with all their problems."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class SourceError(SidecarError):
    """A source of configuration cannot be read at all."""


class IdentityError(SidecarError):
    """A key, certificate or authority that cannot be used."""


class SeamError(SidecarError):
    """The data plane refused bytes or cannot be reached."""
