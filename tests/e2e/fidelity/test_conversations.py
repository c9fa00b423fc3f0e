"""Whatever the two sides of a WebSocket say to each other, through the mesh they hear what they hear directly.

Client and server are wsproto, over HTTP/1.1 and over HTTP/2; gateway and sidecars stand between them.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count

import h2.errors
import pytest
from hypothesis import Phase, example, given, settings

from tests.e2e.conftest import Running
from tests.e2e.fidelity.apps import running as serving
from tests.e2e.fidelity.conversation import Closing, Conversation, Ending, Message, Ping, Pong, Run, conversations
from tests.e2e.fidelity.websocket import SUBPROTOCOLS, Heard, Side, Stage, open_http1, open_http2

OPEN: dict[int, Callable[..., tuple[Side, str | None]]] = {1: open_http1, 2: open_http2}


@dataclass
class Ways:
    """Servers that speak one version each, and the ways to them."""

    stage: Stage
    # By version.
    servers: dict[int, str]
    names: dict[int, str]
    # The gateway, and a caller's own sidecar.
    proxies: dict[str, str]
    _paths: Iterator[int] = field(default_factory=count)

    def play(self, conversation: Conversation, client: int, address: str, host: str) -> tuple[Side, Side]:
        """Both sides as the conversation has left them."""
        path = f"/{next(self._paths)}"
        self.stage.prepare(path, conversation)
        side, protocol = OPEN[client](address, host, path, compressed=conversation.compressed)
        assert protocol == SUBPROTOCOLS[-1]
        with closing(side.lane):
            side.play(conversation)
        return side, self.stage.outcome(path)

    def directly(self, conversation: Conversation, version: int) -> tuple[Heard, Heard]:
        """What client and server hear with nothing between them."""
        return heard(self.play(conversation, version, self.servers[version], "direct.test"))


def heard(sides: tuple[Side, Side]) -> tuple[Heard, Heard]:
    """What each of the two heard."""
    return sides[0].heard, sides[1].heard


@pytest.fixture(scope="module")
def ways(running: Running) -> Iterator[Ways]:
    stage = Stage()
    with (
        serving(stage.serve_http1) as one,
        serving(stage.serve_http2) as two,
        running.with_sidecar("chat", one.port, protocol="http"),
        running.with_sidecar("chat-by-http2", two.port, protocol="http2"),
    ):
        servers = {1: f"127.0.0.1:{one.port}", 2: f"127.0.0.1:{two.port}"}
        proxies = {"gateway": running.edge.edge, "sidecar": running.web.outbound}
        yield Ways(stage, servers, {1: "chat", 2: "chat-by-http2"}, proxies)


both = pytest.mark.parametrize("client", [1, 2], ids=["http1-client", "http2-client"])


@both
@pytest.mark.parametrize("server", [1, 2], ids=["http1-server", "http2-server"])
@pytest.mark.parametrize("proxy", ["gateway", "sidecar"])
@settings(deadline=None, max_examples=15, phases=[Phase.explicit, Phase.generate])
@given(conversation=conversations)
@example(Conversation((("server", Message((b"right after the head",))),), Closing("server", 1000, "", "server")))
@example(Conversation((("client", Message(("a", "b", "c"), b"between")),), Closing("client", 4999, "ü" * 20, "client")))
@example(Conversation((("server", Message((Run(255, 300_000),))),), Ending("server", in_order=False), compressed=True))
@example(Conversation((("client", Ping(b"x" * 125)), ("server", Pong(b""))), Ending("client", in_order=False)))
@example(Conversation((), Ending("client", in_order=True)))
def test_no_difference_to_a_direct_connection(
    ways: Ways, client: int, server: int, proxy: str, conversation: Conversation
) -> None:
    through = ways.play(conversation, client, ways.proxies[proxy], ways.names[server])
    assert heard(through) == ways.directly(conversation, 1) == ways.directly(conversation, 2)
    if isinstance(conversation.end, Ending) and not conversation.end.in_order:
        # "RST exceptions are represented with RST_STREAM with the CANCEL error code" (RFC 8441 section 5).
        codes = {side.code for side in through if side.me != conversation.end.who}
        assert codes <= {None, h2.errors.ErrorCodes.CANCEL}
