"""A gateway behind a balancer that passes bytes on: who calls, who may say so, and how it learns of the end."""

import json
import signal
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.conftest import last_failure
from tests.mesh import LOOPBACK, Mesh, Proxy, eventually
from tests.peers import http1, scripted
from tests.peers.http1 import Http1, encoded
from tests.peers.http2 import Http2
from tests.peers.message import Answer, Request, sized
from tests.peers.proxy_protocol import LOCAL, v1, v2
from tests.tls import secured

CLIENT, OTHER, V6 = "203.0.113.7", "192.0.2.9", "2001:db8::7"
HEALTH = "/healthz"
ME = "127.0.0.1"


def telling(request: Request) -> Answer:
    """Says who calls, as the application is told."""
    body = json.dumps({name: request.fields.get(name, "") for name in ("x-forwarded-for", "x-forwarded-port")})
    return Answer(200, sized(body.encode()), body.encode())


@dataclass
class Behind:
    """A gateway whose listeners are for balancers on loopback: in the clear, with TLS, and for balancers elsewhere."""

    proxy: Proxy
    authority: str

    def connect(self, header: bytes, listener: str = "edge-0") -> Http1:
        client = Http1.connect(self.proxy.listeners[listener])
        client.send(header)
        return client

    def ask(self, header: bytes, path: str = "/", host: str = "open.test", **fields: str) -> Answer:
        with self.connect(header) as client:
            return client.ask(Request("GET", path, host, {name.replace("_", "-"): fields[name] for name in fields}))

    def told(self, header: bytes, **fields: str) -> dict[str, str]:
        """What the application is told."""
        answer = self.ask(header, **fields)
        assert answer.status == 200, answer
        told: dict[str, str] = json.loads(answer.body)
        return told

    def is_refused(self, header: bytes, listener: str = "edge-0") -> bool:
        """True when the connection is closed without a byte."""
        with self.connect(header, listener) as client:
            try:
                client.send(encoded(Request("GET", "/", "open.test")))
            except ConnectionError:
                return True
            return client.is_over()

    def details(self, reason: str) -> list[str]:
        """Of the failures with this reason, newest first."""
        failures = json.loads(self.proxy.get("/api/v1/failures?limit=1000")[1])["failures"]
        return [failure["detail"] for failure in failures if failure["reason"] == reason]


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    directory = tmp_path_factory.mktemp("behind")
    tls = secured(directory)
    trusting = {"proxy_protocol": {"trusted": ["127.0.0.0/8", "::1"]}}
    with http1.server(telling) as server, Mesh(directory / "mesh") as mesh:
        mesh.document("services/shop", tls="disabled", endpoints=[{"address": server.address}])
        to = {"to": {"service": "shop"}}
        two_a_day = {"requests": 2, "per": "24h", "by": ["source"]}
        document: dict[str, Any] = {
            "listeners": [
                {**LOOPBACK, **trusting, "health_path": HEALTH},
                {**tls.listener, **trusting},
                {**LOOPBACK, "proxy_protocol": {"trusted": ["198.51.100.0/24"]}},
                {**LOOPBACK, **trusting, "limits": {"header_timeout": "200ms"}},
            ],
            "sources": {"deny": ["192.0.2.0/24"]},
            "routes": [
                {
                    "name": "few",
                    "match": {"host": "few.test"},
                    "rate_limit": two_a_day,
                    **to,
                },
                {"name": "near", "match": {"host": "near.test", "source": ["2001:db8::/32"]}, **to},
                {"name": "open", "match": {"host": "open.test"}, **to},
            ],
        }
        mesh.document("gateways/edge", **document)
        yield Behind(mesh.gateway("edge"), str(tls.authority))


@pytest.mark.parametrize("header", [v1, v2])
def test_the_client_is_the_one_whom_the_balancer_names(behind: Behind, header: Any) -> None:
    assert behind.told(header(CLIENT)) == {"x-forwarded-for": CLIENT, "x-forwarded-port": "443"}
    assert behind.told(header(CLIENT), x_forwarded_for="10.0.0.1")["x-forwarded-for"] == CLIENT, "no proxy of ours"
    assert behind.told(header(V6, "2001:db8::1"))["x-forwarded-for"] == V6
    assert behind.told(header(V6, "2001:db8::1"), host="near.test")["x-forwarded-for"] == V6
    assert behind.ask(header(CLIENT), host="near.test").status == 404
    assert behind.ask(header(OTHER)).status == 403, "`sources` sees the client"


def test_limits_count_clients_and_not_the_balancer(behind: Behind) -> None:
    clients = ["198.18.0.1"] * 3 + ["198.19.0.1"] * 3
    statuses = [behind.ask(v2(client), host="few.test").status for client in clients]
    assert statuses == [200, 200, 429, 200, 200, 429]


def test_a_connection_of_the_balancers_own_is_its_own(behind: Behind) -> None:
    for header in (b"PROXY UNKNOWN\r\n", v2(CLIENT, command=LOCAL), v2(CLIENT, tlvs=b"\x04\0\1\0")[:13] + b"\0\0\0"):
        assert behind.told(header)["x-forwarded-for"] == ME, header


