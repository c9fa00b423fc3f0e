"""curl, the client that everybody has, through a gateway and a sidecar."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mesh import Mesh
from tests.real.echo import echo_server
from tests.real.programs import debian, free_port, serving

pytestmark = pytest.mark.real

# Longer than any window or buffer on the way.
BODY = bytes(range(256)) * 8192


@pytest.fixture
def web(mesh: Mesh) -> Iterator[str]:
    """The gateway's address before an HTTP/1.1 app that echoes."""
    with echo_server() as port:
        yield mesh.exposed("web", port, protocol="http").edge
        mesh.close()


@pytest.fixture
def files(mesh: Mesh, tmp_path: Path) -> Iterator[str]:
    """The gateway's address before nghttpd, which speaks HTTP/2 only and serves the file `body`."""
    (tmp_path / "body").write_bytes(BODY)
    port = free_port()
    command = [debian("nghttpd"), "--no-tls", "--address=127.0.0.1", f"--htdocs={tmp_path}", str(port)]
    with serving(command, port, tmp_path / "nghttpd.log"):
        yield mesh.exposed("files", port, protocol="http2").edge
        mesh.close()


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


@both_versions
def test_an_http2_application_serves_both(files: str, version: str) -> None:
    assert curl(version, f"http://{files}/body") == BODY


@both_versions
def test_one_connection_serves_many_requests(web: str, version: str) -> None:
    urls = [f"http://{web}/{n}" for n in range(5)]
    opened = curl(version, "--output", "/dev/null", "--write-out", "%{num_connects} ", *with_output(urls)).decode()
    assert opened.split() == ["1", "0", "0", "0", "0"]


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
