"""WebSocket through gateway and sidecar, with an independent client and server."""

import os
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from tests.e2e.conftest import Running

# Longer than any buffer on the way, and no UTF-8.
LARGE = os.urandom(300_000)


# The codes with which clients closed.
CLOSED = web.AppKey("closed", list[int | None])


async def echo(request: web.Request) -> web.WebSocketResponse:
    """Every message goes back as it came."""
    socket = web.WebSocketResponse(protocols=("shop.v1",))
    await socket.prepare(request)
    async for message in socket:
        if message.type is aiohttp.WSMsgType.TEXT:
            await socket.send_str(message.data)
        else:
            await socket.send_bytes(message.data)
    request.app[CLOSED].append(socket.close_code)
    return socket


@pytest.fixture
async def app() -> AsyncIterator[tuple[int, list[int | None]]]:
    """The application's port, and the codes with which its clients closed."""
    application = web.Application()
    application[CLOSED] = []
    application.router.add_get("/chat", echo)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield runner.addresses[0][1], application[CLOSED]
    await runner.cleanup()


async def test_messages_pass_both_ways_until_one_side_closes(
    running: Running, app: tuple[int, list[int | None]]
) -> None:
    port, closed = app
    with running.with_sidecar("talk", port, protocol="http"):
        async with aiohttp.ClientSession(headers={"host": "talk"}) as session:
            url = f"ws://{running.edge.edge}/chat"
            socket = await session.ws_connect(url, protocols=("shop.v1",), compress=15)
            assert socket.protocol == "shop.v1"
            for text in ("", "hello", "ünïcode"):
                await socket.send_str(text)
                assert (await socket.receive(5)).data == text
            await socket.send_bytes(LARGE)
            assert (await socket.receive(5)).data == LARGE
            await socket.close(code=4001)
    assert closed == [4001]
