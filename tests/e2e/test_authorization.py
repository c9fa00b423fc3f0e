"""Who may call: `allow` of a service's document, for new requests and for those that go on when it changes.

web → its sidecar → mTLS → the callee's sidecar → app; `other` is a caller that no rule names.
"""

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing

import grpc
import grpc.aio
import pytest

from tests.e2e.conftest import Json, Running, failures, last_failure, live
from tests.mesh import Proxy, eventually, told
from tests.peers import http1, scripted
from tests.peers.grpc_app import SERVICE, GrpcApp, Stub, calling, grpc_app
from tests.peers.http1 import Http1
from tests.peers.http2 import Http2
from tests.peers.message import Answer, Request, sized
from tests.peers.scripted import ScriptedServer
from tests.real.programs import free_port

# Seconds; far above what any call here takes, far below what a test may.
PATIENCE = 20.0
WEB, OTHER = (f"spiffe://mesh.local/ns/default/dc/dc1/svc/{name}" for name in ("web", "other"))


@pytest.fixture(scope="module")
def other(running: Running) -> Iterator[Proxy]:
    """Another caller inside the mesh."""
    with running.sidecar("other", 1) as other:
        yield other


@pytest.fixture(scope="module")
def plain(running: Running, other: Proxy) -> Iterator[Proxy]:
    """The service `plain`, of HTTP/1.1; it tells who calls, but for /slow: that answer never ends."""

    def script(peer: Http1) -> None:
        while True:
            request = peer.take()
            if request.path == "/slow":
                peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfive ")
                peer.is_over()
                return
            said = request.fields.get("x-forwarded-client-cert", "nothing").encode()
            peer.give(Answer(200, sized(said), said))

    with http1.scripted_server(script) as server, running.with_sidecar("plain", server.port) as plain:
        yield plain


@pytest.fixture(scope="module")
def guarded(running: Running, other: Proxy) -> Iterator[GrpcApp]:
    """The gRPC service `guarded`."""
    with grpc_app() as app, running.with_sidecar("guarded", app.port, protocol="grpc"):
        yield app


def allow(running: Running, callee: Proxy, *rules: Json, **fields: object) -> None:
    """Have the callee's sidecar take only what these rules take; returns once that is in force."""
    written = {**fields, "allow": list(rules), "endpoints": [{"address": callee.inbound}]}
    running.mesh.document(f"services/{callee.name}", **written)
    live(callee, "service", callee.name, written)


def ask(proxy: Proxy, request: Request) -> Answer:
    with Http1.connect(proxy.outbound) as client:
        return client.ask(request)


def status(proxy: Proxy, request: Request) -> int:
    return ask(proxy, request).status


def test_each_part_of_a_rule_must_take_the_request(running: Running, plain: Proxy, other: Proxy) -> None:
    allow(running, plain, {"from": "web", "path": "/api/*", "methods": ["GET"], "headers": {"x-a": "1"}})
    allowed = Request(host="plain", path="/api/x", fields={"x-a": "1"})
    assert status(running.web, allowed) == 200
    for refused in (
        Request(host="plain", path="/apis", fields={"x-a": "1"}),
        Request(host="plain", path="/api/x", fields={"x-a": "2"}),
        Request(host="plain", path="/api/x"),
        Request("POST", host="plain", path="/api/x", fields={"x-a": "1", "content-length": "0"}),
    ):
        assert status(running.web, refused) == 403
    eventually("other knows plain", lambda: status(other, allowed) == 403)


def test_a_refusal_names_the_caller_and_what_decided(running: Running, plain: Proxy) -> None:
    allow(running, plain, {"from": "other"})
    answer = ask(running.web, Request(host="plain"))
    assert (answer.status, answer.fields["x-sidecar-reason"]) == (403, "not-allowed")
    assert f"{WEB} is refused by no rule of `allow` in services/plain.yaml" in answer.body.decode()
    # Of this caller: the proxy has refused others before, and a failure stands there a moment after its answer.
    failure = eventually("the failure", lambda: next((f for f in failures(plain, "plain") if WEB in f["detail"]), None))
    assert (failure["reason"], failure["status"], failure["attempts"]) == ("not-allowed", 403, [])


