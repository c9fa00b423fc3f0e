"""The shop with real Jaeger, and on Consul if that is there: a call, and its trace as Jaeger tells it."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import grpc.aio
from agent import Agent
from jaeger import Jaeger
from layout import CONSUL_CONFIG, GATEWAY, GATEWAY_PORT, Ports, write_config
from processes import Shop, ShopError, environment_for
from program import main
from receiver import Span
from screen import bold, say
from shop.v1 import orders_pb2
from shop.v1.shop_pb2_grpc import ShopStub
from trace_tree import draw

# Seconds for the first good call, and for all spans of a trace; nothing new for so long, and it is whole.
FIRST_WITHIN, WHOLE_WITHIN, AT_REST = 20.0, 15.0, 1.0
# Spans of one call through the gateway, web, orders and inventory.
SPANS_OF_A_CALL = 17


class Demo:
    """The story: all is started, a call is made, and Jaeger is asked."""

    def __init__(self, directory: Path, ports: Ports, hurried: bool) -> None:
        self.directory, self._ports, self._hurried = directory, ports, hurried
        self.jaeger = Jaeger(directory, ports)
        self.agent = _agent(directory, ports)
        consul = self.agent.address if self.agent else ""
        self.shop = Shop(directory, ports, environment_for(self.jaeger.endpoint), lambda *_: None, consul=consul)

    async def tell(self) -> None:
        """From nothing to a trace."""
        began = time.monotonic()
        say(f"Starting Jaeger, {'Consul and ' if self.agent else ''}the shop ...")
        await self.jaeger.start()
        if self.agent:
            await self.agent.start()
            documents = self.directory / "consul"
            write_config(documents, self._ports, CONSUL_CONFIG)
            await self.agent.push(documents)
        await self.shop.start()
        where = "on Consul, traced by Jaeger" if self.agent else "traced by Jaeger (no Consul found)"
        say(f"{bold(f'The shop is {where}')}, after {time.monotonic() - began:.1f} s.\n")
        say(f"$ grpcurl -plaintext … 127.0.0.1:{self._ports[GATEWAY_PORT]} shop.v1.Shop/GetOrder")
        # The first finds a shop that may not be ready, and connections that are still to be made.
        await self.call()
        second = partial(self.jaeger.newest, GATEWAY, "shop.v1.Shop/GetOrder", time.time())
        await self.call()
        await self.show(await self.first(second, "the call's trace"), SPANS_OF_A_CALL)
        say(f"{bold('What has happened to the gateway itself')}, to which the spans of its requests are linked:")
        await self.show(await self.first(lambda: self.jaeger.newest(GATEWAY, "mesh"), "the mesh's trace"), 2)
        say(
            f"{bold('Your turn')}: {self.jaeger.api} is Jaeger (with its page, if your build has one). Make calls, then"
        )
        say(f"  curl '{self.jaeger.api}/api/traces?service={GATEWAY}&limit=1'")
        say("Ctrl-C stops everything.")
        if not self._hurried:
            await asyncio.Event().wait()

    async def call(self) -> None:
        """Ask the shop for an order until it answers: its services are on their way into the mesh."""
        deadline = time.monotonic() + FIRST_WITHIN
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self._ports[GATEWAY_PORT]}") as channel:
            while True:
                try:
                    await ShopStub(channel).GetOrder(orders_pb2.GetOrderRequest(order_id="1001"), timeout=10)
                except grpc.aio.AioRpcError as error:
                    if time.monotonic() > deadline:
                        raise ShopError(f"no call succeeded: {error.code().name}: {error.details()}") from None
                    await asyncio.sleep(0.2)
                else:
                    return

    async def first(self, ask: Callable[[], Awaitable[str]], what: str) -> str:
        """What Jaeger answers first. ShopError: it answers nothing."""
        deadline = time.monotonic() + WHOLE_WITHIN
        while True:
            if found := await ask():
                return found
            if time.monotonic() > deadline:
                raise ShopError(f"{what} is not in Jaeger within {WHOLE_WITHIN:.0f} s")
            await asyncio.sleep(0.1)

    async def show(self, trace_id: str, least: int) -> None:
        """Draw a trace when it is whole, and say where it is. ShopError: spans are missing."""
        deadline = time.monotonic() + WHOLE_WITHIN
        spans: list[Span] = []
        while True:
            before, spans = len(spans), await self.jaeger.spans(trace_id)
            if len(spans) >= least and len(spans) == before:
                break
            if time.monotonic() > deadline:
                raise ShopError(f"{len(spans)} spans of {trace_id} are in Jaeger, expected {least} or more")
            await asyncio.sleep(AT_REST)
        say("\n".join(draw(spans)))
        say(f"  {self.jaeger.link(trace_id)}\n")

    async def stop(self) -> None:
        """All of it; callers first, and last those that hear of its end."""
        await self.shop.stop()
        if self.agent:
            await self.agent.stop()
        await self.jaeger.stop()


def _agent(directory: Path, ports: Ports) -> Agent | None:
    """Consul, if it is there."""
    try:
        return Agent(directory, ports)
    except ShopError:
        return None


if __name__ == "__main__":
    sys.exit(main("jaeger", __doc__, "check that the traces are whole, on free ports, and end", Demo))
