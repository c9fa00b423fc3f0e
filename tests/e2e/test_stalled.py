"""Readers that stall: what they hold is bounded, and nobody else waits for them."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from h2.settings import SettingCodes

from tests.e2e.conftest import Running
from tests.mesh import Proxy, eventually
from tests.peers import http1, http2
from tests.peers.http1 import Http1, encoded
from tests.peers.http2 import Http2, Stream
from tests.peers.message import Answer, Request, sized
from tests.peers.scripted import PATIENCE, ScriptedServer

# Bytes of a stream's window, at a proxy that has not found it too small, and at the clients of these tests.
WINDOW = 64 << 10
LARGEST_WINDOW = 1 << 20
STALLED = 100
# Content that fits into no window.
LARGE = bytes(4 << 20)
# Content of the test of memory. `make full` takes 1 GiB.
LONG = int(os.environ.get("LONG_BODY_MIB", "64")) << 20
# Bytes by which a proxy may grow while one reader stalls: windows and buffers of both sides, read buffers, and what the
# allocator keeps.
ONE_STALLED = 8 << 20


class Streams:
    """A server that sends on all its streams at once, as far as their windows allow: `/small` a word, others LARGE.

    It begins with the large answers when there are as many requests for them as `begins_with`.
    """

    def __init__(self, piece: int = 1 << 14, begins_with: int = 1) -> None:
        # Bytes of a DATA frame that its reader will not read.
        self._piece = piece
        self._begins_with = begins_with
        # Bytes of content sent on each stream, by path.
        self.sent: dict[str, int] = {}
        self.peer: Http2 | None = None

    def __call__(self, peer: Http2) -> None:
        self.peer = peer
        peer.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: STALLED + 20})
        peer.flush()
        served: set[int] = set()
        while True:
            for stream in [stream for stream in peer.streams.values() if stream.id not in served and stream.fields]:
                served.add(stream.id)
                if stream.fields[":path"] == "/small":
                    peer.give(stream, Answer(200, sized(b"small"), b"small"))
                else:
                    peer.respond(stream, fields=sized(LARGE))
                    self.sent[stream.fields[":path"]] = 0
            if len(self.sent) >= self._begins_with:
                for stream in list(peer.streams.values()):
                    self._send(peer, stream)
            peer.flush()
            peer.read()

    def _send(self, peer: Http2, stream: Stream) -> None:
        path = stream.fields[":path"]
        while path in self.sent and self.sent[path] < len(LARGE) and stream.reset is None:
            left = len(LARGE) - self.sent[path]
            piece = self._piece if self.sent[path] >= WINDOW - 1 else WINDOW - 1 - self.sent[path]
            room = min(peer.h2.local_flow_control_window(stream.id), peer.h2.max_outbound_frame_size, piece, left)
            # Below zero after SETTINGS have made windows smaller (RFC 9113 section 6.9.2).
            if room <= 0:
                return
            peer.h2.send_data(stream.id, bytes(room), end_stream=room == left)
            self.sent[path] += room

    @contextmanager
    def serve(self, running: Running) -> Iterator[tuple[str, ScriptedServer[Http2]]]:
        """The service of this server, and the server."""
        with http2.scripted_server(self) as server:
            yield running.service(server.address, protocol="http2", timeout="0s"), server


def resident(proxy: Proxy) -> int:
    """Bytes of memory that the process has now."""
    status = Path(f"/proc/{proxy.process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) << 10


@contextmanager
def stalled(running: Running, service: str, number: int) -> Iterator[list[Stream]]:
    """A client with so many streams of which it reads nothing; the windows of all of them are full."""
    with Http2.connect(running.web.outbound) as peer:
        # The connection's own window is not what holds them up.
        peer.h2.increment_flow_control_window(number * WINDOW)
        peer.reads = False
        streams = [peer.request(Request(path=f"/{index}", host=service)) for index in range(number)]
        peer.until(lambda: all(stream.unread == WINDOW - 1 for stream in streams))
        yield streams


def are_held_up(app: Streams) -> bool:
    """Whether each stream has filled its reader's window, and at least a half of the proxy's.

    A peer is told of room when there is half a window of it; what it was not told of it does not use.
    """
    return all(sent >= WINDOW + WINDOW // 2 for sent in app.sent.values())


def test_a_hundred_stalled_readers_do_not_slow_the_next_one_down(running: Running) -> None:
    # All of them are there before the first byte: the windows have no reason to grow.
    app = Streams(begins_with=STALLED)
    with app.serve(running) as (service, server), Http2.connect(running.web.outbound) as other:
        # The first exchange connects.
        assert other.ask(Request(path="/small", host=service)).body == b"small"
        before = resident(running.web)
        with stalled(running, service, STALLED) as streams:
            # The client's windows are full, and then the proxy's.
            eventually(
                "all streams stand still",
                lambda: are_held_up(app) and len(app.sent) == STALLED,
                PATIENCE,
            )
            assert other.ask(Request(path="/small", host=service)).body == b"small"
            assert len(other.ask(Request(path="/large", host=service)).body) == len(LARGE)

            # What each holds is its window and no more, also in memory; the one that reads changes nothing for them.
            assert app.sent.pop("/large") == len(LARGE)
            assert max(app.sent.values()) <= 2 * WINDOW
            held = sum(app.sent.values()) - STALLED * (WINDOW - 1)
            grown = resident(running.web) - before
            print(f"{held >> 10} KiB held for {STALLED} stalled streams, memory grew by {grown >> 10} KiB")
            assert grown < held + ONE_STALLED
            assert not any(stream.ended for stream in streams)
        assert server.accepted == 1


def test_stalled_readers_of_small_messages_break_nothing(running: Running) -> None:
    # Each message is a frame of its own, as in gRPC; six windows of them are 40,000 frames.
    app = Streams(piece=10)
    with app.serve(running) as (service, server), stalled(running, service, 6):
        eventually("all streams stand still", lambda: are_held_up(app), PATIENCE)
        with Http2.connect(running.web.outbound) as other:
            assert other.ask(Request(path="/small", host=service)).body == b"small"
        assert server.accepted == 1


def windows_of(peer: Http2 | None) -> int:
    assert peer
    return peer.h2.remote_settings.initial_window_size


def test_windows_grow_for_a_reader_that_reads_and_not_for_one_that_does_not(running: Running) -> None:
    stalls, reads = Streams(), Streams()
    with stalls.serve(running) as (service, _), stalled(running, service, 3):
        eventually("they stand still", lambda: are_held_up(stalls), PATIENCE)
        # Each took a whole window in the beginning: that may have looked as if it were too small, once.
        assert windows_of(stalls.peer) <= 2 * WINDOW
        assert max(stalls.sent.values()) <= 3 * WINDOW
    with reads.serve(running) as (service, _), Http2.connect(running.web.outbound) as peer:
        paths = count()

        def has_grown() -> bool:
            assert len(peer.ask(Request(path=f"/{next(paths)}", host=service)).body) == len(LARGE)
            return windows_of(reads.peer) > WINDOW

        eventually("the windows grow", has_grown, PATIENCE)
        assert windows_of(reads.peer) <= LARGEST_WINDOW


def test_an_upload_that_nobody_takes_holds_up_no_other(running: Running) -> None:
    # The app accepts connections and says nothing: no request gets beyond the proxy.
    with (
        http2.scripted_server(lambda peer: peer.until(lambda: False)) as deaf,
        http2.server(lambda request: Answer(200, {}, request.body)) as app,
        Http2.connect(running.web.outbound) as peer,
    ):
        nowhere = running.service(deaf.address, protocol="http2", timeout="0s")
        service = running.service(app.address, protocol="http2")
        for _ in range(20):
            stream = peer.request(Request("POST", "/", nowhere), end=False)
            peer.data(stream, bytes(peer.h2.remote_settings.initial_window_size))
        assert peer.ask(Request("POST", "/", service, body=LARGE)).body == LARGE


class Sender:
    """A server whose answer is LONG bytes, in both protocols."""

    def http1(self, peer: Http1) -> None:
        peer.take()
        peer.send(f"HTTP/1.1 200 OK\r\ncontent-length: {LONG}\r\n\r\n")
        for _ in range(LONG >> 20):
            peer.send(bytes(1 << 20))

    def http2(self, peer: Http2) -> None:
        stream = peer.next_stream()
        peer.respond(stream, fields={"content-length": str(LONG)})
        for number in range(LONG >> 20):
            peer.data(stream, bytes(1 << 20), end=number + 1 == LONG >> 20)
        peer.until(lambda: False)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("protocol", ["http", "http2"])
def test_a_long_answer_to_a_slow_reader_takes_little_memory(running: Running, protocol: str) -> None:
    app = Sender()
    scripted: Callable[[], ScriptedServer[Http1] | ScriptedServer[Http2]] = (
        (lambda: http1.scripted_server(app.http1)) if protocol == "http" else (lambda: http2.scripted_server(app.http2))
    )
    with scripted() as server, Http1.connect(running.web.outbound) as peer:
        service = running.service(server.address, protocol=protocol, timeout="0s")
        before = most = resident(running.web)
        peer.send(encoded(Request(host=service)))
        head = peer.head()
        assert int(head.fields["content-length"]) == LONG
        left = LONG
        while left:
            # The app and the proxy are faster than this reader: whatever could pile up does.
            left -= len(peer.piece(min(left, 1 << 16)))
            if left % (1 << 20) < 1 << 16:
                most = max(most, resident(running.web))
        print(f"memory grew by {(most - before) >> 10} KiB")
        assert most - before < ONE_STALLED
