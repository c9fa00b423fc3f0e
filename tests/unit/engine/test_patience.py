"""Only waiting counts as time that the mesh has taken."""

import asyncio
import time

import pytest

from sidecar.engine.patience import idle, waited


async def test_what_we_compute_ourselves_is_no_delay_of_others() -> None:
    async def slow() -> str:
        await asyncio.sleep(0.05)
        return "done"

    # A clock that stands still: all of it was computed.
    assert await waited(slow(), 0.01, clock=lambda: 7.0) == "done"


async def test_the_clock_stands_still_while_this_process_computes() -> None:
    wall, began = time.monotonic(), idle()
    spent = time.process_time()
    while time.process_time() - spent < 0.05:
        pass
    assert idle() - began <= time.monotonic() - wall - 0.05


async def test_whoever_never_answers_is_given_up() -> None:
    ended = asyncio.Event()

    async def waiting() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    # By this clock the time is over when it is looked at after the first wait.
    with pytest.raises(TimeoutError):
        await waited(waiting(), 0.01, clock=iter([0.0, 0.0, 1.0]).__next__)
    assert ended.is_set()


async def test_a_failure_is_told_as_it_is() -> None:
    async def failing() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await waited(failing(), 10.0)
