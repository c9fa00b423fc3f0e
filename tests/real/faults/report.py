"""Rounds of both proxies made into a table, and each cell judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.real.faults.faults import FAULTS
from tests.real.faults.rig import Figures
from tests.real.faults.wire import Wire

# Share of calls, and seconds, by which a figure may be worse than Envoy's; a p99 may also be twice as long.
POINTS, LONGER = 0.005, 0.005
# Where a gRPC status stands in trailers only, ours is to be better and not only as good.
TRAILERS = "1 of 3 erring in trailers"

Seen = Mapping[str, Mapping[Wire, Figures]]


@dataclass(frozen=True)
class Round:
    """Figures by fault and protocol."""

    ours: Seen
    envoy: Seen


@dataclass(frozen=True)
class Judged:
    """The medians of one cell; `complaint` is "" when ours are good enough."""

    fault: str
    wire: Wire
    ours: Figures
    envoy: Figures
    complaint: str


def judged(rounds: Sequence[Round]) -> list[Judged]:
    """Every cell."""
    return [
        _judged(fault, wire, [one.ours[fault][wire] for one in rounds], [one.envoy[fault][wire] for one in rounds])
        for fault in FAULTS
        for wire in Wire
    ]


def _judged(fault: str, wire: Wire, ours: Sequence[Figures], envoy: Sequence[Figures]) -> Judged:
    mine, theirs = Figures.median(ours), Figures.median(envoy)
    return Judged(fault, wire, mine, theirs, complaint(fault, wire, mine, theirs))


def complaint(fault: str, wire: Wire, ours: Figures, envoy: Figures) -> str:
    """What is not good enough, "" when all is."""
    if fault == TRAILERS and wire.is_grpc and ours.success <= envoy.success:
        return f"succeeds {ours.success:.2%}, not better than {envoy.success:.2%}"
    if ours.success < envoy.success - POINTS:
        return f"succeeds {ours.success:.2%} beside {envoy.success:.2%}"
    if ours.p99 > max(2 * envoy.p99, envoy.p99 + LONGER):
        return f"p99 {_ms(ours.p99)} ms beside {_ms(envoy.p99)} ms"
    return ""


def markdown(cells: Sequence[Judged], rounds: int) -> str:
    """The table: in each column ours, then Envoy's."""
    lines = [
        "# Faults of endpoints, ours beside Envoy",
        "",
        f"Medians of {rounds} rounds in turn. One policy for both: [`policy.py`](policy.py) and",
        "[`envoy.json`](envoy.json), which it makes. In each column ours / Envoy's. `requests` is how many came to",
        "endpoints for each call, `ejected` how long after the fault's beginning the faulty endpoint got no more of",
        "them, `back` how long after its end it got the next. `-`: cannot be told.",
        "",
        "Judged: success not more than half a point below Envoy's, p99 at most twice as long or 5 ms longer, and where",
        "a call's status stands in trailers only, strictly more success.",
        "",
        "| fault | calls | success % | p50 ms | p99 ms | requests | ejected s | back s | |",
        "|---|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for cell in cells:
        a, b = cell.ours, cell.envoy
        figures = (
            (f"{a.success:.1%}", f"{b.success:.1%}"),
            (_ms(a.p50), _ms(b.p50)),
            (_ms(a.p99), _ms(b.p99)),
            (f"{a.amplification:.2f}", f"{b.amplification:.2f}"),
            (_told(a.eject), _told(b.eject)),
            (_told(a.back), _told(b.back)),
        )
        columns = " | ".join(f"{mine} / {theirs}".replace("%", "") for mine, theirs in figures)
        lines.append(f"| {cell.fault} | {cell.wire} | {columns} | {'worse' if cell.complaint else ''} |")
    return "\n".join(lines) + "\n"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f}"


def _told(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2f}"
