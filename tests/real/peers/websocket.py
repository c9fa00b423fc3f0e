"""A WebSocket server and client of the package websockets, as those in Go and Node (process.py)."""

import hashlib
import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Request, Response
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

from tests.real.peers.process import PATIENCE, Json

# Longer than any message of the tests.
LIMIT = 16 << 20
# The code of an end without a close frame (RFC 6455 section 7.4.1).
ABNORMAL = 1006


def blank_session() -> Json:
    """Nothing has been heard yet; as `session` in go/websocket.go."""
    return {"heard": [], "subprotocol": "", "code": 0, "reason": "", "refused": 0, "body": "", "error": ""}


def note(told: Json, data: str | bytes | bytearray) -> None:
    """A message that was heard."""
    content = data.encode() if isinstance(data, str) else bytes(data)
    kind = "text" if isinstance(data, str) else "binary"
    told["heard"].append([kind, len(content), hashlib.sha256(content).hexdigest()])


class Outcomes:
    """What servers heard, by the id of the exchange."""

    def __init__(self) -> None:
        self._told: dict[str, queue.Queue[Json]] = {}
        self._lock = threading.Lock()

    def put(self, path: str, told: Json) -> None:
        """Of the exchange that this path names."""
        self._at(parse_qs(urlsplit(path).query)["id"][0]).put(told)

    def get(self, exchange: str) -> Json:
        """Waits for it."""
        return self._at(exchange).get(timeout=PATIENCE)

    def _at(self, exchange: str) -> queue.Queue[Json]:
        with self._lock:
            return self._told.setdefault(exchange, queue.Queue())


@contextmanager
def serving(outcomes: Outcomes) -> Iterator[int]:
    """The package websockets as a server; gives its port."""

    def refuse(connection: ServerConnection, request: Request) -> Response | None:
        wanted = parse_qs(urlsplit(request.path).query).get("refuse")
        return connection.respond(HTTPStatus(int(wanted[0])), "not here\n") if wanted else None

    def converse(connection: ServerConnection) -> None:
        told = {**blank_session(), "subprotocol": connection.subprotocol or ""}
        try:
            for message in connection:
                note(told, message)
                word, _, rest = message.partition(" ") if isinstance(message, str) else ("", "", "")
                if word == "close":
                    code, _, reason = rest.partition(" ")
                    connection.close(int(code), reason)
                elif word == "break":
                    connection.socket.shutdown(socket.SHUT_RDWR)
                else:
                    connection.send(message)
        except ConnectionClosed:
            pass
        told.update(code=connection.close_code or ABNORMAL, reason=connection.close_reason or "")
        assert connection.request is not None
        outcomes.put(connection.request.path, told)

    with serve(
        converse,
        "127.0.0.1",
        0,
        subprotocols=[Subprotocol("shop.v1")],
        process_request=refuse,
        max_size=LIMIT,
        ping_interval=None,
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.socket.getsockname()[1]
        server.shutdown()
        thread.join()


def talk(order: Json) -> Json:
    """The package websockets as a client."""
    told = blank_session()
    try:
        with connect(
            order["url"].replace("http", "ws", 1),
            subprotocols=[Subprotocol(name) for name in order["subprotocols"]],
            compression="deflate" if order["compressed"] else None,
            max_size=LIMIT,
            ping_interval=None,
            proxy=None,
        ) as connection:
            told["subprotocol"] = connection.subprotocol or ""
            with suppress(ConnectionClosed):
                for action in order["websocket"]:
                    _act(connection, action, told)
                # Nothing more is said: the other side's end is what comes.
                connection.recv(timeout=PATIENCE)
            told.update(code=connection.close_code or ABNORMAL, reason=connection.close_reason or "")
    except InvalidStatus as refusal:
        told.update(refused=refusal.response.status_code, body=(refusal.response.body or b"").decode())
    return told


def _act(connection: ClientConnection, action: Json, told: Json) -> None:
    match action["do"]:
        case "say":
            pieces = [b"a" * size for size in action["sizes"]] if "sizes" in action else action["text"]
            # A list is sent as one message of so many frames.
            connection.send(pieces)
            note(told, connection.recv(timeout=PATIENCE))
        case "command":
            connection.send(action["text"][0])
        case "ping":
            assert connection.ping(action["text"][0]).wait(PATIENCE)
            payload = action["text"][0].encode()
            told["heard"].append(["pong", len(payload), hashlib.sha256(payload).hexdigest()])
        case "close":
            connection.close(action["code"], action["reason"])
        case "break":
            connection.socket.shutdown(socket.SHUT_RDWR)
