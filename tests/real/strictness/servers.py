"""Servers of others as origins, and proxies of others before one: each as it is by default."""

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from benchmarks.backends import Backend, BackendKind
from benchmarks.peers import ENVOY, HAPROXY, Launch
from benchmarks.process import PROXY_CORE, listening, spawned, wait_until
from tests.e2e.strictness.origin import STATUS
from tests.e2e.strictness.vector import get
from tests.peers import scripted
from tests.real.peers.process import started
from tests.real.programs import debian, free_port

# Seconds without a byte after which a proxy is taken to wait for more.
SILENCE = 0.1
# Seconds after which a server waits for what will not come: it has another reading of what did.
HUNG = 2.0
# The last request of a connection: whoever answers it alone has seen the end of the one before.
LAST = get(b"Connection: close")
_KNOWN = {b"GET", b"HEAD", b"POST", b"PUT", b"OPTIONS", b"DELETE"}
_NUMBER = re.compile(rb"\r\nhost: \d+(:\d+)?\r\n")
# A server's answer to what it cannot read.
UNREADABLE = {400, 501, 505}


@contextmanager
def origins(folder: Path, *others: str) -> Iterator[Mapping[str, str]]:
    """Addresses by name of servers that answer any request with one answer: Go's, Node's, and these others."""
    with ExitStack() as running:
        go = running.enter_context(started("go", "serve")).read()["http1"]
        addresses = {"Go": f"127.0.0.1:{go}", "Node": running.enter_context(_node())}
        for name in others:
            port = free_port()
            running.enter_context(_serving(_CONFIGURED[name](folder, port), port, folder / f"{name}.log"))
            addresses[name] = f"127.0.0.1:{port}"
        yield addresses


def asked_of_all(request: bytes) -> bytes | None:
    """A request as any server takes it, of the same length and end; None: there is none.

    Servers choose which methods they know, nginx knows no `*`, and apache2 no host that is a number. Behind `Upgrade`
    another protocol may follow.
    """
    method, target, _ = request.split(b" ", 2)
    if target == b"*" or b"\r\nupgrade: " in request or _NUMBER.search(request):
        return None
    return request if method in _KNOWN else b"POST" + request[len(method) :]


def disagreements(addresses: Mapping[str, str], requests: Sequence[bytes]) -> Sequence[str]:
    """Who of them does not read these bytes as so many requests, each with its end where the next one begins."""
    told = {name: _answered(address, b"".join(requests) + LAST) for name, address in addresses.items()}
    return [
        f"{name}: {statuses}"
        for name, statuses in told.items()
        if len(statuses) != len(requests) + 1 or UNREADABLE & set(statuses)
    ]


def _answered(address: str, data: bytes) -> Sequence[int]:
    """The final answers on one connection, until the server closes it."""
    read = b""
    with closing(scripted.connect(address)) as connection, suppress(OSError):
        connection.settimeout(HUNG)
        connection.sendall(data)
        while more := connection.recv(65536):
            read += more
    return [int(status) for status in STATUS.findall(read)]


def told_in_time(address: str, data: bytes) -> tuple[int, ...]:
    """What a proxy answers before it is silent. Some take a client that says no more for one that has gone."""
    read = b""
    with closing(scripted.connect(address)) as connection, suppress(OSError):
        connection.sendall(data)
        connection.settimeout(SILENCE)
        while more := connection.recv(65536):
            read += more
    return tuple(int(status) for status in STATUS.findall(read))


@contextmanager
def proxies(app: str, folder: Path) -> Iterator[Mapping[str, str]]:
    """Addresses by name of the proxies of others before this application."""
    backend = Backend(BackendKind.H1, int(app.rpartition(":")[2]))
    with ExitStack() as running:
        addresses = {}
        for name, launch in (("nginx", _nginx_proxy), ("haproxy", HAPROXY.launch), ("envoy", ENVOY.launch)):
            port = free_port()
            launched = launch(folder, port, backend)
            running.enter_context(_serving(launched, port, folder / f"{name}-proxy.log"))
            addresses[name] = f"127.0.0.1:{port}"
        yield addresses


@contextmanager
def _serving(launch: Launch, port: int, log: Path) -> Iterator[None]:
    with spawned(launch.command, PROXY_CORE, log, launch.environment) as child:
        wait_until(lambda: listening(port), child, log)
        yield


@contextmanager
def _node() -> Iterator[str]:
    command = [debian("node"), str(Path(__file__).with_name("origin.cjs"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"127.0.0.1:{int(process.stdout.readline())}"
        assert process.stdin is not None
        process.stdin.close()
        process.wait(10)


def _nginx(folder: Path, port: int, name: str, location: str) -> Launch:
    config = folder / f"{name}.conf"
    paths = "\n".join(
        f"  {kind}_temp_path {folder}/{name}-{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config.write_text(f"""\
daemon off;
worker_processes 1;
pid {folder}/{name}.pid;
error_log stderr error;
events {{}}
http {{
  access_log off;
{paths}
  server {{
    listen 127.0.0.1:{port};
    location / {{ {location} }}
  }}
}}
""")
    return Launch([debian("nginx"), "-e", "stderr", "-c", str(config)])


def _nginx_origin(folder: Path, port: int) -> Launch:
    return _nginx(folder, port, "nginx-origin", "return 200 ok;")


def _nginx_proxy(folder: Path, port: int, backend: Backend) -> Launch:
    forward = f'proxy_pass http://127.0.0.1:{backend.port}; proxy_http_version 1.1; proxy_set_header Connection "";'
    return _nginx(folder, port, "nginx-proxy", forward)


def _apache(folder: Path, port: int) -> Launch:
    modules, config, files = Path("/usr/lib/apache2/modules"), folder / "apache2.conf", folder / "files"
    files.mkdir()
    config.write_text(f"""\
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
Listen 127.0.0.1:{port}
ServerName localhost
PidFile {folder}/apache2.pid
DefaultRuntimeDir {folder}
Mutex file:{folder}
ErrorLog {folder}/apache2.error.log
DocumentRoot {files}
KeepAlive On
MaxKeepAliveRequests 0
""")
    return Launch([debian("apache2"), "-d", str(folder), "-f", str(config), "-X"])


_CONFIGURED = {"nginx": _nginx_origin, "apache2": _apache}
