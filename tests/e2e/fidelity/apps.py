"""Two applications with the same behaviour at the same paths, one speaks HTTP/1.1 and one HTTP/2.

/echo        what came: its method, path, fields, body length and trailers, as JSON; the trailers again as trailers
/hints       103 with a link, then 200
/continue    100 once the head is there, then the body again
/early       200 at once, then the rest of the request; /received tells how much of it came
/cut         200, some content, and the end of the connection or a reset
/refused     413 without reading the body
/status/N    status N
/events      one event, and another once `go` is set; /poll  an answer once it is
/call        a call of gRPC: its message comes back; with `only` a status alone, with `cut` it breaks off
/tunnel      101 or 200, and then what comes goes back, until the sender closes its half; then "bye"
"""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import h2.errors
import h2.events
import h2.exceptions

from tests.e2e.fidelity.message import Cut, Fields, Http1, Http2, Message

HINT: Fields = [("link", "</style.css>; rel=preload")]
TRAILERS: Fields = [("x-sum", "7")]


@dataclass
class App:
    """A running application."""

    port: int
    # Lets /events go on.
    go: threading.Event = field(default_factory=threading.Event)
    # Somebody waits for it.
    waiting: threading.Event = field(default_factory=threading.Event)
    # Bytes of the last /early request.
    received: int = -1
    arrived: threading.Event = field(default_factory=threading.Event)


def seen(message: Message) -> bytes:
    """A request as /echo tells it."""
    told = {
        "method": message.start,
        "path": message.path,
        "fields": message.fields,
        "length": len(message.body),
        "trailers": message.trailers,
    }
    return json.dumps(told).encode()


def serve_http1(app: App, connection: socket.socket) -> None:
    """Requests of one connection until it ends."""
    peer = Http1(connection)
    with suppress(Cut, OSError):
        while True:
            _answer_http1(app, peer, peer.read_head())
    peer.close()


def _answer_http1(app: App, peer: Http1, head: Message) -> None:
    path = head.path.split("?")[0]
    if path == "/hints":
        peer.write_head("HTTP/1.1 103 Early Hints", HINT)
        peer.write_head("HTTP/1.1 200 OK", [("content-length", "0")])
    elif path == "/continue":
        peer.write_head("HTTP/1.1 100 Continue", [])
        body = peer.read_body(head).body
        peer.write_head("HTTP/1.1 200 OK", [("content-length", str(len(body)))])
        peer.socket.sendall(body)
    elif path == "/early":
        peer.write_head("HTTP/1.1 200 OK", [("content-length", "5")])
        peer.socket.sendall(b"early")
        app.received = len(peer.read_body(head).body)
        app.arrived.set()
    elif path == "/cut":
        peer.write_head("HTTP/1.1 200 OK", [("transfer-encoding", "chunked")])
        peer.write_chunk(b"half")
        raise Cut
    elif path == "/refused":
        peer.write_head("HTTP/1.1 413 Content Too Large", [("content-length", "0"), ("connection", "close")])
        raise Cut
    elif path.startswith("/status/"):
        length = [] if path.endswith("204") else [("content-length", "5")]
        peer.write_head(f"HTTP/1.1 {path[8:]} Fine", [*length, ("x-kept", "1")])
        if head.start != "HEAD" and path[8:] not in {"204", "304"}:
            peer.socket.sendall(b"hello")
    elif path == "/events":
        peer.write_head("HTTP/1.1 200 OK", [("transfer-encoding", "chunked"), ("content-type", "text/event-stream")])
        peer.write_chunk(b"data: 1\n\n")
        _pass_gate(app)
        peer.write_chunk(b"data: 2\n\n")
        peer.write_end()
    elif path == "/poll":
        _pass_gate(app)
        peer.write_head("HTTP/1.1 200 OK", [("content-length", "4")])
        peer.socket.sendall(b"news")
    elif path == "/tunnel":
        peer.write_head("HTTP/1.1 101 Switching Protocols", [("connection", "upgrade"), ("upgrade", "echo")])
        while data := peer.socket.recv(65536):
            peer.socket.sendall(data)
        peer.socket.sendall(b"bye")
        raise Cut
    else:
        if head.get("expect"):
            peer.write_head("HTTP/1.1 100 Continue", [])
        message = peer.read_body(head)
        peer.write_head("HTTP/1.1 200 OK", [("transfer-encoding", "chunked")])
        peer.write_chunk(seen(message))
        peer.write_end(message.trailers)


