"""Every error that the control side raises on purpose, and the Problem that explains bad configuration.

SidecarError
├── ConfigError       documents that were refused; carries every Problem found
├── SourceError       a source of configuration cannot be read at all
│   └── ConsulError   Consul cannot be reached, or refused a call
├── IdentityError     a key, certificate or authority that cannot be used
├── StateError        what was saved on disk cannot be written, read or used
└── SeamError         the data plane refused bytes or cannot be reached
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a document, and the next step.

    `place` is "services/orders.yaml:12:3" (line and column from 1), or without them when the whole file is meant.
    `index` is the ModifyIndex of the key in Consul that held the text, 0 for a file.
    `snippet` is the source line and a caret line below it; empty parts are left out when printed.
    """

    place: str
    message: str
    expected: str = ""
    hint: str = ""
    snippet: str = ""
    index: int = 0

    def __str__(self) -> str:
        index = f" (index {self.index})" if self.index else ""
        lines = [f"{self.place}{index}: {self.message}"]
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


class ConsulError(SourceError):
    """Consul cannot be reached, or refused a call. `status` is that of its answer, 0 when there was none."""

    def __init__(self, message: str, status: int = 0) -> None:
        self.status = status
        super().__init__(message)


class IdentityError(SidecarError):
    """A key, certificate or authority that cannot be used."""


class StateError(SidecarError):
    """What was saved on disk cannot be written, read or used."""


class SeamError(SidecarError):
    """The data plane refused bytes or cannot be reached."""
