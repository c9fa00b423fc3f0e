"""How connections of HTTP/2 begin and end: nothing is lost that the other side has not taken."""

import threading

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, SettingsFrame

from tests.e2e.conftest import Running
from tests.peers import http2
from tests.peers.http1 import Http1
from tests.peers.http2 import FRAME_HEADER, Http2
from tests.peers.message import Answer, Request, sized

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class GoesAway:
    """A server whose first connection says GOAWAY when a request comes, and leaves that request out."""

    def __init__(self, *, tells_the_stream: bool) -> None:
        # With the stream reset as well, or left to GOAWAY alone.
        self._tells_the_stream = tells_the_stream
        self._is_first = True
        self.taken: list[Request] = []

    def __call__(self, peer: Http2) -> None:
        if self._is_first:
            self._is_first = False
            stream = peer.next_stream()
            if self._tells_the_stream:
                peer.reset(stream, ErrorCodes.REFUSED_STREAM)
            peer.go_away(last=0)
            # Whoever closes before all is read resets the connection, and its last words may be lost.
            peer.until(lambda: False)
        while True:
            stream = peer.next_stream()
            self.taken.append(peer.take(stream))
            peer.give(stream, Answer(200, sized(b"tea"), b"tea"))


@pytest.mark.parametrize("tells_the_stream", [False, True])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_goaway_left_out_is_sent_again_on_a_new_connection(
    running: Running, method: str, tells_the_stream: bool
) -> None:
    app = GoesAway(tells_the_stream=tells_the_stream)
    with http2.scripted_server(app) as server, Http2.connect(running.web.outbound) as peer:
        # One endpoint: there is no other to turn to.
        service = running.service(server.address, protocol="http2")
        body = b"milk" if method == "POST" else b""
        answer = peer.ask(Request(method, "/", service, body=body))
    assert (answer.status, answer.body) == (200, b"tea")
    assert [request.body for request in app.taken] == [body]
    assert server.accepted == 2


def test_a_server_that_goes_away_at_rest_is_connected_to_anew(running: Running) -> None:
    gone = threading.Event()

    def one_request(peer: Http2) -> None:
        stream = peer.next_stream()
        peer.give(stream, Answer(200, sized(b"tea"), b"tea"))
        peer.go_away(last=stream.id)
        gone.set()
        peer.until(lambda: False)

    with http2.scripted_server(one_request) as server, Http2.connect(running.web.outbound) as peer:
        service = running.service(server.address, protocol="http2")
        for _ in range(3):
            assert peer.ask(Request(host=service)).body == b"tea"
            assert gone.wait(5)
            gone.clear()
        assert server.accepted == 3


def frames(data: bytes) -> list[Frame]:
    """What an HTTP/2 peer has sent, without those of which only a part came."""
    taken = []
    while len(data) >= FRAME_HEADER:
        frame, length = Frame.parse_frame_header(memoryview(data[:FRAME_HEADER]))
        frame.parse_body(memoryview(data[FRAME_HEADER : FRAME_HEADER + length]))
        taken.append(frame)
        data = data[FRAME_HEADER + length :]
    return taken


NO_SETTINGS = DataFrame(1, b"x").serialize()


@pytest.mark.parametrize(
    "start",
    [b"PRI * HTTP/2.0\r\n\r\nsm\r\n\r\n", b"PRI * HTTP/1.1\r\nhost: a\r\n\r\n", PREFACE + NO_SETTINGS],
    ids=["misspelt", "a-request", "no-settings"],
)
def test_an_invalid_preface_is_a_connection_error(running: Running, start: bytes) -> None:
    with Http1.connect(running.web.outbound) as peer:
        peer.send(start)
        received = b""
        try:
            while data := peer.piece(4096):
                received += data
        except ConnectionResetError:
            # What it sent was not all read.
            pass
    # GOAWAY may be left out: who sends this may not speak HTTP/2 (RFC 9113 section 3.4). No HTTP/1.1 in any case.
    ends = [frame for frame in frames(received) if not isinstance(frame, SettingsFrame)]
    assert all(isinstance(frame, GoAwayFrame) and frame.error_code == ErrorCodes.PROTOCOL_ERROR for frame in ends)
    assert not received.startswith(b"HTTP/1.1")
