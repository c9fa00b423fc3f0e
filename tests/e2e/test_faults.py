"""Upstreams that fail, each in its own way: what callers are told, what operators see, and that nobody else suffers."""

import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import grpc
import grpc.aio
import pytest
from h2.errors import ErrorCodes

from tests.e2e.conftest import Running, failures, last_failure
from tests.peers import http1, http2
from tests.peers.grpc_app import calling, grpc_app
from tests.peers.http1 import Http1
from tests.peers.http2 import Http2
from tests.peers.message import Answer, CutOff, Request, sized
from tests.peers.scripted import ScriptedServer, refusing

# The header that names a reason to trusted callers.
REASON = "x-sidecar-reason"

GET_HEAD = "HTTP/1.1 200 OK\r\n"


# --- how an upstream fails before its answer begins -------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """A server that fails, and what must come of it."""

    name: str
    server: Callable[[], AbstractContextManager[ScriptedServer[Http1] | ScriptedServer[Http2]]]
    protocol: str
    status: int
    reason: str

    @property
    def timeout(self) -> str:
        """Soon where it is what must come; else none that a busy machine could meet."""
        return "500ms" if self.reason == "timeout" else "15s"


def says(*pieces: str) -> Callable[[Http1], None]:
    """A server that answers every request with these bytes, and closes."""

    def script(peer: Http1) -> None:
        peer.take()
        peer.send(*pieces)

    return script


def hangs1(peer: Http1) -> None:
    peer.take()
    peer.is_over()


def hangs2(peer: Http2) -> None:
    peer.until(lambda: False)


def resets1(peer: Http1) -> None:
    peer.take()
    peer.reset()


def resets_the_stream(peer: Http2) -> None:
    while True:
        peer.reset(peer.next_stream(), ErrorCodes.INTERNAL_ERROR)


def refuses_the_stream(peer: Http2) -> None:
    while True:
        peer.reset(peer.next_stream(), ErrorCodes.REFUSED_STREAM)


def goes_away(peer: Http2) -> None:
    peer.next_stream()
    peer.go_away(last=0)
    peer.until(lambda: False)


def closes2(peer: Http2) -> None:
    peer.next_stream()


def answers_without_status(peer: Http2) -> None:
    stream = peer.next_stream()
    peer.h2.send_headers(stream.id, [("x-status", "200")])
    peer.flush()
    peer.until(lambda: False)


def one(name: str, script: Callable[[Http1], None], status: int, reason: str) -> Fault:
    return Fault(f"http1-{name}", lambda: http1.scripted_server(script), "http", status, reason)


def two(name: str, script: Callable[[Http2], None], status: int, reason: str) -> Fault:
    return Fault(f"http2-{name}", lambda: http2.scripted_server(script), "http2", status, reason)


