"""Ways to a real agent: HTTPS with a client certificate, a unix socket, a token file, and what goes before what."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.mesh import ROOT, Mesh, eventually
from tests.real.callers import application, call
from tests.real.consul_agent import Agent
from tests.real.programs import free_port

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

# Seconds.
SOON = 15.0
NOWHERE = "127.0.0.1:1"


class Ways:
    """An agent that denies what no token allows, by HTTPS with client certificates only, and by a unix socket."""

    def __init__(self, directory: Path) -> None:
        ca = trustme.CA()
        self.ca, self.cert, self.key = directory / "ca.pem", directory / "client.pem", directory / "client.key"
        server_cert, server_key = directory / "server.pem", directory / "server.key"
        ca.cert_pem.write_to_path(str(self.ca))
        for issued, cert, key in (
            (ca.issue_cert("consul.example.com"), server_cert, server_key),
            (ca.issue_cert("sidecar.example.com"), self.cert, self.key),
        ):
            issued.cert_chain_pems[0].write_to_path(str(cert))
            issued.private_key_pem.write_to_path(str(key))
        self.https = f"https://127.0.0.1:{(port := free_port())}"
        self.socket = f"unix://{directory}/consul.sock"
        tls = f'ca_file = "{self.ca}" cert_file = "{server_cert}" key_file = "{server_key}" verify_incoming = true'
        hcl = (
            f"ports {{ https = {port} }} tls {{ https {{ {tls} }} }} "
            f'addresses {{ http = "127.0.0.1 {self.socket}" }} '
            'acl { enabled = true default_policy = "deny" tokens { initial_management = "root" } }'
        )
        self.agent = Agent(directory / "agent", hcl, "root")
        self.token_file = directory / "token"
        self.token_file.write_text("root\n")

    @property
    def tls(self) -> dict[str, str]:
        """The variables that HTTPS needs here."""
        return {
            "CONSUL_CACERT": str(self.ca),
            "CONSUL_CLIENT_CERT": str(self.cert),
            "CONSUL_CLIENT_KEY": str(self.key),
            "CONSUL_TLS_SERVER_NAME": "consul.example.com",
        }


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    ways = Ways(tmp_path_factory.mktemp("ways"))
    ways.agent.start()
    yield ways
    ways.agent.stop()


def pull(directory: Path, *flags: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """`sidecar config pull`, with these variables alone for Consul."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CONSUL_", "SIDECAR_"))}
    command = [sys.executable, "-m", "sidecar", "config", "pull", str(directory), *flags]
    told = {**inherited, "PYTHONPATH": str(ROOT), **environ}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=told, timeout=60)


def test_https_shows_a_client_certificate_and_proves_the_agents_name(ways: Ways, tmp_path: Path) -> None:
    ways.agent.document("mesh", timeout="3s")
    told = {"CONSUL_HTTP_ADDR": ways.https, "CONSUL_HTTP_TOKEN": "root", **ways.tls}
    assert pull(tmp_path / "good", **told).returncode == 0
    assert (tmp_path / "good/mesh.yaml").exists()

    # Negative controls: without each of them nothing is told.
    other = pull(tmp_path / "name", **{**told, "CONSUL_TLS_SERVER_NAME": "other.example.com"})
    assert (other.returncode, "other.example.com" in other.stderr) == (1, True)
    unknown = pull(tmp_path / "ca", **{**told, "CONSUL_CACERT": ""})
    assert (unknown.returncode, "certificate verify failed" in unknown.stderr) == (1, True)
    bare = pull(tmp_path / "client", **{**told, "CONSUL_CLIENT_CERT": "", "CONSUL_CLIENT_KEY": ""})
    assert bare.returncode == 1
    assert not (tmp_path / "client").exists()


def test_a_unix_socket_and_a_token_file_and_flags_before_variables(ways: Ways, tmp_path: Path) -> None:
    ways.agent.document("mesh", timeout="3s")
    wrong = {"CONSUL_HTTP_ADDR": NOWHERE, "CONSUL_HTTP_TOKEN": "0" * 8}
    flags = ("--consul-addr", ways.socket, "--consul-token-file", str(ways.token_file))
    assert pull(tmp_path / "flags", *flags, **wrong).returncode == 0
    assert (tmp_path / "flags/mesh.yaml").exists()

    by_variables = {"CONSUL_HTTP_ADDR": ways.socket, "CONSUL_HTTP_TOKEN_FILE": str(ways.token_file)}
    assert pull(tmp_path / "variables", **by_variables).returncode == 0

    refused = pull(tmp_path / "refused", "--consul-addr", ways.socket, **wrong)
    assert (refused.returncode, "the token is unknown or was revoked" in refused.stderr) == (1, True)
    away = pull(tmp_path / "away", **wrong)
    assert (away.returncode, f"Consul at {NOWHERE} cannot be reached" in away.stderr) == (1, True)


def test_a_sidecar_lives_on_https_with_a_token_file(ways: Ways, tmp_path: Path) -> None:
    told = {"CONSUL_HTTP_TOKEN_FILE": str(ways.token_file), **ways.tls}
    # Where tokens are refused by default, calls are too.
    allowed = {"Kind": "service-intentions", "Name": "orders", "Sources": [{"Name": "web", "Action": "allow"}]}
    ways.agent.put("/v1/config", allowed)
    with application("orders") as port, Mesh(tmp_path, ways.https) as mesh:
        mesh.sidecar("orders", port, environ=told)
        web = mesh.sidecar("web", 1, "--consul-addr", ways.socket, environ={**told, "CONSUL_HTTP_ADDR": NOWHERE})
        eventually("a call", lambda: call(web.outbound, "orders") == (200, "orders"), SOON)
        assert "root" not in web.output()
