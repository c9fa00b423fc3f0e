"""The keys that issuers sign tokens with, as fresh as their URLs and files; what was good last keeps serving.

A URL is asked every five minutes, and when a token names a key that is not known, by one request at a time. What cannot
be had is told: in the log, in the status, and to whoever shows a token, until there is a first good set.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sidecar.config.model.authenticate import is_url
from sidecar.errors import IdentityError
from sidecar.identity.jwks import LARGEST, Keys, parse
from sidecar.identity.key_material import stamp
from sidecar.wire import control_pb2 as control

# Seconds between two requests for one set, a tenth more or less.
REFRESH = 300.0
# Seconds after a failure: doubled with each, up to the second.
RETRY, LONGEST_RETRY = 1.0, 60.0
# Seconds between two requests at least, however many tokens name unknown keys.
PAUSE = 10.0
# Seconds for one request, from the name to the last byte.
WITHIN = 10.0
# Seconds between two looks at files.
LOOK_EVERY = 1.0

log = logging.getLogger(__name__)

Fetch = Callable[[str], Awaitable[bytes]]


@dataclass
class _Source:
    """One URL or file."""

    # What was good last; None: nothing yet.
    keys: Keys | None = None
    # Why the last try failed; "": it did not.
    problem: str = "its keys have not been fetched yet"
    # Set when it should be asked for now.
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    # Set once the first try has ended.
    tried: asyncio.Event = field(default_factory=asyncio.Event)
    stamp: object = None


class KeySets:
    """The key sets that are wanted, by URL or path. Used on one thread."""

    def __init__(
        self, directory: Path, fetch: Fetch, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """`directory` is where relative paths start."""
        self._directory = directory
        self._fetch = fetch
        self._sleep = sleep
        self._sources: dict[str, _Source] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()

    def want(self, places: Iterable[str]) -> None:
        """From now on these, and no others. Files are read at once."""
        wanted = frozenset(places)
        for gone in self._sources.keys() - wanted:
            del self._sources[gone]
            if task := self._tasks.pop(gone, None):
                task.cancel()
        for place in sorted(wanted - self._sources.keys()):
            self._sources[place] = _Source()
            if is_url(place):
                self._tasks[place] = asyncio.get_running_loop().create_task(self._follow_url(place))
            else:
                self._read(place)

    def sets(self) -> list[control.KeySet]:
        """What the data plane is given: of what was never good only why."""
        return [
            control.KeySet(name=place, keys=source.keys.keys)
            if source.keys is not None
            else control.KeySet(name=place, problem=source.problem)
            for place, source in sorted(self._sources.items())
        ]

    def problems(self) -> Mapping[str, str]:
        """Those that could not be had the last time, and why."""
        return {
            place: source.problem if source.keys is None else f"{source.problem}; the last good ones serve"
            for place, source in sorted(self._sources.items())
            if source.problem
        }

    def refresh(self, place: str) -> None:
        """A token names a key that it does not have: look whether there is a new one."""
        if source := self._sources.get(place):
            source.asked.set()

    async def settled(self, within: float) -> None:
        """Wait until each has been tried once, and no longer than so many seconds."""
        waits = [asyncio.ensure_future(source.tried.wait()) for source in self._sources.values()]
        if waits:
            _, late = await asyncio.wait(waits, timeout=within)
            for wait in late:
                wait.cancel()

    async def follow(self, install: Callable[[], None]) -> None:
        """Call `install` whenever a set has changed, for ever."""
        while True:
            files = [place for place in self._sources if not is_url(place)]
            # Without files nothing is looked at: who is idle sleeps.
            await self._until(self._changed, LOOK_EVERY if files else None)
            for place in files:
                source = self._sources.get(place)
                if source is not None and stamp(self._directory / place) != source.stamp:
                    self._read(place)
            if self._changed.is_set():
                self._changed.clear()
                install()

    async def _follow_url(self, url: str) -> None:
        source, failures = self._sources[url], 0
        while True:
            try:
                # One task for each, so that there is one request at a time.
                data = await self._fetch(url)
                self._take(url, parse(data, is_public=True))
                failures = 0
            except IdentityError as error:
                self._fail(url, str(error))
                failures += 1
            source.tried.set()
            pause = REFRESH if not failures else min(LONGEST_RETRY, RETRY * 2 ** min(failures - 1, 10))
            pause *= random.uniform(0.9, 1.1)  # noqa: S311 - spreads requests, and hides nothing
            source.asked.clear()
            await self._sleep(min(PAUSE, pause))
            if pause > PAUSE:
                await self._until(source.asked, pause - PAUSE)

    async def _until(self, event: asyncio.Event, seconds: float | None) -> None:
        """Wait for the event, and no longer than so many seconds."""
        waits: set[asyncio.Future[Any]] = {asyncio.ensure_future(event.wait())}
        if seconds is not None:
            waits.add(asyncio.ensure_future(self._sleep(seconds)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _read(self, place: str) -> None:
        """A file; it is small."""
        path, source = self._directory / place, self._sources[place]
        source.stamp = stamp(path)
        try:
            with path.open("rb") as file:
                data = file.read(LARGEST + 1)
            self._take(place, parse(data, is_public=False))
        except OSError as error:
            self._fail(place, f"the file cannot be read: {error.strerror}")
        except IdentityError as error:
            self._fail(place, str(error))
        source.tried.set()

    def _take(self, place: str, keys: Keys) -> None:
        source = self._sources[place]
        if source.problem and source.tried.is_set():
            log.info("the keys of %s are there again", place)
        if source.keys != keys:
            source.keys = keys
            self._changed.set()
            for left_out in keys.left_out:
                log.warning("%s: %s; it is left out", place, left_out)
        source.problem = ""

    def _fail(self, place: str, why: str) -> None:
        source = self._sources[place]
        if source.problem != why:
            serving = "the last good ones serve" if source.keys else "tokens that need them are answered with 503"
            log.warning("the keys of %s cannot be had: %s; %s", place, why, serving)
            source.problem = why
            if source.keys is None:
                self._changed.set()
