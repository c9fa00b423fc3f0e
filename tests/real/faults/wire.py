"""One exchange at an endpoint, in the words of its protocol: a good answer in steps, and what is no answer at all."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from itertools import pairwise
from typing import Protocol

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame


class Wire(StrEnum):
    """What a call is."""

    HTTP1 = "http1"
    HTTP2 = "http2"
    UNARY = "grpc-unary"
    STREAM = "grpc-stream"

    @property
    def is_grpc(self) -> bool:
        return self in (Wire.UNARY, Wire.STREAM)


# A good answer is four pieces of 256 bytes: of one body, of one message, or four messages.
PIECES = 4
PIECE = bytes(range(256))
BODY = PIECE * PIECES
# What a good answer brings its caller: the content of HTTP, or the messages of a call.
MESSAGES = {Wire.UNARY: [BODY], Wire.STREAM: [PIECE] * PIECES}

UNAVAILABLE, RESOURCE_EXHAUSTED = 14, 8
GRPC_HEAD = {"content-type": "application/grpc"}


class Exchange(Protocol):
    """A request that has come, to be answered by its head, its pieces and its end."""

    # Requests that came before on the same connection.
    earlier: int

    def head(self) -> None:
        """The head of a good answer."""

    def piece(self) -> None:
        """The next of PIECES."""

    def end(self) -> None:
        """What follows the last piece."""

    def fail(self, *, overload: bool = False) -> None:
        """An answer that says that it is none: 503 or 429, in gRPC a status in the trailers."""

    def cut(self) -> None:
        """The end, where there should be more."""

    def garble(self) -> None:
        """What is no answer by the protocol's rules."""

    def reset(self) -> None:
        """RST_STREAM, or the TCP RST of a connection that has one exchange."""

    def go_away(self) -> None:
        """The connection ends, and this request was not looked at."""


# Carries out one exchange.
Behaviour = Callable[[Exchange], Awaitable[None]]


class Http1Exchange:
    """The only one of its connection for now."""

    def __init__(self, writer: asyncio.StreamWriter, earlier: int) -> None:
        self.earlier = earlier
        self._writer = writer
        # False once the connection can carry no other.
        self.is_clean = True

    def head(self) -> None:
        self._writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(BODY)}\r\n\r\n".encode())

    def piece(self) -> None:
        self._writer.write(PIECE)

    def end(self) -> None:
        """The length has said it."""

    def fail(self, *, overload: bool = False) -> None:
        start = "429 Too Many Requests" if overload else "503 Service Unavailable"
        self._writer.write(f"HTTP/1.1 {start}\r\ncontent-length: 4\r\n\r\nsory".encode())

    def cut(self) -> None:
        self.is_clean = False

    def garble(self) -> None:
        # "A sender MUST NOT send [...] multiple Content-Length fields" with different values (RFC 9110 section 8.6).
        self._writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab")
        self.is_clean = False

    def reset(self) -> None:
        self.is_clean = False
        connection: socket.socket = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def go_away(self) -> None:
        self.is_clean = False


