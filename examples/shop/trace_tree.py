"""A trace as a tree: who called whom, put together from spans that arrive in any order, and drawn as text."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from receiver import Span

BAR_WIDTH = 24


@dataclass(frozen=True)
class Node:
    """A span with the spans that it caused, in order of their start."""

    span: Span
    children: tuple["Node", ...]


def grow(spans: Iterable[Span]) -> tuple[Node, ...]:
    """The roots among `spans`: those without a parent, or whose parent has not arrived (yet)."""
    ordered = sorted(spans, key=lambda span: span.start)
    known = {span.span_id for span in ordered}
    children: dict[str, list[Span]] = {}
    roots: list[Span] = []
    for span in ordered:
        if span.parent_id in known:
            children.setdefault(span.parent_id, []).append(span)
        else:
            roots.append(span)

    def node(span: Span) -> Node:
        return Node(span, tuple(node(child) for child in children.get(span.span_id, [])))

    return tuple(node(root) for root in roots)


def draw(spans: Iterable[Span]) -> list[str]:
    """The trace as lines of text: the tree on the left, durations and their place in time on the right."""
    roots = grow(spans)
    rows = [row for root in roots for row in _rows(root, "", "")]
    start = min(span.start for _, span in rows)
    end = max(span.end for _, span in rows)
    width = max(len(label) for label, _ in rows)
    heading = f"trace {rows[0][1].trace_id}: {len(rows)} spans, {_milliseconds(end - start)}"
    lines = [
        f"{label:<{width}}  {_milliseconds(span.end - span.start):>9}  {_bar(span, start, end)}" for label, span in rows
    ]
    return [heading, *lines]


def _rows(node: Node, first: str, rest: str) -> Iterator[tuple[str, Span]]:
    yield first + _label(node.span), node.span
    for child in node.children:
        last = child is node.children[-1]
        yield from _rows(child, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))


def _label(span: Span) -> str:
    failure = " FAILED" if span.failed else ""
    return f"{span.service} {span.place}: {span.kind} {span.name}{failure}"


def _bar(span: Span, start: int, end: int) -> str:
    scale = BAR_WIDTH / max(end - start, 1)
    before = min(int((span.start - start) * scale), BAR_WIDTH - 1)
    length = max(1, min(round((span.end - span.start) * scale), BAR_WIDTH - before))
    return " " * before + "━" * length


def _milliseconds(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:.2f} ms"