def test_nobody_anybody_and_no_rule(running: Running, plain: Proxy) -> None:
    request = Request(host="plain")
    allow(running, plain)
    assert status(running.web, request) == 403
    assert told(plain)["authorization"] == "0 rules of `allow`"
    allow(running, plain, {"from": "*"})
    assert status(running.web, request) == 200
    written = {"endpoints": [{"address": plain.inbound}]}
    running.mesh.document("services/plain", **written)
    live(plain, "service", "plain", written)
    assert status(running.web, request) == 200
    assert "every verified peer of the mesh may call plain" in str(told(plain)["authorization"])


def test_an_answer_of_http_1_that_goes_on_is_broken_off(running: Running, plain: Proxy) -> None:
    allow(running, plain, {"from": "*"})
    with Http1.connect(running.web.outbound) as client:
        client.send("GET /slow HTTP/1.1\r\nhost: plain\r\n\r\n")
        assert client.head().status == 200
        allow(running, plain, {"from": "other"})
        assert client.piece(5) == b"five "
        assert client.is_over()
    assert last_failure(plain, "plain")["reason"] == "not-allowed"


@pytest.fixture
async def stubs(running: Running, guarded: GrpcApp, other: Proxy) -> AsyncIterator[tuple[Stub, Stub]]:
    """The methods as web and as other have them, both allowed."""
    allow(running, callee(running), {"from": "*"}, protocol="grpc")
    async with calling(running.web.outbound, "guarded") as web, calling(other.outbound, "guarded") as stub:
        for each in (web, stub):
            # Channels of gRPC wait between tries, so the service is known before.
            assert await each.unary(b"hello", timeout=PATIENCE, wait_for_ready=True) == b"hello"
        yield web, stub


def callee(running: Running) -> Proxy:
    """The sidecar of `guarded`."""
    return next(proxy for proxy in running.mesh.proxies if proxy.name == "guarded")


async def talks(call: grpc.aio.StreamStreamCall[bytes, bytes]) -> bool:
    """One message there and back."""
    await call.write(b"still")
    return await call.read() == b"STILL"


async def test_streams_that_are_no_longer_allowed_end_with_the_reason_and_no_others(
    running: Running, guarded: GrpcApp, stubs: tuple[Stub, Stub]
) -> None:
    web, other = stubs
    talking, waiting = other.conversation(timeout=PATIENCE), other.hang(b"", timeout=PATIENCE)
    kept = web.conversation(timeout=PATIENCE)
    assert await talks(talking)
    assert await talks(kept)

    allow(running, callee(running), {"from": "web", "path": f"/{SERVICE}/*"}, protocol="grpc")
    for ended in (talking, waiting):
        assert await ended.code() is grpc.StatusCode.PERMISSION_DENIED
        assert f"{OTHER} is refused by no rule of `allow`" in (await ended.details() or "")
    assert await talks(kept)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await other.unary(b"", timeout=PATIENCE)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert guarded.cancelled.wait(PATIENCE)

    # By method, and while the connection stays.
    allow(running, callee(running), {"from": "web", "path": f"/{SERVICE}/Unary"}, protocol="grpc")
    assert await kept.code() is grpc.StatusCode.PERMISSION_DENIED
    assert await web.unary(b"hello", timeout=PATIENCE) == b"hello"


def test_the_first_rule_ever_ends_streams_too(running: Running, plain: Proxy) -> None:
    written = {"endpoints": [{"address": plain.inbound}]}
    running.mesh.document("services/plain", **written)
    live(plain, "service", "plain", written)
    with Http1.connect(running.web.outbound) as client:
        client.send("GET /slow HTTP/1.1\r\nhost: plain\r\n\r\n")
        assert client.head().status == 200
        allow(running, plain)
        assert client.piece(5) == b"five "
        assert client.is_over()


def test_a_stream_of_http_2_that_is_no_call_is_reset(running: Running, plain: Proxy) -> None:
    allow(running, plain, {"from": "*"})
    with Http2.connect(running.web.outbound) as client:
        stream = client.request(Request(host="plain", path="/slow"))
        client.until(lambda: bool(stream.body), stream)
        allow(running, plain, {"from": "other"})
        client.until(lambda: stream.reset is not None, stream)
        assert client.ask(Request(host="plain")).status == 403


@pytest.fixture
def documents(running: Running) -> Iterator[Callable[..., None]]:
    """Writes a service's document, in force at these proxies when it returns; it is gone after the test."""
    written = set()

    def write(name: str, *proxies: Proxy, **fields: object) -> None:
        written.add(running.mesh.document(f"services/{name}", **fields))
        for proxy in proxies:
            live(proxy, "service", name, fields)

    yield write
    for document in written:
        document.unlink()


