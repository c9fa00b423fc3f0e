"""Connections whose bytes nobody reads on the way: client → sidecar → mTLS → sidecar → app, and what ends them."""

import hashlib
import json
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.conftest import Json, failures, last_failure, live
from tests.mesh import Mesh, Proxy, eventually
from tests.peers import http1, scripted
from tests.peers.collector import collector
from tests.peers.http1 import Http1
from tests.peers.message import Answer, Request
from tests.peers.scripted import PATIENCE, ScriptedServer, refusing
from tests.real.programs import free_port

# What a server that speaks first says: MySQL, SMTP and SSH do.
GREETING = b"220 hello\r\n"
# A stalled reader may cost the buffers of four sockets and one piece a proxy, of all that is sent.
LARGE, STALLED = 100 << 20, 24 << 20

Script = Callable[[socket.socket], None]


def echo(peer: socket.socket) -> None:
    """Every byte comes back; the end, too."""
    while data := peer.recv(65536):
        peer.sendall(data)
    peer.shutdown(socket.SHUT_WR)


@dataclass
class Db:
    """The service `db`, behind a sidecar of its own, and another one whose application calls it and `spare`."""

    mesh: Mesh
    server: ScriptedServer[socket.socket]
    db: Proxy
    web: Proxy

    @property
    def spare(self) -> str:
        """Where the application reaches a service that is what each test makes of it."""
        return self.web.listeners["upstream-spare"]

    def write(self, service: str, **fields: object) -> None:
        """Change a service; in force at both sidecars when this returns."""
        self.mesh.document(f"services/{service}", **fields)
        for proxy in (self.web, self.db):
            live(proxy, "service", service, fields)

    def serving(self, script: Script) -> socket.socket:
        """A connection through both, to an app that does this."""
        self.server.script = script
        return scripted.connect(self.web.listeners["upstream-db"])

    def tunnel(self, script: Script, through: Proxy | None = None) -> socket.socket:
        """The same through CONNECT, at another sidecar maybe."""
        self.server.script = script
        connection = scripted.connect((through or self.web).outbound)
        connection.sendall(b"CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += (byte := connection.recv(1))
            assert byte, head
        assert head.startswith(b"HTTP/1.1 200 ")
        return connection


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer[socket.socket]]:
    with ScriptedServer(lambda connection: connection, echo) as server:
        yield server


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory, server: ScriptedServer[socket.socket]) -> Iterator[Db]:
    with Mesh(tmp_path_factory.mktemp("db")) as mesh:
        mesh.document("services/db", protocol="tcp")
        db = mesh.sidecar("db", server.port)
        mesh.document("services/db", protocol="tcp", endpoints=[{"address": db.inbound}])
        mesh.document("services/spare", protocol="tcp", tls="disabled", endpoints=[{"address": server.address}])
        upstreams = [{"service": service, "port": free_port()} for service in ("db", "spare")]
        mesh.document("services/web", upstreams=upstreams)
        yield Db(mesh, server, db, mesh.sidecar("web", 1))


def received(connection: socket.socket) -> bytes:
    """Everything until the end."""
    data = b""
    while more := connection.recv(65536):
        data += more
    return data


def tcp_failures(proxy: Proxy) -> list[Json]:
    """Of connections that name nobody, newest first."""
    return failures(proxy, "")


def a_failure_since(before: list[Json], proxy: Proxy) -> Json:
    """The newest one that came after these."""
    return eventually("on record", lambda: (now := tcp_failures(proxy))[: len(now) - len(before)])[0]


def logged(proxy: Proxy) -> list[Json]:
    """The lines of the access log."""
    return [json.loads(line) for line in proxy.output().splitlines() if line.startswith('{"time":')]


def rss(proxy: Proxy) -> int:
    """Bytes of memory that the process holds."""
    (line,) = (line for line in Path(f"/proc/{proxy.process.pid}/status").read_text().splitlines() if "VmRSS" in line)
    return int(line.split()[1]) * 1024


both_ways = pytest.mark.parametrize("way", [Db.serving, Db.tunnel], ids=["port", "tunnel"])
Way = Callable[[Db, Script], socket.socket]


