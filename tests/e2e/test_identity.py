"""Who is not let in, and who is not spoken to: every wrong certificate, shown to a running sidecar from either side."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from tests.e2e.conftest import Json, Running, last_failure
from tests.leaves import CLIENT, SERVER, Issuer, Pair, spiffe
from tests.mesh import Proxy, eventually
from tests.peers import scripted
from tests.peers.http1 import Http1
from tests.peers.message import Request
from tests.peers.scripted import ScriptedServer

REASON = "x-sidecar-reason"
HOUR = timedelta(hours=1)
STRANGER = Issuer.called("stranger")

# What is shown by whom is, all but for one mistake, the service `orders`; and what the refusal says beside both
# identities.
Show = Callable[[Issuer, str], Pair]
WRONG: dict[str, tuple[Show, str]] = {
    "other-trust-domain": (lambda mesh, _: mesh.issue(spiffe("orders", "evil.local")), "seen spiffe://evil.local/"),
    "expired": (lambda mesh, me: mesh.issue(me, begins=-2 * HOUR, ends=-HOUR), "its certificate has expired"),
    "not-yet-valid": (lambda mesh, me: mesh.issue(me, begins=2 * HOUR, ends=3 * HOUR), "its certificate begins in"),
    "no-uri": (lambda mesh, _: mesh.issue(), "without a URI"),
    "two-uris": (lambda mesh, me: mesh.issue(me, spiffe("web")), "more than one URI"),
    "not-spiffe": (lambda mesh, _: mesh.issue("https://mesh.local/svc/orders"), "is not a SPIFFE id"),
    "self-signed": (lambda mesh, me: mesh.issue(me, self_signed=True), "its issuer is itself"),
    "wrong-authority": (lambda _, me: STRANGER.issue(me), "its issuer is CN=stranger"),
    "no-usage": (lambda mesh, me: mesh.issue(me, usages=()), "extended key usage"),
}
WRONG_ENDPOINT: dict[str, tuple[Show, str]] = {
    **WRONG,
    "other-service": (lambda mesh, _: mesh.issue(spiffe("other")), f"seen {spiffe('other')}."),
    "other-datacenter": (lambda mesh, _: mesh.issue(spiffe("orders", datacenter="dc2")), "/dc/dc2/"),
    "other-namespace": (lambda mesh, _: mesh.issue(spiffe("orders", namespace="x")), "/ns/x/"),
    "usage-of-clients": (lambda mesh, me: mesh.issue(me, usages=(CLIENT,)), "extended key usage"),
}
WRONG_CLIENT: dict[str, tuple[Show, str]] = {
    **WRONG,
    "usage-of-servers": (lambda mesh, me: mesh.issue(me, usages=(SERVER,)), "extended key usage"),
}


@pytest.fixture(scope="module")
def mesh_ca(running: Running) -> Issuer:
    return Issuer.of(running.mesh.config.parent / "state")


@contextmanager
def server(context: ssl.SSLContext) -> Iterator[tuple[str, list[bytes]]]:
    """Answers one request on each connection; its address, and what it was sent inside TLS."""
    received: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            # A client that refuses what it sees breaks the handshake off.
            with suppress(OSError), context.wrap_socket(connection, server_side=True) as stream:
                received.append(stream.recv(4096))
                stream.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntea")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield "{}:{}".format(*listener.getsockname()[:2]), received
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def called(running: Running, shown: Pair, directory: Path) -> tuple[int, str, str, list[bytes]]:
    """What a caller of `orders` is answered when its only endpoint shows this, and what that was sent."""
    with server(shown.shown(directory, by_server=True)) as (address, received):
        running.service(address, name="orders", tls="mutual", protocol="http")
        with Http1.connect(running.web.outbound) as client:
            answer = client.ask(Request(host="orders"))
    return answer.status, answer.fields.get(REASON, ""), answer.body.decode(), received


def test_the_right_endpoint_is_spoken_to(running: Running, mesh_ca: Issuer, tmp_path: Path) -> None:
    status, _, body, received = called(running, mesh_ca.issue(spiffe("orders")), tmp_path)
    assert (status, body, len(received)) == (200, "tea", 1)


@pytest.mark.parametrize("mistake", WRONG_ENDPOINT)
def test_a_wrong_endpoint_gets_no_request(running: Running, mesh_ca: Issuer, tmp_path: Path, mistake: str) -> None:
    show, words = WRONG_ENDPOINT[mistake]
    status, reason, _, received = called(running, show(mesh_ca, spiffe("orders")), tmp_path)

    assert (status, received) == (503, [])
    assert reason in ("peer-mismatch", "tls-failure")
    # It stands in the list a moment after its answer.
    eventually(f"an explanation: {words}", lambda: words in last_failure(running.web, "orders")["detail"])
    assert f"Expected {spiffe('orders')}, seen " in last_failure(running.web, "orders")["detail"]


def test_an_endpoint_that_does_not_speak_tls_is_named_as_such(running: Running) -> None:
    def answer(peer: socket.socket) -> None:
        peer.recv(4096)
        peer.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

    with ScriptedServer(lambda connection: connection, answer) as cleartext:
        running.service(f"127.0.0.1:{cleartext.port}", name="orders", tls="mutual", protocol="http")
        with Http1.connect(running.web.outbound) as client:
            assert client.ask(Request(host="orders")).fields[REASON] == "tls-failure"
    words = "The endpoint does not speak TLS"
    eventually(words, lambda: words in last_failure(running.web, "orders")["detail"])


def asked(proxy: Proxy, context: ssl.SSLContext) -> bytes:
    """What a client with this certificate is answered; b"" when it is turned away."""
    # Under TLS 1.3 a client has to read to learn that it was refused: by an alert, or a reset behind it.
    with (
        suppress(ssl.SSLError, ConnectionError),
        scripted.connect(proxy.inbound) as connection,
        context.wrap_socket(connection) as stream,
    ):
        stream.sendall(b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n")
        return stream.recv(4096)
    return b""


def refusals(proxy: Proxy) -> list[Json]:
    """Clients that were turned away, newest first."""
    told: list[Json] = json.loads(proxy.get("/api/v1/failures?limit=1000")[1])["failures"]
    return [failure for failure in told if failure["reason"] == "client-untrusted"]


def test_the_right_client_is_let_in(running: Running, mesh_ca: Issuer, tmp_path: Path) -> None:
    # Nothing listens behind it: that is an answer, too.
    shown = mesh_ca.issue(spiffe("orders")).shown(tmp_path, by_server=False)
    assert asked(running.web, shown).startswith(b"HTTP/1.1 503")


@pytest.mark.parametrize("mistake", WRONG_CLIENT)
def test_a_wrong_client_is_turned_away(running: Running, mesh_ca: Issuer, tmp_path: Path, mistake: str) -> None:
    show, words = WRONG_CLIENT[mistake]
    before = len(refusals(running.web))
    assert asked(running.web, show(mesh_ca, spiffe("orders")).shown(tmp_path, by_server=False)) == b""

    eventually("on record", lambda: len(refusals(running.web)) > before)
    detail = refusals(running.web)[0]["detail"]
    assert "Expected a service of mesh.local, seen " in detail
    assert words in detail


def test_a_client_without_a_certificate_is_turned_away(running: Running) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    assert asked(running.web, context) == b""
    assert "showed no certificate" in eventually("on record", lambda: refusals(running.web))[0]["detail"]
