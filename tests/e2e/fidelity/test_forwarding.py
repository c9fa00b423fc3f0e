"""What an application learns of the way a request came."""

import json
import socket
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from tests.e2e.fidelity.apps import running, serve_http1
from tests.e2e.fidelity.message import Http1, Http2
from tests.mesh import LOOPBACK, Mesh, Proxy, eventually

LIES = [("x-forwarded-for", "6.6.6.6, 192.0.2.1"), ("x-forwarded-proto", "gopher")]


def seen(address: str, fields: Sequence[tuple[str, str]], host: str = "shop.test") -> dict[str, str]:
    """The fields that arrive when a client on loopback sends these."""
    return told(address, fields, host)[0]


def told(address: str, fields: Sequence[tuple[str, str]], host: str) -> tuple[dict[str, str], dict[str, str]]:
    """The fields that arrive at the application, and those of its answer."""
    name, port = address.rsplit(":", 1)
    peer = Http1(socket.create_connection((name, int(port)), timeout=10))
    peer.write_head("GET /echo HTTP/1.1", [("host", host), *fields])
    answer = peer.read_response()
    peer.close()
    return dict(json.loads(answer.body)["fields"]), dict(answer.fields)


def logged(proxy: Proxy, request_id: str) -> dict[str, object]:
    """The access-log line of a request."""

    def line() -> dict[str, object] | None:
        lines = (line for line in proxy.output().splitlines() if line.startswith("{"))
        return next((found for found in map(json.loads, lines) if found.get("request_id") == request_id), None)

    return eventually(f"a log line of {request_id}", line)


# What the gateway's listeners are told of the proxies before them.
FORWARDING: dict[str, dict[str, object]] = {
    "stranger": {},
    "trusted network": {"trusted": ["127.0.0.0/8"]},
    "two hops": {"hops": 2},
    "standard": {"forwarded": True},
}


@dataclass
class Ways:
    """Those to the application `web`: a gateway with these listeners, and the outbound port of another's sidecar."""

    gateway: Proxy
    outbound: str

    def listener(self, name: str) -> str:
        """The address of this one of FORWARDING."""
        index = list(FORWARDING).index(name)
        return self.gateway.listeners[f"edge-0-{index + 1}" if index else "edge-0"]

    def to(self, by: str) -> str:
        return self.listener("standard") if by == "gateway" else self.outbound


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    with running(serve_http1) as app, Mesh(tmp_path_factory.mktemp("forwarding")) as mesh:
        mesh.document("services/web", protocol="http")
        web = mesh.sidecar("web", app.port)
        mesh.document("services/web", protocol="http", endpoints=[{"address": web.inbound}])
        listeners = [{**LOOPBACK, "forwarding": forwarding} for forwarding in FORWARDING.values()]
        mesh.document("gateways/edge", listeners=listeners, routes=[{"name": "all", "to": {"service": "web"}}])
        yield Ways(mesh.gateway("edge"), mesh.sidecar("other", app.port).outbound)


@pytest.mark.parametrize(
    ("listener", "chain", "scheme"),
    [
        ("stranger", "127.0.0.1, 127.0.0.1", "http"),
        ("trusted network", "192.0.2.1, 127.0.0.1, 127.0.0.1", "gopher"),
        ("two hops", "6.6.6.6, 192.0.2.1, 127.0.0.1, 127.0.0.1", "gopher"),
    ],
)
def test_only_a_trusted_proxy_is_believed(ways: Ways, listener: str, chain: str, scheme: str) -> None:
    address, trusts = ways.listener(listener), bool(FORWARDING[listener])
    request_id = f"id-{listener.replace(' ', '-')}"
    fields = seen(address, [*LIES, ("x-request-id", request_id)])
    line = logged(ways.gateway, fields["x-request-id"])
    # The gateway says who called it, and the sidecar that the gateway did.
    assert (fields["x-forwarded-for"], fields["x-forwarded-proto"]) == (chain, scheme)
    assert (fields["x-forwarded-host"], fields["x-forwarded-port"]) == ("shop.test", address.rsplit(":", 1)[1])
    assert (fields["x-request-id"] == request_id) == trusts
    # Who the client is stands first in what is left of the chain; the proxy that told it is named beside it.
    client = chain.split(", ", maxsplit=1)[0]
    assert str(line["client"]).startswith(client)
    assert ("proxy" in line) == trusts


def test_an_application_learns_the_way_in_the_standards_words(ways: Ways) -> None:
    fields = seen(ways.listener("standard"), [("forwarded", "for=6.6.6.6")])
    assert fields["forwarded"] == 'for=127.0.0.1;host="shop.test";proto=http'


def test_a_request_id_is_made_by_time(ways: Ways) -> None:
    first, second = (uuid.UUID(seen(ways.listener("standard"), [])["x-request-id"]) for _ in range(2))
    # Python 3.11 knows version 7 by its bits alone (RFC 9562 section 5.7).
    assert [(made.int >> 76) & 0xF for made in (first, second)] == [7, 7]
    assert [made.variant for made in (first, second)] == [uuid.RFC_4122] * 2
    assert abs((first.int >> 80) / 1000 - time.time()) < 60
    assert first != second


def test_inside_the_mesh_what_an_application_says_stays(ways: Ways) -> None:
    fields = seen(ways.outbound, [*LIES, ("x-request-id", "mine")], "web")
    assert (fields["x-forwarded-for"], fields["x-forwarded-proto"]) == ("6.6.6.6, 192.0.2.1, 127.0.0.1", "gopher")
    assert fields["x-request-id"] == "mine"