def serve_http2(app: App, connection: socket.socket) -> None:
    """Streams of one connection, one after the other, until it ends."""
    peer = Http2(connection, client=False)
    with suppress(Cut, OSError, h2.exceptions.ProtocolError):
        while True:
            event = peer.event()
            if isinstance(event, h2.events.RequestReceived):
                assert event.stream_id is not None
                _answer_http2(app, peer, event.stream_id, event)
    peer.close()


def _answer_http2(app: App, peer: Http2, stream: int, event: h2.events.RequestReceived) -> None:
    fields = [(str(name), str(value)) for name, value in event.headers or []]
    known = dict(fields)
    message = Message(known[":method"], known.get(":path", ""), fields)
    path = message.path.split("?")[0]

    def whole() -> Message:
        return message if event.stream_ended else peer.read(stream, message)

    if path == "/hints":
        peer.head(stream, [(":status", "103"), *HINT])
        peer.head(stream, [(":status", "200")], end=True)
    elif path == "/continue":
        peer.head(stream, [(":status", "100")])
        body = whole().body
        peer.head(stream, [(":status", "200")])
        peer.data(stream, body, end=True)
    elif path == "/early":
        peer.head(stream, [(":status", "200")])
        peer.data(stream, b"early", end=True)
        app.received = len(whole().body)
        app.arrived.set()
    elif path == "/cut":
        peer.head(stream, [(":status", "200")])
        peer.data(stream, b"half")
        peer.state.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
        peer.flush()
    elif path == "/refused":
        peer.head(stream, [(":status", "413")], end=True)
        peer.state.reset_stream(stream, h2.errors.ErrorCodes.NO_ERROR)
        peer.flush()
    elif path.startswith("/status/"):
        empty = message.start == "HEAD" or path[8:] in {"204", "304"}
        length = [] if path.endswith("204") else [("content-length", "5")]
        peer.head(stream, [(":status", path[8:]), *length, ("x-kept", "1")], end=empty)
        if not empty:
            peer.data(stream, b"hello", end=True)
    elif path == "/events":
        peer.head(stream, [(":status", "200"), ("content-type", "text/event-stream")])
        peer.data(stream, b"data: 1\n\n")
        _pass_gate(app)
        peer.data(stream, b"data: 2\n\n", end=True)
    elif path == "/poll":
        _pass_gate(app)
        peer.head(stream, [(":status", "200")])
        peer.data(stream, b"news", end=True)
    elif path == "/call":
        _answer_call(peer, stream, message.path, whole())
    elif path == "/tunnel":
        peer.head(stream, [(":status", "200")])
        while not isinstance(got := peer.event(), h2.events.StreamEnded):
            if isinstance(got, h2.events.DataReceived):
                peer.data(stream, got.data)
        peer.data(stream, b"bye", end=True)
    else:
        if message.get("expect"):
            peer.head(stream, [(":status", "100")])
        whole()
        peer.head(stream, [(":status", "200")])
        peer.data(stream, seen(message), end=not message.trailers)
        if message.trailers:
            peer.head(stream, message.trailers, end=True)


def _pass_gate(app: App) -> None:
    app.waiting.set()
    app.go.wait(20)
    app.go.clear()
    app.waiting.clear()


def _answer_call(peer: Http2, stream: int, path: str, call: Message) -> None:
    """A call of gRPC."""
    head = [(":status", "200"), ("content-type", "application/grpc")]
    if path.endswith("only"):
        return peer.head(stream, [*head, ("grpc-status", "5"), ("grpc-message", "nobody%20here")], end=True)
    peer.head(stream, head)
    peer.data(stream, call.body)
    if path.endswith("cut"):
        peer.state.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
        return peer.flush()
    return peer.head(stream, [("grpc-status", "0"), ("sum-bin", "AAE")], end=True)


@contextmanager
def running(serve: Callable[[App, socket.socket], None]) -> Iterator[App]:
    """An application on a free port, a thread for each connection, until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        app = App(listener.getsockname()[1])

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    threading.Thread(target=serve, args=(app, connection), daemon=True).start()

        thread = threading.Thread(target=accept)
        thread.start()
        yield app
        app.go.set()
        # Wakes the accept, which close alone would not.
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
