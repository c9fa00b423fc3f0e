"""WebSockets between clients and servers in Go, Node and Python, through a gateway and a sidecar, bridged where needed.

Node speaks WebSocket over HTTP/2 too, the others over HTTP/1.1. Each session is also held directly where client and
server speak the same version, and what both sides then hear is what they must hear through the mesh.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count

import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies

from tests.mesh import Mesh
from tests.real.peers import websocket
from tests.real.peers.mesh import expose
from tests.real.peers.process import Json, direct, started

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

SUBPROTOCOLS = ["shop.v2", "shop.v1"]
# Lengths of a frame's piece; the largest is longer than any buffer or window on the way.
SIZES = [0, 1, 125, 126, 65535, 65536, 300_000]

exchanges = map(str, count())

words = strategies.text(strategies.characters(categories=["L", "N", "So"]), max_size=20)
says = strategies.builds(
    lambda text: {"do": "say", "text": text}, strategies.lists(words, min_size=1, max_size=3)
) | strategies.builds(
    lambda sizes: {"do": "say", "sizes": sizes},
    strategies.lists(strategies.sampled_from(SIZES), min_size=1, max_size=3),
)
pings = strategies.builds(lambda text: {"do": "ping", "text": [text]}, words)
# A code that applications may use (RFC 6455 section 7.4.2), or that of a normal end.
codes = strategies.integers(3000, 4999) | strategies.just(1000)
ends = (
    strategies.builds(lambda code, reason: {"do": "close", "code": code, "reason": reason}, codes, words)
    | strategies.builds(lambda code, reason: {"do": "command", "text": [f"close {code} {reason}"]}, codes, words)
    | strategies.sampled_from([{"do": "break"}, {"do": "command", "text": ["break"]}])
)
sessions = strategies.tuples(strategies.lists(says | pings, max_size=4), ends).map(lambda parts: [*parts[0], parts[1]])


@dataclass(frozen=True)
class Server:
    """A server that speaks one version."""

    name: str
    version: int
    port: int
    # Waits for what it has heard in the exchange of this id.
    heard: Callable[[str], Json]


@dataclass(frozen=True)
class Client:
    """A client that speaks one version."""

    version: int
    talk: Callable[[Json], Json]
    pings: bool = True

    def session(self, url: str, actions: list[Json], *, compressed: bool = False) -> Json:
        """What it heard."""
        mine = [action for action in actions if action["do"] != "ping" or self.pings]
        order: Json = {"url": url, "version": self.version, "websocket": mine, "compressed": compressed}
        told = self.talk({**order, "subprotocols": SUBPROTOCOLS})
        return {name: told[name] for name in ("heard", "subprotocol", "code", "reason", "refused", "body")}


@dataclass(frozen=True)
class Stage:
    """Everybody, and the gateway's URL."""

    edge: str
    servers: list[Server]
    clients: dict[str, Client]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with ExitStack() as stack:
        servers = []
        for language, versions in (("go", [1]), ("node", [1, 2])):
            ports = stack.enter_context(started(language, "serve")).read()
            asked = ports["http1"]
            for version in versions:
                heard = _asking(asked)
                servers.append(Server(f"{language}{version}", version, ports[f"http{version}"], heard))
        outcomes = websocket.Outcomes()
        servers.append(Server("python1", 1, stack.enter_context(websocket.serving(outcomes)), outcomes.get))
        go, node = (stack.enter_context(started(language, "call")) for language in ("go", "node"))
        clients = {
            # coder/websocket sees a pong only while somebody reads.
            "Go http1": Client(1, go.order, pings=False),
            "Node http1": Client(1, node.order),
            "Node http2": Client(2, node.order),
            "Python http1": Client(1, websocket.talk),
        }
        mesh = stack.enter_context(Mesh(tmp_path_factory.mktemp("websocket")))
        edge = expose(mesh, {server.name: (server.version, server.port) for server in servers})
        yield Stage(edge, servers, clients)


def _asking(port: int) -> Callable[[str], Json]:
    return lambda exchange: dict(json.loads(direct(port, f"/outcome?id={exchange}")))


def hold(client: Client, server: Server, url: str, actions: list[Json], *, compressed: bool) -> tuple[Json, Json]:
    """What client and server hear in one session."""
    exchange = next(exchanges)
    told = client.session(f"{url}/ws?id={exchange}", actions, compressed=compressed)
    heard = server.heard(exchange)
    return told, {name: heard[name] for name in ("heard", "subprotocol", "code", "reason")}


NAMES = ["Go http1", "Node http1", "Node http2", "Python http1"]


@pytest.mark.parametrize("name", NAMES)
def test_no_difference_to_a_direct_connection(stage: Stage, name: str, row: Callable[[str, str], None]) -> None:
    client, held = stage.clients[name], 0

    @settings(
        deadline=None,
        max_examples=10,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(actions=sessions, compressed=strategies.booleans())
    def in_every_way(actions: list[Json], compressed: bool) -> None:
        nonlocal held
        (peer,) = [server for server in stage.servers if server.name == f"{name.split()[0].lower()}{client.version}"]
        expected = hold(client, peer, f"http://127.0.0.1:{peer.port}", actions, compressed=compressed)
        for server in stage.servers:
            through = hold(client, server, f"{stage.edge}/{server.name}", actions, compressed=compressed)
            assert through == expected, server.name
            held += 1

    in_every_way()
    row(f"WebSocket, {name} client", f"{held} sessions, none differs")


@pytest.mark.parametrize("name", NAMES)
def test_a_refusal_arrives_with_its_content(stage: Stage, name: str) -> None:
    for server in stage.servers:
        told = stage.clients[name].session(f"{stage.edge}/{server.name}/ws?id={next(exchanges)}&refuse=403", [])
        assert (told["refused"], told["body"]) == (403, "not here\n"), server.name
