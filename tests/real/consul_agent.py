"""A real Consul agent, a server of its own, that a test starts, stops and asks."""

import json
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.mesh import eventually
from tests.real.programs import cached, free_ports

VERSION = "consul-1.22.7"
# Seconds. An election takes one to two on a quiet machine.
LEADER_WITHIN = 30.0


class Agent:
    """One agent on ports of its own; a stop and a start keep its data, as a restart of the service would."""

    def __init__(
        self,
        directory: Path,
        hcl: str = "",
        token: str = "",
        *,
        servers: int = 1,
        join: str = "",
        datacenters: tuple[str, ...] = (),
        join_wide: str = "",
    ) -> None:
        """`hcl` is added to its configuration; our own calls carry `token`.

        One of so many `servers`; it joins the one that gossips at `join`. Of several `datacenters` the first is its
        own, and it joins the one that gossips with other datacenters at `join_wide`.
        """
        self._hcl, self._token = hcl, token
        self._servers, self._join = servers, join
        directory.mkdir(exist_ok=True)
        self._data = directory / "consul"
        self._log = directory / "consul.log"
        self._port, self._server, self._serf, wide = free_ports(4)
        self._wide = wide if datacenters else -1
        self._datacenter, self._join_wide = (*datacenters, "dc1")[0], join_wide
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Of its HTTP API."""
        return f"127.0.0.1:{self._port}"

    @property
    def gossips_at(self) -> str:
        """What others of its datacenter join."""
        return f"127.0.0.1:{self._serf}"

    @property
    def gossips_widely_at(self) -> str:
        """What servers of other datacenters join."""
        return f"127.0.0.1:{self._wide}"

    @property
    def is_leader(self) -> bool:
        """Of its datacenter, as it says itself."""
        return bool(self.get("/v1/status/leader") == f"127.0.0.1:{self._server}")

    def start(self) -> None:
        """Run it until it has a leader and a CA."""
        self.launch()
        self.wait()

    def wait(self) -> None:
        """Until it has a leader and a CA."""
        eventually("Consul has a leader and a CA", self._is_up, within=LEADER_WITHIN)

    def launch(self) -> None:
        """Run it."""
        quick = "performance { raft_multiplier = 1 } disable_update_check = true connect { enabled = true } "
        flags = {
            "bootstrap-expect": self._servers,
            "node": f"server-{self._server}",
            "data-dir": self._data,
            "bind": "127.0.0.1",
            "client": "127.0.0.1",
            "http-port": self._port,
            "grpc-port": -1,
            "grpc-tls-port": -1,
            "dns-port": -1,
            "server-port": self._server,
            "serf-lan-port": self._serf,
            "serf-wan-port": self._wide,
            "datacenter": self._datacenter,
            **({"retry-join-wan": self._join_wide} if self._join_wide else {}),
            "hcl": quick,
            "log-level": "warn",
        }
        command = [
            cached(VERSION, "consul"),
            "agent",
            "-server",
            *(f"-{name}={value}" for name, value in flags.items()),
            *([f"-hcl={self._hcl}"] if self._hcl else []),
            *([f"-retry-join={self._join}", "-retry-interval=1s"] if self._join else []),
        ]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)

    def stop(self) -> None:
        """As a shutdown of the host would: it leaves, its data stays."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(20)
            self._process = None

    def kill(self) -> None:
        """As a crash of the host would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def get(self, path: str) -> Any:
        """What its API says; None for 404."""
        return self._ask("GET", path, None)

    def put(self, path: str, body: object = None) -> Any:
        """One write and its answer; a text goes as it is, all else as JSON."""
        return self._ask("PUT", path, body.encode() if isinstance(body, str) else json.dumps(body).encode())

    def post(self, path: str, body: object) -> Any:
        """Create something, as JSON."""
        return self._ask("POST", path, json.dumps(body).encode())

    def delete(self, path: str) -> None:
        """One removal."""
        self._ask("DELETE", path, None)

    def document(self, key: str, **fields: object) -> None:
        """Write a document of the mesh: "services/orders" is the key sidecar/services/orders."""
        self.put(f"/v1/kv/sidecar/{key}", json.dumps(fields))

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"Consul exited:\n{self._log.read_text()}"
        try:
            return bool(self.get("/v1/status/leader") and self.get("/v1/agent/connect/ca/roots")["Roots"])
        except (OSError, KeyError, TypeError, AssertionError):
            return False

    def _ask(self, method: str, path: str, body: bytes | None) -> Any:
        headers = {"X-Consul-Token": self._token} if self._token else {}
        request = urllib.request.Request(f"http://{self.address}{path}", data=body, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310 - always http
                return json.loads(reply.read() or b"null")
        except urllib.error.HTTPError as refusal:
            with refusal:
                if method == "GET" and refusal.code == 404:
                    return None
                raise AssertionError(f"{method} {path}: {refusal.code} {refusal.read().decode()}") from None


@contextmanager
def running(directory: Path, hcl: str = "", token: str = "") -> Iterator[Agent]:
    """An agent for as long as the block lasts; it is stopped also when it does not come up."""
    agent = Agent(directory, hcl, token)
    try:
        agent.start()
        yield agent
    finally:
        agent.stop()
