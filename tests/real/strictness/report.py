"""What ours refuses and others forward, as a table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.e2e.strictness.vector import Vector


@dataclass(frozen=True)
class Outcome:
    """What a proxy did with a vector: its answers, how many requests it forwarded, and who read them otherwise."""

    statuses: Sequence[int]
    forwarded: int
    disagreeing: Sequence[str]

    def goes_beyond(self, vector: Vector) -> bool:
        """More was forwarded than the vector has requests."""
        return self.forwarded > len(vector.bodies)

    def __str__(self) -> str:
        told = " ".join(map(str, self.statuses)) or "-"
        mark = "!" if self.disagreeing else ">" if self.forwarded else ""
        return f"{told} {mark}".strip()


# By proxy, then by vector.
Table = Mapping[str, Mapping[Vector, Outcome]]


Sum = Callable[[Vector, Outcome], bool]


def markdown(table: Table, versions: Mapping[str, str], origins: Sequence[str]) -> str:
    """The rows in which somebody forwards what ours does not, and the sums."""
    names = list(table)
    vectors = list(table[names[0]])
    refused = [vector for vector in vectors if not vector.bodies]
    lines = [
        "# HTTP/1.1 messages that could be read in two ways, ours beside others",
        "",
        f"{len(vectors)} vectors; of {len(refused)} of them ours forwards nothing. Others are as by default.",
        "Cells: the answers; `>`: something was forwarded; `!`: and these servers do not all read the same there:",
        f"{', '.join(origins)}. Names in capitals are Http11Probe's.",
        "A vector of which nobody forwards more than ours is left out.",
        "",
        "| vector | " + " | ".join(f"{name} {versions.get(name, '')}".strip() for name in names) + " |",
        "|---|" + "---|" * len(names),
    ]
    for vector in vectors:
        if any(table[name][vector].goes_beyond(vector) or table[name][vector].disagreeing for name in names):
            lines.append(f"| {vector.name} | " + " | ".join(str(table[name][vector]) for name in names) + " |")

    sums: Mapping[str, Sum] = {
        "more forwarded than there is": lambda vector, outcome: outcome.goes_beyond(vector),
        "forwarded and read in two ways": lambda _, outcome: bool(outcome.disagreeing),
        "less forwarded than by ours": lambda vector, outcome: outcome.forwarded < len(vector.bodies),
    }
    for title, counts in sums.items():
        cells = (str(sum(counts(*item) for item in table[name].items())) for name in names)
        lines.append(f"| **{title}** | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