FAULTS = [
    one("closes", says(), 502, "upstream-reset"),
    one("closes-in-the-head", says(GET_HEAD, "content-le"), 502, "upstream-reset"),
    one("resets", resets1, 502, "upstream-reset"),
    one("hangs", hangs1, 504, "timeout"),
    one("speaks-something-else", says("SSH-2.0-OpenSSH_9.2\r\n"), 502, "upstream-protocol"),
    one("two-lengths", says(GET_HEAD, "content-length: 1\r\ncontent-length: 2\r\n\r\nab"), 502, "upstream-protocol"),
    one(
        "length-and-chunks",
        says(GET_HEAD, "content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        502,
        "upstream-protocol",
    ),
    one(
        "switches-protocols",
        says("HTTP/1.1 101 Go\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"),
        502,
        "upstream-protocol",
    ),
    two("closes", closes2, 502, "upstream-reset"),
    two("resets-the-stream", resets_the_stream, 502, "upstream-reset"),
    two("refuses-the-stream", refuses_the_stream, 503, "refused-stream"),
    two("goes-away", goes_away, 503, "refused-stream"),
    two("hangs", hangs2, 504, "timeout"),
    two("answers-without-status", answers_without_status, 502, "upstream-protocol"),
    Fault(
        "http2-speaks-http1",
        lambda: http1.scripted_server(lambda peer: peer.send("HTTP/1.1 400 Bad Request\r\n\r\n")),
        "http2",
        502,
        "upstream-protocol",
    ),
]


@pytest.fixture(scope="module")
def steady(running: Running) -> Iterator[str]:
    """A service without faults, beside those that have them."""
    with http1.server(lambda request: Answer(200, sized(b"steady"), b"steady")) as server:
        yield running.service(server.address)


def ask(address: str, host: str, **fields: str) -> Answer:
    with Http1.connect(address) as peer:
        return peer.ask(Request(host=host, fields=fields))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_told_explained_and_kept_from_others(running: Running, steady: str, fault: Fault) -> None:
    with fault.server() as server:
        service = running.service(server.address, protocol=fault.protocol, timeout=fault.timeout)

        # Inside the mesh the caller is told why, and what to look at next.
        inside = ask(running.web.outbound, service)
        assert (inside.status, inside.fields[REASON]) == (fault.status, fault.reason)
        assert b'"next":' in inside.body

        # Outside nothing of the mesh is told.
        outside = ask(running.edge.edge, service)
        assert outside.status == fault.status
        assert REASON not in outside.fields
        assert not {b'"reason"', b'"detail"', b'"next"'} & set(re.findall(rb'"\w+"', outside.body))
        assert str(server.port).encode() not in outside.body

        # The operator sees what was tried.
        failure = last_failure(running.web, service)
        assert (failure["status"], failure["reason"]) == (fault.status, fault.reason)
        assert failure["candidates"] == {
            "total": 1,
            "healthy": 1,
            "ejected": 0,
            "ill": 0,
            "priority": 0,
            "panic": False,
        }
        assert [attempt["endpoint"] for attempt in failure["attempts"]] == [server.address] * len(failure["attempts"])
        assert failure["attempts"][-1]["why"] in {fault.reason, ""}
        assert f"services/{service}.yaml" in failure["origin"]

        # Nobody else suffers.
        assert ask(running.web.outbound, steady).body == b"steady"
        assert ask(running.edge.edge, steady).body == b"steady"


# --- nobody to answer -------------------------------------------------------------------------------------------------


def test_a_service_that_refuses_connections(running: Running, steady: str) -> None:
    with refusing() as nobody:
        service = running.service(nobody)
        answer = ask(running.web.outbound, service)

        assert (answer.status, answer.fields[REASON]) == (503, "connect-failure")
        assert b"refused" in answer.body
        failure = last_failure(running.web, service)
        # Three tries in all, though there is nobody else to try.
        assert [(attempt["endpoint"], attempt["why"]) for attempt in failure["attempts"]] == [
            (nobody, "connect-failure")
        ] * 3
        assert ask(running.web.outbound, steady).status == 200


def test_a_host_that_no_route_knows(running: Running, steady: str) -> None:
    inside, outside = ask(running.web.outbound, "nobody-knows"), ask(running.edge.edge, "nobody-knows")

    assert (inside.status, inside.fields[REASON]) == (404, "no-route")
    assert (outside.status, outside.fields.get(REASON)) == (404, None)
    failure = last_failure(running.web, "nobody-knows")
    assert (failure["reason"], failure["attempts"], failure["cluster"]) == ("no-route", [], "")


def test_a_service_without_endpoints(running: Running) -> None:
    service = running.service()
    answer = ask(running.web.outbound, service)

    assert (answer.status, answer.fields[REASON]) == (503, "no-endpoints")
    failure = last_failure(running.web, service)
    nobody = {"total": 0, "healthy": 0, "ejected": 0, "ill": 0, "priority": 0, "panic": False}
    assert (failure["candidates"], failure["attempts"]) == (nobody, [])
    assert ask(running.edge.edge, service).status == 503


def test_a_browser_gets_a_page(running: Running) -> None:
    answer = ask(running.edge.edge, "nobody-knows", accept="text/html,application/xhtml+xml")
    assert (answer.status, answer.fields["content-type"]) == (404, "text/html; charset=utf-8")
    assert answer.body.startswith(b"<!doctype html>")


# --- who is at the address --------------------------------------------------------------------------------------------


def test_an_endpoint_that_proves_to_be_another_service_gets_no_request(running: Running, steady: str) -> None:
    # At the address of the sidecar of `web` there is `web`, and it says so.
    service = running.service(running.web.inbound, tls="mutual")
    answer = ask(running.web.outbound, service)

    assert (answer.status, answer.fields[REASON]) == (503, "peer-mismatch")
    assert f"svc/{service}".encode() in answer.body
    assert b"svc/web" in answer.body
    assert last_failure(running.web, service)["attempts"][0]["why"] == "peer-mismatch"
    outside = ask(running.edge.edge, service)
    assert (outside.status, b"svc/" in outside.body) == (503, False)
    assert ask(running.web.outbound, steady).status == 200


def test_an_endpoint_without_tls_gets_no_request(running: Running) -> None:
    first_bytes = []

    def answers_a_client_hello(peer: Http1) -> None:
        first_bytes.append(peer.socket.recv(1))
        peer.send("HTTP/1.1 400 Bad Request\r\n\r\n")

    with http1.scripted_server(answers_a_client_hello) as server:
        service = running.service(server.address, tls="mutual")
        answer = ask(running.web.outbound, service)

    assert (answer.status, answer.fields[REASON]) == (503, "tls-failure")
    assert b"The endpoint does not speak TLS." in answer.body
    # The first byte of a TLS record that carries a handshake, and nothing else was ever sent.
    assert set(first_bytes) == {b"\x16"}


# --- another endpoint is tried ----------------------------------------------------------------------------------------


def good() -> AbstractContextManager[ScriptedServer[Http2]]:
    return http2.server(lambda request: Answer(200, sized(request.body), request.body))


def test_with_one_of_two_instances_dead_no_call_fails(running: Running) -> None:
    with refusing() as dead, good() as alive:
        service = running.service(dead, alive.address, protocol="http2")
        with Http2.connect(running.web.outbound) as peer:
            answers = [peer.ask(Request("POST", "/", service, sized(b"tea"), b"tea")) for _ in range(40)]

    assert {(answer.status, answer.body) for answer in answers} == {(200, b"tea")}
    assert failures(running.web, service) == []


def test_with_one_of_two_instances_dead_no_upload_fails(running: Running) -> None:
    # Nothing of a request is sent before there is a connection, so its size does not matter.
    body = bytes(1 << 20)
    with refusing() as dead, http1.server(lambda request: Answer(200, sized(request.body), request.body)) as alive:
        service = running.service(dead, alive.address)
        with Http1.connect(running.web.outbound) as peer:
            request = Request("POST", "/", service, sized(body), body)
            assert all(peer.ask(request).body == body for _ in range(5))


def test_an_endpoint_that_goes_away_ends_what_it_has_begun(running: Running) -> None:
    def one_stream_for_each_connection(peer: Http2) -> None:
        stream = peer.next_stream()
        peer.go_away(last=stream.id)
        peer.give(stream, Answer(200, sized(b"tea"), b"tea"))
        peer.until(lambda: False)

    with http2.scripted_server(one_stream_for_each_connection) as server:
        service = running.service(server.address, protocol="http2")
        with Http2.connect(running.web.outbound) as peer:
            answers = [peer.ask(Request(host=service)) for _ in range(5)]

        assert {(answer.status, answer.body) for answer in answers} == {(200, b"tea")}
        assert server.accepted == 5


@pytest.mark.parametrize("script", [refuses_the_stream, goes_away])
def test_what_an_endpoint_refused_another_one_answers(running: Running, script: Callable[[Http2], None]) -> None:
    with http2.scripted_server(script) as refuses, good() as alive:
        service = running.service(refuses.address, alive.address, protocol="http2", load_balancer="round_robin")
        with Http2.connect(running.edge.edge) as peer:
            answers = [peer.ask(Request("POST", "/", service, sized(b"tea"), b"tea")) for _ in range(10)]

        assert {(answer.status, answer.body) for answer in answers} == {(200, b"tea")}
        assert refuses.accepted >= 1
        assert failures(running.edge, service) == []


def test_what_an_endpoint_may_have_done_is_not_done_again(running: Running) -> None:
    with http2.scripted_server(resets_the_stream) as resets, good() as alive:
        service = running.service(resets.address, alive.address, protocol="http2", load_balancer="round_robin")
        with Http2.connect(running.web.outbound) as peer:
            statuses = sorted(peer.ask(Request(host=service)).status for _ in range(10))

    assert statuses == [200] * 5 + [502] * 5
    assert {len(failure["attempts"]) for failure in failures(running.web, service)} == {1}


def test_one_attempt_is_one_attempt(running: Running) -> None:
    with refusing() as dead, good() as alive:
        service = running.service(
            dead, alive.address, protocol="http2", load_balancer="round_robin", retry={"attempts": 1}
        )
        with Http2.connect(running.web.outbound) as peer:
            statuses = sorted(peer.ask(Request(host=service)).status for _ in range(4))
    assert statuses == [200, 200, 503, 503]


# --- an answer that breaks off ----------------------------------------------------------------------------------------


def breaks_off1(*pieces: str, reset: bool = False) -> Callable[[Http1], None]:
    def script(peer: Http1) -> None:
        peer.take()
        peer.send(GET_HEAD, *pieces)
        if reset:
            peer.reset()

    return script


def breaks_off2(peer: Http2) -> None:
    while True:
        stream = peer.next_stream()
        peer.respond(stream)
        peer.data(stream, b"half")
        peer.reset(stream, ErrorCodes.INTERNAL_ERROR)


BREAKS = [
    one("length", breaks_off1("content-length: 8\r\n\r\n", "half"), 200, "upstream-reset"),
    one("chunks", breaks_off1("transfer-encoding: chunked\r\n\r\n", "4\r\nhalf\r\n"), 200, "upstream-reset"),
    one("bad-chunk", breaks_off1("transfer-encoding: chunked\r\n\r\n", "4\r\nhalf\r\nx\r\n"), 200, "upstream-protocol"),
    two("stream", breaks_off2, 200, "upstream-reset"),
]


@pytest.mark.parametrize("client", [Http1, Http2])
@pytest.mark.parametrize("fault", BREAKS, ids=lambda fault: fault.name)
def test_an_answer_that_breaks_off_is_never_taken_for_a_whole_one(
    running: Running, steady: str, client: type[Http1] | type[Http2], fault: Fault
) -> None:
    with fault.server() as server, client.connect(running.web.outbound) as peer:
        service = running.service(server.address, protocol=fault.protocol)
        with pytest.raises(CutOff) as cut:
            peer.ask(Request(host=service))

        # Half of it may have come, or nothing.
        assert b"half".startswith(cut.value.received)
        failure = last_failure(running.web, service)
        assert (failure["status"], failure["reason"]) == (200, fault.reason)
        if isinstance(peer, Http2):
            assert peer.ask(Request(host=steady)).body == b"steady"
        assert ask(running.web.outbound, steady).body == b"steady"


def stops_inside1(peer: Http1) -> None:
    peer.take()
    peer.send(GET_HEAD, "content-length: 8\r\n\r\nhalf")
    peer.is_over()


def stops_inside2(peer: Http2) -> None:
    stream = peer.next_stream()
    peer.respond(stream)
    peer.data(stream, b"half")
    peer.until(lambda: stream.reset is not None, stream)


@pytest.mark.parametrize("client", [Http1, Http2])
@pytest.mark.parametrize(
    "fault",
    [one("stops", stops_inside1, 200, "timeout"), two("stops", stops_inside2, 200, "timeout")],
    ids=lambda fault: fault.name,
)
def test_an_answer_that_stops_is_broken_off_by_the_timeout(
    running: Running, client: type[Http1] | type[Http2], fault: Fault
) -> None:
    with fault.server() as server, client.connect(running.web.outbound) as peer:
        service = running.service(server.address, protocol=fault.protocol, timeout="300ms")
        with pytest.raises(CutOff) as cut:
            peer.ask(Request(host=service))
        assert cut.value.received == b"half"
        assert last_failure(running.web, service)["reason"] == "timeout"


# --- gRPC callers get gRPC answers ------------------------------------------------------------------------------------


@pytest.fixture
async def grpc_neighbour(running: Running) -> AsyncIterator[str]:
    with grpc_app() as app:
        yield running.service(f"127.0.0.1:{app.port}", protocol="grpc")


@pytest.mark.parametrize(
    ("script", "code", "reason"),
    [
        (closes2, grpc.StatusCode.UNAVAILABLE, "upstream-reset"),
        (refuses_the_stream, grpc.StatusCode.UNAVAILABLE, "refused-stream"),
        (hangs2, grpc.StatusCode.DEADLINE_EXCEEDED, "timeout"),
        (answers_without_status, grpc.StatusCode.INTERNAL, "upstream-protocol"),
    ],
)
async def test_a_grpc_caller_is_told_in_grpc(
    running: Running, grpc_neighbour: str, script: Callable[[Http2], None], code: grpc.StatusCode, reason: str
) -> None:
    with http2.scripted_server(script) as server:
        timeout = "500ms" if reason == "timeout" else "15s"
        service = running.service(server.address, protocol="grpc", timeout=timeout)
        inside = await refused(running.web.outbound, service)
        assert (inside.code(), dict(inside.trailing_metadata())[REASON]) == (code, reason)

        outside = await refused(running.edge.edge, service)
        assert (outside.code(), REASON in dict(outside.trailing_metadata())) == (code, False)
        assert str(server.port) not in (outside.details() or "")

        assert last_failure(running.web, service)["grpc_status"] == code.name
    async with calling(running.web.outbound, grpc_neighbour) as stub:
        assert await stub.unary(b"well") == b"well"


async def test_a_grpc_caller_of_nobody(running: Running) -> None:
    with refusing() as nobody:
        gone = await refused(running.web.outbound, running.service(nobody, protocol="grpc"))
    assert (gone.code(), dict(gone.trailing_metadata())[REASON]) == (grpc.StatusCode.UNAVAILABLE, "connect-failure")

    empty = await refused(running.web.outbound, running.service(protocol="grpc"))
    assert (empty.code(), dict(empty.trailing_metadata())[REASON]) == (grpc.StatusCode.UNAVAILABLE, "no-endpoints")

    unknown = await refused(running.edge.edge, "nobody-knows")
    assert unknown.code() is grpc.StatusCode.UNIMPLEMENTED


async def refused(proxy: str, service: str) -> grpc.aio.AioRpcError:
    """How a call ends that cannot end well."""
    async with calling(proxy, service) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await stub.unary(b"", timeout=20)
    return failure.value
