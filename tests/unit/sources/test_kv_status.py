"""The status key: written when it differs, seldom, and never in the way."""

import asyncio
import json
import logging

import pytest

from sidecar.sources.kv_status import EVERY, StatusKey, content
from sidecar.world import ChainsUpdate, World
from tests.unit.consul.scripted import Clock, Reply, connected, scripted
from tests.unit.documents import document_set

PATH = "/v1/kv/sidecar-status/orders/orders-8080"


def test_it_tells_the_index_in_force_and_what_is_not_as_meant() -> None:
    world = World().apply(document_set({"services/a.yaml": "protocol: http", "services/b.yaml": "protcol: http"}))
    world = world.apply(ChainsUpdate({}, not_carried_out=("mesh mesh is not supported yet",)))
    told = json.loads(content(world, 12, ["3 documents held"]))

    assert (told["index"], told["documents"], told["held"]) == (12, 1, ["3 documents held"])
    assert told["refused"][0].startswith("services/b.yaml:1:1: ")
    assert told["not_carried_out"] == ["mesh mesh is not supported yet"]


async def run(replies: list[Reply], values: list[bytes]) -> tuple[list[bytes], Clock]:
    """What is written while `values` are current, each for one look."""
    clock, left = Clock(), list(values)
    looked = asyncio.Event()

    def current() -> bytes:
        if len(left) == 1:
            looked.set()
        return left.pop(0) if len(left) > 1 else left[0]

    async with scripted({PATH: replies}) as script, connected(script, clock) as client:
        key = StatusKey(client, "orders", "orders-8080", current)
        task = asyncio.create_task(key.run())
        await looked.wait()
        while replies:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return [request.body for request in script.requests], clock


async def test_it_is_written_when_it_differs_and_seldom() -> None:
    written, clock = await run([Reply(True), Reply(True)], [b"1", b"1", b"1", b"2"])

    assert written == [b"1", b"2"]
    assert clock.now - 1000 >= 3 * EVERY


async def test_an_agent_that_refuses_is_named_once_and_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    denied = Reply(b"Permission denied", status=403)
    written, _ = await run([denied, denied, Reply(True)], [b"1"])

    assert written[:3] == [b"1"] * 3
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert 'key_prefix "sidecar-status/orders/" { policy = "write" }' in caplog.text


async def test_an_instance_that_ends_takes_its_key_along() -> None:
    async with scripted({PATH: [Reply(True), Reply(True)]}) as script, connected(script) as client:
        key = StatusKey(client, "orders", "orders-8080", lambda: b"1")
        await key.remove()
        assert script.requests == []
        task = asyncio.create_task(key.run())
        while not script.requests:
            await asyncio.sleep(0)
        while not key.written:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await key.remove()

    assert [request.method for request in script.requests] == ["PUT", "DELETE"]


async def test_nothing_to_tell_is_not_written() -> None:
    async with scripted({}) as script, connected(script) as client:
        await StatusKey(client, "orders", "orders-8080", lambda: b"").write()

    assert script.requests == []
