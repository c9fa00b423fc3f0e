"""Two things that happen at once: a limit and its announcement, a request and a close."""

import select
import time

from h2.errors import ErrorCodes
from hyperframe.frame import SettingsFrame

from tests.e2e.conftest import Running, failures
from tests.peers import http1, http2
from tests.peers.http1 import Http1
from tests.peers.http2 import Http2
from tests.peers.message import Answer, Request, sized

TEA = Answer(200, sized(b"tea"), b"tea")


def one_at_a_time(peer: Http2) -> None:
    """MAX_CONCURRENT_STREAMS is 1; what comes beside the stream in work is refused, as RFC 9113 section 5.1.2 says."""
    peer.socket.sendall(SettingsFrame(0, settings={SettingsFrame.MAX_CONCURRENT_STREAMS: 1}).serialize())
    while True:
        stream = peer.next_stream()
        ready = time.monotonic() + 0.05
        while (left := ready - time.monotonic()) > 0:
            if select.select([peer.socket], [], [], left)[0]:
                peer.read()
            while peer._new:
                peer.reset(peer._new.pop(0), ErrorCodes.REFUSED_STREAM)
        peer.give(stream, TEA)


def test_a_servers_limit_of_streams_is_kept_to(running: Running) -> None:
    with http2.scripted_server(one_at_a_time) as server:
        service = running.service(server.address, protocol="http2")
        with Http2.connect(running.web.outbound) as peer:
            assert peer.ask(Request(host=service)).status == 200
            streams = [peer.request(Request(host=service)) for _ in range(10)]
            assert [peer.answer(stream).status for stream in streams] == [200] * 10
    assert failures(running.web, service) == []


def test_a_kept_connection_that_the_server_closes_meanwhile_fails_no_get(running: Running) -> None:
    # RFC 9110 section 9.2.2: a GET that met the close may be sent again.
    def closes_without_a_word(peer: Http1) -> None:
        peer.take()
        peer.give(TEA)

    with http1.scripted_server(closes_without_a_word) as server:
        service = running.service(server.address)
        with Http1.connect(running.web.outbound) as peer:
            statuses = [peer.ask(Request(host=service)).status for _ in range(300)]
    assert set(statuses) == {200}
