"""Our side of the comparison: the gateway with what it does by default on, and a sidecar left alone."""

import http.client
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.backends import Backend, BackendKind
from benchmarks.peers import Launch, Proxy
from benchmarks.process import PROXY_CORE, Memory, cpu_nanoseconds, free_port, memory, spawned, wait_until

NAME = "sidecar"

# Share of requests that are traced and exported while the peers trace nothing.
TRACED = "1%"

# One worker as for the peers. Routing, balancing, limits and metrics are always on; peers write no access log either.
MESH = f"""\
tracing: {{ratio: {TRACED}}}
access_log: {{enabled: false}}
"""


@dataclass(frozen=True)
class SidecarSample:
    """A sidecar without traffic: what it took from its start to `/ready`, and its memory after the idle time."""

    ready_seconds: float
    ready_cpu_seconds: float
    memory: Memory


def gateway(otlp_endpoint: str) -> Proxy:
    """Our gateway as a proxy of the bench, tracing to an OTLP receiver."""

    def launch(folder: Path, port: int, backend: Backend) -> Launch:
        config = folder / "config"
        protocol = {BackendKind.H1: "http", BackendKind.H2: "http2", BackendKind.GRPC: "grpc"}[backend.kind]
        _write(config / "mesh.yaml", MESH)
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
        return Launch(_command("gateway", folder, options), _environment(otlp_endpoint, folder))

    return Proxy(NAME, launch)


def measure_sidecar(otlp_endpoint: str, folder: Path, idle_seconds: float) -> SidecarSample:
    """Start a sidecar with the directory source, admin and OTLP endpoint; wait until ready, leave it alone, read it."""
    config = folder / "config"
    _write(config / "mesh.yaml", MESH)
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


def _command(verb: str, folder: Path, options: list[str]) -> list[str]:
    return [sys.executable, "-m", "sidecar", verb, *options, "--state-dir", str(folder / "state")]


def _environment(otlp_endpoint: str, folder: Path) -> dict[str, str]:
    # As installed: with compiled bytecode.
    installed = {"PYTHONDONTWRITEBYTECODE": ""}
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp_endpoint, "SIDECAR_RUN_DIR": str(folder / "run"), **installed}


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
