"""The warnings before a certificate ends: early, once each, and with the reason that no other came."""

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sidecar.identity.authority import Leaf
from sidecar.identity.lifetime import BACKDATE, Lifetime
from sidecar.identity.process import LocalIssuer
from sidecar.identity.rotation import IssuedAuthority
from sidecar.identity.spiffe import ServiceId

START = datetime(2026, 1, 1, tzinfo=UTC)
LEAF = Leaf((b"leaf",), b"key", START - BACKDATE, START + timedelta(hours=30), (b"root",))


class EndOfTheTestError(Exception):
    """The clock has reached the end."""


async def told(caplog: pytest.LogCaptureFixture, hours: float, renewed: float = 1e5) -> list[tuple[int, str]]:
    """Level and text of what is logged in so many hours, of which the leaf is replaced after `renewed`."""
    now = START
    authority = IssuedAuthority(
        "the test's CA", LocalIssuer(Path("unused"), "mesh.local"), ServiceId("mesh.local", "a")
    )
    authority.failure = "its disk is gone"

    def leaf() -> Leaf:
        late = START + timedelta(hours=renewed)
        return LEAF if now < late else replace(LEAF, not_before=late, not_after=late + timedelta(hours=30))

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += timedelta(seconds=seconds)
        if now >= START + timedelta(hours=hours):
            raise EndOfTheTestError
        await asyncio.sleep(0)

    with suppress(EndOfTheTestError):
        await Lifetime(leaf, authority, lambda: now, sleep).warn()
    return [(record.levelno, record.getMessage()) for record in caplog.records]


async def test_a_leaf_that_is_renewed_in_time_is_not_spoken_of(caplog: pytest.LogCaptureFixture) -> None:
    assert await told(caplog, 50, renewed=26.9) == []


async def test_one_that_is_not_is_warned_of_hours_before_and_told_at_its_end(caplog: pytest.LogCaptureFixture) -> None:
    first, second, third = await told(caplog, 40)

    assert (first[0], second[0], third[0]) == (logging.WARNING, logging.WARNING, logging.ERROR)
    assert "ends in 10800 s" in first[1]
    assert "the test's CA gave no other: its disk is gone" in first[1]
    assert "ends in 3600 s" in second[1]
    assert "has ended" in third[1]
