"""TLS at a gateway as `openssl s_client` and curl see it."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.mesh import LOOPBACK, Mesh
from tests.peers import http1
from tests.peers.message import Answer, sized
from tests.real.programs import debian
from tests.tls import secured

pytestmark = pytest.mark.real


@dataclass(frozen=True)
class Edge:
    """A gateway that wants its clients' certificates, and what a client needs."""

    address: str
    authority: Path
    certificate: Path
    key: Path


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    directory = tmp_path_factory.mktemp("tls")
    server, clients = secured(directory), trustme.CA()
    clients.cert_pem.write_to_path(directory / "clients.pem")
    alice = clients.issue_cert("alice@shop.test")
    alice.cert_chain_pems[0].write_to_path(directory / "alice.pem")
    alice.private_key_pem.write_to_path(directory / "alice.key")
    tls = server.listener["tls"]
    assert isinstance(tls, dict)
    listener = {**LOOPBACK, "tls": {**tls, "client_certificates": {"ca": str(directory / "clients.pem")}}}
    with http1.server(lambda _: Answer(200, sized(b"ok"), b"ok")) as app, Mesh(directory / "mesh") as mesh:
        mesh.document("services/web", tls="disabled", endpoints=[{"address": app.address}])
        mesh.document("gateways/edge", listeners=[listener], routes=[{"name": "all", "to": {"service": "web"}}])
        yield Edge(mesh.gateway("edge").edge, server.authority, directory / "alice.pem", directory / "alice.key")


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_resumes_a_session(edge: Edge, version: str, tmp_path: Path) -> None:
    session = tmp_path / "session.pem"

    def s_client(*arguments: str) -> str:
        command = [debian("openssl"), "s_client", "-connect", edge.address, version, "-CAfile", str(edge.authority)]
        shown = ["-cert", str(edge.certificate), "-key", str(edge.key)]
        request = b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n"
        # With -ign_eof it ends with the answer, not with the request: the ticket comes after the handshake.
        done = subprocess.run(
            [*command, *shown, "-ign_eof", *arguments], input=request, capture_output=True, timeout=30, check=False
        )
        return done.stdout.decode(errors="replace")

    first = s_client("-sess_out", str(session))
    assert "New, " in first
    assert "200 OK" in first
    second = s_client("-sess_in", str(session))
    assert "Reused, " in second
    assert "200 OK" in second


def test_curl_shows_its_certificate_and_is_refused_without(edge: Edge) -> None:
    curl = [debian("curl"), "--silent", "--show-error", "--max-time", "20", "--cacert", str(edge.authority)]
    url = f"https://{edge.address}/"
    shown = subprocess.run([*curl, "--cert", edge.certificate, "--key", edge.key, url], capture_output=True, check=True)
    assert shown.stdout == b"ok"
    assert subprocess.run([*curl, url], capture_output=True, check=False).returncode != 0