@pytest.mark.parametrize(("by", "host"), [("gateway", "shop.test"), ("sidecar", "web")])
def test_fields_of_one_connection_go_no_further(ways: Ways, by: str, host: str) -> None:
    own = [
        ("connection", "keep-alive, x-mine, traceparent"),
        ("x-mine", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("te", "trailers, gzip"),
        ("x-other", "2"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ]
    fields = seen(ways.to(by), own, host)
    assert not {"x-mine", "keep-alive", "proxy-connection"} & fields.keys()
    # What traces a request cannot be taken away by whoever sends it; of TE one word concerns the application.
    assert fields["x-other"] == "2"
    assert "0af7651916cd43dd8448eb211c80319c" in fields["traceparent"]
    assert fields.get("te", "trailers") == "trailers"


@pytest.mark.parametrize(("by", "host"), [("gateway", "shop.test"), ("sidecar", "web")])
def test_date_via_and_server_are_left_alone(ways: Ways, by: str, host: str) -> None:
    written = [("via", "1.1 front"), ("date", "Tue, 15 Nov 1994 08:12:31 GMT")]
    fields, answered = told(ways.to(by), written, host)
    assert (fields["via"], fields["date"]) == ("1.1 front", "Tue, 15 Nov 1994 08:12:31 GMT")
    # The application's own words, and none of ours.
    assert not {"via", "server", "date"} & answered.keys()


@pytest.mark.parametrize(("by", "host"), [("gateway", "shop.test:8443"), ("sidecar", "web")])
def test_an_application_sees_the_host_that_was_asked_for(ways: Ways, by: str, host: str) -> None:
    assert seen(ways.to(by), [], host)["host"] == host


# Who the client is, how its request came, which try it is, what becomes of it: proxies tell that, and clients do not.
CLAIMS = [
    *("x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-forwarded-client-cert"),
    *("x-forwarded-prefix", "x-forwarded-user", "x-forwarded-email", "x-forwarded-scheme", "x-forwarded-ssl"),
    *("forwarded", "x-request-id", "x-envoy-external-address", "x-envoy-internal", "x-envoy-original-path"),
    *("x-envoy-peer-metadata", "x-envoy-attempt-count", "x-envoy-expected-rq-timeout-ms", "x-envoy-force-trace"),
]
# These no proxy in front has to tell either.
OURS = [
    "x-sidecar-fault",
    "x-sidecar-reason",
    "x-sidecar-anything",
    "grpc-status",
    "grpc-message",
    "grpc-status-details-bin",
]
# Programs behind names of CGI take one for the other.
CGI = ["x_forwarded_for", "X_Forwarded_Host", "X_Request_Id", "x_sidecar_fault", "x-forwarded_proto"]
# What a client may well say.
ITS_OWN = ["x-mine", "x-real-thing", "grpc-timeout-of-mine", "x-forwardedness", "authorization"]
SPOOFED = "spoofed"


def spoofed(address: str, fields: Sequence[str], trailers: Sequence[str], version: int) -> set[str]:
    """The names under which the lie arrives, in the head or behind the content."""
    name, port = address.rsplit(":", 1)
    connection = socket.create_connection((name, int(port)), timeout=10)
    head = [(field, SPOOFED) for field in fields]
    if version == 2:
        two = Http2(connection, client=True)
        pseudo = [(":method", "POST"), (":scheme", "http"), (":authority", "shop.test"), (":path", "/echo")]
        two.head(1, [*pseudo, ("te", "trailers"), *((name.lower(), value) for name, value in head)])
        two.data(1, b"x")
        two.head(1, [(trailer.lower(), SPOOFED) for trailer in (*trailers, "x-last")], end=True)
        answer = two.read(1)
        two.close()
    else:
        one = Http1(connection)
        framing = [("te", "trailers"), ("transfer-encoding", "chunked")]
        one.write_head("POST /echo HTTP/1.1", [("host", "shop.test"), *framing, *head])
        one.write_chunk(b"x")
        one.write_end([(trailer, SPOOFED) for trailer in (*trailers, "x-last")])
        answer = one.read_response()
        one.close()
    seen = json.loads(answer.body)
    return {name for part in ("fields", "trailers") for name, value in seen[part] if SPOOFED in value}


@pytest.mark.parametrize("version", [1, 2])
def test_nothing_that_a_stranger_claims_arrives(ways: Ways, version: int) -> None:
    address = ways.listener("stranger")
    assert spoofed(address, [*CLAIMS, *OURS, *CGI], [*CLAIMS, *OURS, *CGI], version) == {"x-last"}
    # What is not a claim does arrive: these eyes are open.
    assert spoofed(address, ITS_OWN, [], version) == {*ITS_OWN, "x-last"}


@pytest.mark.parametrize("version", [1, 2])
def test_a_trusted_proxy_is_believed_but_does_not_speak_for_us(ways: Ways, version: int) -> None:
    # A time is read, and told on as what is left of it.
    believed = {*CLAIMS, "x-last"} - {"x-envoy-expected-rq-timeout-ms"}
    assert spoofed(ways.listener("two hops"), [*CLAIMS, *OURS], [], version) == believed


def test_a_stranger_cannot_have_taken_away_what_we_say(ways: Ways) -> None:
    named = [*CLAIMS, "x-mine", "authorization"]
    fields = seen(
        ways.listener("standard"),
        [("connection", ", ".join(named)), ("x-mine", SPOOFED), ("authorization", "Basic Zm9v")],
    )
    assert {"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "forwarded", "x-request-id"} <= fields.keys()
    assert fields["authorization"] == "Basic Zm9v"
    assert SPOOFED not in fields.values()
