"""HTTP/1.1 and HTTP/2, in every combination of what the client and the app speak.

Client → gateway → mTLS → sidecar → app; the hops between use the protocol of the app.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.conftest import Running
from tests.peers import http1, http2
from tests.peers.http1 import Http1, encoded
from tests.peers.http2 import Http2
from tests.peers.message import Answer, Request, sized

# Larger than every window and buffer on the way, and not a multiple of a frame.
BODY = bytes(range(251)) * 4111

Client = type[Http1] | type[Http2]

both_clients = pytest.mark.parametrize("client", [Http1, Http2])
both_apps = pytest.mark.parametrize("app", ["speaks-http1", "speaks-http2"])


def echo(request: Request) -> Answer:
    """What was asked comes back; the path says in which form."""
    told = {"x-method": request.method, "x-path": request.path, "x-host": request.host}
    told |= {
        f"x-got-{name}": value for name, value in {**request.fields, **request.trailers}.items() if name[:2] == "x-"
    }
    match request.path:
        case "/no-content":
            return Answer(204, told)
        case "/not-modified":
            return Answer(304, {**told, "etag": '"1"', "content-length": "1234"})
        case "/chunked":
            return Answer(200, told, request.body)
        case "/trailers":
            return Answer(200, {**told, "trailer": "x-sum"}, request.body, {"x-sum": str(sum(request.body))})
        case "/head":
            return Answer(200, {**told, "content-length": "1234"})
    return Answer(200, {**told, **sized(request.body)}, request.body)


@pytest.fixture(scope="module")
def apps(running: Running) -> Iterator[None]:
    with (
        http1.server(echo) as one,
        http2.server(echo) as two,
        running.with_sidecar("speaks-http1", one.port, protocol="http"),
        running.with_sidecar("speaks-http2", two.port, protocol="http2"),
    ):
        yield


def ask(running: Running, client: Client, request: Request) -> Answer:
    with client.connect(running.edge.edge) as peer:
        return peer.ask(request)


@both_apps
@both_clients
@pytest.mark.usefixtures("apps")
class TestEveryCombination:
    def test_a_request_arrives_as_it_was_sent(self, running: Running, client: Client, app: str) -> None:
        request = Request("DELETE", "/a%20b/c?d=e%2Ff&g", app, {"x-shop": "tea & cake", "x-empty": ""})
        answer = ask(running, client, request)
        assert answer.status == 200
        told = (answer.fields["x-method"], answer.fields["x-path"], answer.fields["x-host"])
        assert told == (request.method, request.path, app)
        assert (answer.fields["x-got-x-shop"], answer.fields["x-got-x-empty"]) == ("tea & cake", "")

    def test_a_body_whose_length_is_told(self, running: Running, client: Client, app: str) -> None:
        answer = ask(running, client, Request("POST", "/", app, sized(BODY), BODY))
        assert (answer.status, answer.fields["content-length"]) == (200, str(len(BODY)))
        assert answer.body == BODY

    def test_a_body_whose_length_is_not_told(self, running: Running, client: Client, app: str) -> None:
        answer = ask(running, client, Request("POST", "/chunked", app, body=BODY))
        assert "content-length" not in answer.fields
        assert answer.body == BODY

    def test_an_empty_body(self, running: Running, client: Client, app: str) -> None:
        answer = ask(running, client, Request("POST", "/", app, sized(b"")))
        assert (answer.status, answer.fields["content-length"], answer.body) == (200, "0", b"")

    def test_trailers_of_an_answer(self, running: Running, client: Client, app: str) -> None:
        answer = ask(running, client, Request("POST", "/trailers", app, {"te": "trailers", **sized(b"abc")}, b"abc"))
        assert (answer.body, answer.trailers) == (b"abc", {"x-sum": str(sum(b"abc"))})

    def test_trailers_of_a_request(self, running: Running, client: Client, app: str) -> None:
        request = Request("POST", "/", app, {"trailer": "x-sum"}, b"abc", {"x-sum": "294"})
        answer = ask(running, client, request)
        assert (answer.body, answer.fields["x-got-x-sum"]) == (b"abc", "294")

    def test_the_answer_to_head_tells_a_length_and_has_no_content(
        self, running: Running, client: Client, app: str
    ) -> None:
        with client.connect(running.edge.edge) as peer:
            answer = peer.ask(Request("HEAD", "/head", app))
            assert (answer.status, answer.fields["content-length"], answer.body) == (200, "1234", b"")
            # The connection is where it should be: nothing of an absent body is waited for.
            assert peer.ask(Request("GET", "/", app)).status == 200

    @pytest.mark.parametrize(("path", "status"), [("/no-content", 204), ("/not-modified", 304)])
    def test_answers_that_never_have_content(
        self, running: Running, client: Client, app: str, path: str, status: int
    ) -> None:
        with client.connect(running.edge.edge) as peer:
            answer = peer.ask(Request("GET", path, app))
            assert (answer.status, answer.body) == (status, b"")
            assert answer.fields.get("etag") == ('"1"' if status == 304 else None)
            assert peer.ask(Request("GET", "/", app)).status == 200

    def test_one_connection_serves_one_request_after_the_other(
        self, running: Running, client: Client, app: str
    ) -> None:
        with client.connect(running.edge.edge) as peer:
            for n in range(20):
                assert peer.ask(Request("POST", f"/{n}", app, sized(b"x" * n), b"x" * n)).body == b"x" * n


@both_apps
@pytest.mark.usefixtures("apps")
def test_pipelined_requests_are_answered_in_order(running: Running, app: str) -> None:
    requests = [Request("POST", f"/{n}", app, sized(b"x" * n), b"x" * n) for n in range(10)]
    with Http1.connect(running.edge.edge) as peer:
        peer.send(*map(encoded, requests))
        answers = [peer.answer() for _ in requests]
    assert [(answer.fields["x-path"], answer.body) for answer in answers] == [
        (request.path, request.body) for request in requests
    ]


@pytest.mark.usefixtures("apps")
def test_a_client_that_asks_for_it_gets_its_connection_closed(running: Running) -> None:
    with Http1.connect(running.edge.edge) as peer:
        answer = peer.ask(Request(host="speaks-http1", fields={"connection": "close"}))
        assert (answer.status, answer.fields["connection"]) == (200, "close")
        assert peer.is_over()


@pytest.mark.usefixtures("apps")
def test_one_http2_connection_carries_streams_to_both_apps_at_once(running: Running) -> None:
    with Http2.connect(running.edge.edge) as peer:
        bodies = [bytes([n]) * 30_000 for n in range(20)]
        streams = [
            peer.request(Request("POST", "/", f"speaks-http{n % 2 + 1}", sized(body), body))
            for n, body in enumerate(bodies)
        ]
        assert [peer.answer(stream).body for stream in streams] == bodies


@contextmanager
def eager_app(protocol: str, answer: Answer, *, ends: bool) -> Iterator[str]:
    """An app that answers as soon as it has seen the head of a request; unless that `ends` it, the size of the request
    follows when all of it has come. Gives its address."""

    def over_http1(peer: Http1) -> None:
        while True:
            head = peer.head()
            if ends:
                peer.give(answer)
                peer.content(head.fields)
            else:
                peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nearly\r\n")
                size = str(len(peer.content(head.fields)[0]))
                peer.send(f"{len(size):x}\r\n{size}\r\n0\r\n\r\n")

    def over_http2(peer: Http2) -> None:
        while True:
            stream = peer.next_stream()
            peer.respond(stream, answer.status, answer.fields)
            peer.data(stream, answer.body, end=ends)
            size = len(peer.take(stream).body)
            if not ends:
                peer.data(stream, str(size).encode(), end=True)

    if protocol == "http":
        with http1.scripted_server(over_http1) as server:
            yield server.address
    else:
        with http2.scripted_server(over_http2) as server2:
            yield server2.address


both_protocols = pytest.mark.parametrize("protocol", ["http", "http2"])


@both_protocols
@both_clients
def test_an_answer_begins_while_the_upload_goes_on(running: Running, client: Client, protocol: str) -> None:
    with eager_app(protocol, Answer(body=b"early"), ends=False) as app, client.connect(running.edge.edge) as peer:
        service = running.service(app, protocol=protocol)
        first, rest = Request("POST", "/", service, sized(b"x" * 200_000), b"x" * 1000), b"x" * 199_000

        if isinstance(peer, Http2):
            stream = peer.request(first, end=False)
            peer.until(lambda: bytes(stream.body) == b"early", stream)
            peer.data(stream, rest, end=True)
            assert peer.answer(stream).body == b"early200000"
        else:
            peer.send(encoded(first))
            assert peer.head().status == 200
            assert peer.chunk() == b"early"
            peer.send(rest)
            assert (peer.chunk(), peer.chunk()) == (b"200000", b"")


@both_protocols
@both_clients
def test_an_answer_may_end_before_the_upload(running: Running, client: Client, protocol: str) -> None:
    early = Answer(413, sized(b"too much"), b"too much")
    with eager_app(protocol, early, ends=True) as app, client.connect(running.edge.edge) as peer:
        service = running.service(app, protocol=protocol)
        first, rest = Request("POST", "/", service, sized(b"x" * 2000), b"x" * 1000), b"x" * 1000

        if isinstance(peer, Http2):
            answer = peer.answer(peer.request(first, end=False))
        else:
            peer.send(encoded(first))
            answer = peer.answer()
            peer.send(rest)
        assert (answer.status, answer.body) == (413, b"too much")

        # The connection serves another request: the rest of the upload was not taken for one.
        assert peer.ask(Request("GET", "/", "nowhere")).status == 404


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@both_clients
def test_an_answer_that_ends_with_its_connection_is_whole(running: Running, client: Client, version: str) -> None:
    def closes_at_the_end(peer: Http1) -> None:
        peer.take()
        peer.send(f"HTTP/{version} 200 OK\r\n\r\nall of it")

    with http1.scripted_server(closes_at_the_end) as server:
        answer = ask(running, client, Request(host=running.service(server.address)))
    assert (answer.status, answer.body) == (200, b"all of it")


def test_a_client_that_waits_for_100_continue_is_told_to_go_on(running: Running, apps: None) -> None:
    # The word is the application's: Python's HTTP/1.1 server gives it by itself.
    with Http1.connect(running.edge.edge) as peer:
        fields = {"expect": "100-continue", **sized(b"content")}
        head, content = encoded(Request("POST", "/", "speaks-http1", fields, b"content")).split(b"\r\n\r\n")
        peer.send(head, b"\r\n\r\n")
        assert peer.head().status == 100
        peer.send(content)
        assert peer.answer().body == b"content"
