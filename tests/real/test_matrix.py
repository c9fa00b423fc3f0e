"""What the RFCs let a client and a server say to each other, between clients and servers that share no code with us.

Every client calls every server through a gateway and a sidecar; each cell of the table is one exchange. A cell that a
client cannot take part in, by its own design, is no cell (`Client.cannot`).
"""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import count

import pytest

from tests.e2e.fidelity.message import Fields, Http1
from tests.mesh import Mesh
from tests.real.peers.clients import Client, curl, nghttp, program, python
from tests.real.peers.mesh import Server, expose, serving
from tests.real.peers.process import Json, started

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

HINT = {"link": "</style.css>; rel=preload"}
TRAILERS = {"x-sum": "7"}
# A length and five bytes, as gRPC frames them.
MESSAGE = "\0\0\0\0\5hello"
# Longer than any window or buffer on the way, so that an upload is still going on when its answer comes.
LARGE = "a" * 3_000_000

exchanges = map(str, count())


@dataclass(frozen=True)
class Pair:
    """A client, a server, and the URL of that server at the gateway."""

    client: Client
    server: Server
    url: str

    def ask(self, path: str, piece: Callable[[str], None] = lambda _: None, **order: object) -> Json:
        """One exchange."""
        return self.client(f"{self.url}{path}", piece, **order)

    def can(self, *wanted: str) -> bool:
        """True when the client's design does not rule any of it out."""
        return not self.client.cannot & set(wanted)


def request_trailers(pair: Pair) -> None:
    fields = {"te": "trailers", "trailer": "x-sum"}
    answer = pair.ask("/echo", method="POST", fields=fields, body="hello", trailers=TRAILERS)
    seen = json.loads(answer["body"])
    assert (seen["length"], dict(seen["trailers"]), answer["trailers"]) == (5, TRAILERS, TRAILERS)


def early_hints(pair: Pair) -> None:
    answer = pair.ask("/hints")
    assert (answer["interim"], answer["status"]) == ([{"status": 103, "fields": HINT}], 200)


def continue_is_waited_for(pair: Pair) -> None:
    answer = pair.ask("/echo", method="POST", body="hello", expect=True)
    assert [interim["status"] for interim in answer["interim"]] == [100]
    assert (answer["status"], json.loads(answer["body"])["length"]) == (200, 5)


def a_refusal_without_continue(pair: Pair) -> None:
    answer = pair.ask("/refused", method="POST", body=LARGE, expect=True)
    assert (answer["interim"], answer["status"]) == ([], 413)


def an_upload_after_the_answer(pair: Pair) -> None:
    exchange = next(exchanges)
    answer = pair.ask(f"/early?id={exchange}", method="POST", body=LARGE)
    assert (answer["status"], answer["body"]) == (200, "early")
    assert pair.server.uploaded(exchange) == len(LARGE)


def a_cut_response(pair: Pair) -> None:
    answer = pair.ask("/cut")
    # Cut as soon as it began, it may also be answered in the proxy's own name.
    assert answer["error"] or answer["status"] == 502


def status(code: int, method: str) -> Callable[[Pair], None]:
    """A response has content only where it may."""

    def cell(pair: Pair) -> None:
        answer = pair.ask(f"/status/{code}", method=method)
        content = "hello" if method == "GET" and code not in {204, 304} else ""
        assert (answer["status"], answer["body"], answer["error"]) == (code, content, "")
        # What a 304 says of its length is the server's own affair: Go's says nothing.
        lengths: dict[int, list[str | None]] = {204: [None], 304: [None, "5"]}
        assert answer["fields"]["x-kept"] == "1"
        assert answer["fields"].get("content-length") in lengths.get(code, ["5"])

    cell.__name__ = f"{method} {code}"
    return cell


def events(pair: Pair) -> None:
    exchange, told = next(exchanges), list[str]()

    def piece(text: str) -> None:
        told.append(text)
        if len(told) == 1:
            # The second event leaves only now.
            pair.server.open_gate(exchange)

    answer = pair.ask(f"/events?id={exchange}", piece, stream=True)
    assert (told, answer["error"]) == (["data: 1\n\n", "data: 2\n\n"], "")


def a_long_poll(pair: Pair) -> None:
    exchange = next(exchanges)

    def release() -> None:
        pair.server.await_poll(exchange)
        pair.server.open_gate(exchange)

    thread = threading.Thread(target=release)
    thread.start()
    answer = pair.ask(f"/poll?id={exchange}")
    thread.join()
    assert (answer["status"], answer["body"]) == (200, "news")


GRPC = {"content-type": "application/grpc", "te": "trailers"}


def call(pair: Pair) -> None:
    answer = pair.ask("/call", method="POST", fields=GRPC, body=MESSAGE)
    assert (answer["status"], answer["body"], answer["error"]) == (200, MESSAGE, "")
    assert answer["trailers"] == {"grpc-status": "0", "sum-bin": "AAE"}


def a_call_answered_by_its_status_alone(pair: Pair) -> None:
    answer = pair.ask("/call?only", method="POST", fields=GRPC, body=MESSAGE)
    told = {**answer["fields"], **answer["trailers"]}
    assert (answer["status"], answer["body"]) == (200, "")
    assert (told["grpc-status"], told["grpc-message"]) == ("5", "nobody%20here")


