"""TLS at a gateway's listeners and between sidecars, with Python's ssl (OpenSSL) as the client."""

import json
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.mesh import LOOPBACK, Mesh, Proxy, eventually
from tests.peers import http1
from tests.peers.http1 import Http1
from tests.peers.message import Answer, Ended, Request, sized

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
both_versions = pytest.mark.parametrize("version", [V12, V13], ids=["TLS 1.2", "TLS 1.3"])


def echo(request: Request) -> Answer:
    told = json.dumps(request.fields).encode()
    return Answer(200, sized(told), told)


class Files:
    """Certificates of an authority of this test's own, in a directory of their own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = trustme.CA()
        self.authority.cert_pem.write_to_path(directory / "authority.pem")

    def leaf(self, name: str, *hosts: str) -> dict[str, str]:
        """Write a new pair, in place; returns where, as a document names it."""
        issued = self.authority.issue_cert(*hosts)
        pair = {"cert": self.directory / f"{name}.pem", "key": self.directory / f"{name}.key"}
        pair["cert"].write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        pair["key"].write_bytes(issued.private_key_pem.bytes())
        return {kind: str(path) for kind, path in pair.items()}


@dataclass
class Edge:
    """A gateway with these TLS listeners."""

    mesh: Mesh
    proxy: Proxy
    files: Files
    clients: Files
    # Of each listener whose files change: its pair `edge`, and its clients.
    changing: list[tuple[Files, Files]]

    def address(self, index: int) -> str:
        return self.proxy.listeners["edge-0" if index == 0 else f"edge-0-{index + 1}"]

    def failures(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = json.loads(self.proxy.get("/api/v1/failures?limit=100")[1])["failures"]
        return found


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    files, clients = Files(tmp_path_factory.mktemp("tls")), Files(tmp_path_factory.mktemp("clients"))
    changing = [(Files(tmp_path_factory.mktemp("tls")), Files(tmp_path_factory.mktemp("clients"))) for _ in range(3)]
    any_of = [
        files.leaf("first", "first.test"),
        files.leaf("wildcard", "*.shop.test"),
        files.leaf("exact", "api.shop.test"),
    ]
    ca = str(clients.directory / "authority.pem")
    with http1.server(echo) as app, Mesh(tmp_path_factory.mktemp("mesh")) as mesh:
        mesh.document("services/one", tls="disabled", endpoints=[{"address": app.address}])
        listeners = [
            {**LOOPBACK, "tls": {"certificates": any_of}},
            {**LOOPBACK, "tls": {"certificates": any_of, "min_version": "1.3"}},
            {**LOOPBACK, "tls": {"certificates": any_of, "client_certificates": {"ca": ca}}},
            {**LOOPBACK, "tls": {"certificates": any_of, "client_certificates": {"ca": ca, "mode": "optional"}}},
        ]
        for own, own_clients in changing:
            optional = {"ca": str(own_clients.directory / "authority.pem"), "mode": "optional"}
            tls = {"certificates": [own.leaf("edge", "first.test")], "client_certificates": optional}
            listeners.append({**LOOPBACK, "tls": tls})
        mesh.document("gateways/edge", listeners=listeners, routes=[{"name": "all", "to": {"service": "one"}}])
        yield Edge(mesh, mesh.gateway("edge"), files, clients, changing)


PUBLIC, MODERN, REQUIRED, OPTIONAL, *CHANGING = range(7)


def trusting(
    edge: Edge | Files, version: ssl.TLSVersion = V13, shown: trustme.LeafCert | None = None
) -> ssl.SSLContext:
    """A client that trusts the gateway, speaks one version, and maybe shows a certificate."""
    files = edge if isinstance(edge, Files) else edge.files
    context = ssl.create_default_context(cafile=str(files.directory / "authority.pem"))
    context.minimum_version = context.maximum_version = version
    if shown is not None:
        shown.configure_cert(context)
    return context


def connected(
    address: str, context: ssl.SSLContext, name: str = "first.test", session: ssl.SSLSession | None = None
) -> ssl.SSLSocket:
    host, _, port = address.rpartition(":")
    plain = socket.create_connection((host, int(port)), timeout=20)
    try:
        return context.wrap_socket(plain, server_hostname=name, session=session)
    except BaseException:
        plain.close()
        raise


def asked(over: ssl.SSLSocket) -> Answer:
    with Http1(over) as peer:
        return peer.ask(Request(host="one.test"))


def names(over: ssl.SSLSocket) -> set[str]:
    """Those of the certificate that the gateway showed."""
    with over:
        shown = over.getpeercert()
        assert shown is not None
        return {str(entry[1]) for entry in shown["subjectAltName"]}


# --- versions and names


@both_versions
def test_both_versions_are_spoken_unless_the_listener_wants_the_newer(edge: Edge, version: ssl.TLSVersion) -> None:
    context = trusting(edge, version)
    with connected(edge.address(PUBLIC), context) as over:
        assert over.version() == {V12: "TLSv1.2", V13: "TLSv1.3"}[version]
        assert asked(over).status == 200
    if version is V13:
        assert asked(connected(edge.address(MODERN), context)).status == 200
    else:
        with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
            connected(edge.address(MODERN), context)


@pytest.mark.parametrize(
    ("asked_for", "shown"),
    [("first.test", "first.test"), ("api.shop.test", "api.shop.test"), ("www.shop.test", "*.shop.test")],
)
def test_the_certificate_is_chosen_by_name_the_very_name_first(edge: Edge, asked_for: str, shown: str) -> None:
    assert names(connected(edge.address(PUBLIC), trusting(edge), asked_for)) == {shown}


def test_a_name_that_no_certificate_has_gets_the_first(edge: Edge) -> None:
    context = trusting(edge)
    context.check_hostname = False
    assert names(connected(edge.address(PUBLIC), context, "other.test")) == {"first.test"}


# --- clients' certificates


@both_versions
def test_a_client_that_shows_a_good_certificate_is_known_and_no_part_of_the_mesh(
    edge: Edge, version: ssl.TLSVersion
) -> None:
    alice = edge.clients.authority.issue_cert("alice@shop.test")
    for index in (REQUIRED, OPTIONAL):
        answer = asked(connected(edge.address(index), trusting(edge, version, alice)))
        assert answer.status == 200
        assert "x-forwarded-client-cert" not in json.loads(answer.body)
        # A route that is not there is explained to peers of the mesh alone.
        with Http1(connected(edge.address(index), trusting(edge, version, alice))) as peer:
            assert "x-sidecar-reason" not in peer.ask(Request("CONNECT", "one.test:443", "one.test")).fields
    eventually("her name is in the log", lambda: '"peer":"alice@shop.test"' in edge.proxy.output())


def test_without_a_certificate_a_client_is_welcome_where_that_is_optional(edge: Edge) -> None:
    assert asked(connected(edge.address(OPTIONAL), trusting(edge))).status == 200
    before = len(edge.failures())
    with pytest.raises((ssl.SSLError, ConnectionError, Ended)):
        # In TLS 1.3 the client is done before the gateway has judged it.
        asked(connected(edge.address(REQUIRED), trusting(edge)))
    eventually("a record of it", lambda: len(edge.failures()) > before)
    assert (edge.failures()[0]["reason"], "certificate" in edge.failures()[0]["detail"]) == ("client-untrusted", True)


@pytest.mark.parametrize("index", [REQUIRED, OPTIONAL], ids=["required", "optional"])
def test_a_certificate_of_another_authority_is_refused_everywhere(edge: Edge, index: int) -> None:
    stranger = trustme.CA().issue_cert("alice@shop.test")
    before = len(edge.failures())
    with pytest.raises((ssl.SSLError, ConnectionError, Ended)):
        asked(connected(edge.address(index), trusting(edge, shown=stranger)))
    eventually("a record of it", lambda: len(edge.failures()) > before)
    failure = edge.failures()[0]
    assert failure["reason"] == "client-untrusted"
    assert "Expected a client of a trusted authority, seen a certificate of" in failure["detail"]


# --- sessions


def resumes(address: str, context: ssl.SSLContext, session: ssl.SSLSession | None) -> tuple[bool, ssl.SSLSession]:
    """Whether this session was taken up again, and the next one."""
    with connected(address, context, session=session) as over, Http1(over) as peer:
        assert peer.ask(Request(host="one.test")).status == 200
        following = over.session
        assert following is not None
        return bool(over.session_reused), following


@both_versions
@pytest.mark.parametrize("index", [PUBLIC, REQUIRED], ids=["public", "client certificates"])
def test_a_client_that_comes_back_resumes_its_session(edge: Edge, version: ssl.TLSVersion, index: int) -> None:
    name = f"{version.name.lower()}@shop.test"
    context = trusting(edge, version, edge.clients.authority.issue_cert(name))
    first, session = resumes(edge.address(index), context, None)
    again, _ = resumes(edge.address(index), context, session)
    assert (first, again) == (False, True)
    if index == REQUIRED:
        # The log comes after the answers.
        eventually("he is known in both", lambda: edge.proxy.output().count(f'"peer":"{name}"') == 2)


def test_a_session_of_one_listener_is_of_no_use_at_another(edge: Edge) -> None:
    # Where no certificate is asked for, nobody would have been verified.
    context = trusting(edge)
    _, session = resumes(edge.address(OPTIONAL), context, None)
    assert resumes(edge.address(PUBLIC), context, session)[0] is False


# --- files that change


def test_files_written_anew_are_shown_without_a_change_of_any_document(edge: Edge) -> None:
    files, _ = edge.changing[0]
    address, context = edge.address(CHANGING[0]), trusting(files)
    context.check_hostname = False
    assert names(connected(address, context)) == {"first.test"}
    with Http1(connected(address, context)) as open_one:
        _, session = resumes(address, context, None)

        # A document that changes nothing of the listener ends no session.
        edge.mesh.document("services/other", protocol="http")
        eventually("it is read", lambda: '"other"' in edge.proxy.get("/api/v1/config")[1])
        again, session = resumes(address, context, session)
        assert again

        files.leaf("edge", "second.test")
        eventually("the new certificate", lambda: names(connected(address, context)) == {"second.test"}, within=15)
        assert resumes(address, context, session)[0] is False
        # What is open stays so.
        assert open_one.ask(Request(host="one.test")).status == 200


def test_half_a_pair_is_never_shown_and_told(edge: Edge) -> None:
    files, _ = edge.changing[1]
    address, context = edge.address(CHANGING[1]), trusting(files)
    context.check_hostname = False
    key = (files.directory / "edge.key").read_bytes()
    files.leaf("edge", "second.test")
    new_key = (files.directory / "edge.key").read_bytes()
    (files.directory / "edge.key").write_bytes(key)
    eventually("a warning", lambda: "is not the key of the first certificate" in edge.proxy.output(), within=15)
    assert names(connected(address, context)) == {"first.test"}
    # Renamed into place, as careful writers do.
    (files.directory / "next.key").write_bytes(new_key)
    (files.directory / "next.key").replace(files.directory / "edge.key")
    eventually("the new certificate", lambda: names(connected(address, context)) == {"second.test"}, within=15)


def test_a_root_that_is_taken_away_ends_the_sessions_that_it_vouched_for(edge: Edge) -> None:
    files, clients = edge.changing[2]
    address = edge.address(CHANGING[2])
    alice = trusting(files, V13, clients.authority.issue_cert("alice@shop.test"))
    _, session = resumes(address, alice, None)
    assert resumes(address, alice, session)[0] is True
    told = "named files have changed"
    before = edge.proxy.output().count(told)
    trustme.CA().cert_pem.write_to_path(clients.directory / "authority.pem")
    eventually("the new roots", lambda: edge.proxy.output().count(told) > before, within=15)
    with pytest.raises((ssl.SSLError, ConnectionError, Ended)):
        resumes(address, alice, session)


# --- between sidecars


def test_the_mesh_may_want_the_newer_version(tmp_path: Path) -> None:
    with http1.server(echo) as app, Mesh(tmp_path) as mesh:
        mesh.document("mesh", tls={"min_version": "1.3"})
        mesh.document("services/one", protocol="http")
        sidecar = mesh.sidecar("one", app.port)
        mesh.document("services/one", protocol="http", endpoints=[{"address": sidecar.inbound}])
        with Http1.connect(sidecar.outbound) as peer:
            eventually("it is reached", lambda: peer.ask(Request(host="one")).status == 200)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = V12
        with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
            connected(sidecar.inbound, context)
