"""A client that sends what it likes, as fast as it can, and reads the answers or does not."""

import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tests.real.attacks.frames import ACK, PREFACE, Frame, Kind, Reader, frame

# Seconds in which a server answers a handshake, on a busy machine.
PATIENCE = 10.0
READ = 1 << 16


@dataclass
class Attacker:
    """One connection by prior knowledge, after its handshake."""

    address: str
    settings: bytes = b""
    # Frames that have come.
    told: list[Frame] = field(default_factory=list)
    has_ended: bool = False

    def __enter__(self) -> Self:
        host, _, port = self.address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._reader = Reader()
        self.run(PREFACE + frame(Kind.SETTINGS, payload=self.settings), lambda: self._has(Kind.SETTINGS), PATIENCE)
        assert self._has(Kind.SETTINGS), f"{self.address} does not speak HTTP/2: {self.told}"
        self.run(frame(Kind.SETTINGS, flags=ACK), lambda: True, 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def run(self, data: bytes, until: Callable[[], bool], seconds: float, *, reads: bool = True) -> None:
        """Send it all, and read meanwhile; over when all is sent and `until` holds, the server ends, or time is up."""
        left = memoryview(data)
        poll = select.poll()
        deadline = time.monotonic() + seconds
        while not self.has_ended and (left or not until()):
            wanted = select.POLLRDHUP | (select.POLLIN if reads else 0) | (select.POLLOUT if left else 0)
            poll.register(self._socket, wanted)
            patience = deadline - time.monotonic()
            events = dict(poll.poll(max(patience, 0) * 1000))
            if not events:
                return
            (seen,) = events.values()
            if seen & select.POLLOUT:
                left = self._send(left)
            if seen & select.POLLIN:
                self._read()
            elif seen & (select.POLLRDHUP | select.POLLHUP | select.POLLERR):
                self.has_ended = True

    def codes(self, kind: Kind) -> list[int]:
        """Of the frames of this kind that have come."""
        return [told.code for told in self.told if told.kind == kind]

    def _has(self, kind: Kind) -> bool:
        return any(told.kind == kind and not told.flags & ACK for told in self.told)

    def _send(self, left: memoryview) -> memoryview:
        try:
            return left[self._socket.send(left) :]
        except BlockingIOError:
            return left
        except OSError:
            # What it said before it closed may still be read.
            return left[len(left) :]

    def _read(self) -> None:
        data = b""
        with suppress(ConnectionResetError):
            data = self._socket.recv(READ)
        self.has_ended = not data
        self.told.extend(self._reader.take(data))
