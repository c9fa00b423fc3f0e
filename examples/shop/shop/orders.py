"""The orders service. Start two of it: `python -m shop.orders --port 9011 --version 1`, and another with version 2."""

import argparse
import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
from typing_extensions import override

from shop.serving import Context, serve, set_up_tracing
from shop.v1 import orders_pb2 as pb
from shop.v1.orders_pb2_grpc import OrdersServicer, add_OrdersServicer_to_server

ORDERS = {
    "1001": [("tea", 2), ("cup", 4)],
    "1002": [("lamp", 1)],
}
STEPS = ("received", "packed", "sent", "delivered")


class Orders(OrdersServicer):
    """Answers from memory and says its version, so that a caller sees which instance it met."""

    def __init__(self, version: str) -> None:
        self.version = version

    @override
    async def GetOrder(self, request: pb.GetOrderRequest, context: Context) -> pb.Order:
        if request.order_id not in ORDERS:
            known = ", ".join(ORDERS)
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no order {request.order_id!r}; there are {known}")
        items = [pb.Item(sku=sku, quantity=quantity) for sku, quantity in ORDERS[request.order_id]]
        return pb.Order(order_id=request.order_id, items=items, version=self.version)

    @override
    async def WatchOrder(self, request: pb.WatchOrderRequest, context: Context) -> AsyncIterator[pb.OrderStep]:
        for step in STEPS:
            yield pb.OrderStep(step=step, version=self.version)

    @override
    async def AddItems(self, request_iterator: AsyncIterator[pb.Item], context: Context) -> pb.Order:
        items = [item async for item in request_iterator]
        return pb.Order(order_id="1003", items=items, version=self.version)

    @override
    async def Chat(
        self, request_iterator: AsyncIterator[pb.ChatMessage], context: Context
    ) -> AsyncIterator[pb.ChatMessage]:
        async for message in request_iterator:
            yield pb.ChatMessage(text=f"you said: {message.text}", version=self.version)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--version", required=True)
    arguments = parser.parse_args()
    provider = set_up_tracing()
    server = grpc.aio.server()
    add_OrdersServicer_to_server(Orders(arguments.version), server)
    await serve(server, arguments.port)
    provider.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
