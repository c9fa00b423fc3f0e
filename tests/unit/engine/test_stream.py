"""A source that is peeked at and then followed tells each value once."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from sidecar.engine.stream import Stream


async def numbers(gate: asyncio.Event) -> AsyncGenerator[int, None]:
    """1 when the gate opens, then 2 and 3."""
    await gate.wait()
    for number in (1, 2, 3):
        yield number
    await asyncio.get_running_loop().create_future()


async def test_a_wait_that_was_given_up_loses_nothing() -> None:
    gate = asyncio.Event()
    stream = Stream(numbers(gate))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await stream.peek()
    gate.set()

    found = []
    async for number in stream:
        found.append(number)
        if len(found) == 3:
            break
    assert found == [1, 2, 3]
    assert stream.taken == 3
    await stream.close()


async def test_what_was_peeked_at_and_taken_is_not_told_again() -> None:
    gate = asyncio.Event()
    gate.set()
    stream = Stream(numbers(gate))
    assert await stream.peek() == 1
    stream.take()

    async for number in stream:
        assert number == 2
        break
    await stream.close()
