"""What an application learns of the way a request came."""

import json
import socket
from pathlib import Path

import pytest

from tests.e2e.fidelity.apps import running, serve_http1
from tests.e2e.fidelity.message import Http1
from tests.mesh import LOOPBACK, Mesh

LIES = [("x-forwarded-for", "6.6.6.6, 192.0.2.1"), ("x-forwarded-proto", "gopher"), ("x-request-id", "mine")]


def seen(edge: str) -> dict[str, str]:
    """The fields that arrive when a client on loopback tells lies."""
    host, port = edge.rsplit(":", 1)
    peer = Http1(socket.create_connection((host, int(port)), timeout=10))
    peer.write_head("GET /echo HTTP/1.1", [("host", "shop.test"), *LIES])
    answer = json.loads(peer.read_response().body)
    peer.close()
    return dict(answer["fields"])


@pytest.mark.parametrize(
    ("forwarding", "chain", "scheme"),
    [
        ({}, "127.0.0.1, 127.0.0.1", "http"),
        ({"trusted": ["127.0.0.0/8"]}, "192.0.2.1, 127.0.0.1, 127.0.0.1", "gopher"),
        ({"hops": 2}, "6.6.6.6, 192.0.2.1, 127.0.0.1, 127.0.0.1", "gopher"),
    ],
    ids=["stranger", "trusted network", "two hops"],
)
def test_only_a_trusted_proxy_is_believed(
    tmp_path: Path, forwarding: dict[str, object], chain: str, scheme: str
) -> None:
    with running(serve_http1) as app, Mesh(tmp_path) as mesh:
        edge = mesh.exposed("web", app.port, {**LOOPBACK, "forwarding": forwarding}, protocol="http").edge
        fields = seen(edge)
    # The gateway says who called it, and the sidecar that the gateway did.
    assert (fields["x-forwarded-for"], fields["x-forwarded-proto"]) == (chain, scheme)
    assert (fields["x-forwarded-host"], fields["x-forwarded-port"]) == ("shop.test", edge.rsplit(":", 1)[1])
    assert (fields["x-request-id"] == "mine") == bool(forwarding)