class TestBytes:
    @both_ways
    def test_come_back(self, db: Db, way: Way) -> None:
        with closing(way(db, echo)) as client:
            for data in (b"\x00", b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\n", b"\x16\x03\x01\x00\x05hello"):
                client.sendall(data)
                assert client.recv(1000) == data

    @both_ways
    def test_a_server_may_speak_first(self, db: Db, way: Way) -> None:
        def greets(peer: socket.socket) -> None:
            peer.sendall(GREETING)
            assert peer.recv(100) == b"QUIT\r\n"

        with closing(way(db, greets)) as client:
            assert client.recv(100) == GREETING
            client.sendall(b"QUIT\r\n")
            assert client.recv(100) == b""

    @both_ways
    def test_the_client_may_end_its_half_first(self, db: Db, way: Way) -> None:
        def answers_at_the_end(peer: socket.socket) -> None:
            peer.sendall(hashlib.sha256(received(peer)).digest())

        body = bytes(range(251)) * 4111
        with closing(way(db, answers_at_the_end)) as client:
            client.sendall(body)
            client.shutdown(socket.SHUT_WR)
            assert received(client) == hashlib.sha256(body).digest()

    @both_ways
    def test_the_server_may_end_its_half_first(self, db: Db, way: Way) -> None:
        got: list[bytes] = []

        def ends_first(peer: socket.socket) -> None:
            peer.sendall(GREETING)
            peer.shutdown(socket.SHUT_WR)
            got.append(received(peer))

        with closing(way(db, ends_first)) as client:
            assert received(client) == GREETING
            client.sendall(b"still here")
            client.shutdown(socket.SHUT_WR)
            eventually("the rest arrives", lambda: got == [b"still here"])

    def test_a_stalled_reader_stops_the_sender_and_costs_no_memory(self, db: Db) -> None:
        sent = 0
        piece = bytes(1 << 20)

        def sends(peer: socket.socket) -> None:
            nonlocal sent
            for _ in range(LARGE // len(piece)):
                peer.sendall(piece)
                sent += len(piece)

        before = [rss(proxy) for proxy in (db.web, db.db)]
        with closing(db.serving(sends)) as client:
            stalled_at = -1
            while stalled_at != sent:
                stalled_at = sent
                threading.Event().wait(0.5)
            assert stalled_at < STALLED
            count = 0
            while data := client.recv(1 << 20):
                count += len(data)
            assert count == LARGE
        for proxy, earlier in zip((db.web, db.db), before, strict=True):
            assert rss(proxy) - earlier < 16 << 20


class TestEnds:
    def test_a_server_that_breaks_off_is_not_taken_for_one_that_ends(self, db: Db) -> None:
        def breaks_off(peer: socket.socket) -> None:
            peer.recv(10)
            scripted.reset(peer)

        with closing(db.serving(breaks_off)) as client:
            client.sendall(b"hello")
            with pytest.raises(ConnectionResetError):
                received(client)
        assert eventually("on record", lambda: tcp_failures(db.db))[0]["reason"] == "upstream-reset"

    def test_a_client_that_breaks_off_is_not_taken_for_one_that_ends(self, db: Db) -> None:
        ended: list[object] = []

        def watches(peer: socket.socket) -> None:
            peer.sendall(GREETING)
            try:
                ended.append(received(peer))
            except ConnectionResetError as error:
                ended.append(error)

        client = db.serving(watches)
        assert client.recv(100) == GREETING
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        eventually("the app hears of it", lambda: ended)
        assert isinstance(ended[0], ConnectionResetError)
        assert eventually("on record", lambda: tcp_failures(db.web))[0]["reason"] == "downstream-reset"

    def test_a_refused_endpoint_is_passed_over(self, db: Db) -> None:
        db.server.script = echo
        with refusing() as nobody:
            endpoints = [{"address": nobody}, {"address": db.server.address}]
            db.write("spare", protocol="tcp", tls="disabled", endpoints=endpoints)
            before = tcp_failures(db.web)
            for _ in range(10):
                with closing(scripted.connect(db.spare)) as client:
                    client.sendall(b"x")
                    assert client.recv(10) == b"x"
            assert 'sidecar_attempts_total{cluster="spare",outcome="connect-failure"}' in db.web.get("/metrics")[1]
            assert tcp_failures(db.web) == before

            # And nobody left: the port breaks off, CONNECT has words for it.
            db.write("spare", protocol="tcp", tls="disabled", endpoints=[{"address": nobody}])
            eventually("refused", partial(is_broken_off, db.spare))
            assert a_failure_since(before, db.web)["reason"] == "connect-failure"
            with Http1.connect(db.web.outbound) as peer:
                answer = peer.ask(Request("CONNECT", "spare:5432", "spare:5432"))
                assert (answer.status, answer.fields["x-sidecar-reason"]) == (503, "connect-failure")
            assert last_failure(db.web, "spare:5432")["reason"] == "connect-failure"

    def test_an_endpoint_that_is_another_service_gets_nothing(self, db: Db) -> None:
        db.write("spare", protocol="tcp", endpoints=[{"address": db.db.inbound}])
        before, accepted = tcp_failures(db.web), db.server.accepted
        assert is_broken_off(db.spare)
        failure = a_failure_since(before, db.web)
        assert failure["reason"] == "peer-mismatch"
        assert "/svc/spare" in failure["detail"]
        assert "/svc/db" in failure["detail"]
        assert db.server.accepted == accepted

    def test_a_still_connection_ends(self, db: Db) -> None:
        usual: Json = {"protocol": "tcp", "endpoints": [{"address": db.db.inbound}]}
        db.write("db", **usual, idle_timeout="1s")
        before = {proxy.name: tcp_failures(proxy) for proxy in (db.web, db.db)}
        with closing(db.serving(echo)) as client:
            client.sendall(b"x")
            assert client.recv(10) == b"x"
            with pytest.raises(ConnectionResetError):
                client.recv(10)
        # Both sidecars wait as long; the one that is first tells the other.
        reasons = {a_failure_since(before[proxy.name], proxy)["reason"] for proxy in (db.web, db.db)}
        assert "idle-timeout" in reasons
        assert reasons <= {"idle-timeout", "upstream-reset", "downstream-reset"}
        db.write("db", **usual)

    def test_connections_have_the_grace_of_a_drain(self, db: Db) -> None:
        caller = db.mesh.sidecar("caller", 1)
        with closing(db.tunnel(echo, caller)) as client:
            client.sendall(b"before")
            assert client.recv(10) == b"before"
            caller.process.send_signal(signal.SIGTERM)
            eventually("it takes no others", lambda: refuses(caller.outbound), within=PATIENCE)
            client.sendall(b"after")
            assert client.recv(10) == b"after"
        assert caller.process.wait(PATIENCE) == 0


def is_broken_off(address: str) -> bool:
    """True when a connection ends before a byte comes; the end may be quicker than the connection."""
    try:
        with closing(scripted.connect(address)) as client:
            client.sendall(b"x")
            return not client.recv(10)
    except ConnectionError:
        return True


def refuses(address: str) -> bool:
    try:
        scripted.connect(address).close()
    except ConnectionRefusedError:
        return True
    return False


class TestRequests:
    def test_a_request_for_the_service_is_told_where_it_is_reached(self, db: Db) -> None:
        with Http1.connect(db.web.outbound) as peer:
            answer = peer.ask(Request(host="db"))
        assert answer.status == 404
        assert "protocol tcp" in json.loads(answer.body)["detail"]

    def test_a_service_may_change_what_it_speaks(self, db: Db) -> None:
        with http1.server(lambda request: Answer(200, {"content-length": "0"})) as server:
            document: Json = {"tls": "disabled", "endpoints": [{"address": server.address}]}
            db.write("spare", **document, protocol="tcp")
            with Http1.connect(db.spare) as peer:
                # As bytes it passes whatever it is.
                assert peer.ask(Request(host="spare")).status == 200
                db.write("spare", **document, protocol="http")
                with Http1.connect(db.web.outbound) as other:
                    assert other.ask(Request(host="spare")).status == 200
                assert peer.ask(Request(host="spare")).status == 200


def test_what_is_told_of_a_connection(tmp_path: Path, server: ScriptedServer[socket.socket]) -> None:
    server.script = echo
    with collector() as spans, Mesh(tmp_path) as mesh:
        mesh.document("services/db", protocol="tcp")
        db = mesh.sidecar("db", server.port, environ=spans.environ())
        mesh.document("services/db", protocol="tcp", endpoints=[{"address": db.inbound}])
        mesh.document("services/web", upstreams=[{"service": "db", "port": free_port()}])
        web = mesh.sidecar("web", 1, environ=spans.environ())
        with closing(scripted.connect(web.listeners["upstream-db"])) as client:
            client.sendall(b"hello")
            assert client.recv(10) == b"hello"

        web_id, db_id = (f"spiffe://mesh.local/ns/default/dc/dc1/svc/{name}" for name in ("web", "db"))
        for proxy, direction, peers in ((web, "outbound", (None, db_id)), (db, "inbound", (web_id, None))):
            line = eventually("the line", partial(logged, proxy))[-1]
            assert (line["protocol"], line["direction"]) == ("TCP", direction)
            assert (line["bytes_received"], line["bytes_sent"]) == (5, 5)
            assert (line.get("peer"), line.get("upstream_peer")) == peers
            assert not line.keys() & {"method", "path", "status", "reason"}
            metrics = proxy.get("/metrics")[1]
            cluster = "db" if proxy is web else "app"
            labels = f'sidecar_direction="{direction}",sidecar_route="{cluster}",sidecar_cluster="{cluster}"'
            assert f'sidecar_tcp_connection_duration_seconds_count{{{labels},sidecar_reason=""}} 1' in metrics
            assert f'sidecar_tcp_bytes_total{{{labels},way="received"}} 5' in metrics

        eventually("both spans", lambda: len(spans.of_requests()) == 2, within=PATIENCE)
        told = {span.service: span for span in spans.of_requests()}
        assert (told["web"].name, told["web"].kind) == ("tcp db", "client")
        assert (told["db"].name, told["db"].kind) == ("tcp app", "server")
        assert told["web"].attributes["sidecar.upstream.peer"] == db_id
        assert told["db"].attributes["sidecar.peer"] == web_id
        assert told["db"].attributes["network.transport"] == "tcp"
