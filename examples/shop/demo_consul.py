"""The shop on real Consul: services register themselves, and a key that is put moves the calls, live on the screen."""

import asyncio
import re
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import grpc.aio
from agent import Agent
from layout import CONSUL_CONFIG, GATEWAY_PORT, INSTANCES, Ports, write_config
from processes import Shop, ShopError, environment_for
from program import main
from screen import bold, say
from shop.v1 import orders_pb2
from shop.v1.shop_pb2_grpc import ShopStub

KEY = "sidecar/services/orders"

# Of a hundred calls how many version 2 gets, one step of the canary after the other.
STEPS = (20, 50, 100)
# Seconds: between two calls of one caller, between two lines, and for the look at one step.
CALL_EVERY, LINE_EVERY, STEP_TAKES = 0.04, 1.0, 4.0
POLL_EVERY = 0.01
# Seconds for the first good call, and for a share that is seen after a step.
FIRST_WITHIN, SEEN_WITHIN = 20.0, 20.0
# A share is looked for in so many calls; by chance alone it is farther off than this in one look of a hundred.
SEEN_IN, NEAR = 200, 0.1
CALLERS = 4
BAR = 40


class Calls:
    """Calls of clients in a steady row, and which version of orders answered them."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = ShopStub(channel)
        self.latest: deque[str] = deque(maxlen=SEEN_IN)
        self.since_line: Counter[str] = Counter()
        self.failures: list[str] = []
        # When (time.monotonic) each version last answered, and when a call was last refused by an intention.
        self.answered: dict[str, float] = {}
        self.refused_at = 0.0

    async def run(self) -> None:
        """One client: call for ever."""
        while True:
            await self._call()
            await asyncio.sleep(CALL_EVERY)

    async def first(self) -> None:
        """Return when the shop has answered once: until then its services are on their way into Consul."""
        deadline = time.monotonic() + FIRST_WITHIN
        while not self.answered:
            if time.monotonic() > deadline:
                raise ShopError(f"no call succeeded within {FIRST_WITHIN:.0f} s: {self.failures[-1:]}")
            await self._call()
            await asyncio.sleep(CALL_EVERY)
        self.failures.clear()
        self.since_line.clear()

    async def _call(self) -> None:
        try:
            order = await self._stub.GetOrder(orders_pb2.GetOrderRequest(order_id="1001"), timeout=10)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.PERMISSION_DENIED:
                self.refused_at = time.monotonic()
                self.since_line["refused"] += 1
                return
            self.failures.append(f"{error.code().name}: {error.details()}")
            self.since_line["failed"] += 1
        else:
            self.latest.append(order.version)
            self.since_line[order.version] += 1
            self.answered[order.version] = time.monotonic()

    def share(self) -> float:
        """Version 2's part of the latest calls, 0 to 1."""
        return self.latest.count("2") / max(1, len(self.latest))

    def line(self) -> str:
        """The calls since the last line, drawn."""
        one, two, failed, refused = (self.since_line[name] for name in ("1", "2", "failed", "refused"))
        self.since_line.clear()
        share = two / max(1, one + two)
        filled = round(BAR * share)
        failures = bold(f", {failed} FAILED") if failed else ""
        failures += f", {refused} refused" if refused else ""
        bar = f"{'━' * (BAR - filled)}{bold('█' * filled)}"
        return (
            f"  {time.strftime('%H:%M:%S')}  v1 {1 - share:4.0%}  {bar}  v2 {share:4.0%}  {one + two} calls{failures}"
        )


async def draw(calls: Calls) -> None:
    """A line a second, for ever."""
    while True:
        await asyncio.sleep(LINE_EVERY)
        say(calls.line())


