"""Real sidecars and gateways as processes, over one directory of documents.

    def test_orders_answers_through_the_edge(mesh: Mesh) -> None:
        mesh.document("services/orders", protocol="http")
        orders = mesh.sidecar("orders", app_port=app.port)
        mesh.document("services/orders", protocol="http", endpoints=[{"address": orders.inbound}])
        mesh.document("gateways/edge", listeners=[LOOPBACK], routes=[{"name": "all", "to": {"service": "orders"}}])
        edge = mesh.gateway("edge")
        assert get(f"http://{edge.edge}/").status == 200

Callees start before their callers: every port is one that the kernel chose, and no address is guessed.
`mesh.exposed("orders", app.port, protocol="http")` is all of the above but the last line.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

Answer = TypeVar("Answer")

ROOT = Path(__file__).parents[1]
# A gateway's listener: cleartext, a free port.
LOOPBACK = {"address": "127.0.0.1", "port": 0}
# Seconds. Start to ready takes under one on a quiet machine; the rest is for a busy one.
READY_WITHIN = 60.0
# Seconds: a drain with nothing in flight ends at once.
EXIT_WITHIN = 15.0


def eventually(what: str, probe: Callable[[], Answer | None], within: float = 5.0) -> Answer:
    """The first true answer of `probe` within so many seconds; AssertionError naming `what` if there is none."""
    deadline = time.monotonic() + within
    while True:
        if answer := probe():
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {within:g} s")
        time.sleep(0.01)


@dataclass
class Proxy:
    """A running sidecar or gateway, known by what its run file says."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    # "127.0.0.1:41234".
    admin: str = ""
    # "address:port" by listener name: "inbound", "outbound", "upstream-<service>", "edge-<port>".
    listeners: Mapping[str, str] = field(default_factory=dict)

    @property
    def inbound(self) -> str:
        """Where the mesh reaches this sidecar's app."""
        return self.listeners["inbound"]

    @property
    def outbound(self) -> str:
        """Where this sidecar's app reaches the mesh."""
        return self.listeners["outbound"]

    @property
    def edge(self) -> str:
        """The only listener of a gateway that has one."""
        (address,) = self.listeners.values()
        return address

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a GET to the admin address."""
        try:
            with urllib.request.urlopen(f"http://{self.admin}{path}", timeout=20) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.read().decode()

    def output(self) -> str:
        """What the process has written so far, both streams."""
        return self.log.read_text(errors="replace")

    def stop(self) -> int:
        """Ask it to drain, wait, and return its exit code; AssertionError when it hangs (it is killed then)."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(EXIT_WITHIN)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not exit on SIGTERM:\n{self.output()}") from None

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self.process.kill()
        self.process.wait()


def ended(proxy: Proxy) -> str:
    """Stop it if it still runs; what is wrong with how it ended, "" when nothing is."""
    if proxy.process.poll() is None and (code := proxy.stop()) != 0:
        return f"{proxy.name} exited with {code}:\n{proxy.output()}"
    # Each panic that `sidecar_panics_total` counts is written too, and is there when nobody can be asked any more.
    if "panicked" in proxy.output():
        return f"{proxy.name} panicked:\n{proxy.output()}"
    return ""


def told(proxy: Proxy) -> dict[str, Any]:
    """What `/ready` says."""
    answer: dict[str, Any] = json.loads(proxy.get("/ready")[1])
    return answer


