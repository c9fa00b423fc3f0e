"""The application that `sidecar run -- COMMAND` starts beside itself."""

import asyncio
import os
import signal
from collections.abc import Sequence

from sidecar import descriptors
from sidecar.errors import SidecarError


class Child:
    """A running application, the leader of a process group of its own.

    A Ctrl-C at the terminal so reaches the sidecar alone, which passes it on once.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, command: Sequence[str]) -> "Child":
        """Start `command` with our environment and streams. Raises SidecarError when there is no such program."""
        try:
            with descriptors.as_given():
                return cls(await asyncio.create_subprocess_exec(*command, process_group=0))
        except OSError as error:
            raise SidecarError(f"the application {command[0]!r} cannot be started: {error.strerror}") from error

    async def wait(self) -> int:
        """The exit code; 128 + n when signal n ended it, as shells say it."""
        code = await self._process.wait()
        return code if code >= 0 else 128 - code

    def send(self, number: int) -> None:
        """Pass a signal on to the application; without effect when it has ended."""
        if self._process.returncode is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End the application and all it started, at once."""
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
