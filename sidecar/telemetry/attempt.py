"""One try at sending something, and what may come of it."""

from dataclasses import dataclass
from typing import Protocol


class ExportError(Exception):
    """The request did not arrive; the message says why, without the URL's credentials."""


@dataclass(frozen=True)
class Again:
    """It did not arrive, and may be sent again; `after` is the wait that the receiver asked for, in seconds."""

    why: str
    after: float | None = None


class Wire(Protocol):
    """One way to a receiver. `place` is where that is, without credentials."""

    place: str

    async def attempt(self, request: bytes, within: float) -> bytes | Again:
        """Send once, in at most `within` seconds (above 0); returns the reply.

        Raises ExportError when trying again is of no use.
        """
