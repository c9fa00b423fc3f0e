"""An application that records what reaches it, and a client that sends any bytes."""

import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field

from tests.e2e.strictness.downgrades import Downgrade
from tests.e2e.strictness.reading import Reader, Reading
from tests.peers import scripted
from tests.peers.http2 import Http2, Stream
from tests.peers.message import CutOff, Ended

STATUS = re.compile(rb"HTTP/1\.1 ([2-5]\d\d) ")


@dataclass
class Recorded:
    """What has reached the application, over all connections."""

    complete: list[Reading] = field(default_factory=list)
    # What it could not read: nobody forwards such bytes who has understood them.
    unreadable: list[bytes] = field(default_factory=list)

    def taken(self) -> Sequence[Reading]:
        """What has come since the last time."""
        found, self.complete = self.complete, []
        return found


class _Connection:
    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection

    def close(self) -> None:
        self.socket.close()


@contextmanager
def recording() -> Iterator[tuple[str, Recorded]]:
    """The application's address, and what it records until the block ends."""
    recorded = Recorded()

    def script(peer: _Connection) -> None:
        reader = Reader()
        while not reader.trouble and (data := peer.socket.recv(65536)):
            before = len(reader.readings)
            answer = reader.feed(data)
            recorded.complete += reader.readings[before:]
            # h11 takes any word for a target.
            recorded.unreadable += [
                reading.raw for reading in reader.readings[before:] if not reading.target.startswith(("/", "*"))
            ]
            peer.socket.sendall(answer)
        if reader.is_confused:
            recorded.unreadable.append(reader.left)

    with scripted.ScriptedServer(_Connection, script) as server:
        yield server.address, recorded


def statuses(address: str, data: bytes) -> tuple[int, ...]:
    """Send it on a connection of its own, say no more, and read to the end; the final answers that came.

    A reset may take away an answer to bytes that nobody has read.
    """
    read = b""
    with closing(scripted.connect(address)) as connection, suppress(OSError):
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while more := connection.recv(65536):
            read += more
    return tuple(int(status) for status in STATUS.findall(read))


def ask(address: str, downgrade: Downgrade) -> int:
    """Send it as the only request of a connection of HTTP/2; the status, 0 when the stream or the connection ends."""
    stream = Stream(1)
    with Http2.connect(address) as peer:
        peer.streams[1] = stream
        rest = [downgrade.body, downgrade.trailers]
        try:
            peer.h2.send_headers(1, downgrade.head, end_stream=not any(rest))
            if downgrade.body:
                peer.h2.send_data(1, downgrade.body, end_stream=not downgrade.trailers)
            if downgrade.trailers:
                peer.h2.send_headers(1, downgrade.trailers, end_stream=True)
            peer.flush()
            return peer.answer(stream).status
        except (CutOff, Ended, ConnectionError):
            return 0
