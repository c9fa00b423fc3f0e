"""The shop in the mesh, checked without a person: calls of every kind, balance, identities and traces.

Prints a line for each thing that holds. The first that does not ends the check with a message and exit code 1.
"""

import asyncio
import ssl
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import ndiff
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
from credentials import ROOTS, TOKEN
from layout import GATEWAY, GATEWAY_PORT, GATEWAY_TLS_PORT, INSTANCES, Ports, free_ports
from processes import Shop, ShopError, environment_for
from receiver import Receiver, Span
from shop.v1 import orders_pb2 as pb
from shop.v1.orders_pb2_grpc import OrdersStub
from shop.v1.shop_pb2_grpc import ShopStub
from trace_tree import Node, grow

# Seconds.
CALL_WITHIN = 10.0
TELEMETRY_WITHIN = 10.0

IDENTITY = "spiffe://shop.local/ns/default/dc/dc1/svc/{}".format

# By process and direction: whom it saw as caller, and whom it reached. The local app is nobody: it is not in the mesh.
CALLERS = {
    ("web", "inbound"): {IDENTITY("edge")},
    ("web-http", "inbound"): {IDENTITY("edge")},
    ("orders-1", "inbound"): {IDENTITY("web"), IDENTITY("edge")},
    ("orders-2", "inbound"): {IDENTITY("web"), IDENTITY("edge")},
    ("inventory", "inbound"): {IDENTITY("web")},
}
CALLEES = {
    (GATEWAY, "edge"): {IDENTITY("web"), IDENTITY("web-http"), IDENTITY("orders")},
    ("web", "outbound"): {IDENTITY("orders"), IDENTITY("inventory")},
}

# What one call does, as "<service> <part>: <kind>", two spaces deeper for each cause.
ORDERS_ONLY = """
edge gateway: server
  edge gateway: client
    web sidecar inbound: server
      web sidecar inbound: client
        web app: server
          web app: client
            web sidecar outbound: server
              web sidecar outbound: client
                orders sidecar inbound: server
                  orders sidecar inbound: client
                    orders app: server
"""
ORDERS_AND_INVENTORY = f"""{ORDERS_ONLY.rstrip()}
          web app: client
            web sidecar outbound: server
              web sidecar outbound: client
                inventory sidecar inbound: server
                  inventory sidecar inbound: client
                    inventory app: server
"""
STRAIGHT_TO_ORDERS = """
edge gateway: server
  edge gateway: client
    orders sidecar inbound: server
      orders sidecar inbound: client
        orders app: server
"""


def by_json(shape: str) -> str:
    """The same call made at the JSON front."""
    return shape.replace("web sidecar inbound", "web-http sidecar inbound")


class CheckError(Exception):
    """Something that should hold does not; the message says what was expected and what was seen."""


def expect(holds: bool, message: str) -> None:
    """Raise CheckError with `message` unless it holds."""
    if not holds:
        raise CheckError(message)


async def eventually(unmet: Callable[[], str]) -> None:
    """Wait until `unmet` is empty; after TELEMETRY_WITHIN it is the failure."""
    deadline = time.monotonic() + TELEMETRY_WITHIN
    while message := unmet():
        expect(time.monotonic() < deadline, f"{message}\n(waited {TELEMETRY_WITHIN:.0f} s)")
        await asyncio.sleep(0.1)


class Identities:
    """Collects from access-log lines which peers each proxy saw."""

    def __init__(self) -> None:
        self.callers: dict[tuple[str, str], set[str]] = {}
        self.callees: dict[tuple[str, str], set[str]] = {}

    def see(self, process: str, fields: Mapping[str, Any]) -> None:
        """Take one access-log line."""
        where = process, str(fields.get("direction"))
        if peer := fields.get("peer"):
            self.callers.setdefault(where, set()).add(peer)
        if peer := fields.get("upstream_peer"):
            self.callees.setdefault(where, set()).add(peer)

    def unmet(self) -> str:
        """What differs from CALLERS and CALLEES."""
        for what, expected, seen in (("callers", CALLERS, self.callers), ("callees", CALLEES, self.callees)):
            if seen != expected:
                return f"mTLS identities of {what}: expected {expected},\nseen {seen}"
        return ""


class Traces:
    """Compares the traces that arrived with the calls that were made."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.expected: Counter[str] = Counter()

    def expect(self, name: str, shape: str) -> None:
        """One more call: `name` is the first application's span."""
        self.expected[f"{name}\n{shape.strip()}"] += 1

    def unmet(self) -> str:
        """What differs; empty when each call is one whole trace and there are no others."""
        seen = Counter(_shape(self.receiver.spans(trace_id)) for trace_id in self.receiver.traces)
        if seen == self.expected:
            return ""
        missing, surplus = self.expected - seen, seen - self.expected
        counts = f"{missing.total()} traces are not as expected, {surplus.total()} were not expected"
        for shape in missing:
            name = shape.partition("\n")[0]
            other = next((other for other in surplus if other.startswith(name)), "")
            return f"{counts}; the first, expected (-) and seen (+):\n" + "\n".join(
                ndiff(shape.splitlines(), other.splitlines())
            )
        return f"{counts}; the first:\n{next(iter(surplus))}"


