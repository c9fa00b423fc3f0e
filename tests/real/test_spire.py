"""Leaves of a minute by a real SPIRE, on two sidecars under load; its root rotates, and the first one is revoked."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.leaves import TRUST_DOMAIN, spiffe
from tests.mesh import Mesh, eventually
from tests.real.callers import Caller, application
from tests.real.programs import cached, free_port
from tests.real.test_authorities import certs, has_made, have_rotated, pair

# Its build takes long: `install.sh spire`.
pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.timeout(600)]

VERSION = "spire-1.13.3"
# Seconds: a leaf's life. Half of it before its end the agent renews; it looks every five.
LIFE = 60
SOON = 60.0

SERVER = """
server {{
    bind_address = "127.0.0.1"
    bind_port = "{port}"
    socket_path = "{directory}/server.sock"
    trust_domain = "{trust_domain}"
    data_dir = "{directory}"
    log_level = "WARN"
}}
plugins {{
    DataStore "sql" {{
        plugin_data {{
            database_type = "sqlite3"
            connection_string = "{directory}/datastore.sqlite3"
        }}
    }}
    NodeAttestor "join_token" {{ plugin_data {{}} }}
    KeyManager "memory" {{ plugin_data {{}} }}
}}
"""
AGENT = """
agent {{
    server_address = "127.0.0.1"
    server_port = "{port}"
    socket_path = "{directory}/agent.sock"
    trust_domain = "{trust_domain}"
    data_dir = "{directory}/agent"
    insecure_bootstrap = true
    log_level = "WARN"
}}
plugins {{
    NodeAttestor "join_token" {{ plugin_data {{}} }}
    KeyManager "memory" {{ plugin_data {{}} }}
    WorkloadAttestor "unix" {{ plugin_data {{}} }}
}}
"""


@contextmanager
def process(directory: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    with (directory / f"{Path(command[0]).name}.log").open("wb") as output:
        started = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield started
    finally:
        started.terminate()
        started.wait(30)


class Spire:
    """A server and the agent of this host."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.workload_api = f"unix://{directory}/agent.sock"

    def ask(self, *arguments: str) -> Any:
        """What the server says to this command."""
        command = [cached(VERSION, "spire-server"), *arguments, "-socketPath", f"{self.directory}/server.sock"]
        done = subprocess.run([*command, "-output", "json"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def is_healthy(self) -> bool:
        """Probe: the server answers."""
        command = [cached(VERSION, "spire-server"), "healthcheck", "-socketPath", f"{self.directory}/server.sock"]
        return subprocess.run(command, capture_output=True, timeout=60).returncode == 0

    def entry(self, service: str, parent: str) -> None:
        """Every process of this user may be the service; each asks for the one that it is."""
        uri, selector = spiffe(service), f"unix:uid:{os.getuid()}"
        told = ("-spiffeID", uri, "-parentID", parent, "-selector", selector, "-x509SVIDTTL", str(LIFE))
        self.ask("entry", "create", *told)

    def authority(self, which: str) -> str:
        """Id of its root: "active", "prepared" or "old"."""
        return str(self.ask("localauthority", "x509", "show")[which]["authority_id"])


@pytest.fixture
def spire() -> Iterator[Spire]:
    # Paths of sockets are short.
    with tempfile.TemporaryDirectory() as short, ExitStack() as stack:
        directory = Path(short)
        told = {"directory": directory, "port": free_port(), "trust_domain": TRUST_DOMAIN}
        for name, text in (("server", SERVER), ("agent", AGENT)):
            (directory / f"{name}.conf").write_text(text.format(**told))
        made = Spire(directory)
        server = ("run", "-config", f"{directory}/server.conf")
        stack.enter_context(process(directory, cached(VERSION, "spire-server"), *server))
        eventually("the server answers", made.is_healthy, SOON)
        node = f"spiffe://{TRUST_DOMAIN}/node"
        token = made.ask("token", "generate", "-spiffeID", node)["value"]
        agent = ("run", "-config", f"{directory}/agent.conf", "-joinToken", token)
        stack.enter_context(process(directory, cached(VERSION, "spire-agent"), *agent))
        eventually("the agent listens", (directory / "agent.sock").exists, SOON)
        for service in ("orders", "web"):
            made.entry(service, node)
        yield made


def test_leaves_and_roots_of_spire_change_under_load(spire: Spire, tmp_path: Path) -> None:
    identity = ("--identity", f"spire:{spire.workload_api}")
    with application("tea") as app, Mesh(tmp_path) as mesh:
        both = pair(mesh, app, *identity, callee=identity)
        with Caller(both[1].outbound, "orders") as caller:
            eventually("two leaves each", partial(have_rotated, both, 2), 3 * LIFE)
            first = spire.authority("active")
            prepared = spire.ask("localauthority", "x509", "prepare")["prepared_authority"]["authority_id"]
            eventually("both roots", lambda: all(len(certs(one)["roots"]) == 2 for one in both), 2 * LIFE)
            spire.ask("localauthority", "x509", "activate", "-authorityID", prepared)
            spire.ask("localauthority", "x509", "taint", "-authorityID", first)
            before = max(len(certs(one)["roots"]) for one in both)
            eventually("leaves by the new root", partial(have_rotated, both, 4), 3 * LIFE)
            spire.ask("localauthority", "x509", "revoke", "-authorityID", first)
            eventually("one root", lambda: all(len(certs(one)["roots"]) < before for one in both), 2 * LIFE)
            eventually("calls", partial(has_made, caller, len(caller.seen) + 20), SOON)
        assert caller.failures == []
        assert len(caller.seen) > 1000
        assert f'"uri": "{spiffe("orders")}"' in both[0].get("/api/v1/certs")[1]