async def first_of(*work: Coroutine[Any, Any, None]) -> None:
    """Do all of it until one is done, or fails."""
    tasks = [asyncio.create_task(part) for part in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


class Demo:
    """The story. `hurried`: without the time that a person needs to look, and every step is checked."""

    def __init__(self, directory: Path, ports: Ports, hurried: bool) -> None:
        self.directory = directory
        self.agent = Agent(directory, ports)
        environment = environment_for(None)
        if "OTEL_EXPORTER_OTLP_ENDPOINT" not in environment:
            # The applications would look for a collector.
            environment["OTEL_SDK_DISABLED"] = "true"
        self.shop = Shop(directory, ports, environment, lambda *_: None, consul=self.agent.address)
        self._ports = ports
        self._hurried = hurried

    async def tell(self) -> None:
        """From nothing to a canary that has become the version."""
        began = time.monotonic()
        say("Starting Consul and the shop ...\n")
        await self.agent.start()
        await self.push()
        await self.shop.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self._ports[GATEWAY_PORT]}") as channel:
            self.calls = Calls(channel)
            await self.calls.first()
            await self.introduce(time.monotonic() - began)
            await first_of(self.canary(), draw(self.calls), *(self.calls.run() for _ in range(CALLERS)))

    async def canary(self) -> None:
        """From version 1 to version 2, by three keys; an intention that is flipped; then it is the person's turn."""
        await self.look(0)
        for percent in STEPS:
            await self.step(percent)
        await self.flip("deny", lambda: self.calls.refused_at)
        await self.flip("allow", lambda: self.calls.answered["2"])
        say(f"\n{bold('Your turn')}, in another terminal; Ctrl-C here stops everything:")
        program = Path(self.agent.program).parent
        say(f"  export CONSUL_HTTP_ADDR={self.agent.address} PATH=$PATH:{program}")
        say(f"  {self.put(STEPS[0])}        # edit the file first, if you like")
        say(f"  consul kv get {KEY}")
        say(f"  consul {' '.join(intention('deny'))}")
        say("  consul catalog nodes -service=orders\n")
        if not self._hurried:
            await asyncio.Event().wait()

    async def push(self) -> None:
        """The documents of the mesh, by the command of ours that writes them to Consul."""
        documents = self.directory / "consul"
        write_config(documents, self._ports, CONSUL_CONFIG)
        say(f"$ sidecar config push {shown(documents)}")
        say(indented(await self.agent.push(documents)))
        text = (documents / "services" / "orders.yaml").read_text()
        for percent in STEPS:
            self.file(percent).write_text(with_weights(text, 100 - percent, percent))

    async def introduce(self, seconds: float) -> None:
        """What there is."""
        say("\n$ consul catalog services")
        say(indented(await self.agent.consul("catalog", "services")))
        say(
            f"\n{bold('The shop is on Consul')} after {seconds:.1f} s: {len(INSTANCES)} sidecars have registered their "
            "services, found each other\nthere, and trust each other by its CA. The gateway listens on "
            f"{self._ports[GATEWAY_PORT]}. Clients call a hundred times a second.\n"
        )

    async def step(self, percent: int) -> None:
        """Put the key, as a person would, and watch the calls follow."""
        say(f"\n{bold(f'$ {self.put(percent)}')}")
        seen_before = self.calls.answered.get("2", 0.0)
        await self.agent.consul("kv", "put", KEY, f"@{self.file(percent)}")
        put = time.monotonic()
        if not seen_before:
            await self.until(lambda: "2" in self.calls.answered, "a first answer of version 2")
            say(f"  version 2 first answered {max(0.0, self.calls.answered['2'] - put) * 1000:.0f} ms after that")
        await self.look(percent)

    async def flip(self, action: str, seen_at: Callable[[], float]) -> None:
        """Write the intention from web to orders, and watch the calls follow: of all that are allowed none fails."""
        command = intention(action)
        say(f"\n{bold('$ consul ' + ' '.join(command))}")
        await self.agent.consul(*command)
        written = time.monotonic()
        await self.until(lambda: seen_at() > written, f"the first call after `{action}`")
        word = "refused" if action == "deny" else "answered"
        say(f"  the first call was {word} {(seen_at() - written) * 1000:.0f} ms after that")
        if not self._hurried:
            await asyncio.sleep(STEP_TAKES)
        elif self.calls.failures:
            raise ShopError(f"{len(self.calls.failures)} calls failed; the first: {self.calls.failures[0]}")

    async def look(self, percent: int) -> None:
        """Let a person see it, or be sure that it is so and that no call has failed."""
        if not self._hurried:
            await asyncio.sleep(STEP_TAKES)
            return
        calls, near = self.calls, NEAR if 0 < percent < 100 else 0.0
        calls.latest.clear()
        await self.until(
            lambda: len(calls.latest) == SEEN_IN and abs(calls.share() - percent / 100) <= near,
            f"{percent} % of the calls at version 2",
        )
        if calls.failures:
            raise ShopError(f"{len(calls.failures)} calls failed; the first: {calls.failures[0]}")

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait for it. ShopError: it does not come."""
        deadline = time.monotonic() + SEEN_WITHIN
        while not holds():
            if time.monotonic() > deadline:
                share = f"{self.calls.share():.0%} of the latest calls are at version 2"
                raise ShopError(f"{what}: not within {SEEN_WITHIN:.0f} s; {share}")
            await asyncio.sleep(POLL_EVERY)

    def file(self, percent: int) -> Path:
        """The document with so much for version 2."""
        return self.directory / f"orders-{percent}.yaml"

    def put(self, percent: int) -> str:
        """The command that puts it."""
        return f"consul kv put {KEY} @{shown(self.file(percent))}"

    async def stop(self) -> None:
        """All of it; callers first, Consul last."""
        await self.shop.stop()
        await self.agent.stop()


def intention(action: str) -> tuple[str, ...]:
    """The command of Consul that says whether web may call orders."""
    return "intention", "create", "-replace", f"-{action}", "web", "orders"


def with_weights(text: str, *weights: int) -> str:
    """A document whose weights are these, in the order of the text."""
    following = iter(weights)
    return re.sub(r"weight: \d+", lambda _: f"weight: {next(following)}", text)


def shown(path: Path) -> Path:
    """As a person would type it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


if __name__ == "__main__":
    sys.exit(main("consul", __doc__, "check every step, on free ports, and end", Demo))
