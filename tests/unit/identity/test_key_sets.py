"""The keys of issuers, over time: fetched, kept, asked for anew, and never by two requests at once."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import pytest

from sidecar.errors import IdentityError
from sidecar.identity.key_sets import PAUSE, REFRESH, KeySets
from tests.unit.identity.test_jwks import GOOD_EC, GOOD_ED, of

URL = "https://id.test/keys"


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sleeping: list[tuple[float, asyncio.Future[None]]] = []

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleeping.append((self.now + seconds, woken))
        await woken

    async def pass_(self, seconds: float) -> None:
        """In steps, so that who is woken acts at its time."""
        end = self.now + seconds
        await settle()
        while due := [at for at, woken in self._sleeping if at <= end and not woken.done()]:
            self.now = min(due)
            for at, woken in self._sleeping:
                if at <= self.now and not woken.done():
                    woken.set_result(None)
            await settle()
        self.now = end


async def settle() -> None:
    """Everybody has gone on as far as possible."""
    for _ in range(20):
        await asyncio.sleep(0)


class Issuer:
    """Answers with what stands in `answer`, and counts."""

    def __init__(self, clock: Clock, *keys: object) -> None:
        self.answer: bytes | str = of(*keys)
        self.asked_at: list[float] = []
        self.takes = 0.0
        self.at_once = 0
        self._clock = clock

    async def fetch(self, url: str) -> bytes:
        assert url == URL
        self.asked_at.append(self._clock.now)
        self.at_once += 1
        assert self.at_once == 1, "one request at a time"
        if self.takes:
            await self._clock.sleep(self.takes)
        self.at_once -= 1
        if isinstance(self.answer, str):
            raise IdentityError(self.answer)
        return self.answer


class Mesh:
    """Key sets of one issuer and of files, and what was installed."""

    def __init__(self, directory: Path, *keys: object) -> None:
        self.clock = Clock()
        self.issuer = Issuer(self.clock, *keys)
        self.sets = KeySets(directory, self.issuer.fetch, self.clock.sleep)
        self.installed: list[list[int]] = []

    def install(self) -> None:
        self.installed.append([len(keys.keys) for keys in self.sets.sets()])

    async def run(self, story: Callable[[], Awaitable[None]]) -> None:
        following = asyncio.create_task(self.sets.follow(self.install))
        try:
            await story()
        finally:
            following.cancel()
            self.sets.want(())
            await asyncio.gather(following, return_exceptions=True)


async def test_keys_are_fetched_at_once_and_now_and_then(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path, GOOD_ED)

    async def story() -> None:
        mesh.sets.want([URL])
        (before,) = mesh.sets.sets()
        assert (len(before.keys), before.problem) == (0, "its keys have not been fetched yet")
        await mesh.clock.pass_(0)
        assert mesh.installed == [[1]]
        assert mesh.sets.problems() == {}
        await mesh.clock.pass_(1000)
        assert len(mesh.issuer.asked_at) in (3, 4, 5)
        assert all(later - at >= 0.9 * REFRESH for at, later in pairwise(mesh.issuer.asked_at))
        assert mesh.installed == [[1]], "what has not changed is not installed again"
        mesh.issuer.answer = of(GOOD_ED, GOOD_EC)
        await mesh.clock.pass_(1.1 * REFRESH)
        assert mesh.installed == [[1], [2]]

    await mesh.run(story)


async def test_what_cannot_be_had_at_the_start_is_told_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    mesh = Mesh(tmp_path, GOOD_ED)
    good, mesh.issuer.answer = mesh.issuer.answer, "it cannot be reached"

    async def story() -> None:
        mesh.sets.want([URL])
        await mesh.clock.pass_(30)
        assert mesh.sets.problems() == {URL: "it cannot be reached"}
        assert mesh.sets.sets()[0].problem == "it cannot be reached"
        assert 4 <= len(mesh.issuer.asked_at) <= 7, "each wait is twice the one before"
        assert caplog.text.count("cannot be had") == 1, "told once"
        mesh.issuer.answer = good
        await mesh.clock.pass_(70)
        assert mesh.sets.problems() == {}
        assert mesh.installed[-1] == [1]
        assert "are there again" in caplog.text

    await mesh.run(story)


@pytest.mark.parametrize("bad", ["it answers with 500", b"<html>", b'{"keys": []}'])
async def test_what_was_good_last_keeps_serving(tmp_path: Path, bad: str | bytes) -> None:
    mesh = Mesh(tmp_path, GOOD_ED)

    async def story() -> None:
        mesh.sets.want([URL])
        await mesh.clock.pass_(0)
        mesh.issuer.answer = bad
        await mesh.clock.pass_(2 * REFRESH)
        assert [len(keys.keys) for keys in mesh.sets.sets()] == [1]
        (problem,) = mesh.sets.problems().values()
        assert problem.endswith("the last good ones serve")
        assert mesh.installed == [[1]]

    await mesh.run(story)


async def test_an_unknown_key_is_looked_for_at_most_every_few_seconds_and_by_one_request(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path, GOOD_ED)
    mesh.issuer.takes = 2

    async def story() -> None:
        mesh.sets.want([URL])
        await mesh.clock.pass_(PAUSE + 5)
        assert len(mesh.issuer.asked_at) == 1
        mesh.issuer.answer = of(GOOD_ED, GOOD_EC)
        for _ in range(100):
            mesh.sets.refresh(URL)
        await mesh.clock.pass_(2)
        assert mesh.installed[-1] == [2]
        assert len(mesh.issuer.asked_at) == 2
        for _ in range(60):
            mesh.sets.refresh(URL)
            await mesh.clock.pass_(1)
        pauses = [later - at for at, later in pairwise(mesh.issuer.asked_at[1:])]
        assert len(pauses) >= 4
        assert min(pauses) >= 0.9 * PAUSE
        mesh.sets.refresh("https://other.test/keys")

    await mesh.run(story)


async def test_who_is_not_wanted_any_more_is_not_asked(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path, GOOD_ED)

    async def story() -> None:
        mesh.sets.want([URL])
        await mesh.clock.pass_(1)
        mesh.sets.want([])
        await mesh.clock.pass_(10 * REFRESH)
        assert len(mesh.issuer.asked_at) == 1
        assert mesh.sets.sets() == []

    await mesh.run(story)


async def test_a_file_is_read_at_once_and_again_when_it_changes(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path)
    path = tmp_path / "keys.json"

    async def story() -> None:
        mesh.sets.want(["keys.json"])
        assert "cannot be read" in mesh.sets.sets()[0].problem
        path.write_bytes(of(GOOD_ED))
        await mesh.clock.pass_(2)
        assert mesh.installed[-1] == [1]
        path.write_bytes(b"half of i")
        await mesh.clock.pass_(2)
        assert mesh.installed[-1] == [1]
        assert "the last good ones serve" in mesh.sets.problems()["keys.json"]
        path.write_text(json.dumps({"keys": [GOOD_ED, GOOD_EC]}))
        await mesh.clock.pass_(2)
        assert mesh.installed[-1] == [2]

    await mesh.run(story)


async def test_a_start_waits_for_the_first_answer_and_no_longer_than_it_may(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path, GOOD_ED)

    async def story() -> None:
        mesh.sets.want([URL])
        await mesh.sets.settled(5)
        assert [len(keys.keys) for keys in mesh.sets.sets()] == [1]
        mesh.issuer.takes = 1e9
        mesh.sets.want([])
        mesh.sets.want([URL])
        await mesh.sets.settled(0.001)
        assert mesh.sets.sets()[0].problem

    await mesh.run(story)
