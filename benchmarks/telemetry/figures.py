"""How much is measured, in which order, and what a table looks like."""

import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

One = TypeVar("One")


@dataclass(frozen=True)
class Scale:
    """Rounds, the share of the calls of each, and the services of a mesh that is scraped."""

    rounds: int
    calls: float
    services: int

    @staticmethod
    def say(progress: str) -> None:
        """Tell whoever waits how far it is."""
        print(progress, file=sys.stderr, flush=True)


def interleaved(rounds: int, all_of: Sequence[One]) -> Iterator[tuple[int, One]]:
    """Every one in every round; each round begins with another, so that none always comes first."""
    for number in range(rounds):
        turn = number % len(all_of)
        for one in (*all_of[turn:], *all_of[:turn]):
            yield number, one


def spread(values: Sequence[float]) -> str:
    """The median; in parentheses the smallest and the largest."""
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Markdown; all but the first column are numbers."""
    yield f"| {' | '.join(head)} |"
    yield f"|---|{'--:|' * (len(head) - 1)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""
