"""Attacks on one proxy: what it answers, what that costs it, and what other clients notice."""

import statistics
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.backends import Backend, BackendKind
from benchmarks.peers import PEERS, Launch
from benchmarks.peers import Proxy as Peer
from benchmarks.prerequisites import find
from benchmarks.process import PROXY_CORE, cpu_nanoseconds, free_port, listening, memory, spawned, wait_until
from tests.mesh import LOOPBACK, Mesh, Proxy
from tests.peers import http1
from tests.peers.http2 import Http2
from tests.peers.message import Answer, CutOff, Ended, Request, sized
from tests.real.attacks.attacker import Attacker
from tests.real.attacks.floods import Flood
from tests.real.attacks.frames import Kind

# Streams that the gateway's clients may have open at once: its default.
STREAMS = 256
# Seconds: far below their defaults, so that a test which passes has seen them at work.
SEND_TIMEOUT, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT = 0.5, 2.0, 1.0
LIMITS = {
    "send_timeout": f"{SEND_TIMEOUT}s",
    "keepalive_interval": f"{KEEPALIVE_INTERVAL}s",
    "keepalive_timeout": f"{KEEPALIVE_TIMEOUT}s",
}
# Seconds in which a server that ends a flood at all has ended it, on a busy machine.
PATIENCE = 2 * (KEEPALIVE_INTERVAL + KEEPALIVE_TIMEOUT)
SMALL, LARGE = b"small", bytes(8 << 20)


@dataclass(frozen=True)
class Victim:
    """A proxy in the clear before one app. `sidecar`: it is ours."""

    name: str
    address: str
    pid: int
    sidecar: Proxy | None = None

    def excesses(self) -> Mapping[str, int]:
        """Connections that it has closed, by budget; ours alone tells."""
        assert self.sidecar is not None
        start = 'sidecar_http2_excesses_total{budget="'
        lines = self.sidecar.get("/metrics")[1].splitlines()
        told = [line.removeprefix(start).split('"} ') for line in lines if line.startswith(start)]
        return {budget: int(count) for budget, count in told}


@dataclass(frozen=True)
class Seen:
    """How an attack ended. Times in seconds, bytes of memory that the proxy has more than before."""

    is_closed: bool
    # Of its last GOAWAY; None: it sent none, or nobody read it.
    code: int | None
    resets: int
    seconds: float
    cpu: float
    grown: int
    # Of the other client's requests meanwhile, and what went wrong with them.
    p99: float
    harm: BaseException | None


def attack(victim: Victim, flood: Flood, *, reads: bool = True, patience: float = PATIENCE) -> Seen:
    """Send all of it on one connection, while another client goes on."""
    data = flood.make()
    with Bystander(victim.address) as bystander, Attacker(victim.address) as attacker:
        cpu, resident = cpu_nanoseconds(victim.pid), memory(victim.pid).rss
        begun = time.monotonic()
        attacker.run(data, lambda: False, patience, reads=reads)
        seconds = time.monotonic() - begun
        # With the other client's requests, which are few.
        cpu = cpu_nanoseconds(victim.pid) - cpu
        grown = memory(victim.pid).rss - resident
    codes = attacker.codes(Kind.GOAWAY)
    return Seen(
        is_closed=attacker.has_ended,
        code=codes[-1] if codes else None,
        resets=len(attacker.codes(Kind.RST_STREAM)),
        seconds=seconds,
        cpu=cpu / 1e9,
        grown=grown,
        p99=bystander.p99,
        harm=bystander.failure,
    )


@dataclass
class Bystander:
    """A client of the same proxy that asks for small things all the time, on a connection of its own."""

    address: str
    every: float = 0.02
    took: list[float] = field(default_factory=list)
    failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="bystander")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    @property
    def p99(self) -> float:
        """Seconds. Of few requests it is the longest."""
        return statistics.quantiles(self.took, n=100, method="inclusive")[98] if len(self.took) > 1 else 0.0

    def _ask(self) -> None:
        try:
            with Http2.connect(self.address) as peer:
                while not self._over.wait(self.every):
                    begun = time.monotonic()
                    answer = peer.ask(Request(path="/small"))
                    self.took.append(time.monotonic() - begun)
                    assert (answer.status, answer.body) == (200, SMALL)
        except (AssertionError, CutOff, Ended, OSError) as failure:
            self.failure = failure


@dataclass
class App:
    """What stands behind the proxies: `/small` and `/large` are answered, `/hang` is not until the block ends."""

    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._over = threading.Event()

    def __call__(self, request: Request) -> Answer:
        self.asked.append(request.path)
        if request.path == "/hang":
            self._over.wait()
        body = LARGE if request.path == "/large" else SMALL
        return Answer(200, sized(body), body)

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Its address."""
        with http1.server(self) as server:
            try:
                yield server.address
            finally:
                self._over.set()


@contextmanager
def ours(app: str, folder: Path) -> Iterator[Victim]:
    """A gateway whose patience is short."""
    with Mesh(folder) as mesh:
        mesh.document("services/web", tls="disabled", timeout="0s", endpoints=[{"address": app}])
        routes = [{"name": "all", "to": {"service": "web"}}]
        mesh.document("gateways/edge", listeners=[{**LOOPBACK, "limits": LIMITS}], routes=routes)
        gateway = mesh.gateway("edge")
        yield Victim("sidecar", gateway.edge, gateway.process.pid, gateway)


@contextmanager
def peers(app: str, folder: Path) -> Iterator[Sequence[Victim]]:
    """The proxies of others as they are by default, with one worker each."""
    backend = Backend(BackendKind.H1, int(app.rpartition(":")[2]))
    with ExitStack() as running:
        victims = []
        for peer in (Peer("nginx", _nginx), *PEERS):
            port, log = free_port(), folder / f"{peer.name}.log"
            launch = peer.launch(folder, port, backend)
            child = running.enter_context(spawned(launch.command, PROXY_CORE, log, launch.environment))
            wait_until(lambda port=port: listening(port), child, log)  # type: ignore[misc]
            victims.append(Victim(peer.name, f"127.0.0.1:{port}", child.pid))
        yield victims


def _nginx(folder: Path, port: int, backend: Backend) -> Launch:
    config = folder / "nginx.conf"
    config.write_text(f"""\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr error;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream backend {{ server 127.0.0.1:{backend.port}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port} http2;
    location / {{ proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
""")
    return Launch([find("nginx") or "nginx", "-e", "stderr", "-c", str(config)])


@contextmanager
def nghttpd(folder: Path) -> Iterator[Victim]:
    """A server of others that has few budgets: what a flood looks like that nobody ends."""
    files, port, log = folder / "files", free_port(), folder / "nghttpd.log"
    files.mkdir()
    (files / "small").write_bytes(SMALL)
    command = [find("nghttpd") or "nghttpd", "--no-tls", "--address=127.0.0.1", f"--htdocs={files}", str(port)]
    with spawned(command, PROXY_CORE, log) as child:
        wait_until(lambda: listening(port), child, log)
        yield Victim("nghttpd", f"127.0.0.1:{port}", child.pid)
