"""A leaf and the clock of the host."""

from datetime import UTC, datetime, timedelta

from sidecar.identity.authority import Leaf

BEGINS = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
LEAF = Leaf((b"leaf",), b"secret", BEGINS, BEGINS + 72 * HOUR, (b"root",))


def test_a_clock_that_is_behind_or_ahead_of_a_leaf_is_named() -> None:
    assert LEAF.untimely(BEGINS) == ""
    assert LEAF.untimely(BEGINS + 71 * HOUR) == ""
    assert "our certificate begins in 61 min" in LEAF.untimely(BEGINS - HOUR)
    assert "our certificate ended at 2026-03-04 12:00 UTC" in LEAF.untimely(BEGINS + 72 * HOUR)
