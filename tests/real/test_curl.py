"""curl, the client that everybody has, and nghttp, through a gateway and a sidecar."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.mesh import LOOPBACK, Mesh
from tests.peers import http1
from tests.peers.message import Answer, Request, sized
from tests.real.echo import echo_server
from tests.real.programs import debian, free_port, serving

pytestmark = pytest.mark.real

# Longer than any window or buffer on the way.
BODY = bytes(range(256)) * 8192
TEXT = b"all that is written more than once becomes short; " * 20_000


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The gateway's address before an HTTP/1.1 app that echoes."""
    with echo_server() as port, Mesh(tmp_path_factory.mktemp("web")) as mesh:
        yield mesh.exposed("web", port, protocol="http").edge


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The gateway's address before nghttpd, which speaks HTTP/2 only and serves the file `body`."""
    directory, port = tmp_path_factory.mktemp("files"), free_port()
    (directory / "body").write_bytes(BODY)
    command = [debian("nghttpd"), "--no-tls", "--address=127.0.0.1", f"--htdocs={directory}", str(port)]
    with serving(command, port, directory / "nghttpd.log"), Mesh(directory) as mesh:
        yield mesh.exposed("files", port, protocol="http2").edge


@pytest.fixture(scope="module")
def coded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a gateway that compresses and decompresses, before an app that sends back what it gets."""

    def back(request: Request) -> Answer:
        return Answer(200, {"content-type": "text/plain", **sized(request.body)}, request.body)

    with http1.server(back) as server, Mesh(tmp_path_factory.mktemp("coded")) as mesh:
        mesh.document("services/shop", tls="disabled", endpoints=[{"address": server.address}])
        route = {"name": "all", "to": {"service": "shop"}}
        coding = {"compress": {}, "decompress": {"max_ratio": 100_000}}
        mesh.document("gateways/edge", listeners=[LOOPBACK], routes=[route], **coding)
        yield mesh.gateway("edge").edge


def curl(*arguments: str, body: bytes = b"") -> bytes:
    """What curl prints; AssertionError with its own words when it fails."""
    command = [debian("curl"), "--silent", "--show-error", "--fail", "--max-time", "20", *arguments]
    done = subprocess.run(command, input=body, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


both_versions = pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])


@both_versions
def test_a_request_arrives_as_it_was_sent(web: str, version: str) -> None:
    text = curl(version, "--header", "X-Shop: tea & cake", f"http://{web}/a%20b/c?d=e%2Ff").decode()
    assert text.startswith("GET /a%20b/c?d=e%2Ff HTTP/1.1\n")
    assert "x-shop: tea & cake" in text.lower()
    assert f"host: {web}" in text.lower()


@both_versions
def test_a_body_comes_back_byte_for_byte(web: str, version: str) -> None:
    assert curl(version, "--data-binary", "@-", f"http://{web}/", body=BODY) == BODY


@both_versions
def test_a_body_of_unknown_length_comes_back_byte_for_byte(web: str, version: str) -> None:
    assert curl(version, "--request", "POST", "--upload-file", "-", f"http://{web}/", body=BODY) == BODY


@pytest.fixture(scope="module")
def outbound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The outbound port of a sidecar that knows the service `echo`, which speaks HTTP/1.1."""
    with echo_server() as port, Mesh(tmp_path_factory.mktemp("outbound")) as mesh:
        endpoints = [{"address": f"127.0.0.1:{port}"}]
        mesh.document("services/echo", protocol="http", tls="disabled", endpoints=endpoints)
        yield mesh.sidecar("caller", 1).outbound


@both_versions
@pytest.mark.parametrize("form", [[], ["--proxytunnel"]], ids=["absolute target", "tunnel"])
def test_the_outbound_port_is_a_proxy(outbound: str, form: list[str], version: str) -> None:
    text = curl(version, *form, "--proxy", f"http://{outbound}", "http://echo/a?b").decode()
    assert text.startswith("GET /a?b HTTP/1.1\n")
    assert "host: echo\n" in text.lower().replace("\r", "")


def test_tls_in_a_tunnel_is_refused(outbound: str) -> None:
    command = [debian("curl"), "--silent", "--max-time", "20", "--proxy", f"http://{outbound}", "https://echo/"]
    # 35: the handshake failed.
    assert subprocess.run(command, capture_output=True, check=False).returncode == 35


@both_versions
def test_an_http2_application_serves_both(files: str, version: str) -> None:
    assert curl(version, f"http://{files}/body") == BODY


def test_one_http1_connection_serves_many_requests(web: str) -> None:
    urls = [f"http://{web}/{n}" for n in range(5)]
    opened = curl("--http1.1", "--output", "/dev/null", "--write-out", "%{num_connects} ", *with_output(urls)).decode()
    assert opened.split() == ["1", "0", "0", "0", "0"]


def test_one_http2_connection_serves_many_requests_at_once(web: str) -> None:
    """By nghttp: curl 7.88, which Debian 12 has, fails to use a connection again after --http2-prior-knowledge."""
    urls = [f"http://{web}/{n}" for n in range(5)]
    done = subprocess.run(
        [debian("nghttp"), "--verbose", "--null-out", *urls], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("Connected") == 1
    assert done.stdout.count(":status: 200") == len(urls)


def with_output(urls: list[str]) -> list[str]:
    """curl pairs an --output with each URL."""
    first, *rest = urls
    return [first, *(part for url in rest for part in ("--output", "/dev/null", url))]


def test_a_client_that_offers_the_upgrade_to_http2_is_served(web: str) -> None:
    assert curl("--http2", f"http://{web}/").startswith(b"GET / HTTP/1.1\n")


def test_http_1_0_is_served(web: str) -> None:
    assert curl("--http1.0", f"http://{web}/").startswith(b"GET / HTTP/1.1\n")


def test_a_head_request_has_no_body(files: str) -> None:
    head = curl("--http1.1", "--head", f"http://{files}/body").decode().lower()
    assert head.startswith("http/1.1 200")
    assert f"content-length: {len(BODY)}" in head


@both_versions
@pytest.mark.parametrize("coding", ["zstd", "br", "gzip"])
def test_content_is_compressed_and_decompressed_as_curl_understands_it(coded: str, version: str, coding: str) -> None:
    accept = ("--header", f"Accept-Encoding: {coding}")
    packed = curl(version, *accept, "--data-binary", "@-", f"http://{coded}/", body=TEXT)
    assert len(packed) < len(TEXT) // 10
    assert curl(version, "--compressed", *accept, "--data-binary", "@-", f"http://{coded}/", body=TEXT) == TEXT
    # What we have made is what we understand.
    sent = ("--header", f"Content-Encoding: {coding}", "--data-binary", "@-")
    assert curl(version, "--header", "Accept-Encoding: identity", *sent, f"http://{coded}/", body=packed) == TEXT
