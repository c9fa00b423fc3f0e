"""What a client and an application may legally say passes unchanged, whatever version of HTTP each of them speaks.

Gateway and sidecar stand between a client and an application that these tests script byte by byte.
"""

import json
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import h2.events
import pytest

from tests.e2e.conftest import Running
from tests.e2e.fidelity.apps import HINT, TRAILERS, App, serve_http1, serve_http2
from tests.e2e.fidelity.apps import running as serving
from tests.e2e.fidelity.message import Cut, Fields, Http1, Http2, Message

# Longer than any window on the way, so that an upload is still going on when its answer comes.
LARGE = bytes(range(256)) * 8192


@dataclass
class Path:
    """A way from a client that speaks one version to an application that speaks one."""

    client: int
    application: int
    edge: str
    app: App

    def connect(self) -> socket.socket:
        """A connection to the gateway."""
        host, port = self.edge.rsplit(":", 1)
        return socket.create_connection((host, int(port)), timeout=10)

    @property
    def host(self) -> str:
        """What the gateway routes by."""
        return f"matrix-{self.application}"

    def ask(
        self,
        path: str,
        method: str = "GET",
        fields: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        trailers: Sequence[tuple[str, str]] = (),
    ) -> Message:
        """One exchange on a connection of its own."""
        ask = self._ask_http1 if self.client == 1 else self._ask_http2
        return ask(path, method, list(fields), body, list(trailers))

    def _ask_http1(self, path: str, method: str, fields: Fields, body: bytes, trailers: Fields) -> Message:
        peer = Http1(self.connect())
        try:
            return self._exchange_http1(peer, path, method, fields, body, trailers)
        finally:
            peer.close()

    def _exchange_http1(
        self, peer: Http1, path: str, method: str, fields: Fields, body: bytes, trailers: Fields
    ) -> Message:
        framing = [("transfer-encoding", "chunked")] if body or trailers else []
        peer.write_head(f"{method} {path} HTTP/1.1", [("host", self.host), ("te", "trailers"), *framing, *fields])
        if dict(fields).get("expect"):
            assert peer.read_head().start == "100"
        if framing:
            if body:
                peer.write_chunk(body)
            peer.write_end(trailers)
        return peer.read_response(method)

    def _ask_http2(self, path: str, method: str, fields: Fields, body: bytes, trailers: Fields) -> Message:
        peer = Http2(self.connect(), client=True)
        pseudo = [(":method", method), (":scheme", "http"), (":authority", self.host), (":path", path)]
        peer.head(1, [*pseudo, ("te", "trailers"), *fields], end=not body and not trailers)
        if body:
            peer.data(1, body, end=not trailers)
        if trailers:
            peer.head(1, trailers, end=True)
        try:
            return peer.read(1)
        finally:
            peer.close()


@pytest.fixture(scope="module")
def edge(running: Running) -> Iterator[tuple[str, dict[int, App]]]:
    """The gateway's address, and the applications behind it by the version that they speak."""
    with (
        serving(serve_http1) as one,
        serving(serve_http2) as two,
        running.with_sidecar("matrix-1", one.port, protocol="http"),
        running.with_sidecar("matrix-2", two.port, protocol="http2"),
    ):
        yield running.edge.edge, {1: one, 2: two}


@pytest.fixture(params=[(1, 1), (1, 2), (2, 1), (2, 2)], ids=lambda pair: f"h{pair[0]}-to-h{pair[1]}")
def path(request: pytest.FixtureRequest, edge: tuple[str, dict[int, App]]) -> Path:
    """Every combination."""
    client, application = request.param
    return Path(client, application, edge[0], edge[1][application])


def told(answer: Message) -> dict[str, object]:
    """What /echo saw."""
    assert answer.start == "200"
    return dict(json.loads(answer.body))


def test_trailers_pass_both_ways_unannounced(path: Path) -> None:
    answer = path.ask("/echo", "POST", body=b"hello", trailers=TRAILERS)
    assert told(answer)["trailers"] == [list(trailer) for trailer in TRAILERS]
    assert answer.trailers == TRAILERS


def test_trailers_without_content_pass(path: Path) -> None:
    assert path.ask("/echo", "POST", trailers=TRAILERS).trailers == TRAILERS


def test_early_hints_come_before_the_response(path: Path) -> None:
    answer = path.ask("/hints")
    assert (answer.interim, answer.start) == ([("103", HINT)], "200")


def test_continue_is_the_applications_to_say(path: Path) -> None:
    answer = path.ask("/continue", "POST", [("expect", "100-continue")], b"hello")
    assert (answer.start, answer.body) == ("200", b"hello")


def test_an_upload_goes_on_after_an_early_answer(path: Path) -> None:
    path.app.arrived.clear()
    if path.client == 1:
        one = Http1(path.connect())
        one.write_head("POST /early HTTP/1.1", [("host", path.host), ("content-length", str(len(LARGE)))])
        assert one.read_response().body == b"early"
        one.socket.sendall(LARGE)
        arrived = path.app.arrived.wait(10)
        one.close()
    else:
        two = Http2(path.connect(), client=True)
        pseudo = [(":method", "POST"), (":scheme", "http"), (":authority", path.host), (":path", "/early")]
        two.head(1, pseudo)
        assert two.read(1).body == b"early"
        two.data(1, LARGE, end=True)
        arrived = path.app.arrived.wait(10)
        two.close()
    assert arrived
    assert path.app.received == len(LARGE)


