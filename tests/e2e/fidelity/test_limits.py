"""Each limit of a listener, crossed: what the client is told, what is recorded, and that others are served."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from tests.mesh import LOOPBACK, Mesh, Proxy, eventually
from tests.peers import http1, http2
from tests.peers.http1 import Http1, encoded
from tests.peers.http2 import Http2
from tests.peers.message import Answer, CutOff, Ended, Request, sized

# Each is far below its default, so that a test which passes has seen this one at work.
SIZES = {"max_headers": 20, "max_header_bytes": "2KiB", "max_request_line": "512B", "max_streams": 3}
TIMES = {"header_timeout": "500ms", "body_timeout": "500ms", "send_timeout": "500ms", "idle_timeout": "1s"}
BODY = 1000

GRPC = {"content-type": "application/grpc", "te": "trailers"}

Client = type[Http1] | type[Http2]
both_clients = pytest.mark.parametrize("client", [Http1, Http2])


@dataclass
class Edge:
    """A gateway with a listener for each kind of limit, and what its apps saw."""

    proxy: Proxy
    requests: list[Request]
    cut: list[CutOff]
    # Heads that have come.
    begun: list[str]

    def address(self, index: int) -> str:
        """Of the listener that stands there in the document."""
        return self.proxy.listeners["edge-0" if index == 0 else f"edge-0-{index + 1}"]

    @property
    def sizes(self) -> str:
        return self.address(0)

    @property
    def times(self) -> str:
        return self.address(1)

    @property
    def connections(self) -> str:
        return self.address(2)

    @property
    def ages(self) -> str:
        return self.address(3)

    def reasons(self) -> list[str]:
        """Of all that went wrong, newest first."""
        status, body = self.proxy.get("/api/v1/failures?limit=1000")
        assert status == 200
        return [failure["reason"] for failure in json.loads(body)["failures"]]


@dataclass
class Recorded:
    """What the proxy records between two moments."""

    edge: Edge
    before: int

    def has(self, reason: str) -> None:
        """Exactly one more failure than before, for this reason."""
        eventually(f"a failure for {reason}", lambda: len(self.edge.reasons()) > self.before)
        new = self.edge.reasons()[: len(self.edge.reasons()) - self.before]
        assert new == [reason]


@pytest.fixture
def recorded(edge: Edge) -> Recorded:
    return Recorded(edge, len(edge.reasons()))


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    requests: list[Request] = []
    cut: list[CutOff] = []
    begun: list[str] = []

    def over_http1(peer: Http1) -> None:
        while True:
            head = peer.head()
            begun.append(head.start)
            try:
                body, _ = peer.content(head.fields)
            except CutOff as error:
                cut.append(error)
                raise
            requests.append(Request(head.start.split(" ")[0], "/", "", head.fields, body))
            peer.give(Answer(200, sized(body), body))

    def over_http2(peer: Http2) -> None:
        while True:
            stream = peer.next_stream()
            if stream.fields[":path"] == "/begins":
                peer.respond(stream, 200, {"content-type": "application/grpc"})
            try:
                requests.append(request := peer.take(stream))
            except CutOff as error:
                cut.append(error)
                continue
            peer.give(stream, Answer(200, {"content-type": "application/grpc"}, request.body, {"grpc-status": "0"}))

    with (
        http1.scripted_server(over_http1) as one,
        http2.scripted_server(over_http2) as two,
        Mesh(tmp_path_factory.mktemp("limits")) as mesh,
    ):
        for name, app, protocol in (("one", one.address, "http"), ("two", two.address, "grpc")):
            mesh.document(f"services/{name}", protocol=protocol, tls="disabled", endpoints=[{"address": app}])
        listeners = [
            {**LOOPBACK, "limits": SIZES},
            {**LOOPBACK, "limits": TIMES},
            {**LOOPBACK, "limits": {"max_connections": 2}},
            {
                **LOOPBACK,
                "limits": {"max_connection_age": "300ms", "keepalive_interval": "100ms", "keepalive_timeout": "1s"},
            },
        ]
        most = {"max_request_body": f"{BODY}B"}
        routes = [
            {"name": "one", "match": {"host": "one.test"}, "to": {"service": "one"}, **most},
            {"name": "two", "match": {"host": "two.test"}, "to": {"service": "two"}, **most},
            {"name": "free", "match": {"host": "free.test"}, "to": {"service": "two"}},
        ]
        mesh.document("gateways/edge", listeners=listeners, routes=routes)
        yield Edge(mesh.gateway("edge"), requests, cut, begun)


def ask(address: str, client: Client, request: Request) -> Answer:
    with client.connect(address) as peer:
        return peer.ask(request)


# --- the head of a request


def fields(count: int, size: int = 1) -> dict[str, str]:
    return {f"x-{n}": "v" * size for n in range(count)}


@both_clients
@pytest.mark.parametrize(
    ("good", "bad", "status"),
    [
        (Request(host="one.test", fields=fields(15)), Request(host="one.test", fields=fields(25)), 431),
        (Request(host="one.test", fields=fields(1, 1500)), Request(host="one.test", fields=fields(1, 2100)), 431),
        (Request("GET", "/" + "p" * 400, "one.test"), Request("GET", "/" + "p" * 600, "one.test"), 414),
    ],
    ids=["number of fields", "bytes of the head", "request line"],
)
def test_a_head_that_is_too_large_is_refused_with_its_own_status(
    edge: Edge, recorded: Recorded, client: Client, good: Request, bad: Request, status: int
) -> None:
    assert ask(edge.sizes, client, good).status == 200
    assert ask(edge.sizes, client, bad).status == status
    recorded.has("head-too-large")


def test_a_request_line_that_does_not_end_is_refused(edge: Edge, recorded: Recorded) -> None:
    with Http1.connect(edge.sizes) as peer:
        peer.send(b"GET /" + b"p" * 4096)
        assert peer.answer().status == 414
        assert peer.is_over()
    recorded.has("head-too-large")


def test_a_cookie_in_pieces_counts_as_one_field(edge: Edge) -> None:
    with Http2.connect(edge.sizes) as peer:
        stream_id = peer.h2.get_next_available_stream_id()
        stream = peer.streams.setdefault(stream_id, http2.Stream(stream_id))
        pseudo = [(":method", "GET"), (":scheme", "http"), (":authority", "one.test"), (":path", "/")]
        peer.h2.send_headers(stream_id, [*pseudo, *[("cookie", f"c{n}=1") for n in range(30)]], end_stream=True)
        peer.flush()
        assert peer.answer(stream).status == 200


# --- the content of a request


@both_clients
def test_content_that_says_it_is_too_large_is_refused_before_anybody_is_asked(
    edge: Edge, recorded: Recorded, client: Client
) -> None:
    edge.requests.clear()
    large = b"x" * (BODY + 1)
    answer = ask(edge.sizes, client, Request("POST", "/", "one.test", sized(large), large))
    assert (answer.status, json.loads(answer.body)["title"]) == (413, "The request's content is larger than allowed.")
    recorded.has("body-too-large")
    assert edge.requests == []
    fits = b"x" * BODY
    assert ask(edge.sizes, client, Request("POST", "/", "one.test", sized(fits), fits)).body == fits


@both_clients
def test_content_that_becomes_too_large_never_arrives_whole(edge: Edge, recorded: Recorded, client: Client) -> None:
    assert ask(edge.sizes, client, Request("POST", "/", "one.test", body=b"x" * BODY)).status == 200
    for seen in (edge.requests, edge.cut, edge.begun):
        seen.clear()
    with client.connect(edge.sizes) as peer:
        if isinstance(peer, Http2):
            stream = peer.request(Request("POST", "/", "one.test", body=b"x" * BODY), end=False)
            eventually("the app has begun", lambda: edge.begun)
            peer.data(stream, b"y", end=True)
            answer = peer.answer(stream)
        else:
            head = encoded(Request("POST", "/", "one.test", {"transfer-encoding": "chunked"}))
            peer.send(head, f"{BODY:x}\r\n", b"x" * BODY, "\r\n")
            eventually("the app has begun", lambda: edge.begun)
            peer.send("1\r\ny\r\n0\r\n\r\n")
            answer = peer.answer()
    assert answer.status == 413
    recorded.has("body-too-large")
    eventually("the app sees the cut", lambda: edge.cut)
    assert edge.requests == []


def test_a_call_that_is_too_large_is_told_so_in_its_own_kind(edge: Edge, recorded: Recorded) -> None:
    answer = ask(edge.sizes, Http2, Request("POST", "/a.B/C", "two.test", GRPC, b"x" * (BODY + 1)))
    assert (answer.status, answer.fields["grpc-status"]) == (200, "8")
    assert "larger than allowed" in answer.fields["grpc-message"]
    recorded.has("body-too-large")


def test_a_call_that_becomes_too_large_after_its_answer_began_ends_with_its_status(
    edge: Edge, recorded: Recorded
) -> None:
    with Http2.connect(edge.sizes) as peer:
        stream = peer.request(Request("POST", "/begins", "two.test", GRPC, b"x" * BODY), end=False)
        peer.until(lambda: ":status" in stream.fields, stream)
        peer.data(stream, b"y", end=True)
        # RESOURCE_EXHAUSTED.
        assert peer.answer(stream).trailers["grpc-status"] == "8"
    recorded.has("body-too-large")


# --- how much at once


def test_streams_beyond_the_limit_are_refused_unprocessed(edge: Edge) -> None:
    with Http2.connect(edge.sizes) as peer:
        peer.until(lambda: peer.h2.remote_settings.max_concurrent_streams == SIZES["max_streams"])
        open_ones = [peer.request(Request("POST", "/", "free.test", GRPC), end=False) for _ in range(3)]
        # The library keeps to what it was told; a client that does not opens one more.
        peer.h2.remote_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 100
        peer.h2.remote_settings.acknowledge()
        fourth = peer.request(Request("POST", "/", "free.test", GRPC), end=False)
        with pytest.raises(CutOff):
            peer.answer(fourth)
        assert fourth.reset == ErrorCodes.REFUSED_STREAM
        for stream in open_ones:
            peer.data(stream, b"", end=True)
            assert peer.answer(stream).status == 200


def test_connections_beyond_the_limit_are_closed_and_recorded(edge: Edge, recorded: Recorded) -> None:
    with Http1.connect(edge.connections) as first, Http1.connect(edge.connections) as second:
        for peer in (first, second):
            assert peer.ask(Request(host="one.test")).status == 200
        with Http1.connect(edge.connections) as third:
            assert third.is_over()
        recorded.has("connection-limit")
        assert first.ask(Request(host="one.test")).status == 200
        second.close()

        def is_served() -> bool:
            with Http1.connect(edge.connections) as again:
                try:
                    return again.ask(Request(host="one.test")).status == 200
                except (Ended, CutOff, ConnectionError):
                    return False

        eventually("there is room again", is_served)


# --- how long


def test_a_head_that_does_not_come_to_its_end_is_answered_with_408(edge: Edge, recorded: Recorded) -> None:
    with Http1.connect(edge.times) as peer:
        peer.send("GET / HTTP/1.1\r\nhost: one.test\r\n")
        assert peer.answer().status == 408
        assert peer.is_over()
    recorded.has("request-timeout")


def test_an_answer_that_its_reader_does_not_take_is_broken_off(edge: Edge, recorded: Recorded) -> None:
    with Http2.connect(edge.times) as peer:
        peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        peer.flush()
        stream = peer.request(Request("POST", "/", "one.test", sized(b"x"), b"x"))
        with pytest.raises(CutOff):
            peer.answer(stream)
        assert (stream.fields[":status"], stream.reset) == ("200", ErrorCodes.CANCEL)
    recorded.has("reader-stalled")


def test_a_preface_that_does_not_come_to_its_end_ends_the_connection(edge: Edge, recorded: Recorded) -> None:
    with Http1.connect(edge.times) as peer:
        peer.send("PRI * HTTP/2.0\r\n")
        # HTTP/2's own words may come before the end.
        while peer.socket.recv(4096):
            pass
    recorded.has("request-timeout")


def stands_still(edge: Edge, client: Client) -> Answer:
    with client.connect(edge.times) as peer:
        request = Request("POST", "/", "one.test", {"content-length": "100"}, b"x" * 50)
        if isinstance(peer, Http2):
            return peer.answer(peer.request(request, end=False))
        peer.send(encoded(request))
        return peer.answer()


@both_clients
def test_content_that_stands_still_is_answered_with_408(edge: Edge, recorded: Recorded, client: Client) -> None:
    assert stands_still(edge, client).status == 408
    recorded.has("request-timeout")


def test_a_call_may_be_silent(edge: Edge) -> None:
    with Http2.connect(edge.sizes) as peer, Http2.connect(edge.times) as silent:
        call = silent.request(Request("POST", "/", "free.test", GRPC, b"x"), end=False)
        # Longer than what another request's content is allowed to: two of those are over meanwhile.
        for _ in range(2):
            assert stands_still(edge, Http2).status == 408
        silent.data(call, b"y", end=True)
        assert silent.answer(call).body == b"xy"
        assert peer.ask(Request("POST", "/", "free.test", GRPC)).status == 200


def test_an_idle_connection_ends(edge: Edge) -> None:
    with Http1.connect(edge.times) as unused, Http1.connect(edge.times) as used, Http2.connect(edge.times) as two:
        assert used.ask(Request(host="one.test")).status == 200
        assert two.ask(Request(host="one.test")).status == 200
        assert unused.is_over()
        assert used.is_over()
        two.until(lambda: bool(two.goaways))
        assert two.goaways[-1][1] == ErrorCodes.NO_ERROR


def until(what: Callable[[], bool], within: float = 10.0) -> None:
    deadline = time.monotonic() + within
    while not what():
        assert time.monotonic() < deadline


def test_an_old_connection_ends_after_its_request(edge: Edge) -> None:
    with Http1.connect(edge.ages) as one:
        until(lambda: one.ask(Request(host="one.test")).fields.get("connection") == "close")
        assert one.is_over()
    with Http2.connect(edge.ages) as two:
        call = two.request(Request("POST", "/", "free.test", GRPC), end=False)
        two.until(lambda: bool(two.goaways))
        two.data(call, b"late", end=True)
        assert two.answer(call).body == b"late"


def test_a_client_that_answers_no_ping_is_gone_and_one_that_does_is_not(edge: Edge) -> None:
    # A preface, an empty SETTINGS, the acknowledgement of the proxy's.
    hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0"
    ping = 6
    with Http1.connect(edge.ages) as peer:
        peer.send(hello)
        received = b""
        # What it has not read by then it will not read: the proxy does not wait for it.
        with suppress(ConnectionResetError):
            while data := peer.socket.recv(4096):
                received += data
    kinds = []
    while received:
        kinds.append(received[3])
        received = received[9 + int.from_bytes(received[:3], "big") :]
    assert ping in kinds


# --- what stands in which document


def test_the_mesh_document_is_for_all_listeners_and_may_change(tmp_path_factory: pytest.TempPathFactory) -> None:
    def echo(request: Request) -> Answer:
        return Answer(200, sized(b"ok"), b"ok")

    with http1.server(echo) as app, Mesh(tmp_path_factory.mktemp("mesh")) as mesh:
        mesh.document("mesh", limits={"max_headers": 10})
        mesh.document("services/one", tls="disabled", endpoints=[{"address": app.address}])
        web = mesh.sidecar("web", app.port)
        many = Request(host="one", fields=fields(15))
        assert ask(web.outbound, Http1, many).status == 431
        mesh.document("mesh", limits={"max_headers": 50})
        eventually("more are allowed", lambda: ask(web.outbound, Http1, many).status == 200)
