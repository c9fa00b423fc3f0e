"""Every flood against every proxy, as a table."""

from collections.abc import Callable, Mapping, Sequence

from tests.real.attacks.floods import FLOODS
from tests.real.attacks.rig import Seen

# By proxy, then by flood, with the client that reads and the one that does not.
Table = Mapping[str, Mapping[str, tuple[Seen, Seen]]]


def markdown(table: Table, versions: Mapping[str, str]) -> str:
    """What became of each, and the sums."""
    names = list(table)

    def row(title: str, cell: Callable[[Mapping[str, tuple[Seen, Seen]]], str]) -> str:
        return f"| {title} | " + " | ".join(cell(table[name]) for name in names) + " |"

    lines = [
        "# HTTP/2 floods, ours beside others",
        "",
        "Each is sent on one connection in the clear, by a client that reads what it is told, / by one that does not:",
        "20,000 frames, of CONTINUATION 5,000, of the HPACK bomb 200 requests. Others are as by default.",
        "",
        "- `GOAWAY 11`: closed with this code (11 is ENHANCE_YOUR_CALM, 1 PROTOCOL_ERROR); `closed`: without one that",
        "  the client could read. **open**: all of it was taken, and the connection stands.",
        "- Then the proxy's CPU time in ms, and the MiB that it has grown by, where it is one or more.",
        "",
        "| flood | " + " | ".join(f"{name} {versions.get(name, '')}".strip() for name in names) + " |",
        "|---|" + "---|" * len(names),
    ]
    for flood in FLOODS:
        lines.append(row(flood.name, lambda floods, name=flood.name: " / ".join(map(_cell, floods[name]))))  # type: ignore[misc]
    lines.append(row(f"**closed, of {len(FLOODS)}**", _closed))
    lines.append(row("most CPU, ms", lambda floods: _most(floods, 1e3, "cpu")))
    lines.append(row("most memory, MiB", lambda floods: _most(floods, 1 / (1 << 20), "grown")))
    lines.append(row("longest p99 of another client, ms", lambda floods: _most(floods, 1e3, "p99")))
    lines.append(row("floods at which another client failed", _harmful))
    return "\n".join(lines) + "\n"


def _cell(seen: Seen) -> str:
    if not seen.is_closed:
        ending = "**open**"
    elif seen.code is None:
        ending = "closed"
    else:
        ending = f"GOAWAY {seen.code}"
    grown = f" +{seen.grown >> 20}" if seen.grown >= 1 << 20 else ""
    return f"{ending} {seen.cpu * 1000:.0f}{grown}"


def _closed(floods: Mapping[str, tuple[Seen, Seen]]) -> str:
    reading, silent = zip(*floods.values(), strict=True)
    return " / ".join(str(sum(seen.is_closed for seen in column)) for column in (reading, silent))


def _harmful(floods: Mapping[str, tuple[Seen, Seen]]) -> str:
    return str(sum(any(seen.harm for seen in pair) for pair in floods.values()))


def _most(floods: Mapping[str, tuple[Seen, Seen]], scale: float, name: str) -> str:
    both: Sequence[Seen] = [seen for pair in floods.values() for seen in pair]
    return f"{max(getattr(seen, name) for seen in both) * scale:.0f}"
