"""What runs where: the shop's instances, their documented ports, and how all of them move to other ports at once."""

import random
import re
import socket
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
CONFIG = FOLDER / "config"

GATEWAY = "edge"
GATEWAY_PORT = 8080
GATEWAY_ADMIN_PORT = 19000
# The web sidecar's local port for inventory (config/services/web.yaml).
INVENTORY_UPSTREAM_PORT = 9191


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

    @property
    def ports(self) -> tuple[int, ...]:
        return self.app_port, self.inbound_port, self.outbound_port, self.admin_port


INSTANCES = (
    Instance(
        name="web",
        service="web",
        app_port=50051,
        inbound_port=21000,
        outbound_port=15001,
        admin_port=19001,
        app="shop.web --port 50051 --http-port 8000 --mesh 127.0.0.1:15001 --inventory 127.0.0.1:9191",
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
        app_port=50061,
        inbound_port=21001,
        outbound_port=15011,
        admin_port=19011,
        app="shop.orders --port 50061 --version 1",
    ),
    Instance(
        name="orders-2",
        service="orders",
        app_port=50062,
        inbound_port=21002,
        outbound_port=15012,
        admin_port=19012,
        app="shop.orders --port 50062 --version 2",
    ),
    Instance(
        name="inventory",
        service="inventory",
        app_port=50071,
        inbound_port=21003,
        outbound_port=15013,
        admin_port=19013,
        app="shop.inventory --port 50071",
    ),
)

ALL_PORTS = (
    GATEWAY_PORT,
    GATEWAY_ADMIN_PORT,
    INVENTORY_UPSTREAM_PORT,
    *(port for instance in INSTANCES for port in instance.ports),
)


class Ports:
    """Maps every documented port to the one in use."""

    def __init__(self, actual: Iterable[int] = ALL_PORTS) -> None:
        self._actual = dict(zip(ALL_PORTS, actual, strict=True))

    def __getitem__(self, documented: int) -> int:
        return self._actual[documented]

    def in_text(self, text: str) -> str:
        """`text` with every documented port in it replaced."""
        return re.sub(r"\b\d{4,5}\b", lambda match: str(self._actual.get(int(match[0]), match[0])), text)

    def taken(self) -> list[int]:
        """Those that another program listens on now."""
        with ExitStack() as held:
            return [port for port in self._actual.values() if not _hold(port, held)]


def free_ports() -> Ports:
    """Ports that nobody uses. They lie below the range that outgoing connections take theirs from (32768 on Linux)."""
    chosen: list[int] = []
    with ExitStack() as held:
        for port in random.sample(range(20000, 32000), 2000):
            if len(chosen) == len(ALL_PORTS):
                break
            if _hold(port, held):
                chosen.append(port)
    return Ports(chosen)


def write_config(directory: Path, ports: Ports) -> None:
    """Copy the configuration tree to `directory`, with the ports in use."""
    for source in CONFIG.rglob("*.yaml"):
        target = directory / source.relative_to(CONFIG)
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