def _shape(spans: Iterable[Span]) -> str:
    roots = grow(spans)
    names = [span.name for span in spans if (span.place, span.kind) == ("app", "server")]
    return "\n".join(
        [names[0] if names else "(no application)", *(line for root in roots for line in _outline(root, ""))]
    )


def _outline(node: Node, indent: str) -> Iterator[str]:
    yield f"{indent}{node.span.service} {node.span.place}: {node.span.kind}"
    for child in node.children:
        yield from _outline(child, indent + "  ")


class Client:
    """What a client of the shop does; each method makes calls and checks their answers."""

    def __init__(self, channel: grpc.aio.Channel, ports: Ports, directory: Path, traces: Traces) -> None:
        self.stub, self.orders = ShopStub(channel), OrdersStub(channel)
        self.gateway = f"http://127.0.0.1:{ports[GATEWAY_PORT]}"
        self.secure_gateway = f"https://localhost:{ports[GATEWAY_TLS_PORT]}"
        self.directory = directory
        self.traces = traces

    async def get_order(self, *metadata: tuple[str, str]) -> pb.Order:
        """A unary call."""
        self.traces.expect("/shop.v1.Shop/GetOrder", ORDERS_AND_INVENTORY)
        order = await self.stub.GetOrder(pb.GetOrderRequest(order_id="1001"), metadata=metadata, timeout=CALL_WITHIN)
        stock = {item.sku: item.in_stock for item in order.items}
        expect(stock == {"tea": 120, "cup": 48}, f"expected what inventory has in stock, got {stock}")
        return order

    async def unary(self) -> str:
        versions = Counter([(await self.get_order()).version for _ in range(20)])
        expect(versions == {"1": 10, "2": 10}, f"20 calls in turn: expected 10 by each version, got {dict(versions)}")
        return "20 unary calls: 10 by each of the two instances of orders, all with inventory's answer"

    async def routed_by_header(self) -> str:
        versions = Counter([(await self.get_order(("x-beta", "1"))).version for _ in range(6)])
        expect(versions == {"2": 6}, f"6 calls with x-beta: expected all by version 2, got {dict(versions)}")
        return "6 unary calls with x-beta: all by version 2"

    async def server_stream(self) -> str:
        self.traces.expect("/shop.v1.Shop/WatchOrder", ORDERS_ONLY)
        call = self.stub.WatchOrder(pb.WatchOrderRequest(order_id="1001"), timeout=CALL_WITHIN)
        steps = [step.step async for step in call]
        expect(steps == ["received", "packed", "sent", "delivered"], f"expected four steps in order, got {steps}")
        return "server stream: 4 messages in order"

    async def client_stream(self) -> str:
        self.traces.expect("/shop.v1.Shop/AddItems", ORDERS_ONLY)
        items = [pb.Item(sku=f"article-{number}", quantity=number) for number in range(1, 101)]
        order = await self.stub.AddItems(iter(items), timeout=CALL_WITHIN)
        expect(list(order.items) == items, f"expected the 100 items that were sent, got {len(order.items)}")
        return "client stream: 100 messages, all in the answer"

    async def both_streams(self) -> str:
        self.traces.expect("/shop.v1.Shop/Chat", ORDERS_ONLY)
        call = self.stub.Chat(timeout=CALL_WITHIN)
        # The next message is sent when the answer is here: a proxy that held messages back would hang.
        for text in ("hello", "when does it come?", "thanks"):
            await call.write(pb.ChatMessage(text=text))
            answer = await call.read()
            said = answer.text if isinstance(answer, pb.ChatMessage) else "the end of the stream"
            expect(said == f"you said: {text}", f"expected an answer to {text!r}, got {said!r}")
        await call.done_writing()
        code = await call.code()
        expect(code is grpc.StatusCode.OK, f"expected OK at the end of the conversation, got {code}")
        return "both streams: 3 messages, each answered before the next"

    async def error(self) -> str:
        self.traces.expect("/shop.v1.Shop/GetOrder", ORDERS_ONLY)
        try:
            await self.stub.GetOrder(pb.GetOrderRequest(order_id="none"), timeout=CALL_WITHIN)
        except grpc.aio.AioRpcError as error:
            seen = error.code(), error.details()
        else:
            raise CheckError("an order that does not exist was found")
        expected = grpc.StatusCode.NOT_FOUND, "no order 'none'; there are 1001, 1002"
        expect(seen == expected, f"expected {expected}, got {seen}")
        return "an application's error arrives with its code and message"

    async def json(self) -> str:
        async with aiohttp.ClientSession(self.gateway) as session:
            self.traces.expect("GET /api/orders/{id}", by_json(ORDERS_AND_INVENTORY))
            async with session.get("/api/orders/1002") as answer:
                order = await answer.json()
            items = [{"sku": "lamp", "quantity": 1, "in_stock": 7}]
            expect(answer.status == 200 and order["items"] == items, f"expected {items}, got {answer.status} {order}")
            self.traces.expect("GET /api/orders/{id}", by_json(ORDERS_ONLY))
            async with session.get("/api/orders/none") as answer:
                expect(answer.status == 404, f"expected 404 for an order that does not exist, got {answer.status}")
        return "JSON over HTTP/1.1: 200 with the order, 404 without"

    async def canary(self) -> str:
        async def version() -> str:
            self.traces.expect("/shop.v1.Orders/GetOrder", STRAIGHT_TO_ORDERS)
            return (await self.orders.GetOrder(pb.GetOrderRequest(order_id="1001"), timeout=CALL_WITHIN)).version

        versions = Counter([await version() for _ in range(60)])
        # One in five of 60 is none in one of 650 000 times.
        expect(0 < versions["2"] < versions["1"], f"60 calls, a fifth for version 2: got {dict(versions)}")
        return "60 calls of a canary: the new version took its share, the old one the rest"

    async def members(self) -> str:
        name, _, value = (self.directory / TOKEN).read_text().partition(": ")
        roots = ssl.create_default_context(cafile=self.directory / ROOTS)
        async with aiohttp.ClientSession(self.secure_gateway, connector=aiohttp.TCPConnector(ssl=roots)) as session:

            async def status(**headers: str) -> int:
                async with session.get("/members/orders/1001", headers=headers) as answer:
                    if answer.status == 200:
                        self.traces.expect("GET /api/orders/{id}", by_json(ORDERS_AND_INVENTORY))
                    else:
                        self.traces.expect("(no application)", "edge gateway: server")
                    return answer.status

            strangers = [await status(), await status(**{name: f"{value}x"})]
            expect(strangers == [401, 401], f"without and with a wrong token: expected 401 twice, got {strangers}")
            # One comes back every two seconds: a slow machine gets more than five.
            seen = [await status(**{name: value})]
            while seen[-1] == 200 and len(seen) < 20:
                seen.append(await status(**{name: value}))
            expect(seen[:5] == [200] * 5 and seen[-1] == 429, f"with ann's token: expected five, then 429, got {seen}")
        return "TLS at the gateway: 401 without a token, 200 five times with one, then 429"