def a_cut_call(pair: Pair) -> None:
    answer = pair.ask("/call?cut", method="POST", fields=GRPC, body=MESSAGE)
    told = {**answer["fields"], **answer["trailers"]}
    # Never a status of the application's; the proxy may say that the endpoint broke off.
    assert answer["error"] or told["grpc-status"] not in {"", "0"}


Cell = Callable[[Pair], None]

STATUSES: list[Cell] = [status(code, method) for code in (200, 204, 304, 404) for method in ("GET", "HEAD")]


def cells(pair: Pair) -> Iterator[Cell]:
    """Those of a pair."""
    if pair.can("send trailers", *["send trailers to HTTP/1.1"] * (pair.server.version == 1)):
        yield request_trailers
    yield early_hints
    if pair.can("wait for 100"):
        yield continue_is_waited_for
        yield a_refusal_without_continue
    if pair.can("go on after the answer"):
        yield an_upload_after_the_answer
    yield a_cut_response
    yield from (cell for cell in STATUSES if cell.__name__ != "GET 304" or pair.can("take the length of a 304"))
    if pair.can("tell pieces"):
        yield events
    yield a_long_poll
    if pair.client.version == pair.server.version == 2:
        yield call
        if pair.can("be answered before its request is whole"):
            yield a_call_answered_by_its_status_alone
        yield a_cut_call


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[Server]]]:
    """The gateway's URL, and the servers behind it."""
    with serving() as servers, Mesh(tmp_path_factory.mktemp("matrix")) as mesh:
        yield expose(mesh, {server.name: (server.version, server.port) for server in servers}), servers


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Client]]:
    """All of them, by name."""
    scratch = tmp_path_factory.mktemp("clients")
    with ExitStack() as stack:
        go, node = (stack.enter_context(started(language, "call")) for language in ("go", "node"))
        # net/http sends no more of a request that has its whole answer.
        every = [program("Go", go, 1, "go on after the answer")]
        # Its HTTP/2 takes a 304 that tells a length for one that lacks its content.
        every += [program("Go", go, 2, "go on after the answer", "take the length of a 304")]
        every += [program("Node", node, version) for version in (1, 2)]
        every += [python(1), python(2), curl(1, scratch), curl(2, scratch), nghttp(scratch)]
        yield {client.name: client for client in every}


NAMES = [f"{language} http{version}" for language in ("Go", "Node", "Python", "curl") for version in (1, 2)]


@pytest.mark.parametrize("name", [*NAMES, "nghttp http2"])
def test_every_cell_is_as_the_rfc_says(
    name: str, clients: dict[str, Client], edge: tuple[str, list[Server]], row: Callable[[str, str], None]
) -> None:
    failures, total = [], 0
    for server in edge[1]:
        pair = Pair(clients[name], server, f"{edge[0]}/{server.name}")
        for cell in cells(pair):
            total += 1
            try:
                cell(pair)
            except AssertionError as failure:
                failures.append(f"{server.name}, {cell.__name__}: {failure}")
    row(f"HTTP matrix, {name} client", f"{total - len(failures)} of {total}")
    assert not failures, "\n".join(failures)


def pipelined(peer: Http1, host: str, below: str) -> None:
    """Requests that are sent in one piece are answered in their order."""
    paths = [f"{below}/status/404", f"{below}/echo", f"{below}/status/200"]
    peer.socket.sendall("".join(f"GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n" for path in paths).encode())
    answers = [peer.read_response() for _ in paths]
    assert [answer.start for answer in answers] == ["404", "200", "200"]
    assert [answer.body == b"hello" for answer in answers] == [True, False, True]


def kept_until_close(peer: Http1, host: str, below: str) -> None:
    """A connection serves one request after the other, until one says that it is the last."""
    said: list[tuple[Fields, str | None]] = [
        ([], None),
        ([("connection", "keep-alive")], None),
        ([("connection", "close")], "close"),
    ]
    for fields, last in said:
        peer.write_head(f"GET {below}/status/200 HTTP/1.1", [("host", host), *fields])
        answer = peer.read_response()
        assert (answer.start, answer.body, answer.get("connection")) == ("200", b"hello", last)
    assert peer.file.read() == b""


def spoken_to_in_1_0(peer: Http1, host: str, below: str) -> None:
    """A client of HTTP/1.0 gets no chunks, and the end of the connection is the end of what has no length."""
    peer.write_head(f"GET {below}/echo HTTP/1.0", [("host", host), ("connection", "keep-alive")])
    answer = peer.read_response()
    assert (answer.start, answer.get("transfer-encoding"), answer.get("connection")) == ("200", None, "close")
    assert json.loads(answer.body)["path"] == "/echo"
    assert peer.file.read() == b""


def test_connections_of_http_1_are_as_the_rfc_says(
    edge: tuple[str, list[Server]], row: Callable[[str, str], None]
) -> None:
    host, port = edge[0].removeprefix("http://").split(":")
    ways = (pipelined, kept_until_close, spoken_to_in_1_0)
    for server in edge[1]:
        for way in ways:
            with closing(Http1(socket.create_connection((host, int(port)), timeout=20))) as peer:
                way(peer, f"{host}:{port}", f"/{server.name}")
    row("HTTP matrix, HTTP/1 connections", f"{len(ways) * len(edge[1])} of {len(ways) * len(edge[1])}")
