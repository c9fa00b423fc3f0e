"""A message whose content is not as long as it says is refused or cut, in both directions, and never whole."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.conftest import Running
from tests.peers import http1, http2
from tests.peers.http1 import Http1
from tests.peers.http2 import Http2
from tests.peers.message import Answer, CutOff, Ended, Request

both_apps = pytest.mark.parametrize("app", ["length-1", "length-2"])


@dataclass
class Seen:
    """What came to the applications whole."""

    requests: list[Request]


@pytest.fixture(scope="module")
def seen(running: Running) -> Iterator[Seen]:
    """Two applications, one speaks HTTP/1.1 and one HTTP/2; their answers are as wrong as the path says."""
    whole: list[Request] = []

    def over_http1(peer: Http1) -> None:
        while True:
            request = peer.take()
            whole.append(request)
            match request.path:
                case "/short":
                    peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfive!")
                    return
                case "/long":
                    peer.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfive!more")
                case "/chunks":
                    peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfive!\r\n")
                    return
                case _:
                    peer.give(Answer(200, {"content-length": "5"}, b"five!"))

    def over_http2(peer: Http2) -> None:
        while True:
            stream = peer.next_stream()
            request = peer.take(stream)
            whole.append(request)
            said = {"/short": "10", "/long": "3"}.get(request.path, "5")
            if request.path == "/chunks":
                peer.respond(stream, 200, {})
                peer.data(stream, b"five!")
                return
            peer.respond(stream, 200, {"content-length": said})
            peer.data(stream, b"five!", end=True)

    with http1.scripted_server(over_http1) as one, http2.scripted_server(over_http2) as two:
        running.service(one.address, name="length-1", protocol="http")
        running.service(two.address, name="length-2", protocol="http2")
        yield Seen(whole)


# --- requests


@both_apps
def test_a_request_with_less_content_than_it_says_never_arrives_whole(running: Running, seen: Seen, app: str) -> None:
    seen.requests.clear()
    with Http1.connect(running.edge.edge) as peer:
        peer.send(f"POST / HTTP/1.1\r\nhost: {app}\r\ncontent-length: 10\r\n\r\nfive!")
        peer.socket.shutdown(socket.SHUT_WR)
        with pytest.raises((CutOff, Ended)):
            peer.answer()
    with Http2.connect(running.edge.edge) as peer:
        stream = peer.request(Request("POST", "/", app, {"content-length": "10"}), end=False)
        peer.data(stream, b"five!", end=True)
        assert is_refused(peer, stream)
    # One that is right comes through, and nothing stands before it.
    with Http2.connect(running.edge.edge) as peer:
        assert peer.ask(Request("POST", "/", app, {"content-length": "5"}, b"five!")).body == b"five!"
    assert [request.body for request in seen.requests] == [b"five!"]


@both_apps
def test_a_request_with_more_content_than_it_says_never_arrives_whole(running: Running, seen: Seen, app: str) -> None:
    seen.requests.clear()
    with Http2.connect(running.edge.edge) as peer:
        stream = peer.request(Request("POST", "/", app, {"content-length": "3"}), end=False)
        peer.data(stream, b"five!", end=True)
        assert is_refused(peer, stream)
    with Http2.connect(running.edge.edge) as peer:
        # A GET that says it has content, and ends with its head.
        stream = peer.request(Request("GET", "/", app, {"content-length": "3"}))
        assert is_refused(peer, stream)
    with Http1.connect(running.edge.edge) as peer:
        # In HTTP/1.1 what is more is the next request, and no request.
        peer.send(f"POST / HTTP/1.1\r\nhost: {app}\r\ncontent-length: 5\r\n\r\nfive!more\r\n\r\n")
        assert peer.answer().body == b"five!"
        assert peer.answer().status == 400
        assert peer.is_over()
    assert [request.body for request in seen.requests] == [b"five!"]


def is_refused(peer: Http2, stream: http2.Stream) -> bool:
    """True when the stream was reset, or answered as a fault of its own."""
    try:
        return peer.answer(stream).status == 400
    except CutOff:
        return True


# --- responses


@both_apps
@pytest.mark.parametrize("path", ["/short", "/chunks"])
def test_a_response_with_less_content_than_it_says_is_never_whole(
    running: Running, seen: Seen, app: str, path: str
) -> None:
    for client in (Http1, Http2):
        with client.connect(running.edge.edge) as peer:
            try:
                answer = peer.ask(Request("GET", path, app))
            except (CutOff, Ended):
                continue
            # Broken before its head had left, it is answered in the proxy's own name.
            assert answer.status == 502


def test_a_response_of_http2_with_more_content_than_it_says_is_never_whole(running: Running, seen: Seen) -> None:
    for client in (Http1, Http2):
        with client.connect(running.edge.edge) as peer:
            try:
                answer = peer.ask(Request("GET", "/long", "length-2"))
            except (CutOff, Ended):
                continue
            assert answer.status == 502


def test_what_follows_a_response_of_http1_is_nobodys(running: Running, seen: Seen) -> None:
    for client in (Http1, Http2):
        with client.connect(running.edge.edge) as peer:
            assert peer.ask(Request("GET", "/long", "length-1")).body == b"five!"
            # The bytes that were too many are not taken for an answer.
            assert peer.ask(Request("GET", "/", "length-1")).body == b"five!"
