"""Applications in Go, Node and Python, each behind a sidecar, and a gateway before them all."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.e2e.fidelity import apps
from tests.mesh import LOOPBACK, Mesh
from tests.real.peers.process import direct, started

# Seconds.
PATIENCE = 20.0


@dataclass(frozen=True)
class Server:
    """An application that speaks one version. Gates and uploads go by the id of their exchange."""

    name: str
    version: int
    port: int
    # Waits until a poll stands at the gate.
    await_poll: Callable[[str], object]
    open_gate: Callable[[str], object]
    # Waits for the whole of an early answered upload, and tells its length.
    uploaded: Callable[[str], int]


def programs(language: str, ports: dict[str, int]) -> Iterator[Server]:
    """The two servers of a program in Go or Node."""
    # Questions about what was seen never pass the mesh.
    port = ports["http1"]

    def outcome(exchange: str) -> str:
        return direct(port, f"/outcome?id={exchange}")

    for version in (1, 2):
        yield Server(
            f"{language}{version}",
            version,
            ports[f"http{version}"],
            outcome,
            lambda exchange: direct(port, f"/go?id={exchange}"),
            lambda exchange: int(outcome(exchange)),
        )


def scripted(version: int, app: apps.App) -> Server:
    """One of Python's, which has one exchange at a time."""

    def uploaded(exchange: str) -> int:
        assert app.arrived.wait(PATIENCE), exchange
        app.arrived.clear()
        return app.received

    return Server(
        f"python{version}",
        version,
        app.port,
        lambda _: app.waiting.wait(PATIENCE),
        lambda _: app.go.set(),
        uploaded,
    )


@contextmanager
def serving() -> Iterator[list[Server]]:
    """All of them, until the block ends."""
    with ExitStack() as stack:
        servers: list[Server] = []
        for language in ("go", "node"):
            servers += programs(language, stack.enter_context(started(language, "serve")).read())
        for version, serve in ((1, apps.serve_http1), (2, apps.serve_http2)):
            servers.append(scripted(version, stack.enter_context(apps.running(serve))))
        yield servers


def expose(mesh: Mesh, ports: dict[str, tuple[int, int]]) -> str:
    """Put services behind sidecars and one gateway, by name their version of HTTP and their port.

    Returns the gateway's URL; a service is reached below its name.
    """
    routes = []
    for name, (version, port) in ports.items():
        protocol = "http" if version == 1 else "http2"
        mesh.document(f"services/{name}", protocol=protocol)
        sidecar = mesh.sidecar(name, port)
        mesh.document(f"services/{name}", protocol=protocol, endpoints=[{"address": sidecar.inbound}])
        below = {"match": {"path": f"/{name}/*"}, "rewrite": {"path": "/*"}}
        routes.append({"name": name, **below, "to": {"service": name}})
    mesh.document("gateways/edge", listeners=[LOOPBACK], routes=routes)
    return f"http://{mesh.gateway('edge').edge}"
