"""Limits of listeners: their bounds, whose word counts, and that people can read all of them in one place."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from sidecar.config.model.base import format_duration, format_size
from sidecar.config.model.limits import Limits
from tests.unit.documents import problems_of

ARCHITECTURE = Path(__file__).parents[3] / "ARCHITECTURE.md"


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ("max_header_bytes: 60", "`60` has no unit"),
        ("max_header_bytes: 60B", "a size from 1KiB to 1MiB"),
        ("max_request_line: 64KiB", "a size from 256B to 63KiB"),
        ("idle_timeout: 0s", "this must be longer than 0"),
        ("max_streams: 0", "expected: at least 1"),
        ("max_header: 7", "max_header"),
    ],
)
@pytest.mark.parametrize("place", ["mesh.yaml", "services/orders.yaml", "gateways/edge.yaml"])
def test_a_limit_out_of_its_bounds_is_refused(place: str, limits: str, words: str) -> None:
    text = f"limits: {{{limits}}}"
    if place.startswith("gateways"):
        text = f"listeners: [{{port: 80, {text}}}]"
    (problem,) = problems_of(text, place)
    assert words in f"{problem}"


def test_what_a_listener_does_not_say_the_mesh_does() -> None:
    mesh = Limits(max_headers=50, idle_timeout=timedelta(minutes=1))
    own = Limits(max_headers=100)
    assert own.over(mesh) == Limits(max_headers=100, idle_timeout=timedelta(minutes=1))


def test_every_limit_stands_in_the_table_with_its_default() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", ARCHITECTURE.read_text(), re.MULTILINE)
    written = {name: default for name, default in rows if name in Limits.model_fields}
    assert written == {name: as_text(getattr(Limits(), name), name) for name in Limits.model_fields}


def as_text(value: object, name: str) -> str:
    if isinstance(value, timedelta):
        return format_duration(value)
    assert isinstance(value, int)
    return format_size(value) if name in {"max_header_bytes", "max_request_line"} else str(value)