def test_every_request_of_a_connection_is_of_its_client_over_http2_too(behind: Behind) -> None:
    connection = scripted.connect(behind.proxy.listeners["edge-0"])
    connection.sendall(v2(CLIENT, tlvs=b"\x02\0\x09shop.test"))
    with Http2(connection, client=True) as client:
        for _ in range(2):
            answer = client.ask(Request("GET", "/", "open.test"))
            assert json.loads(answer.body)["x-forwarded-for"] == CLIENT


def test_tls_begins_behind_the_header(behind: Behind) -> None:
    host, _, port = behind.proxy.listeners["edge-0-2"].rpartition(":")
    context = ssl.create_default_context(cafile=behind.authority)
    with socket.create_connection((host, int(port)), timeout=scripted.PATIENCE) as connection:
        connection.sendall(v1(CLIENT))
        with context.wrap_socket(connection, server_hostname="localhost") as secure, Http1(secure) as client:
            answer = client.ask(Request("GET", "/", "open.test"))
    assert json.loads(answer.body)["x-forwarded-for"] == CLIENT


def test_records_tell_of_the_client(behind: Behind) -> None:
    behind.ask(v2("203.0.113.99"), host="nowhere.test")

    def line() -> str | None:
        return next((line for line in behind.proxy.output().splitlines() if "nowhere.test" in line), None)

    assert '"client":"203.0.113.99:49153"' in eventually("its line in the access log", line)
    assert last_failure(behind.proxy, "nowhere.test")["client"] == "203.0.113.99:49153"


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b"", "The header is malformed: the connection begins with something else."),
        (b"PROXY TCP4 203.0.113.7 198.51.100.7 1\r\n", "two addresses and two ports"),
        (v2(CLIENT, tlvs=b"\x03\0\x04\0\0\0\0"), "CRC32c"),
        (v2(CLIENT, tlvs=b"\x04\0\x02\0"), "a TLV ends after the header"),
    ],
)
def test_a_connection_without_a_good_header_is_refused_told_and_counted(
    behind: Behind, header: bytes, words: str
) -> None:
    assert behind.is_refused(header)
    eventually(words, lambda: any(words in detail for detail in behind.details("proxy-protocol")))
    counted = 'sidecar_reason="proxy-protocol"'
    assert any(counted in line and not line.endswith(" 0") for line in behind.proxy.get("/metrics")[1].splitlines())


def test_nobody_else_may_say_whose_connection_it_is(behind: Behind) -> None:
    assert behind.is_refused(v1(CLIENT), "edge-0-3")
    words = f"`proxy_protocol.trusted` has no {ME}."
    eventually(words, lambda: any(words in detail for detail in behind.details("proxy-protocol")))


def test_a_header_that_does_not_end_is_not_waited_for(behind: Behind) -> None:
    with behind.connect(v1(CLIENT)[:-2], "edge-0-4") as client:
        assert client.is_over()
    eventually("it is told", lambda: any("PROXY" in detail for detail in behind.details("request-timeout")))


def test_the_gateway_answers_for_its_health(behind: Behind) -> None:
    local = v2(CLIENT, command=LOCAL)
    assert behind.ask(local, HEALTH, "10.1.2.3:80").status == 200
    assert behind.ask(v1(OTHER), HEALTH).status == 200, "before `sources`, which is about clients"
    with behind.connect(local) as client:
        assert [client.ask(Request(method, HEALTH)).status for method in ("HEAD", "GET", "POST")] == [200, 200, 404]
        assert client.ask(Request("GET", f"{HEALTH}/x", "open.test")).status == 200


def test_for_a_while_after_a_signal_health_is_denied_and_clients_are_served_and_sent_away(mesh: Mesh) -> None:
    with http1.server(telling) as server:
        mesh.document("services/shop", tls="disabled", endpoints=[{"address": server.address}])
        mesh.document(
            "gateways/edge",
            listeners=[{**LOOPBACK, "health_path": HEALTH}],
            routes=[{"name": "all", "to": {"service": "shop"}}],
        )
        edge = mesh.gateway("edge", "--drain-delay", "10m")
        with Http1.connect(edge.edge) as old, Http2.connect(edge.edge) as old2:
            assert old.ask(Request("GET", HEALTH)).status == 200
            assert old.ask(Request("GET", "/")).fields.get("connection") is None
            assert old2.ask(Request("GET", "/")).status == 200

            edge.process.send_signal(signal.SIGTERM)

            old2.until(lambda: len(old2.goaways) == 2)
            assert edge.get("/ready")[0] == 503
            answer = old.ask(Request("GET", "/"))
            assert (answer.status, answer.fields["connection"]) == (200, "close")
            assert old.is_over()
        # Who does not know yet is served.
        with Http1.connect(edge.edge) as new:
            answer = new.ask(Request("GET", HEALTH))
            assert (answer.status, answer.fields["connection"]) == (503, "close")
        with Http2.connect(edge.edge) as new2:
            assert [new2.ask(Request("GET", path)).status for path in ("/", HEALTH, "/")] == [200, 503, 200]
            assert new2.goaways == []
        edge.process.send_signal(signal.SIGTERM)
        assert edge.process.wait(scripted.PATIENCE) == 128 + signal.SIGTERM, "the second signal waits for nothing"
