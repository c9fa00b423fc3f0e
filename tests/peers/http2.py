"""HTTP/2 by Python's `h2`, both sides: streams that a test opens, answers, stalls or breaks as it likes."""

import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import h2.config
import h2.connection
import h2.events
from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame

from tests.peers import scripted
from tests.peers.message import Answer, App, CutOff, Ended, Request

# Bytes of one read.
READ = 65536
# Bytes before a frame's payload: length, type, flags, stream (RFC 9113 section 4.1).
FRAME_HEADER = 9


@dataclass
class Stream:
    """What one stream has brought so far."""

    id: int
    fields: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    trailers: dict[str, str] = field(default_factory=dict)
    interim: list[int] = field(default_factory=list)
    ended: bool = False
    # The code with which the other side reset it.
    reset: int | None = None
    # Bytes that came and that the other side has not been told to be read.
    unread: int = 0


class Http2:
    """One connection. Methods that wait read whatever comes meanwhile, for all streams.

    With `reads=False` received content is not acknowledged before `resume`: a reader that does not read.
    """

    def __init__(
        self,
        connection: socket.socket,
        *,
        client: bool = False,
        reads: bool = True,
    ) -> None:
        self.socket = connection
        self.reads = reads
        self._is_client = client
        # Inbound checks stay on: what a proxy sends must be legal. Outbound ones are off: a script may break the rules.
        config = h2.config.H2Configuration(
            client_side=client,
            header_encoding="utf-8",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.h2 = h2.connection.H2Connection(config)
        self.streams: dict[int, Stream] = {}
        # Bytes of content sent.
        self.sent = 0
        # GOAWAY frames that a client was sent: the last stream that will be answered, and the code.
        self.goaways: list[tuple[int, int]] = []
        # Requests that nobody has taken yet.
        self._new: list[Stream] = []
        # Bytes of a frame that is not complete.
        self._partial = b""
        self.h2.initiate_connection()
        self.flush()

    @classmethod
    def connect(cls, address: str, *, reads: bool = True) -> Self:
        return cls(scripted.connect(address), client=True, reads=reads)

    # --- as a client --------------------------------------------------------------------------------------------------

    def request(self, request: Request, *, end: bool = True) -> Stream:
        """Send a request; with `end=False` only its head and what content it has, and the stream stays open."""
        stream = Stream(self.h2.get_next_available_stream_id())
        self.streams[stream.id] = stream
        head = [(":method", request.method), (":scheme", "http"), (":authority", request.host), (":path", request.path)]
        complete = end and not request.body and not request.trailers
        self.h2.send_headers(stream.id, [*head, *request.fields.items()], end_stream=complete)
        self.flush()
        if request.body:
            self.data(stream, request.body, end=end and not request.trailers)
        if request.trailers and end:
            self.trailers(stream, request.trailers)
        return stream

    def answer(self, stream: Stream) -> Answer:
        """Wait for the whole answer. Raises CutOff when the stream is reset, or the connection ends, before."""
        self.until(lambda: stream.ended or stream.reset is not None, stream)
        if not stream.ended:
            raise CutOff(bytes(stream.body), _words(stream))
        return Answer(
            int(stream.fields[":status"]), stream.fields, bytes(stream.body), stream.trailers, tuple(stream.interim)
        )

    def ask(self, request: Request) -> Answer:
        """Send a request, and return its answer. Raises CutOff."""
        return self.answer(self.request(request))

    # --- as a server --------------------------------------------------------------------------------------------------

    def next_stream(self) -> Stream:
        """The next request's stream, as soon as its head has come. Raises Ended."""
        while not self._new:
            self.read()
        return self._new.pop(0)

    def take(self, stream: Stream) -> Request:
        """The whole request of a stream. Raises CutOff."""
        self.until(lambda: stream.ended or stream.reset is not None, stream)
        if not stream.ended:
            raise CutOff(bytes(stream.body), _words(stream))
        fields = {name: value for name, value in stream.fields.items() if not name.startswith(":")}
        method, path, host = (stream.fields[name] for name in (":method", ":path", ":authority"))
        return Request(method, path, host, fields, bytes(stream.body), stream.trailers)

    def respond(self, stream: Stream, status: int = 200, fields: Mapping[str, str] = {}, *, end: bool = False) -> None:
        """Send the head of an answer."""
        self.h2.send_headers(stream.id, [(":status", str(status)), *fields.items()], end_stream=end)
        self.flush()

    def give(self, stream: Stream, answer: Answer) -> None:
        """Send a whole answer."""
        self.respond(stream, answer.status, answer.fields, end=not answer.body and not answer.trailers)
        if answer.body:
            self.data(stream, answer.body, end=not answer.trailers)
        if answer.trailers:
            self.trailers(stream, answer.trailers)

    # --- as either ----------------------------------------------------------------------------------------------------

    def data(self, stream: Stream, data: bytes, *, end: bool = False) -> None:
        """Send content as the windows allow, until the answer to it is complete. Raises CutOff when it breaks off."""
        left = memoryview(data)
        while left:
            room = min(self.h2.local_flow_control_window(stream.id), self.h2.max_outbound_frame_size, len(left))
            # Below zero after SETTINGS have made the windows smaller.
            if room <= 0:
                self.read()
                if stream.reset is not None:
                    if stream.ended:
                        # The answer is complete and does not need the rest (RFC 9113 section 8.1).
                        return
                    raise CutOff(b"", _words(stream))
                continue
            self.h2.send_data(stream.id, bytes(left[:room]), end_stream=end and room == len(left))
            left = left[room:]
            self.flush()
            self.sent += room
        if end and not data:
            self.h2.end_stream(stream.id)
            self.flush()

    def trailers(self, stream: Stream, fields: Mapping[str, str]) -> None:
        """Send trailers, which end the stream."""
        self.h2.send_headers(stream.id, list(fields.items()), end_stream=True)
        self.flush()

    def reset(self, stream: Stream, code: ErrorCodes = ErrorCodes.CANCEL) -> None:
        """Send RST_STREAM."""
        self.h2.reset_stream(stream.id, code)
        self.flush()

    def go_away(self, last: int, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Send GOAWAY: streams above `last` were not processed, the others go on."""
        # `h2` would take the whole connection for closed.
        self.socket.sendall(GoAwayFrame(0, last_stream_id=last, error_code=code).serialize())

    def resume(self) -> None:
        """Read from now on, and say that what has come is read."""
        self.reads = True
        for stream in self.streams.values():
            self._acknowledge(stream)
        self.flush()

    def until(self, holds: Callable[[], bool], stream: Stream | None = None) -> None:
        """Read until it holds. When the connection ends before: Ended, or CutOff when a stream is concerned."""
        while not holds():
            try:
                self.read()
            except (Ended, ConnectionError) as error:
                if stream is None:
                    raise
                raise CutOff(bytes(stream.body), f"the connection ended ({error!r})") from error

    def read(self) -> None:
        """Read once, and act on what came. Raises Ended."""
        data = self.socket.recv(READ)
        if not data:
            raise Ended
        for event in self.h2.receive_data(self._without_goaway(data) if self._is_client else data):
            self._see(event)
        self.flush()

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _without_goaway(self, data: bytes) -> bytes:
        """Whole frames, GOAWAY taken out: with it `h2` would take the connection for closed, though streams go on."""
        self._partial += data
        passed = b""
        while len(self._partial) >= FRAME_HEADER:
            end = FRAME_HEADER + int.from_bytes(self._partial[:3], "big")
            if len(self._partial) < end:
                break
            frame, self._partial = self._partial[:end], self._partial[end:]
            if frame[3] == GoAwayFrame.type:
                last, code = struct.unpack_from(">II", frame, FRAME_HEADER)
                self.goaways.append((last, code))
            else:
                passed += frame
        return passed

    def _acknowledge(self, stream: Stream) -> None:
        if stream.unread and not stream.ended:
            self.h2.acknowledge_received_data(stream.unread, stream.id)
            stream.unread = 0

    def _see(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived():
                stream = Stream(event.stream_id, _fields(event.headers))
                self.streams[stream.id] = stream
                self._new.append(stream)
            case h2.events.ResponseReceived():
                stream = self.streams[event.stream_id]
                stream.fields = _fields(event.headers)
            case h2.events.InformationalResponseReceived():
                self.streams[event.stream_id].interim.append(int(_fields(event.headers)[":status"]))
            case h2.events.DataReceived():
                stream = self.streams[event.stream_id]
                stream.body += event.data
                stream.unread += event.flow_controlled_length or 0
                if self.reads:
                    self._acknowledge(stream)
            case h2.events.TrailersReceived():
                self.streams[event.stream_id].trailers = _fields(event.headers)
            case h2.events.StreamEnded():
                self.streams[event.stream_id].ended = True
            case h2.events.StreamReset():
                if (broken := self.streams.get(event.stream_id)) is not None:
                    broken.reset = int(event.error_code)


def server(app: App) -> scripted.ScriptedServer[Http2]:
    """A well-behaved server: it answers one stream after the other."""

    def script(peer: Http2) -> None:
        while True:
            stream = peer.next_stream()
            peer.give(stream, app(peer.take(stream)))

    return scripted.ScriptedServer(Http2, script)


def scripted_server(script: Callable[[Http2], None]) -> scripted.ScriptedServer[Http2]:
    """A server that does as `script` says on each connection."""
    return scripted.ScriptedServer(Http2, script)


def _words(stream: Stream) -> str:
    return f"reset with {ErrorCodes(stream.reset or 0).name}"


def _fields(headers: object) -> dict[str, str]:
    assert isinstance(headers, list)
    return {str(name): str(value) for name, value in headers}
