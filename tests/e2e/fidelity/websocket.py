"""WebSocket by wsproto, client and server, over HTTP/1.1 and over HTTP/2, told frame by frame."""

import hashlib
import queue
import socket
from contextlib import closing, suppress
from dataclasses import dataclass, field

import h2.events
from wsproto import ConnectionType, WSConnection, events
from wsproto.connection import Connection
from wsproto.extensions import Extension, PerMessageDeflate
from wsproto.handshake import client_extensions_handshake, server_extensions_handshake

from tests.e2e.fidelity.apps import App
from tests.e2e.fidelity.conversation import Closing, Conversation, Message, Ping, Pong, Run, Who
from tests.e2e.fidelity.lane import Broken, Http1Lane, Http2Lane, Lane
from tests.e2e.fidelity.message import PATIENCE, Cut, Fields, Http2

SUBPROTOCOLS = ["shop.v2", "shop.v1"]

# What a side heard: the kind of a frame and what it carried, and at last how the other side ended.
Heard = list[tuple[object, ...]]


class Refused(Exception):
    """The handshake was answered with another status."""


@dataclass
class Side:
    """One side of a WebSocket that is open."""

    me: Who
    lane: Lane
    wire: WSConnection | Connection
    heard: Heard = field(default_factory=list)
    # HTTP/2's code when the other side broke off.
    code: int | None = None
    # Not sent yet: leaves with the next bytes, so that the first frame follows the handshake in one segment.
    held: bytes = b""
    _waiting: list[events.Event] = field(default_factory=list)

    def play(self, conversation: Conversation) -> None:
        """Take part until its end."""
        for speaker, turn in conversation.turns:
            if speaker == self.me:
                self._speak(turn)
            else:
                self._listen(turn)
        end = conversation.end
        if isinstance(end, Closing):
            self._close(end)
            self._finish(first=end.first == self.me)
        elif end.in_order:
            self._finish(first=end.who == self.me)
        elif end.who == self.me:
            # Whatever was said has arrived when this is answered; a crash would take it along otherwise.
            self._speak(Ping(b"last"))
            self.lane.break_off()
        else:
            self._listen(Ping(b"last"))
            self._hear_the_end()

    def say(self, event: events.Event) -> None:
        """Send one frame."""
        held, self.held = self.held, b""
        self.lane.send(held + self.wire.send(event))

    def hear(self) -> events.Event | None:
        """The next frame, whole; None at the end of the other half. Raises Broken."""
        pieces: list[events.Event] = []
        while True:
            event = self._event()
            if not isinstance(event, events.Message):
                return event
            pieces.append(event)
            if event.frame_finished:
                # A reader may see one frame in several pieces.
                whole = [piece.data for piece in pieces if isinstance(piece, events.Message)]
                return type(event)(type(event.data)().join(whole), message_finished=event.message_finished)

    def _event(self) -> events.Event | None:
        self._flush()
        while not self._waiting:
            data = self.lane.receive()
            if not data:
                return None
            self.wire.receive_data(data)
            self._waiting += self.wire.events()
        return self._waiting.pop(0)

    def _flush(self) -> None:
        held, self.held = self.held, b""
        if held:
            self.lane.send(held)

    def _speak(self, turn: Message | Ping | Pong) -> None:
        match turn:
            case Ping():
                self.say(events.Ping(turn.payload))
                self._note(self.hear())
            case Pong():
                self.say(events.Pong(turn.payload))
            case Message():
                for index, piece in enumerate(turn.pieces):
                    self.say(frame_of(piece, is_last=index == len(turn.pieces) - 1))
                    if index == 0 and turn.ping is not None:
                        self.say(events.Ping(turn.ping))
                if turn.ping is not None:
                    self._note(self.hear())

    def _listen(self, turn: Message | Ping | Pong) -> None:
        frames = len(turn.pieces) + (turn.ping is not None) if isinstance(turn, Message) else 1
        for _ in range(frames):
            event = self.hear()
            self._note(event)
            if isinstance(event, events.Ping):
                self.say(event.response())

    def _close(self, end: Closing) -> None:
        if end.who == self.me:
            self.say(events.CloseConnection(end.code, end.reason))
            self._note(self.hear())
        else:
            event = self.hear()
            self._note(event)
            assert isinstance(event, events.CloseConnection)
            self.say(event.response())

    def _finish(self, *, first: bool) -> None:
        self._flush()
        if first:
            self.lane.finish()
            self._hear_the_end()
        else:
            self._hear_the_end()
            self.lane.finish()

    def _hear_the_end(self) -> None:
        try:
            self._note(self.hear())
        except Broken as broken:
            self.heard.append(("broken",))
            self.code = broken.code

    def _note(self, event: events.Event | None) -> None:
        match event:
            case None:
                self.heard.append(("end",))
            case events.Message():
                self.heard.append((type(event).__name__, short(event.data), event.message_finished))
            case events.CloseConnection():
                self.heard.append(("close", event.code, event.reason or ""))
            case events.Ping() | events.Pong():
                self.heard.append((type(event).__name__, bytes(event.payload)))
            case other:
                raise AssertionError(f"unexpected: {other}")


def frame_of(piece: str | bytes | Run, *, is_last: bool) -> events.TextMessage | events.BytesMessage:
    """A frame to send."""
    if isinstance(piece, str):
        return events.TextMessage(piece, message_finished=is_last)
    return events.BytesMessage(bytes(piece), message_finished=is_last)