async def speak_http1(behaviour: Behaviour, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request after the other, until one of them leaves the connection unclean."""
    earlier = 0
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            await reader.readuntil(b"\r\n\r\n")
            exchange = Http1Exchange(writer, earlier)
            await behaviour(exchange)
            if writer.is_closing():
                return
            await writer.drain()
            if not exchange.is_clean:
                return
            earlier += 1


class Http2Exchange:
    """One stream."""

    def __init__(self, connection: "Http2Connection", wire: Wire, stream: int, earlier: int) -> None:
        self.earlier = earlier
        self._connection, self._stream = connection, stream
        match wire:
            case Wire.STREAM:
                self._pieces = [_framed(PIECE)] * PIECES
            case Wire.UNARY:
                whole, size = _framed(BODY), len(PIECE)
                cuts = [*(size * number for number in range(PIECES)), len(whole)]
                self._pieces = [whole[begin:end] for begin, end in pairwise(cuts)]
            case _:
                self._pieces = [PIECE] * PIECES
        self._is_grpc = wire.is_grpc
        self._sent = 0

    def _headers(self, fields: Mapping[str, str], *, end: bool = False) -> None:
        self._connection.say(lambda h2: h2.send_headers(self._stream, list(fields.items()), end_stream=end))

    def head(self) -> None:
        fields = GRPC_HEAD if self._is_grpc else {"content-length": str(len(BODY))}
        self._headers({":status": "200", **fields})

    def piece(self) -> None:
        data = self._pieces[self._sent]
        self._sent += 1
        last = self._sent == PIECES and not self._is_grpc
        self._connection.say(lambda h2: h2.send_data(self._stream, data, end_stream=last))

    def end(self) -> None:
        if self._is_grpc:
            self._headers({"grpc-status": "0"}, end=True)

    def fail(self, *, overload: bool = False) -> None:
        if not self._is_grpc:
            return self._headers({":status": "429" if overload else "503"}, end=True)
        # In two frames, head and trailers: nothing of it stands in the head.
        self._headers({":status": "200", **GRPC_HEAD})
        if len(self._pieces[0]) > len(PIECE):
            # The first message of a stream comes before.
            self.piece()
        return self._headers({"grpc-status": str(RESOURCE_EXHAUSTED if overload else UNAVAILABLE)}, end=True)

    def cut(self) -> None:
        # END_STREAM where the length, or a call's framing, says that there is more.
        self._connection.say(lambda h2: h2.end_stream(self._stream))

    def garble(self) -> None:
        # A response without `:status` is malformed (RFC 9113 section 8.3.2).
        self._headers({"x-status": "200"})

    def reset(self) -> None:
        self._connection.say(lambda h2: h2.reset_stream(self._stream, ErrorCodes.INTERNAL_ERROR))

    def go_away(self) -> None:
        self._connection.go_away(self._stream - 2)


class Http2Connection(asyncio.Protocol):
    """Many streams at a time; `behaviour` is asked for each."""

    def __init__(self, wire: Wire, behaviour: Behaviour, connections: set[asyncio.BaseTransport]) -> None:
        self._wire, self._behaviour, self._connections = wire, behaviour, connections
        # What is sent may break the rules.
        config = h2.config.H2Configuration(
            client_side=False, validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self._h2 = h2.connection.H2Connection(config)
        self._transport: asyncio.Transport | None = None
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._streams = 0
        # The last stream that is looked at, once the connection goes away.
        self._last: int | None = None
        self._leaving: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(transport)
        self.say(lambda h2: h2.initiate_connection())

    def connection_lost(self, exc: Exception | None) -> None:
        for task in self._tasks.values():
            task.cancel()
        if self._transport is not None:
            self._connections.discard(self._transport)
        self._transport = None

    def data_received(self, data: bytes) -> None:
        try:
            events = self._h2.receive_data(data)
        except h2.exceptions.ProtocolError:
            # The peer goes on after what it took for the end.
            if self._transport is not None:
                self._transport.abort()
            return
        for event in events:
            match event:
                case h2.events.DataReceived():
                    self._h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
                case h2.events.StreamEnded():
                    self._begin(event.stream_id)
                case h2.events.StreamReset():
                    if task := self._tasks.pop(event.stream_id, None):
                        task.cancel()
                case _:
                    pass
        self.say(lambda _: None)

    def _begin(self, stream: int) -> None:
        if self._last is not None and stream > self._last:
            return
        exchange = Http2Exchange(self, self._wire, stream, self._streams)
        self._streams += 1
        task = asyncio.ensure_future(self._carry_out(exchange))
        self._tasks[stream] = task
        task.add_done_callback(lambda _: self._tasks.pop(stream, None))

    async def _carry_out(self, exchange: Exchange) -> None:
        # A stream that its caller has given up meanwhile takes no answer.
        with suppress(h2.exceptions.ProtocolError):
            await self._behaviour(exchange)

    def say(self, what: Callable[[h2.connection.H2Connection], None]) -> None:
        """Do this to the connection, and send what comes of it."""
        what(self._h2)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(self._h2.data_to_send())

    def go_away(self, last: int) -> None:
        """GOAWAY: streams above `last` were not processed. What is in flight ends, then the connection."""
        if self._last is None:
            self._last = last
            assert self._transport is not None
            # By hand: `h2` would take the connection for closed, though streams go on.
            frame = GoAwayFrame(0, last_stream_id=last, error_code=ErrorCodes.NO_ERROR)
            self._transport.write(frame.serialize())
            self._leaving = asyncio.ensure_future(self._leave())

    async def _leave(self) -> None:
        me = asyncio.current_task()
        while any(task is not me for task in self._tasks.values()):
            await asyncio.sleep(0.001)
        if self._transport is not None:
            self._transport.close()


def _framed(message: bytes) -> bytes:
    """A message as gRPC sends it: not compressed, its length, its bytes."""
    return b"\0" + len(message).to_bytes(4, "big") + message
