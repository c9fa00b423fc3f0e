"""The health of an application, by real sockets."""

import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from sidecar.errors import ConfigError
from sidecar.registration import probe
from sidecar.registration.probe import FAILURES, Health, Steady


@pytest.fixture
async def app() -> AsyncIterator[TestServer]:
    """Answers 200 on /healthz, 503 on /ill, 302 on /moved."""
    application = web.Application()
    for path, status in (("/healthz", 200), ("/ill", 503), ("/moved", 302)):

        async def handler(_: web.Request, status: int = status) -> web.Response:
            return web.Response(status=status)

        application.router.add_get(path, handler)
    server = TestServer(application)
    async with server:
        yield server


@pytest.mark.parametrize(
    ("check", "passing"), [("tcp", True), ("/healthz", True), ("/ill", False), ("/moved", False), ("none", True)]
)
async def test_each_kind_of_check(app: TestServer, check: str, passing: bool) -> None:
    async with ClientSession() as session:
        health = await probe.parse(check, f"127.0.0.1:{app.port}", session)()

    assert health.passing is passing
    assert health.output


@pytest.mark.parametrize("check", ["tcp", "/healthz"])
async def test_nobody_there_is_no_health(check: str) -> None:
    with socket.socket() as taken:
        # Bound and not listening: refused, and nobody else's.
        taken.bind(("127.0.0.1", 0))
        async with ClientSession() as session:
            health = await probe.parse(check, f"127.0.0.1:{taken.getsockname()[1]}", session)()

    assert not health.passing


async def test_an_unknown_check_is_refused() -> None:
    async with ClientSession() as session:
        with pytest.raises(ConfigError, match=r"`http` is no check(?s:.*)a path such as /healthz"):
            probe.parse("http", "127.0.0.1:1", session)


async def test_bad_news_counts_when_it_comes_again_and_good_news_at_once() -> None:
    news = [Health(True, "1"), *[Health(False, "2")] * FAILURES, Health(True, "3")]

    async def ask() -> Health:
        return news.pop(0)

    steady = Steady(ask)
    told = [(await steady.ask()).passing for _ in range(FAILURES + 2)]

    assert told == [True] * FAILURES + [False, True]
