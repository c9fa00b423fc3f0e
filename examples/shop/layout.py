"""What runs where: the shop's instances, their documented ports, and how all of them move to other ports at once."""

import random
import re
import shutil
import socket
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
# The mesh's documents: with addresses in a directory, and without for Consul, which knows them.
CONFIG, CONSUL_CONFIG = FOLDER / "config", FOLDER / "consul"

# The documented ports lie below the range that outgoing connections take theirs from (32768 and up on Linux): no
# connection of another program holds one by chance.
GATEWAY = "edge"
GATEWAY_PORT, GATEWAY_TLS_PORT = 8080, 8443
GATEWAY_ADMIN_PORT = 19000
# The web sidecar's local port for inventory (config/services/web.yaml).
INVENTORY_UPSTREAM_PORT = 9191
# Consul's own defaults: its HTTP API, and what its servers say to each other.
CONSUL_PORT, CONSUL_SERVER_PORT, CONSUL_SERF_PORT = 8500, 8300, 8301
# Jaeger's own defaults: OTLP over gRPC and HTTP, its query API over HTTP and gRPC, its health.
JAEGER_OTLP_PORT, JAEGER_QUERY_PORT, JAEGER_HEALTH_PORT = 4318, 16686, 13133


@dataclass(frozen=True)
class Instance:
    """A sidecar and the application beside it: a module with its arguments, or none when another instance runs it."""

    name: str
    service: str
    app_port: int
    inbound_port: int
    outbound_port: int
    admin_port: int
    app: str = ""
    # What Consul is told of it.
    version: str = ""

    @property
    def ports(self) -> tuple[int, ...]:
        return self.app_port, self.inbound_port, self.outbound_port, self.admin_port


INSTANCES = (
    Instance(
        name="web",
        service="web",
        app_port=9001,
        inbound_port=21000,
        outbound_port=15001,
        admin_port=19001,
        app="shop.web --port 9001 --http-port 8000 --mesh 127.0.0.1:15001 --inventory 127.0.0.1:9191",
    ),
    Instance(
        name="web-http",
        service="web-http",
        app_port=8000,
        inbound_port=21010,
        outbound_port=15002,
        admin_port=19002,
    ),
    Instance(
        name="orders-1",
        service="orders",
        app_port=9011,
        inbound_port=21001,
        outbound_port=15011,
        admin_port=19011,
        app="shop.orders --port 9011 --version 1",
        version="1",
    ),
    Instance(
        name="orders-2",
        service="orders",
        app_port=9012,
        inbound_port=21002,
        outbound_port=15012,
        admin_port=19012,
        app="shop.orders --port 9012 --version 2",
        version="2",
    ),
    Instance(
        name="inventory",
        service="inventory",
        app_port=9021,
        inbound_port=21003,
        outbound_port=15013,
        admin_port=19013,
        app="shop.inventory --port 9021",
    ),
)

SHOP_PORTS = (
    GATEWAY_PORT,
    GATEWAY_TLS_PORT,
    GATEWAY_ADMIN_PORT,
    INVENTORY_UPSTREAM_PORT,
    *(port for instance in INSTANCES for port in instance.ports),
)
CONSUL_PORTS = (CONSUL_PORT, CONSUL_SERVER_PORT, CONSUL_SERF_PORT)
JAEGER_PORTS = (4317, JAEGER_OTLP_PORT, 16685, JAEGER_QUERY_PORT, JAEGER_HEALTH_PORT)
ALL_PORTS = SHOP_PORTS + CONSUL_PORTS + JAEGER_PORTS


class Ports:
    """Maps every documented port to the one in use."""

    def __init__(self, actual: Iterable[int] = ALL_PORTS) -> None:
        self._actual = dict(zip(ALL_PORTS, actual, strict=True))

    def __getitem__(self, documented: int) -> int:
        return self._actual[documented]

    def in_text(self, text: str) -> str:
        """`text` with every documented port in it replaced."""
        return re.sub(r"\b\d{4,5}\b", lambda match: str(self._actual.get(int(match[0]), match[0])), text)

    def taken(self, documented: Iterable[int]) -> list[int]:
        """Those in use for `documented` that another program listens on now."""
        with ExitStack() as held:
            return [self[port] for port in documented if not _hold(self[port], held)]


def free_ports() -> Ports:
    """Ports that nobody uses, from below the range of outgoing connections as well."""
    chosen: list[int] = []
    with ExitStack() as held:
        for port in random.sample(range(20000, 32000), 2000):
            if len(chosen) == len(ALL_PORTS):
                break
            if _hold(port, held):
                chosen.append(port)
    return Ports(chosen)


def write_config(directory: Path, ports: Ports, tree: Path = CONFIG) -> None:
    """Make `directory` a copy of the tree of documents with the ports in use; what an earlier run left there goes."""
    if directory.exists():
        shutil.rmtree(directory)
    for source in tree.rglob("*.yaml"):
        target = directory / source.relative_to(tree)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(ports.in_text(source.read_text()))


def _hold(port: int, held: ExitStack) -> bool:
    """Bind `port` until `held` is closed; False when it is taken."""
    listener = held.enter_context(socket.socket())
    # As the programs themselves do: a port whose last connections still fade away counts as free.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("0.0.0.0", port))  # noqa: S104
    except OSError:
        return False
    return True
