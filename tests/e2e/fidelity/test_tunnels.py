"""The beginning and the end of a tunnel: who may open one, what closes it, and what does not."""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Running
from tests.e2e.fidelity.apps import App, serve_http1, serve_http2
from tests.e2e.fidelity.apps import running as serving
from tests.e2e.fidelity.message import Cut, Fields, Http1, Message
from tests.e2e.fidelity.websocket import dial

ASK: Fields = [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")]
# The key of RFC 6455 section 1.3.
KEY: Fields = [("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")]


@pytest.fixture(scope="module")
def one() -> Iterator[App]:
    with serving(serve_http1) as app:
        yield app


@pytest.fixture(scope="module")
def two() -> Iterator[App]:
    with serving(serve_http2) as app:
        yield app


def ask(peer: Http1, host: str, path: str, fields: Fields) -> Message:
    """One exchange by HTTP/1.1."""
    peer.write_head(f"GET {path} HTTP/1.1", [("host", host), *fields])
    return peer.read_response()


@pytest.mark.parametrize("version", [1, 2])
def test_a_refusal_is_an_ordinary_answer(running: Running, one: App, two: App, version: int) -> None:
    service = running.service(f"127.0.0.1:{(one, two)[version - 1].port}", protocol=("http", "http2")[version - 1])
    peer = Http1(dial(running.edge.edge))
    answer = ask(peer, service, "/status/403", [*ASK, *KEY])
    assert (answer.start, answer.body, answer.get("x-kept")) == ("403", b"hello", "1")
    # The connection stays with HTTP.
    assert ask(peer, service, "/status/200", []).start == "200"
    peer.close()


@pytest.mark.parametrize("key", [[], [("sec-websocket-key", "short")]], ids=["none", "short"])
def test_a_wrong_key_is_for_the_endpoint_to_refuse(running: Running, one: App, key: Fields) -> None:
    service = running.service(f"127.0.0.1:{one.port}")
    peer = Http1(dial(running.edge.edge))
    fields = json.loads(ask(peer, service, "/echo", [*ASK, *key]).body)["fields"]
    assert [value for name, value in fields if name == "sec-websocket-key"] == [value for _, value in key]
    peer.close()


@pytest.mark.parametrize("key", [[], [("sec-websocket-key", "short")]], ids=["none", "short"])
def test_an_endpoint_of_http_2_never_sees_the_key_so_we_refuse(running: Running, two: App, key: Fields) -> None:
    service = running.service(f"127.0.0.1:{two.port}", protocol="http2")
    # A caller of the mesh is told why.
    peer = Http1(dial(running.web.outbound))
    answer = ask(peer, service, "/tunnel", [*ASK, *key])
    assert (answer.start, b"Sec-WebSocket-Key" in answer.body) == ("400", True)
    peer.close()


def test_the_version_is_the_endpoints_to_refuse(running: Running, one: App) -> None:
    service = running.service(f"127.0.0.1:{one.port}")
    peer = Http1(dial(running.edge.edge))
    wrong = [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "8"), *KEY]
    assert ["sec-websocket-version", "8"] in json.loads(ask(peer, service, "/echo", wrong).body)["fields"]
    peer.close()


class Tunnel:
    """One that is open."""

    def __init__(self, address: str, host: str) -> None:
        self.peer = Http1(dial(address))
        assert ask(self.peer, host, "/tunnel", [("connection", "upgrade"), ("upgrade", "echo")]).start == "101"

    def echo(self, data: bytes) -> None:
        """There and back."""
        self.peer.socket.sendall(data)
        assert self.peer._exactly(len(data)) == data


def test_the_timeout_is_for_answers_and_not_for_tunnels(running: Running, one: App) -> None:
    service = running.service(f"127.0.0.1:{one.port}", timeout="300ms")
    tunnel = Tunnel(running.edge.edge, service)
    # This one begins after the tunnel and ends by the timeout.
    one.go.clear()
    later = Http1(dial(running.edge.edge))
    later.write_head("GET /events HTTP/1.1", [("host", service)])
    with pytest.raises((Cut, ConnectionError)):
        later.read_response()
    later.close()
    one.go.set()
    tunnel.echo(b"still here")
    tunnel.peer.close()
