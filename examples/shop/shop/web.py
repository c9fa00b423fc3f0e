"""The shop's front: gRPC on one port, JSON on another, both answered with the help of orders and inventory.

`python -m shop.web --port 9001 --http-port 8000 --mesh 127.0.0.1:15001 --inventory 127.0.0.1:9191`. The first address
is the sidecar's outbound port, where the authority names the service; the second is a port that the sidecar keeps for
inventory alone. Without a mesh both may be the services' own addresses.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
from aiohttp import web
from google.protobuf.json_format import MessageToDict
from opentelemetry import propagate, trace
from typing_extensions import override

from shop.serving import Context, serve, set_up_tracing
from shop.v1 import inventory_pb2, orders_pb2
from shop.v1.inventory_pb2_grpc import InventoryStub
from shop.v1.orders_pb2_grpc import OrdersStub
from shop.v1.shop_pb2_grpc import ShopServicer, add_ShopServicer_to_server

# Header by which a caller asks for the next version; passed on so that the mesh can route the call to orders by it.
BETA = "x-beta"

Metadata = tuple[tuple[str, str], ...]


def passed_on(context: Context) -> Metadata:
    """The caller's headers that the calls made for it carry too (trace context travels by itself)."""
    received = context.invocation_metadata() or ()
    return tuple((key, str(value)) for key, value in received if key == BETA)


class Behind:
    """The services behind this one."""

    def __init__(self, orders: grpc.aio.Channel, inventory: grpc.aio.Channel) -> None:
        self.orders = OrdersStub(orders)
        self.inventory = InventoryStub(inventory)

    async def order_with_stock(self, order_id: str, metadata: Metadata) -> orders_pb2.Order:
        """Ask orders for the order, then inventory for how much of each item there is."""
        order = await self.orders.GetOrder(orders_pb2.GetOrderRequest(order_id=order_id), metadata=metadata)
        stock = await self.inventory.GetStock(inventory_pb2.GetStockRequest(skus=[item.sku for item in order.items]))
        for item in order.items:
            item.in_stock = stock.pieces.get(item.sku, 0)
        return order


@asynccontextmanager
async def failures_passed_on(context: Context) -> AsyncIterator[None]:
    """Within it, the failure of a call to another service becomes ours, with its code and message."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        await context.abort(error.code(), error.details() or "")


class Shop(ShopServicer):
    """The gRPC side."""

    def __init__(self, behind: Behind) -> None:
        self.behind = behind

    @override
    async def GetOrder(self, request: orders_pb2.GetOrderRequest, context: Context) -> orders_pb2.Order:
        async with failures_passed_on(context):
            return await self.behind.order_with_stock(request.order_id, passed_on(context))

    @override
    async def WatchOrder(
        self, request: orders_pb2.WatchOrderRequest, context: Context
    ) -> AsyncIterator[orders_pb2.OrderStep]:
        async with failures_passed_on(context):
            async for step in self.behind.orders.WatchOrder(request, metadata=passed_on(context)):
                yield step

    @override
    async def AddItems(self, request_iterator: AsyncIterator[orders_pb2.Item], context: Context) -> orders_pb2.Order:
        async with failures_passed_on(context):
            return await self.behind.orders.AddItems(request_iterator, metadata=passed_on(context))

    @override
    async def Chat(
        self, request_iterator: AsyncIterator[orders_pb2.ChatMessage], context: Context
    ) -> AsyncIterator[orders_pb2.ChatMessage]:
        async with failures_passed_on(context):
            async for message in self.behind.orders.Chat(request_iterator, metadata=passed_on(context)):
                yield message


class JsonApi:
    """The HTTP side: GET /api/orders/<id>."""

    def __init__(self, behind: Behind) -> None:
        self.behind = behind
        self.tracer = trace.get_tracer("shop.web")

    async def get_order(self, request: web.Request) -> web.Response:
        parent = propagate.extract(request.headers)
        with self.tracer.start_as_current_span("GET /api/orders/{id}", parent, trace.SpanKind.SERVER):
            metadata = ((BETA, request.headers[BETA]),) if BETA in request.headers else ()
            try:
                order = await self.behind.order_with_stock(request.match_info["id"], metadata)
            except grpc.aio.AioRpcError as error:
                status = 404 if error.code() is grpc.StatusCode.NOT_FOUND else 502
                return web.json_response({"error": error.details()}, status=status)
            return web.json_response(MessageToDict(order, preserving_proto_field_name=True))

    async def start(self, port: int) -> web.AppRunner:
        application = web.Application()
        application.router.add_get("/api/orders/{id}", self.get_order)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        return runner


async def main() -> None:
    parser = argparse.ArgumentParser(description="The shop's front.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument("--mesh", required=True, help="the sidecar's outbound address; orders is named by authority")
    parser.add_argument("--inventory", required=True, help="inventory's local port, an upstream of the sidecar")
    arguments = parser.parse_args()
    provider = set_up_tracing()
    by_authority = [("grpc.default_authority", "orders")]
    async with (
        grpc.aio.insecure_channel(arguments.mesh, options=by_authority) as orders_channel,
        grpc.aio.insecure_channel(arguments.inventory) as inventory_channel,
    ):
        behind = Behind(orders_channel, inventory_channel)
        json_api = await JsonApi(behind).start(arguments.http_port)
        server = grpc.aio.server()
        add_ShopServicer_to_server(Shop(behind), server)
        await serve(server, arguments.port)
        await json_api.cleanup()
    provider.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
