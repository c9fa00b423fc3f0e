"""The servers behind the proxies: nghttpd for HTTP/2 (with and without trailers), nginx for HTTP/1.1."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path

from benchmarks.prerequisites import find
from benchmarks.process import LOAD_CORE, free_port, listening, spawned, wait_until

SMALL_BYTES = 1024
LARGE_BYTES = 1024 * 1024
# One gRPC message: uncompressed flag, four bytes of length, payload.
GRPC_BYTES = 100
GRPC_MESSAGE = b"\0" + (GRPC_BYTES - 5).to_bytes(4, "big") + bytes(GRPC_BYTES - 5)

SMALL_PATH = "/small"
LARGE_PATH = "/large"
# The ending gives the answer its content type, by the file of media types below.
GRPC_PATH = "/bench.v1.Echo/Unary.grpc"

# nghttpd allows 100 streams a connection unless told; 256 are in flight here, and a proxy may hold one connection only.
BACKEND_STREAMS = 1000


class BackendKind(Enum):
    """What a case has behind the proxy."""

    H1 = "h1"
    H2 = "h2"
    GRPC = "grpc"


@dataclass(frozen=True)
class Backend:
    """A running server: its kind and its loopback port."""

    kind: BackendKind
    port: int

    @property
    def http2(self) -> bool:
        return self.kind is not BackendKind.H1


@contextlib.contextmanager
def backends(folder: Path, kinds: set[BackendKind]) -> Iterator[dict[BackendKind, Backend]]:
    """Start one server of each kind over one folder of files."""
    files = _write_files(folder / "files")
    with contextlib.ExitStack() as running:
        started = {}
        for kind in kinds:
            port = free_port()
            command = _nginx(folder, files, port) if kind is BackendKind.H1 else _nghttpd(folder, files, port, kind)
            log = folder / f"backend-{kind.value}.log"
            child = running.enter_context(spawned(command, LOAD_CORE, log))
            wait_until(partial(listening, port), child, log)
            started[kind] = Backend(kind, port)
        yield started


def _write_files(files: Path) -> Path:
    for path, content in (
        (SMALL_PATH, bytes(SMALL_BYTES)),
        (LARGE_PATH, bytes(LARGE_BYTES)),
        (GRPC_PATH, GRPC_MESSAGE),
    ):
        file = files / path.removeprefix("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return files


def _nghttpd(folder: Path, files: Path, port: int, kind: BackendKind) -> list[str]:
    types = folder / "mime.types"
    types.write_text("application/grpc grpc\n")
    command = [find("nghttpd") or "nghttpd", "--no-tls", "--address=127.0.0.1", f"--htdocs={files}", "--workers=1"]
    command += [f"--max-concurrent-streams={BACKEND_STREAMS}", f"--mime-types-file={types}"]
    if kind is BackendKind.GRPC:
        command += ["--no-content-length", "--trailer=grpc-status: 0"]
    return [*command, str(port)]


def _nginx(folder: Path, files: Path, port: int) -> list[str]:
    config = folder / "nginx.conf"
    temporary = "\n".join(
        f"  {kind}_temp_path {folder}/nginx-{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # One process, so it keeps the user that started it and may read the temporary folder.
    config.write_text(f"""\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
{temporary}
  access_log off;
  sendfile on;
  tcp_nodelay on;
  keepalive_requests 1000000000;
  keepalive_timeout 300s;
  server {{ listen 127.0.0.1:{port}; root {files}; }}
}}
""")
    return [find("nginx") or "nginx", "-e", "stderr", "-c", str(config)]
