"""A source that is waited for at the start, by a deadline, and followed afterwards without losing a value."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Stream(Generic[T]):
    """Asks its source from the beginning; values come in order, each once."""

    def __init__(self, source: AsyncGenerator[T, None]) -> None:
        self._source = source
        self._next = asyncio.ensure_future(anext(source))
        # How many values were taken.
        self.taken = 0

    async def peek(self) -> T:
        """The next value, not taken. A wait that is cancelled loses nothing."""
        return await asyncio.shield(self._next)

    def take(self) -> None:
        """Take the value that `peek` gave, and ask for the one after it."""
        self.taken += 1
        self._next = asyncio.ensure_future(anext(self._source))

    async def __aiter__(self) -> AsyncIterator[T]:
        while True:
            value = await self._next
            self.take()
            yield value

    async def close(self) -> None:
        """Stop asking."""
        self._next.cancel()
        await asyncio.gather(self._next, return_exceptions=True)
        await self._source.aclose()
