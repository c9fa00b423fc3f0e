"""A TCP server whose every connection follows a script: what no well-behaved server would do, it does."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from tests.peers.message import CutOff, Ended

# Bytes of each socket buffer at a test's own end: what a stalled side has taken is then the proxies' doing.
SOCKET_BUFFER = 64 * 1024
# Seconds that a client waits for bytes before its test fails; long, for a busy machine.
PATIENCE = 20.0


class Peer(Protocol):
    """One connection, in the words of its protocol."""

    def close(self) -> None:
        """Say nothing more."""


P = TypeVar("P", bound=Peer)


class ScriptedServer(Generic[P]):
    """Accepts on a free port of 127.0.0.1 and runs `script` in a thread for each connection, until the block ends.

    A script ends when its connection does, or breaks off. What it fails with beyond that fails the test, at the end of
    the block.
    """

    def __init__(self, speak: Callable[[socket.socket], P], script: Callable[[P], None]) -> None:
        self._speak = speak
        # May be replaced between connections.
        self.script = script
        # Connections accepted so far.
        self.accepted = 0
        self._listening = _own(socket.socket())
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen(1024)
        self._open: dict[threading.Thread, socket.socket] = {}
        self._lock = threading.Lock()
        self._ending = False
        self._failures: list[BaseException] = []
        self._accepting = threading.Thread(target=self._accept, name="scripted server")

    @property
    def port(self) -> int:
        port: int = self._listening.getsockname()[1]
        return port

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._run, args=(connection,), name="scripted connection")
            with self._lock:
                if self._ending:
                    connection.close()
                    return
                self.accepted += 1
                self._open[thread] = connection
                thread.start()

    def _run(self, connection: socket.socket) -> None:
        try:
            with closing(self._speak(connection)) as peer:
                self.script(peer)
                _linger(connection)
        except (Ended, CutOff, ConnectionError):
            pass
        except Exception as failure:
            if not self._ending:
                self._failures.append(failure)
        finally:
            with self._lock:
                self._open.pop(threading.current_thread(), None)
            connection.close()

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Closing alone would not wake a thread that waits in accept or recv.
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        with self._lock:
            self._ending = True
            running = dict(self._open)
        for thread, connection in running.items():
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE)
        self._accepting.join(PATIENCE)
        if self._failures and error is None:
            raise self._failures[0]


def connect(address: str) -> socket.socket:
    """A connection to "127.0.0.1:41234" that does not wait longer than PATIENCE for anything."""
    host, _, port = address.rpartition(":")
    connection = _own(socket.socket())
    connection.settimeout(PATIENCE)
    try:
        connection.connect((host, int(port)))
    except OSError:
        connection.close()
        raise
    return connection


def _own(unconnected: socket.socket) -> socket.socket:
    """With our options, which connections inherit from the socket that accepts them."""
    unconnected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    unconnected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
    unconnected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER)
    return unconnected


def _linger(connection: socket.socket) -> None:
    """Say no more, read what still comes: closed with bytes unread, TCP may take back what was sent (RFC 9112, 9.6)."""
    # The script may have closed or reset it, and so may the other side.
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(SOCKET_BUFFER):
            pass


def reset(connection: socket.socket) -> None:
    """End it with a TCP RST, as a crashed host does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@contextmanager
def refusing() -> Iterator[str]:
    """An address that refuses connections, and that nobody else can take meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"
