"""The bytes of another protocol, both ways, after an `Upgrade` of HTTP/1.1 or in a stream of HTTP/2."""

import socket
import struct
from typing import Protocol

import h2.errors
import h2.events

from tests.e2e.fidelity.message import Cut, Http2


class Broken(Exception):
    """The other side broke the connection off; `code` is HTTP/2's."""

    def __init__(self, code: int | None = None) -> None:
        super().__init__(code)
        self.code = code


class Lane(Protocol):
    """One side of it."""

    def send(self, data: bytes) -> None:
        """Give bytes to the other side."""

    def receive(self) -> bytes:
        """The next bytes; b"" when the other side has ended its half. Raises Broken."""

    def finish(self) -> None:
        """End our half."""

    def break_off(self) -> None:
        """End both at once, as a crash would."""

    def close(self) -> None:
        """Say nothing more, and let the socket go."""


class Http1Lane:
    """After 101: the connection itself."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def receive(self) -> bytes:
        try:
            return self._socket.recv(65536)
        except ConnectionError as error:
            raise Broken from error

    def finish(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def break_off(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def close(self) -> None:
        self._socket.close()


class Http2Lane:
    """After the 200 of an extended CONNECT: one stream."""

    def __init__(self, peer: Http2, stream: int, *, owns: bool) -> None:
        self._peer = peer
        self._stream = stream
        # False on a server, whose connection outlives the stream.
        self._owns = owns

    def send(self, data: bytes) -> None:
        self._peer.data(self._stream, data)

    def receive(self) -> bytes:
        while True:
            try:
                event = self._peer.event()
            except (Cut, ConnectionError) as error:
                raise Broken from error
            if getattr(event, "stream_id", None) != self._stream:
                continue
            match event:
                case h2.events.DataReceived() if event.data:
                    return event.data
                case h2.events.StreamEnded():
                    return b""
                case h2.events.StreamReset():
                    raise Broken(event.error_code)

    def finish(self) -> None:
        self._peer.data(self._stream, b"", end=True)

    def break_off(self) -> None:
        self._peer.state.reset_stream(self._stream, h2.errors.ErrorCodes.CANCEL)
        self._peer.flush()

    def close(self) -> None:
        if self._owns:
            self._peer.close()
