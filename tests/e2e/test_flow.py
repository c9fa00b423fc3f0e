"""Who gives up is followed, who is slow is waited for: cancellation and backpressure pass through, both ways."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import pytest

from tests.e2e.conftest import Running, last_failure
from tests.mesh import eventually
from tests.peers import http1, http2
from tests.peers.grpc_app import GrpcApp, calling
from tests.peers.http1 import Http1, encoded
from tests.peers.http2 import Http2, Stream
from tests.peers.message import Answer, CutOff, Request, sized
from tests.peers.scripted import PATIENCE, ScriptedServer

Client = type[Http1] | type[Http2]

# Seconds. Typical is 3 ms over two proxies; on a machine that does other work the best of several tries counts.
AT_ONCE = 0.1
TRIES = 5

# What may be taken of one stream whose reader does not read: the windows and buffers of one proxy, and for HTTP/1.1
# those of the kernel. Typical is 0.1 MiB between two that speak HTTP/2, 0.5 to 1.5 MiB between two that speak HTTP/1.1.
MOST_HELD = 4 << 20
# Content that fits into no window and no buffer on the way.
ENDLESS = 2 * MOST_HELD
# Seconds without progress after which a sender is taken for stopped.
QUIET = 0.4

both_clients = pytest.mark.parametrize("client", [Http1, Http2])
both_protocols = pytest.mark.parametrize("protocol", ["http", "http2"])


# --- cancellation -----------------------------------------------------------------------------------------------------


async def test_a_cancelled_call_is_cancelled_at_the_app_at_once(running: Running, echo: GrpcApp) -> None:
    taken = []
    async with calling(running.edge.edge, "echo") as stub:
        for _ in range(TRIES):
            echo.forget()
            call = stub.hang(b"")
            assert await asyncio.to_thread(echo.begun.wait, PATIENCE)

            given_up = time.monotonic()
            call.cancel()

            assert await asyncio.to_thread(echo.cancelled.wait, PATIENCE)
            taken.append(echo.cancelled_at - given_up)
    print(f"cancellation took {[f'{seconds * 1000:.1f} ms' for seconds in taken]}")
    assert min(taken) < AT_ONCE


def test_a_conversation_cancelled_in_the_middle_is_reset_at_the_app_and_never_ended(running: Running) -> None:
    # Judged by frames: grpcio's server may show its handler the end of the messages before it shows the cancellation.
    grpc = {"content-type": "application/grpc"}
    over: queue.Queue[Stream] = queue.Queue()

    def converse(peer: Http2) -> None:
        while True:
            stream = peer.next_stream()
            peer.respond(stream, fields=grpc)
            peer.until(partial(has_content, stream), stream)
            peer.data(stream, bytes(stream.body))
            with suppress(CutOff):
                peer.take(stream)
            over.put(stream)

    with (
        http2.scripted_server(converse) as server,
        running.with_sidecar("talker", server.port, protocol="grpc"),
        Http2.connect(running.edge.edge) as peer,
    ):
        for _ in range(TRIES):
            stream = peer.request(Request("POST", "/Talker/Talk", "talker", grpc, b"one"), end=False)
            peer.until(partial(has_content, stream), stream)
            peer.reset(stream)
            at_app = over.get(timeout=PATIENCE)
            assert (at_app.ended, at_app.reset) == (False, 8)


def has_content(stream: Stream) -> bool:
    return bool(stream.body)


class Waits:
    """A server that begins an answer, or not even that, and waits to be left alone; in both protocols."""

    def __init__(self, *, answers: bool) -> None:
        self._answers = answers
        self.asked = threading.Event()
        # The code of a reset, or None when the connection was closed.
        self.left_with: int | None = None
        self.left = threading.Event()

    def http1(self, peer: Http1) -> None:
        peer.take()
        if self._answers:
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        self.asked.set()
        if peer.is_over():
            self.left.set()

    def http2(self, peer: Http2) -> None:
        stream = peer.next_stream()
        if self._answers:
            peer.respond(stream)
            peer.data(stream, b"half")
        self.asked.set()
        with suppress(CutOff):
            peer.until(lambda: stream.reset is not None, stream)
        self.left_with = stream.reset
        self.left.set()

    @contextmanager
    def serve(self, protocol: str) -> Iterator[ScriptedServer[Http1] | ScriptedServer[Http2]]:
        if protocol == "http":
            with http1.scripted_server(self.http1) as server:
                yield server
        else:
            with http2.scripted_server(self.http2) as server2:
                yield server2


@pytest.mark.parametrize("answers", [False, True], ids=["before-the-answer", "inside-the-answer"])
@both_protocols
@both_clients
def test_when_the_client_leaves_the_upstream_is_left(
    running: Running, client: Client, protocol: str, answers: bool
) -> None:
    app = Waits(answers=answers)
    with app.serve(protocol) as server:
        service = running.service(server.address, protocol=protocol)
        with client.connect(running.web.outbound) as peer:
            if isinstance(peer, Http2):
                stream = peer.request(Request(host=service))
                assert app.asked.wait(PATIENCE)
                peer.reset(stream)
            else:
                peer.send(encoded(Request(host=service)))
                assert app.asked.wait(PATIENCE)
                # Closing only its sending half would not mean that it has left.
                peer.reset()
            assert app.left.wait(PATIENCE)

    # CANCEL: nobody made a mistake (RFC 9113 section 7).
    assert app.left_with == (8 if protocol == "http2" else None)
    assert last_failure(running.web, service)["reason"] == "downstream-reset"


def test_a_client_that_vanishes_leaves_all_its_streams(running: Running) -> None:
    app = Waits(answers=True)
    with app.serve("http2") as server:
        service = running.service(server.address, protocol="http2")
        with Http2.connect(running.web.outbound) as peer:
            peer.request(Request(host=service))
            assert app.asked.wait(PATIENCE)
        assert app.left.wait(PATIENCE)
    assert app.left_with == 8


@both_protocols
def test_a_client_that_has_only_said_all_it_will_gets_its_answer(running: Running, protocol: str) -> None:
    asked, go = threading.Event(), threading.Event()

    def late(_: Request) -> Answer:
        asked.set()
        go.wait(PATIENCE)
        return Answer(200, sized(b"late"), b"late")

    with (
        http1.server(late) if protocol == "http" else http2.server(late) as server,
        Http1.connect(running.web.outbound) as peer,
        Http1.connect(running.web.outbound) as other,
    ):
        service = running.service(server.address, protocol=protocol)
        peer.send(encoded(Request(host=service)))
        assert asked.wait(PATIENCE)
        peer.close_sending()
        # What the proxy makes of it is made before it answers others.
        for _ in range(3):
            assert other.ask(Request(host="nowhere")).status == 404

        go.set()
        assert peer.answer().body == b"late"
        assert peer.is_over()


# --- backpressure -----------------------------------------------------------------------------------------------------


class Sender:
    """A server whose answer is ENDLESS bytes, in both protocols; `sent` counts those that were taken from it."""

    def __init__(self) -> None:
        self._peer: Http1 | Http2 | None = None

    @property
    def sent(self) -> int:
        return self._peer.sent if self._peer else 0

    def http1(self, peer: Http1) -> None:
        peer.take()
        self._peer = peer
        peer.send(f"HTTP/1.1 200 OK\r\ncontent-length: {ENDLESS}\r\n\r\n", bytes(ENDLESS))

    def http2(self, peer: Http2) -> None:
        stream = peer.next_stream()
        self._peer = peer
        peer.respond(stream)
        peer.data(stream, bytes(ENDLESS), end=True)
        peer.until(lambda: False)


class Reader:
    """A server that reads nothing of an upload until it `may_read`, and then answers with the number of bytes."""

    def __init__(self) -> None:
        self.may_read = threading.Event()

    def http1(self, peer: Http1) -> None:
        head = peer.head()
        self.may_read.wait(PATIENCE)
        body = str(len(peer.content(head.fields)[0])).encode()
        peer.give(Answer(200, sized(body), body))

    def http2(self, peer: Http2) -> None:
        peer.reads = False
        stream = peer.next_stream()
        self.may_read.wait(PATIENCE)
        peer.resume()
        body = str(len(peer.take(stream).body)).encode()
        peer.give(stream, Answer(200, sized(body), body))
        peer.until(lambda: False)


@contextmanager
def serve(app: Sender | Reader, protocol: str) -> Iterator[str]:
    """The address of an app that speaks this protocol."""
    if protocol == "http":
        with http1.scripted_server(app.http1) as server:
            yield server.address
    else:
        with http2.scripted_server(app.http2) as server2:
            yield server2.address


def stopped_at(count: Callable[[], int]) -> int:
    """Wait until a count above zero has not risen for QUIET seconds; returns it."""
    last, since = 0, time.monotonic()

    def has_stopped() -> bool:
        nonlocal last, since
        if (now := count()) != last:
            last, since = now, time.monotonic()
        return last > 0 and time.monotonic() - since > QUIET

    eventually("the sender stops", has_stopped, PATIENCE)
    return last


@both_protocols
@both_clients
def test_a_reader_that_does_not_read_stops_the_writer(running: Running, client: Client, protocol: str) -> None:
    app = Sender()
    with serve(app, protocol) as address, client.connect(running.web.outbound) as peer:
        service = running.service(address, protocol=protocol, timeout="0s")
        request = Request(host=service)
        if isinstance(peer, Http2):
            peer.reads = False
            peer.request(request)
        else:
            peer.send(encoded(request))

        held = stopped_at(lambda: app.sent)
        print(f"{held >> 10} KiB were taken from the app")
        assert held < MOST_HELD

        # Once it reads, everything comes.
        if isinstance(peer, Http2):
            peer.resume()
            answer = peer.answer(peer.streams[1])
        else:
            answer = peer.answer()
        assert len(answer.body) == ENDLESS


@both_protocols
@both_clients
def test_an_app_that_does_not_read_stops_the_upload(running: Running, client: Client, protocol: str) -> None:
    app, answers = Reader(), []
    with serve(app, protocol) as address, client.connect(running.web.outbound) as peer:
        service = running.service(address, protocol=protocol, timeout="0s")
        request = Request("POST", "/", service, sized(bytes(ENDLESS)), bytes(ENDLESS))
        uploading = threading.Thread(target=lambda: answers.append(peer.ask(request).body))
        uploading.start()

        held = stopped_at(lambda: peer.sent)
        print(f"{held >> 10} KiB were taken from the client")
        app.may_read.set()
        uploading.join(PATIENCE)
    assert held < MOST_HELD
    assert answers == [str(ENDLESS).encode()]


def test_a_stream_that_is_not_read_holds_up_no_other(running: Running) -> None:
    # Both streams share the client's connection and the one to the app.
    with http2.scripted_server(one_large_answer) as server, Http2.connect(running.web.outbound) as peer:
        service = running.service(server.address, protocol="http2", timeout="0s")
        # There is room for both in the connection's window; the first one's own is full, and stays so.
        peer.h2.increment_flow_control_window(1 << 20)
        peer.reads = False
        stalled = peer.request(Request(path="/large", host=service))
        peer.until(lambda: stalled.unread == 65535)

        assert peer.ask(Request(path="/small", host=service)).body == b"small"
        assert not stalled.ended


def one_large_answer(peer: Http2) -> None:
    while True:
        stream = peer.next_stream()
        peer.respond(stream)
        if stream.fields[":path"] == "/large":
            # What a proxy takes of one stream; it passes on a half, and holds the rest.
            peer.data(stream, bytes(2 * 65535))
        else:
            peer.data(stream, b"small", end=True)


# --- timeouts ---------------------------------------------------------------------------------------------------------


def test_a_long_upload_has_the_time_that_it_needs_as_long_as_it_moves(running: Running) -> None:
    def answer(request: Request) -> Answer:
        return Answer(body=str(len(request.body)).encode())

    with http1.server(answer) as server:
        service = running.service(server.address, timeout="2s")
        with Http2.connect(running.web.outbound) as peer:
            stream = peer.request(Request("PUT", host=service), end=False)
            # Half as long again as the timeout.
            for _ in range(6):
                time.sleep(0.5)
                peer.data(stream, b"piece")
            peer.data(stream, b"end", end=True)
            assert peer.answer(stream).body == b"33"