def test_connections_of_tcp_are_judged_when_they_open_and_when_rules_change(
    running: Running, other: Proxy, documents: Callable[..., None]
) -> None:
    def echo(peer: socket.socket) -> None:
        while data := peer.recv(100):
            peer.sendall(data)

    documents("db", protocol="tcp")
    with ScriptedServer(lambda connection: connection, echo) as server, running.sidecar("db", server.port) as db:

        def allow_db(*rules: Json) -> None:
            endpoints = [{"address": db.inbound}]
            documents("db", db, running.web, other, protocol="tcp", endpoints=endpoints, allow=list(rules))

        allow_db({"from": "*"})
        callers = []
        for caller in (running.web, other):
            port = free_port()
            documents(caller.name, caller, upstreams=[{"service": "db", "port": port}])
            callers.append(f"127.0.0.1:{port}")
        with closing(scripted.connect(callers[0])) as web, closing(scripted.connect(callers[1])) as another:
            for client in (web, another):
                client.sendall(b"hello")
                assert client.recv(100) == b"hello"
            allow_db({"from": "web"})
            with pytest.raises(ConnectionResetError):
                another.recv(100)
            web.sendall(b"still")
            assert web.recv(100) == b"still"
        # It may be reset before `connect` has returned.
        with pytest.raises(ConnectionResetError), closing(scripted.connect(callers[1])) as late:
            late.recv(100)
        refused = eventually("two refusals", lambda: (found := failures(db, ""))[1:] and found)
        assert [failure["reason"] for failure in refused] == ["not-allowed", "not-allowed"]
        assert all(OTHER in failure["detail"] for failure in refused)


def counted(proxy: Proxy, name: str, labels: str) -> int:
    """The value of one series; 0 without it."""
    lines = proxy.get("/metrics")[1].splitlines()
    return next((int(line.split()[-1]) for line in lines if line.startswith(f"{name}{{{labels}}} ")), 0)


def test_callers_without_tls_are_taken_where_that_is_asked_for_and_end_with_it(running: Running, plain: Proxy) -> None:
    request = Request(host="plain", fields={"x-forwarded-client-cert": "URI=spiffe://mesh.local/forged"})
    with Http1.connect(plain.inbound) as client:
        answer = client.ask(request)
        assert answer.status == 400
        assert b"This port speaks TLS" in answer.body
    allow(running, plain, {"from": "web"}, tls="permissive")
    assert "everybody may call plain without TLS" in str(told(plain)["authorization"])
    with Http1.connect(plain.inbound) as nameless:
        assert nameless.ask(request).status == 200
        assert status(running.web, request) == 200
        nameless.send("GET /slow HTTP/1.1\r\nhost: plain\r\n\r\n")
        assert nameless.head().status == 200
        assert counted(plain, "sidecar_cleartext_connections_total", 'listener="inbound"') == 1
        allow(running, plain, {"from": "web"})
        assert nameless.piece(5) == b"five "
        assert nameless.is_over()
    assert status(running.web, request) == 200


def test_an_application_learns_who_calls_from_nobody_but_its_sidecar(running: Running, plain: Proxy) -> None:
    allow(running, plain, {"from": "*"})
    forged = Request(host="plain", fields={"x-forwarded-client-cert": "URI=spiffe://mesh.local/forged"})
    by, fingerprint, uri = ask(running.web, forged).body.decode().split(";")
    assert by == "By=spiffe://mesh.local/ns/default/dc/dc1/svc/plain"
    assert len(fingerprint.removeprefix("Hash=")) == 64
    assert uri == f"URI={WEB}"


def test_what_a_candidate_would_refuse_is_counted_and_allowed(running: Running, plain: Proxy) -> None:
    web_gets = 'source="web",method="GET"'
    allow(running, plain, {"from": "*"}, allow_candidate=[{"from": "web", "path": "/known"}])
    before = counted(plain, "sidecar_candidate_refusals_total", web_gets)
    assert status(running.web, Request(host="plain", path="/known")) == 200
    assert counted(plain, "sidecar_candidate_refusals_total", web_gets) == before
    assert status(running.web, Request(host="plain", path="/unknown")) == 200
    assert counted(plain, "sidecar_candidate_refusals_total", web_gets) == before + 1
