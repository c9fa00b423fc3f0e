"""HTTP/1.1 by hand, both sides: a reader of messages on a socket, and a socket to write any bytes on."""

import socket
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import NamedTuple, Self

from tests.peers import scripted
from tests.peers.message import Answer, App, CutOff, Ended, Request

# Bytes of one write.
PIECE = 16 * 1024


class Head(NamedTuple):
    """A start line and its fields."""

    start: str
    fields: dict[str, str]

    @property
    def status(self) -> int:
        return int(self.start.split(" ")[1])


class Http1:
    """One connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        # Bytes sent.
        self.sent = 0
        self._read = connection.makefile("rb")

    @classmethod
    def connect(cls, address: str) -> Self:
        return cls(scripted.connect(address))

    def send(self, *parts: bytes | str) -> None:
        """Write these bytes, whatever they mean."""
        left = memoryview(b"".join(part.encode() if isinstance(part, str) else part for part in parts))
        while left:
            # In pieces: a blocking send returns when all of it is taken.
            sent = self.socket.send(left[:PIECE])
            left = left[sent:]
            self.sent += sent

    def head(self) -> Head:
        """The next start line and fields. Raises Ended when none comes, CutOff when the connection is reset."""
        start = self._line()
        if not start:
            raise Ended
        return Head(start.decode("latin-1").rstrip("\r\n"), self._fields())

    def chunk(self) -> bytes:
        """The next chunk; b"" is the last one, after which the trailers follow."""
        line = self._line()
        if not line:
            raise CutOff(b"", "the connection ended before a chunk")
        size = int(line.split(b";")[0], 16)
        data = self._exactly(size)
        if size:
            self._line()
        return data

    def content(self, fields: Mapping[str, str]) -> tuple[bytes, dict[str, str]]:
        """Content and trailers of a message with these fields. Raises CutOff."""
        if "chunked" in fields.get("transfer-encoding", ""):
            return self._chunked()
        return self._exactly(int(fields.get("content-length", "0"))), {}

    def ask(self, request: Request) -> Answer:
        """Send a request, and return its answer. Raises CutOff and Ended."""
        self.send(encoded(request))
        return self.answer(request.method)

    def answer(self, method: str = "GET") -> Answer:
        """The answer to a request that was sent."""
        interim = []
        while (head := self.head()).status < 200:
            interim.append(head.status)
        body, trailers = b"", dict[str, str]()
        if method != "HEAD" and head.status not in (204, 304):
            body, trailers = self.content(head.fields)
        return Answer(head.status, head.fields, body, trailers, tuple(interim))

    def take(self) -> Request:
        """The next request. Raises Ended."""
        head = self.head()
        method, path, _ = head.start.split(" ")
        if head.fields.get("expect") == "100-continue":
            self.send("HTTP/1.1 100 Continue\r\n\r\n")
        body, trailers = self.content(head.fields)
        return Request(method, path, head.fields.get("host", ""), head.fields, body, trailers)

    def give(self, answer: Answer, method: str = "GET") -> None:
        """Answer the request taken last, which had this method."""
        start = f"HTTP/1.1 {answer.status} Scripted"
        if method == "HEAD" or answer.status in (204, 304):
            self.send(_head(start, answer.fields))
        else:
            self.send(_framed(start, answer.fields, answer.body, answer.trailers))

    def piece(self, most: int) -> bytes:
        """Some content, b"" at the end."""
        return self._read.read1(most)

    def close_sending(self) -> None:
        """Say that nothing more will be sent; what comes can still be read."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End the connection with a TCP RST."""
        self._read.close()
        scripted.reset(self.socket)

    def close(self) -> None:
        self._read.close()
        self.socket.close()

    def is_over(self) -> bool:
        """Wait for more bytes; True when the other side has closed instead."""
        try:
            return not self._read.peek(1)
        except ConnectionError:
            return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _line(self) -> bytes:
        try:
            return self._read.readline()
        except ConnectionError as error:
            raise CutOff(b"", f"the connection was reset ({error})") from error

    def _exactly(self, size: int) -> bytes:
        """So many bytes. Raises CutOff."""
        data = b""
        try:
            while len(data) < size and (more := self._read.read1(size - len(data))):
                data += more
        except ConnectionError as error:
            raise CutOff(data, f"the connection was reset ({error})") from error
        if len(data) < size:
            raise CutOff(data, f"the connection ended inside {size} bytes")
        return data

    def _fields(self) -> dict[str, str]:
        fields = {}
        while line := self._line().decode("latin-1").rstrip("\r\n"):
            name, _, value = line.partition(":")
            fields[name.lower()] = value.strip()
        return fields

    def _chunked(self) -> tuple[bytes, dict[str, str]]:
        body = b""
        try:
            while data := self.chunk():
                body += data
        except CutOff as cut:
            raise CutOff(body + cut.received, cut.why) from None
        return body, self._fields()


def encoded(request: Request) -> bytes:
    """A request as bytes."""
    start, fields = f"{request.method} {request.path} HTTP/1.1", {"host": request.host, **request.fields}
    if request.body or request.trailers or "content-length" in fields:
        return _framed(start, fields, request.body, request.trailers)
    return _head(start, fields)


def server(app: App) -> scripted.ScriptedServer[Http1]:
    """A well-behaved server: it answers one request after the other."""

    def script(peer: Http1) -> None:
        while True:
            request = peer.take()
            peer.give(app(request), request.method)

    return scripted.ScriptedServer(Http1, script)


def scripted_server(script: Callable[[Http1], None]) -> scripted.ScriptedServer[Http1]:
    """A server that does as `script` says on each connection."""
    return scripted.ScriptedServer(Http1, script)


def _framed(start: str, fields: Mapping[str, str], body: bytes, trailers: Mapping[str, str]) -> bytes:
    if "content-length" in fields:
        return _head(start, fields) + body
    chunk = f"{len(body):x}\r\n".encode() + body + b"\r\n" if body else b""
    return _head(start, {**fields, "transfer-encoding": "chunked"}) + chunk + _head("0", trailers)


def _head(start: str, fields: Mapping[str, str]) -> bytes:
    return "\r\n".join([start, *(f"{name}: {value}" for name, value in fields.items()), "", ""]).encode("latin-1")