async def stranger_is_refused(inbound: str) -> str:
    """A caller without a certificate of the mesh, straight at a sidecar's inbound port."""
    async with grpc.aio.insecure_channel(inbound) as channel:
        try:
            await ShopStub(channel).GetOrder(pb.GetOrderRequest(order_id="1001"), timeout=CALL_WITHIN)
        except grpc.aio.AioRpcError as error:
            code = error.code()
            expect(code is grpc.StatusCode.UNAVAILABLE, f"expected a stranger to be UNAVAILABLE, got {code}")
            return "a caller without a certificate of the mesh is refused at a sidecar's inbound port"
    raise CheckError(f"{inbound} answered a caller without a certificate")


async def check(directory: Path) -> None:
    """Start the shop on free ports, check it, stop it. Raises CheckError or ShopError."""
    receiver, identities, ports = Receiver(), Identities(), free_ports()
    shop = Shop(directory, ports, environment_for(await receiver.start()), identities.see)
    traces = Traces(receiver)
    began = time.monotonic()
    try:
        await shop.start()
        say(f"ready after {time.monotonic() - began:.1f} s")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{ports[GATEWAY_PORT]}") as channel:
            client = Client(channel, ports, directory, traces)
            for story in (
                client.unary,
                client.routed_by_header,
                client.server_stream,
                client.client_stream,
                client.both_streams,
                client.error,
                client.json,
                client.canary,
                client.members,
            ):
                say(await story())
        say(await stranger_is_refused(f"127.0.0.1:{ports[INSTANCES[0].inbound_port]}"))
        await eventually(identities.unmet)
        say("each peer saw the mTLS identity of the other: edge, web, web-http, orders, inventory")
        await eventually(traces.unmet)
        say(f"{traces.expected.total()} calls are as many traces, each whole, from the gateway to the applications")
    finally:
        await shop.stop()
        await receiver.stop()


def say(text: str) -> None:
    """Print one thing that holds."""
    print(f"ok  {text}", flush=True)


def main() -> int:
    """The check as a program: 0 when all holds."""
    with tempfile.TemporaryDirectory(prefix="shop-") as directory:
        try:
            asyncio.run(check(Path(directory)))
        except (CheckError, ShopError) as error:
            print(f"demo-check failed: {error}", file=sys.stderr)
        except grpc.aio.AioRpcError as error:
            print(f"demo-check failed: a call ended with {error.code().name}: {error.details()}", file=sys.stderr)
        except aiohttp.ClientError as error:
            print(f"demo-check failed: an HTTP request: {error}", file=sys.stderr)
        else:
            return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
