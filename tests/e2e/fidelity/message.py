"""HTTP messages as both sides of a test see them, and the two ways to read and write them.

HTTP/1.1 is written and read by hand, HTTP/2 by the Python package `h2`: neither shares code with the data plane.
"""

import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events

Fields = list[tuple[str, str]]

# Seconds; what does not come by then does not come.
PATIENCE = 10.0


class Cut(Exception):
    """The message ended before its end."""


@dataclass
class Message:
    """A request or a response as it arrived; names of fields in lower case."""

    # The status, or the method.
    start: str = ""
    path: str = ""
    fields: Fields = field(default_factory=list)
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    # Interim responses before it: status and fields.
    interim: list[tuple[str, Fields]] = field(default_factory=list)

    def get(self, name: str) -> str | None:
        """The values of a field, joined as HTTP allows; None without it."""
        values = [value for known, value in self.fields if known == name]
        return ", ".join(values) if values else None


class Http1:
    """One HTTP/1.1 connection, either side."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.socket.settimeout(PATIENCE)
        self.file = connection.makefile("rb")

    def write_head(self, start: str, fields: Fields) -> None:
        """`start` is the whole first line."""
        lines = [start, *(f"{name}: {value}" for name, value in fields)]
        self.socket.sendall("".join(f"{line}\r\n" for line in [*lines, ""]).encode())

    def write_chunk(self, data: bytes) -> None:
        """One chunk."""
        self.socket.sendall(b"%x\r\n%b\r\n" % (len(data), data))

    def write_end(self, trailers: Iterable[tuple[str, str]] = ()) -> None:
        """The last chunk."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in trailers)
        self.socket.sendall(f"0\r\n{lines}\r\n".encode())

    def read_head(self) -> Message:
        """The next head. Raises Cut at the end of the connection."""
        words = self._line().split(" ", 2)
        message = Message(start=words[1], fields=self._fields()) if words[0].startswith("HTTP/") else None
        return message or Message(start=words[0], path=words[1], fields=self._fields())

    def read_body(self, message: Message, *, is_response: bool = False) -> Message:
        """The rest of a message. Raises Cut when it is not whole."""
        if message.get("transfer-encoding") == "chunked":
            while size := int(self._line(), 16):
                message.body += self._exactly(size)
                self._exactly(2)
            message.trailers = self._fields()
        elif (length := message.get("content-length")) is not None:
            message.body += self._exactly(int(length))
        elif is_response:
            message.body += self.file.read()
        return message

    def read_response(self, method: str = "GET") -> Message:
        """A response with its interim ones."""
        interim = []
        while (head := self.read_head()).start.startswith("1") and head.start != "101":
            interim.append((head.start, head.fields))
        head.interim = interim
        if method == "HEAD" or head.start in {"101", "204", "304"}:
            return head
        return self.read_body(head, is_response=True)

    def close(self) -> None:
        """Both halves."""
        self.file.close()
        self.socket.close()

    def _line(self) -> str:
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise Cut
        return line[:-2].decode()

    def _fields(self) -> Fields:
        fields = []
        while line := self._line():
            name, _, value = line.partition(":")
            fields.append((name.lower(), value.strip()))
        return fields

    def _exactly(self, size: int) -> bytes:
        data = self.file.read(size)
        if len(data) != size:
            raise Cut
        return data


class Http2:
    """One HTTP/2 connection with one stream at a time, either side."""

    def __init__(self, connection: socket.socket, *, client: bool) -> None:
        # What is sent is what the test says, right or wrong.
        config = h2.config.H2Configuration(client, header_encoding="utf-8", validate_outbound_headers=False)
        self.state = h2.connection.H2Connection(config)
        self.socket = connection
        self.socket.settimeout(PATIENCE)
        self.waiting: list[h2.events.Event] = []
        self.state.initiate_connection()
        if not client:
            self.state.update_settings({8: 1})
        self.flush()

    def flush(self) -> None:
        """Send what the state machine has ready."""
        if data := self.state.data_to_send():
            self.socket.sendall(data)

    def event(self) -> h2.events.Event:
        """The next event. Raises Cut at the end of the connection."""
        while not self.waiting:
            self._receive()
        event = self.waiting.pop(0)
        if isinstance(event, h2.events.DataReceived):
            self.state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self.flush()
        return event

    def _receive(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise Cut
        self.waiting += self.state.receive_data(data)
        self.flush()

    def head(self, stream: int, fields: Fields, *, end: bool = False) -> None:
        """Send HEADERS: a head, an interim one, or trailers."""
        self.state.send_headers(stream, fields, end_stream=end)
        self.flush()

    def data(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Send DATA as the window opens."""
        while True:
            room = min(self.state.local_flow_control_window(stream), self.state.max_outbound_frame_size)
            piece, data = data[:room], data[room:]
            if piece or (not data and end):
                self.state.send_data(stream, piece, end_stream=end and not data)
                self.flush()
            if not data:
                return
            if not room:
                self._receive()

    def read_head(self) -> Message:
        """The next head of a response, an interim one or its own. Raises Cut when it is reset."""
        message = Message()
        while not (message.interim or message.start):
            self._take(self.event(), message)
        return message

    def read(
        self, stream: int, message: Message | None = None, piece: Callable[[bytes], None] = lambda _: None
    ) -> Message:
        """A whole message of a stream; `piece` is told its content as it comes. Raises Cut when it is reset."""
        message = message or Message()
        while not self._take(event := self.event(), message):
            if isinstance(event, h2.events.DataReceived):
                piece(event.data)
        return message

    def _take(self, event: h2.events.Event, message: Message) -> bool:
        """Adds to a message what has come of it; True at its end."""
        match event:
            case h2.events.InformationalResponseReceived():
                message.interim.append(_split(event.headers))
            case h2.events.ResponseReceived():
                message.start, message.fields = _split(event.headers)
            case h2.events.DataReceived():
                message.body += event.data
            case h2.events.TrailersReceived():
                message.trailers = [(str(name), str(value)) for name, value in event.headers]
            case h2.events.StreamEnded():
                return True
            case h2.events.StreamReset() | h2.events.ConnectionTerminated():
                raise Cut
        return False

    def close(self) -> None:
        """The socket."""
        self.socket.close()


def _split(fields: Iterable[tuple[object, object]]) -> tuple[str, Fields]:
    """The status, and the fields beside it."""
    text = [(str(name), str(value)) for name, value in fields]
    return dict(text)[":status"], [(name, value) for name, value in text if not name.startswith(":")]
