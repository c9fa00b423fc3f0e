"""Rotation: in time, never all at once, and patient with an authority that is down."""

import asyncio
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sidecar.errors import IdentityError
from sidecar.identity.authority import Leaf
from sidecar.identity.rotation import LOOK_EVERY, IssuedAuthority, Rotation
from sidecar.identity.spiffe import ServiceId
from sidecar.world import Site

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ORDERS = ServiceId("mesh.local", "orders")


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
    due = Rotation(jitter=lambda: chance).due(leaf_from(START), START)

    assert abs(due - (START + timedelta(hours=hours))) < timedelta(seconds=1)
    assert due < START + DAY * 2 / 3


def test_what_a_leaf_is_backdated_by_does_not_make_it_due_sooner() -> None:
    issued = START + timedelta(minutes=1)
    leaf = replace(leaf_from(START), not_after=issued + timedelta(seconds=10))

    assert Rotation(jitter=lambda: 0.0).due(leaf, issued) == issued + timedelta(seconds=5)


class Scripted:
    """An issuer that answers as written, and is another one from `renewed` on."""

    def __init__(self, time: Time, *results: Leaf | Exception, renewed: datetime | None = None) -> None:
        self.time, self.results, self.renewed = time, list(results), renewed
        self.asked: list[datetime] = []

    def mark(self) -> object:
        return self.renewed is not None and self.time.now >= self.renewed

    def issue(self, identity: ServiceId) -> Leaf:
        assert identity == ORDERS
        self.asked.append(self.time.now)
        match self.results.pop(0):
            case Leaf() as leaf:
                return leaf
            case error:
                raise error


async def told(issuer: Scripted, count: int) -> IssuedAuthority:
    """The authority after so many leaves."""
    time = issuer.time
    authority = IssuedAuthority("the test", issuer, ORDERS, Rotation(time.clock, time.sleep, lambda: 0.0))
    async with aclosing(authority.watch()) as leaves:
        for _ in range(count):
            await anext(leaves)
    return authority


async def test_each_leaf_is_followed_by_the_next() -> None:
    half = DAY / 2
    issuer = Scripted(Time(), leaf_from(START), leaf_from(START + half), leaf_from(START + 2 * half))
    authority = await told(issuer, 3)

    assert issuer.asked == [START, START + half, START + 2 * half]
    assert (authority.due, authority.failure) == (START + 3 * half, "")
    assert authority.site == Site("mesh.local", "dc1")


async def test_no_sleep_is_longer_than_a_suspended_host_may_miss() -> None:
    issuer = Scripted(Time(), leaf_from(START), leaf_from(START + DAY))
    await told(issuer, 2)

    assert issuer.time.longest <= LOOK_EVERY.total_seconds()


async def test_an_authority_that_rotates_is_asked_at_once() -> None:
    issuer = Scripted(Time(), leaf_from(START), leaf_from(START), renewed=START + timedelta(minutes=5))
    await told(issuer, 2)

    assert issuer.asked == [START, START + timedelta(minutes=5)]


async def test_a_failing_authority_is_asked_again_and_the_wait_grows(caplog: pytest.LogCaptureFixture) -> None:
    down = IdentityError("the disk is gone")
    issuer = Scripted(Time(), leaf_from(START), down, down, leaf_from(START + DAY))
    await told(issuer, 2)

    assert issuer.asked[-1] == START + DAY / 2 + timedelta(seconds=10 + 30)
    assert caplog.text.count("the disk is gone") == 2


async def test_a_leaf_that_lives_for_seconds_is_asked_for_again_within_them() -> None:
    short = replace(leaf_from(START), not_after=START + timedelta(seconds=16))
    issuer = Scripted(Time(), short, IdentityError("busy"), leaf_from(START))
    await told(issuer, 2)

    assert issuer.asked == [START, START + timedelta(seconds=8), START + timedelta(seconds=10)]


async def test_without_a_first_leaf_there_is_nothing_to_begin_with() -> None:
    with pytest.raises(IdentityError, match="no CA"):
        await told(Scripted(Time(), IdentityError("no CA")), 1)