def test_a_refused_upload_has_its_answer(path: Path) -> None:
    assert path.ask("/refused", "POST", body=b"x").start == "413"


def test_a_cut_response_is_never_whole(path: Path) -> None:
    # Cut as soon as it began, it may also be answered in the proxy's own name.
    try:
        answer = path.ask("/cut")
    except (Cut, OSError):
        return
    assert answer.start == "502"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", ["200", "204", "304", "404", "418", "599"])
def test_a_response_has_content_only_where_it_may(path: Path, method: str, status: str) -> None:
    answer = path.ask(f"/status/{status}", method)
    has_content = method == "GET" and status not in {"204", "304"}
    assert (answer.start, answer.body) == (status, b"hello" if has_content else b"")
    assert (answer.get("x-kept"), answer.get("content-length")) == ("1", None if status == "204" else "5")


def test_a_path_passes_as_it_was_written(path: Path) -> None:
    strange = "/echo/a%2F%3A//a;b=c/%C3%A9/%20//?q=%20&%26=+/?//../%2f"
    assert told(path.ask(strange))["path"] == strange


def test_a_path_that_means_the_same_passes_in_one_form(path: Path) -> None:
    assert told(path.ask("/x/../echo/%7euser/./%c3%a9?q=%7e/../"))["path"] == "/echo/~user/%C3%A9?q=%7e/../"
    assert path.ask("/echo/..%2fstatus/200").start == "400"


def test_a_cookie_in_pieces_is_one_field_in_http_1(path: Path) -> None:
    pieces = [("cookie", "a=1"), ("cookie", "b=2")]
    fields = told(path.ask("/echo", fields=pieces if path.client == 2 else [("cookie", "a=1; b=2")]))["fields"]
    assert isinstance(fields, list)
    cookies = [value for name, value in fields if name == "cookie"]
    assert "; ".join(cookies) == "a=1; b=2"
    assert len(cookies) == 1 or path.application == 2


def test_events_come_one_by_one(path: Path) -> None:
    path.app.go.clear()
    if path.client == 1:
        one = Http1(path.connect())
        one.write_head("GET /events HTTP/1.1", [("host", path.host)])
        one.read_head()
        first = one.file.read(len("9\r\ndata: 1\n\n\r\n"))
        assert b"data: 1" in first
        path.app.go.set()
        assert b"data: 2" in one.file.read(len("9\r\ndata: 2\n\n\r\n"))
        one.close()
    else:
        two = Http2(path.connect(), client=True)
        two.head(
            1, [(":method", "GET"), (":scheme", "http"), (":authority", path.host), (":path", "/events")], end=True
        )
        while not isinstance(event := two.event(), h2.events.DataReceived):
            pass
        assert event.data == b"data: 1\n\n"
        path.app.go.set()
        assert two.read(1).body == b"data: 2\n\n"
        two.close()


def test_a_tunnel_carries_both_halves_and_closes_them_apart(path: Path) -> None:
    # No UTF-8, and longer than any window.
    sent = [bytes([0, 255, 10, 13]) * 50_000, b"last"]
    if path.client == 1:
        one = Http1(path.connect())
        one.write_head("GET /tunnel HTTP/1.1", [("host", path.host), ("connection", "upgrade"), ("upgrade", "echo")])
        answer = one.read_head()
        assert (answer.start, answer.get("upgrade"), answer.get("connection")) == ("101", "echo", "upgrade")
        got = b""
        for piece in sent:
            one.socket.sendall(piece)
            got += one._exactly(len(piece))
        one.socket.shutdown(socket.SHUT_WR)
        got += one.file.read()
        one.close()
    else:
        two = Http2(path.connect(), client=True)
        while not isinstance(two.event(), h2.events.RemoteSettingsChanged):
            pass
        connect = [(":method", "CONNECT"), (":protocol", "echo"), (":scheme", "http"), (":authority", path.host)]
        two.head(1, [*connect, (":path", "/tunnel")])
        answer = Message()
        got = b""
        for piece in sent:
            two.data(1, piece)
        two.data(1, b"", end=True)
        got = two.read(1, answer).body
        assert answer.start == "200"
        two.close()
    assert got == b"".join(sent) + b"bye"


@pytest.mark.parametrize("application", [1, 2])
def test_host_and_authority_must_agree(edge: tuple[str, dict[int, App]], application: int) -> None:
    path = Path(2, application, edge[0], edge[1][application])
    assert path.ask("/echo", fields=[("host", path.host)]).start == "200"
    answer = path.ask("/echo", fields=[("host", "other.test")])
    assert (answer.start, b"Host and :authority differ" in answer.body) == ("400", True)
