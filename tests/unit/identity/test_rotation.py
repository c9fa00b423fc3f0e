"""Rotation: in time, never all at once, and patient with an authority that is down."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from sidecar.errors import IdentityError
from sidecar.identity.authority import Leaf
from sidecar.identity.rotation import LONGEST_SLEEP, Rotation

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


class Time:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.now = START
        self.longest = 0.0

    def clock(self) -> datetime:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.longest = max(self.longest, seconds)
        self.now += timedelta(seconds=seconds)
        await asyncio.sleep(0)


def leaf_from(start: datetime) -> Leaf:
    return Leaf((b"certificate",), b"key", start, start + DAY, (b"root",))


@pytest.mark.parametrize(("chance", "hours"), [(0.0, 12.0), (0.5, 14.0), (0.999999, 16.0)])
def test_a_leaf_is_due_between_half_and_two_thirds_of_its_life(chance: float, hours: float) -> None:
    due = Rotation(jitter=lambda: chance).due(leaf_from(START))

    assert abs(due - (START + timedelta(hours=hours))) < timedelta(seconds=1)
    assert due < START + DAY * 2 / 3


async def until_installed(time: Time, issue_results: list[Leaf | Exception], count: int) -> list[datetime]:
    """Rotate until `count` leaves were installed; when each was."""
    moments: list[datetime] = []
    enough = asyncio.Event()

    async def issue() -> Leaf:
        match issue_results.pop(0):
            case Leaf() as leaf:
                return leaf
            case error:
                raise error

    def install(_: Leaf) -> None:
        moments.append(time.now)
        if len(moments) == count:
            enough.set()

    rotation = Rotation(time.clock, time.sleep, lambda: 0.0)
    task = asyncio.create_task(rotation.run(leaf_from(START), issue, install))
    await enough.wait()
    task.cancel()
    return moments


async def test_each_leaf_is_followed_by_the_next() -> None:
    time = Time()
    half = DAY / 2

    moments = await until_installed(time, [leaf_from(START + half), leaf_from(START + 2 * half), leaf_from(START)], 2)

    assert moments == [START + half, START + 2 * half]


async def test_no_sleep_is_longer_than_a_suspended_host_may_miss() -> None:
    time = Time()

    await until_installed(time, [leaf_from(START + DAY), leaf_from(START)], 1)

    assert time.longest <= LONGEST_SLEEP.total_seconds()


async def test_a_failing_authority_is_asked_again_and_the_wait_grows(caplog: pytest.LogCaptureFixture) -> None:
    time = Time()
    down = IdentityError("the disk is gone")

    (moment,) = await until_installed(time, [down, down, leaf_from(START + DAY), leaf_from(START)], 1)

    assert moment == START + DAY / 2 + timedelta(seconds=10 + 30)
    assert caplog.text.count("the disk is gone") == 2
    assert "next try in 30 s" in caplog.text
