"""How long the mesh gets to answer: the time that we wait for it, and not that in which we compute."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def idle() -> float:
    """A clock in seconds that stands still while this process computes."""
    return time.monotonic() - time.process_time()


async def waited(work: Coroutine[Any, Any, T], seconds: float, clock: Callable[[], float] = idle) -> T:
    """What `work` returns; TimeoutError when so many seconds have passed by `clock`.

    Reading a thousand documents takes seconds, of which nobody else is to blame.
    """
    task = asyncio.ensure_future(work)
    give_up_at = clock() + seconds
    try:
        while not task.done():
            left = give_up_at - clock()
            if left <= 0:
                raise TimeoutError
            await asyncio.wait({task}, timeout=left)
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
