"""The control side's own metrics, added to the data plane's in the same text form."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Family:
    """One metric family; `read` gives its value by label text ('outcome="sent"', "" for none) when asked."""

    # Base name: a counter's samples end in "_total".
    name: str
    kind: Literal["counter", "gauge"]
    help: str
    read: Callable[[], Mapping[str, float]]


OPENMETRICS_END = b"# EOF\n"


def append(dataplane: bytes, families: Iterable[Family], *, openmetrics: bool) -> bytes:
    """The data plane's exposition with `families` behind it."""
    own = "".join(_render(family, openmetrics=openmetrics) for family in families).encode()
    if not openmetrics:
        return dataplane + own
    return dataplane.removesuffix(OPENMETRICS_END) + own + OPENMETRICS_END


def _render(family: Family, *, openmetrics: bool) -> str:
    sample = f"{family.name}_total" if family.kind == "counter" else family.name
    # The two forms differ: OpenMetrics describes the family, the older text form describes the sample.
    described = family.name if openmetrics else sample
    lines = [f"# HELP {described} {family.help}", f"# TYPE {described} {family.kind}"]
    lines += [f"{sample}{f'{{{labels}}}' if labels else ''} {value}" for labels, value in family.read().items()]
    return "\n".join(lines) + "\n"