def short(data: str | bytes | bytearray) -> object:
    """Content as it is compared: length and digest stand for what nobody wants to read where a test fails."""
    if isinstance(data, str):
        return data
    return bytes(data) if len(data) < 200 else (len(data), hashlib.sha256(data).hexdigest())


@dataclass
class Stage:
    """The conversations that a server takes part in, by path, and how each of them went."""

    _stages: dict[str, tuple[Conversation, queue.Queue[Side | Exception]]] = field(default_factory=dict, repr=False)

    def prepare(self, path: str, conversation: Conversation) -> None:
        """The next one at this path is this."""
        self._stages[path] = (conversation, queue.Queue())

    def play(self, path: str, side: Side) -> None:
        """The server's part."""
        conversation, played = self._stages[path]
        try:
            with closing(side.lane):
                side.play(conversation)
        except Exception as failure:
            played.put(failure)
        else:
            played.put(side)

    def outcome(self, path: str) -> Side:
        """The server's side of a conversation. Raises what went wrong in it."""
        outcome = self._stages.pop(path)[1].get(timeout=PATIENCE)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def serve_http1(self, app: App, connection: socket.socket) -> None:
        """One WebSocket on one connection."""
        connection.settimeout(PATIENCE)
        wire = WSConnection(ConnectionType.SERVER)
        asked: list[events.Event] = []
        with closing(connection):
            while not asked:
                if not (data := connection.recv(65536)):
                    return
                wire.receive_data(data)
                asked += wire.events()
            (request,) = asked
            assert isinstance(request, events.Request)
            extensions: list[Extension] = [PerMessageDeflate()]
            protocol = next((name for name in request.subprotocols if name == SUBPROTOCOLS[-1]), None)
            accepted = wire.send(events.AcceptConnection(protocol, extensions))
            self.play(request.target, Side("server", Http1Lane(connection), wire, held=accepted))

    def serve_http2(self, app: App, connection: socket.socket) -> None:
        """One WebSocket after the other, each a stream of one connection."""
        peer = Http2(connection, client=False)
        with suppress(Cut, OSError):
            while True:
                event = peer.event()
                if isinstance(event, h2.events.RequestReceived):
                    assert event.stream_id is not None
                    self._accept_http2(peer, event.stream_id, [(str(n), str(v)) for n, v in event.headers or []])
        peer.close()

    def _accept_http2(self, peer: Http2, stream: int, fields: Fields) -> None:
        known = dict(fields)
        assert (known[":method"], known[":protocol"], known["sec-websocket-version"]) == ("CONNECT", "websocket", "13")
        assert "sec-websocket-key" not in known
        extensions: list[Extension] = [PerMessageDeflate()]
        answer = [(":status", "200")]
        if "sec-websocket-protocol" in known:
            answer.append(("sec-websocket-protocol", SUBPROTOCOLS[-1]))
        offered = known.get("sec-websocket-extensions", "")
        if accepted := server_extensions_handshake([offered] if offered else [], extensions):
            answer.append(("sec-websocket-extensions", accepted.decode()))
        peer.head(stream, answer)
        wire = Connection(ConnectionType.SERVER, [extension for extension in extensions if extension.enabled()])
        self.play(known[":path"], Side("server", Http2Lane(peer, stream, owns=False), wire))


def dial(address: str) -> socket.socket:
    """A connection to "127.0.0.1:41234"."""
    host, port = address.rsplit(":", 1)
    connection = socket.create_connection((host, int(port)), timeout=PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def open_http1(address: str, host: str, path: str, *, compressed: bool) -> tuple[Side, str | None]:
    """A WebSocket by Upgrade, and the subprotocol that was agreed on. Raises Refused."""
    connection = dial(address)
    wire = WSConnection(ConnectionType.CLIENT)
    extensions: list[Extension] = [PerMessageDeflate()] if compressed else []
    connection.sendall(wire.send(events.Request(host, path, extensions, [], SUBPROTOCOLS)))
    side = Side("client", Http1Lane(connection), wire)
    accepted = side.hear()
    if not isinstance(accepted, events.AcceptConnection):
        connection.close()
        raise Refused(accepted)
    assert [extension.name for extension in accepted.extensions] == (["permessage-deflate"] if compressed else [])
    return side, accepted.subprotocol


def open_http2(address: str, host: str, path: str, *, compressed: bool) -> tuple[Side, str | None]:
    """A WebSocket by extended CONNECT, and the subprotocol that was agreed on. Raises Refused."""
    peer = Http2(dial(address), client=True)
    while not isinstance(peer.event(), h2.events.RemoteSettingsChanged):
        pass
    head = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":authority", host),
        (":path", path),
    ]
    fields = [("sec-websocket-version", "13"), ("sec-websocket-protocol", ", ".join(SUBPROTOCOLS))]
    deflate = PerMessageDeflate()
    if compressed:
        fields.append(("sec-websocket-extensions", f"{deflate.name}; {deflate.offer()}"))
    peer.head(1, [*head, *fields])
    while not isinstance(event := peer.event(), h2.events.ResponseReceived):
        pass
    answer = {str(name): str(value) for name, value in event.headers or []}
    if answer[":status"] != "200":
        peer.close()
        raise Refused(answer)
    assert ("sec-websocket-extensions" in answer) == compressed
    agreed = client_extensions_handshake([answer["sec-websocket-extensions"]] if compressed else [], [deflate])
    wire = Connection(ConnectionType.CLIENT, agreed)
    return Side("client", Http2Lane(peer, 1, owns=True), wire), answer.get("sec-websocket-protocol")
