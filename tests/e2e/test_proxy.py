"""The outbound port as the HTTP proxy that applications are told of: absolute targets, and the tunnels of CONNECT."""

import json
import socket
import urllib.request
from collections.abc import Callable, Iterator, Mapping

import grpc
import pytest

from tests.e2e.conftest import Running, failures, last_failure
from tests.peers import http1, scripted
from tests.peers.grpc_app import OPTIONS, SERVICE, GrpcApp
from tests.peers.http1 import Http1, encoded
from tests.peers.http2 import Http2, Stream
from tests.peers.message import Answer, Request, sized

# First byte of a TLS ClientHello's record.
TLS_RECORD = b"\x16\x03\x01\x00\x05hello"


def tells(request: Request) -> Answer:
    """What the app was asked: method, path, host, and the size of the content."""
    body = f"{request.method} {request.path} {request.host} {len(request.body)}".encode()
    return Answer(200, sized(body), body)


@pytest.fixture(scope="module")
def app() -> Iterator[str]:
    """The address of an app that speaks HTTP/1.1."""
    with http1.server(tells) as server:
        yield server.address


def tunnel(running: Running, to: str, version: str = "1.1") -> socket.socket:
    """A connection to the outbound port on which CONNECT has opened a tunnel."""
    connection = scripted.connect(running.web.outbound)
    connection.sendall(f"CONNECT {to} HTTP/{version}\r\nHost: {to}\r\n\r\n".encode())
    assert until_empty_line(connection).startswith(b"HTTP/1.1 200 ")
    return connection