class Mesh:
    """A configuration directory and the proxies on it; leaving the block stops them, and each must exit cleanly.

    With the address of a Consul agent the proxies have everything from there, and the directory is of no meaning.
    `under` is a command that becomes the proxy, such as `prlimit --nofile=256`.
    """

    def __init__(self, directory: Path, consul: str = "", under: Sequence[str] = ()) -> None:
        self.config = directory / "config"
        self._under = tuple(under)
        self._run = directory / "run"
        self._logs = directory / "logs"
        self._environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("OTEL_", "SIDECAR_", "CONSUL_"))
            },
            "PYTHONPATH": str(ROOT),
            # As installed: with compiled bytecode. Without it each start compiles more than a hundred modules.
            "PYTHONDONTWRITEBYTECODE": "",
            "SIDECAR_RUN_DIR": str(self._run),
            "SIDECAR_STATE_DIR": str(directory / "state"),
        }
        self._source: tuple[str, ...] = ("--config", str(self.config))
        if consul:
            self._environment["CONSUL_HTTP_ADDR"] = consul
            self._source = ()
        self._proxies: list[Proxy] = []
        self._numbers = count()
        for made in (self.config, self._logs):
            made.mkdir(parents=True)

    @property
    def proxies(self) -> Sequence[Proxy]:
        """All that were started, in order."""
        return tuple(self._proxies)

    def document(self, key: str, **fields: Any) -> Path:
        """Write the document `key` ("services/orders") as its fields; a running proxy picks a change up."""
        return self.text(key, json.dumps(fields, indent=2))

    def text(self, key: str, text: str) -> Path:
        """Write the document `key` as it is, in one step. JSON is YAML too."""
        path = self.config / f"{key}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(text)
        return partial.replace(path)

    def sidecar(self, service: str, app_port: int, *arguments: str, environ: Mapping[str, str] | None = None) -> Proxy:
        """Start the sidecar of an instance of `service` whose app listens on `app_port`; returns it ready."""
        identity = ("--service", service, "--port", str(app_port))
        ports = ("--inbound-address", "127.0.0.1", "--inbound-port", "0", "--outbound-port", "0")
        return self.start(service, "run", *identity, *ports, *arguments, environ=environ or {})

    def gateway(self, name: str, *arguments: str, environ: Mapping[str, str] | None = None) -> Proxy:
        """Start the gateway of the document `gateways/<name>`; returns it ready."""
        return self.start(name, "gateway", "--name", name, *arguments, environ=environ or {})

    def exposed(self, service: str, app_port: int, listener: Mapping[str, object] = LOOPBACK, **fields: Any) -> Proxy:
        """The gateway before one sidecar before an app; `fields` are the service's document beside its endpoints."""
        self.document(f"services/{service}", **fields)
        sidecar = self.sidecar(service, app_port)
        self.document(f"services/{service}", **fields, endpoints=[{"address": sidecar.inbound}])
        self.document("gateways/edge", listeners=[listener], routes=[{"name": "all", "to": {"service": service}}])
        return self.gateway("edge")

    def start(self, name: str, verb: str, *arguments: str, environ: Mapping[str, str]) -> Proxy:
        """Start `sidecar <verb>` on this mesh's documents and wait until it says that it is ready."""
        log = self._logs / f"{next(self._numbers)}-{name}.log"
        command = [*self._under, sys.executable, "-m", "sidecar", verb, *self._source, "--admin-port", "0", *arguments]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**self._environment, **environ},
            )
        proxy = Proxy(name, process, log)
        self._proxies.append(proxy)
        eventually(f"{name} ready", lambda: self._is_ready(proxy), READY_WITHIN)
        return proxy

    def _is_ready(self, proxy: Proxy) -> bool:
        if (code := proxy.process.poll()) is not None:
            raise AssertionError(f"{proxy.name} exited with {code} before it was ready:\n{proxy.output()}")
        files = list(self._run.glob(f"*-{proxy.process.pid}.json"))
        if not files:
            return False
        announced = json.loads(files[0].read_text())
        proxy.admin, proxy.listeners = announced["admin"], announced["listeners"]
        return proxy.get("/ready")[0] == 200

    def close(self) -> None:
        """Stop whatever still runs, callers first; AssertionError unless each exits with 0 and without a panic."""
        self.stop(*reversed(self._proxies))

    def stop(self, *proxies: Proxy) -> None:
        """Stop those of these that still run, in this order; AssertionError as above."""
        complaints = [complaint for proxy in proxies if (complaint := ended(proxy))]
        assert not complaints, "\n".join(complaints)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        finally:
            for proxy in self._proxies:
                if proxy.process.poll() is None:
                    proxy.kill()
