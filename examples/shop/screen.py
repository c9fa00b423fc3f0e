"""What the demos have in common: how they write to the screen, and how they last until Ctrl-C."""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any

from processes import ShopError

STYLED = sys.stdout.isatty() and "NO_COLOR" not in os.environ


def bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if STYLED else text


def say(text: str = "") -> None:
    # At once, also into a pipe.
    print(text, flush=True)


async def until_stopped(program: str, work: Coroutine[Any, Any, None]) -> int:
    """Do the work until it is done or a signal stops it; returns the exit code, after words for a ShopError."""
    task = asyncio.create_task(work)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(signum, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return 0
    except ShopError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    return 0
