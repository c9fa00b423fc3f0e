"""Our side of the comparison: the gateway with what it does by default on, and a sidecar left alone."""

import http.client
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.backends import Backend, BackendKind
from benchmarks.peers import ACCESS_LOG, Launch, Proxy
from benchmarks.process import PROXY_CORE, BenchError, Memory, cpu_nanoseconds, free_port, memory, spawned, wait_until

NAME = "sidecar"

# Share of requests that are traced and exported while the peers trace nothing.
TRACED = "1%"

# One worker as for the peers. Routing, balancing, limits and metrics are always on; peers write no access log either.
MESH = """\
tracing: {{ratio: {traced}}}
access_log: {{enabled: {is_logging}}}
"""


@dataclass(frozen=True)
class SidecarSample:
    """A sidecar without traffic: what it took from its start to `/ready`, and its memory after the idle time."""

    ready_seconds: float
    ready_cpu_seconds: float
    memory: Memory


def gateway(
    otlp_endpoint: str, traced: str = TRACED, tuning: Mapping[str, str] | None = None, is_logging: bool = False
) -> Proxy:
    """Our gateway as a proxy of the bench, tracing a share of requests to an OTLP receiver; `tuning` is environment.

    With `is_logging` it writes its access log to ACCESS_LOG in its folder.
    """

    def launch(folder: Path, port: int, backend: Backend) -> Launch:
        config = folder / "config"
        protocol = {BackendKind.H1: "http", BackendKind.H2: "http2", BackendKind.GRPC: "grpc"}[backend.kind]
        _write(config / "mesh.yaml", _mesh(traced, is_logging))
        # The backend is no mesh member: without `tls: disabled` the gateway would want its certificate.
        _write(
            config / "services" / "backend.yaml",
            f'protocol: {protocol}\ntls: disabled\nendpoints: [{{address: "127.0.0.1:{backend.port}"}}]\n',
        )
        _write(
            config / "gateways" / "bench.yaml",
            f"listeners: [{{address: 127.0.0.1, port: {port}}}]\n"
            "routes: [{name: everything, match: {path: /*}, to: {service: backend}}]\n",
        )
        options = ["--name", "bench", "--config", str(config), "--admin-port", "0"]
        if is_logging:
            options += ["--access-log", str(folder / ACCESS_LOG)]
        return Launch(_command("gateway", folder, options), {**_environment(otlp_endpoint, folder), **(tuning or {})})

    return Proxy(NAME, launch)


def measure_sidecar(otlp_endpoint: str, folder: Path, idle_seconds: float) -> SidecarSample:
    """Start a sidecar with the directory source, admin and OTLP endpoint; wait until ready, leave it alone, read it."""
    config = folder / "config"
    _write(config / "mesh.yaml", _mesh(TRACED, False))
    _write(config / "services" / "orders.yaml", "protocol: grpc\n")
    admin = free_port()
    ports = ["--port", str(free_port()), "--inbound-port", "0", "--outbound-port", "0", "--admin-port", str(admin)]
    command = _command("run", folder, ["--service", "orders", "--config", str(config), *ports])
    log = folder / "sidecar.log"
    with spawned(command, PROXY_CORE, log, _environment(otlp_endpoint, folder)) as child:
        ready = wait_until(lambda: _ready(admin), child, log)
        cpu = cpu_nanoseconds(child.pid) / 1e9
        time.sleep(idle_seconds)
        return SidecarSample(ready, cpu, memory(child.pid))


def _mesh(traced: str, is_logging: bool) -> str:
    return MESH.format(traced=traced, is_logging=str(is_logging).lower())


def _command(verb: str, folder: Path, options: list[str]) -> list[str]:
    return [sys.executable, "-m", "sidecar", verb, *options, "--state-dir", str(folder / "state")]


def _environment(otlp_endpoint: str, folder: Path) -> dict[str, str]:
    # As installed: with compiled bytecode.
    installed = {"PYTHONDONTWRITEBYTECODE": ""}
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp_endpoint, "SIDECAR_RUN_DIR": str(folder / "run"), **installed}


def admin(folder: Path, seconds: float = 15.0) -> str:
    """Where the one launched in this folder answers questions: "127.0.0.1:41234". BenchError when it is late."""
    deadline = time.monotonic() + seconds
    while not (announced := list((folder / "run").glob("*.json"))):
        if time.monotonic() > deadline:
            raise BenchError(f"nothing was announced in {folder / 'run'} within {seconds:g} s")
        time.sleep(0.01)
    address: str = json.loads(announced[0].read_text())["admin"]
    return address


def _ready(admin_port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", admin_port, timeout=1.0)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