def until_empty_line(connection: socket.socket) -> bytes:
    """A head and no byte beyond it."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        assert byte, f"the connection ended in {head!r}"
        head += byte
    assert b"content-length" not in head.lower()
    assert b"transfer-encoding" not in head.lower()
    return head


class TestAbsoluteTargets:
    def test_a_program_with_http_proxy_reaches_a_service_by_its_name(self, running: Running, app: str) -> None:
        service = running.service(app)
        proxies = urllib.request.ProxyHandler({"http": f"http://{running.web.outbound}"})
        with urllib.request.build_opener(proxies).open(f"http://{service}/a?b=c", timeout=10) as answer:
            assert answer.read().decode() == f"GET /a?b=c {service} 0"

    def test_the_target_goes_before_the_host_field(self, running: Running, app: str) -> None:
        service = running.service(app)
        with Http1.connect(running.web.outbound) as peer:
            answer = peer.ask(Request("GET", f"http://{service}.mesh/x", "somebody.else"))
            assert answer.body.decode() == f"GET /x {service}.mesh 0"
            # And a target that leads nowhere is not rescued by the field.
            assert peer.ask(Request("GET", "http://nowhere.test/", service)).status == 404


class TestTunnels:
    @pytest.mark.parametrize("version", ["1.0", "1.1"])
    def test_requests_inside_are_routed_as_any(self, running: Running, app: str, version: str) -> None:
        service = running.service(app)
        with Http1(tunnel(running, f"{service}:80", version)) as peer:
            for n in range(3):
                answer = peer.ask(Request("POST", f"/{n}", service, sized(b"x" * n), b"x" * n))
                assert answer.body.decode() == f"POST /{n} {service} {n}"
        assert failures(running.web, f"{service}:80") == []

    def test_http2_by_prior_knowledge(self, running: Running, app: str) -> None:
        service = running.service(app)
        with Http2(tunnel(running, f"{service}.mesh:80"), client=True) as peer:
            streams = [peer.request(Request("GET", f"/{n}", service)) for n in range(10)]
            assert [peer.answer(stream).body.decode() for stream in streams] == [
                f"GET /{n} {service} 0" for n in range(10)
            ]

    def test_a_client_need_not_wait_for_the_word(self, running: Running, app: str) -> None:
        service = running.service(app)
        connection = scripted.connect(running.web.outbound)
        connect = f"CONNECT {service}:80 HTTP/1.1\r\nHost: {service}:80\r\n\r\n".encode()
        connection.sendall(connect + encoded(Request("GET", "/early", service)))
        until_empty_line(connection)
        with Http1(connection) as peer:
            assert peer.answer().body.decode() == f"GET /early {service} 0"

    def test_the_name_is_the_one_that_connect_gave(self, running: Running, app: str) -> None:
        service = running.service(app)
        with Http1(tunnel(running, f"{service}:80")) as peer:
            assert peer.ask(Request(host="shop.example.com")).body.decode() == "GET / shop.example.com 0"

    def test_a_subset_has_a_name_too(self, running: Running, app: str) -> None:
        with http1.server(lambda request: Answer(503)) as other:
            endpoints = [{"address": app, "meta": {"v": "1"}}, {"address": other.address, "meta": {"v": "2"}}]
            service = running.service(endpoints=endpoints, subsets={"one": {"where": 'meta.v == "1"'}})
            with Http1(tunnel(running, f"one.{service}.mesh:80")) as peer:
                assert {peer.ask(Request(host="any")).status for _ in range(10)} == {200}

    async def test_grpc_by_its_usual_variable(
        self, running: Running, echo: GrpcApp, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("grpc_proxy", f"http://{running.web.outbound}")
        for name in ("no_grpc_proxy", "no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        options = [("grpc.use_local_subchannel_pool", 1), *OPTIONS]
        async with grpc.aio.insecure_channel("dns:///echo:80", options=options) as channel:
            unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/Unary")
            assert await unary(b"hello", timeout=20) == b"hello"


Refusal = tuple[int, Mapping[str, str], dict[str, str]]


def over_http1(running: Running, to: str) -> Refusal:
    """Status, fields and explanation of a CONNECT that is refused."""
    with Http1.connect(running.web.outbound) as peer:
        answer = peer.ask(Request("CONNECT", to, to))
        return answer.status, answer.fields, json.loads(answer.body)


def over_http2(running: Running, to: str) -> Refusal:
    """The same on an HTTP/2 stream."""
    with Http2.connect(running.web.outbound) as peer:
        answer = peer.answer(connect_stream(peer, to))
        return answer.status, answer.fields, json.loads(answer.body)


def connect_stream(peer: Http2, to: str) -> Stream:
    """A stream that asks for a tunnel."""
    stream = Stream(peer.h2.get_next_available_stream_id())
    peer.streams[stream.id] = stream
    peer.h2.send_headers(stream.id, [(":method", "CONNECT"), (":authority", to)])
    peer.flush()
    return stream


Refused = Callable[[Running, str], Refusal]
both_versions = pytest.mark.parametrize("connect", [over_http1, over_http2])


class TestNoTunnel:
    @both_versions
    def test_to_an_unknown_name(self, running: Running, connect: Refused) -> None:
        status, fields, told = connect(running, "nowhere.test:443")
        assert (status, fields["x-sidecar-reason"]) == (404, "no-route")
        assert "No service is called nowhere.test." in told["detail"]
        assert last_failure(running.web, "nowhere.test:443")["reason"] == "no-route"

    @both_versions
    def test_without_a_port(self, running: Running, app: str, connect: Refused) -> None:
        status, _, told = connect(running, running.service(app))
        assert (status, "CONNECT names no port." in told["detail"]) == (400, True)

    def test_at_the_gateway(self, running: Running, app: str) -> None:
        service = running.service(app)
        with Http1.connect(running.edge.edge) as peer:
            answer = peer.ask(Request("CONNECT", f"{service}:80", f"{service}:80"))
        assert answer.status == 405
        assert "GET" in answer.fields["allow"]
        assert "CONNECT" not in answer.fields["allow"]
        assert last_failure(running.edge, f"{service}:80")["reason"] == "method-not-allowed"

    def test_inside_a_tunnel(self, running: Running, app: str) -> None:
        service = running.service(app)
        with Http1(tunnel(running, f"{service}:80")) as peer:
            assert peer.ask(Request("CONNECT", f"{service}:80", f"{service}:80")).status == 405

    def test_with_content(self, running: Running, app: str) -> None:
        service = running.service(app)
        with Http1.connect(running.web.outbound) as peer:
            to = f"{service}:80"
            assert peer.ask(Request("CONNECT", to, to, sized(b"content"), b"content")).status == 400

    def test_for_tls_to_a_service_of_http(self, running: Running, app: str) -> None:
        service = running.service(app)
        with Http1(tunnel(running, f"{service}:443")) as peer:
            peer.send(TLS_RECORD)
            assert peer.is_over()
        failure = last_failure(running.web, f"{service}:443")
        assert failure["reason"] == "bad-request"
        assert "TLS inside the tunnel" in failure["detail"]


class TestTunnelsOnHttp2:
    def test_a_stream_carries_a_connection_beside_other_streams(self, running: Running, app: str) -> None:
        service = running.service(app)
        body = bytes(range(251)) * 4111
        with Http2.connect(running.web.outbound) as peer:
            tunnels = [connect_stream(peer, f"{service}:80") for _ in range(3)]
            peer.until(lambda: all(stream.fields for stream in tunnels))
            for stream in tunnels:
                assert stream.fields == {":status": "200"}
                peer.data(stream, encoded(Request("PUT", "/in", service, sized(body), body)), end=False)
            assert peer.ask(Request("GET", "/beside", service)).body.decode() == f"GET /beside {service} 0"
            told = f"PUT /in {service} {len(body)}".encode()
            peer.until(lambda: all(stream.body.endswith(told) for stream in tunnels))
            for stream in tunnels:
                assert stream.body.startswith(b"HTTP/1.1 200 ")
                # The end of the client's half ends the connection inside, and so the tunnel.
                peer.data(stream, b"", end=True)
            peer.until(lambda: all(stream.ended for stream in tunnels))

    def test_a_broken_one_says_so(self, running: Running, app: str) -> None:
        service = running.service(app)
        with Http2.connect(running.web.outbound) as peer:
            stream = connect_stream(peer, f"{service}:80")
            peer.data(stream, b"no HTTP at all\r\n\r\n", end=False)
            peer.until(lambda: stream.ended or stream.reset is not None, stream)
            assert peer.ask(Request("GET", "/", service)).status == 200
