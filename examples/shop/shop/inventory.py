"""The inventory service: `python -m shop.inventory --port 9021`."""

import argparse
import asyncio

import grpc.aio
from typing_extensions import override

from shop.serving import Context, serve, set_up_tracing
from shop.v1 import inventory_pb2 as pb
from shop.v1.inventory_pb2_grpc import InventoryServicer, add_InventoryServicer_to_server

SHELVES = {"tea": 120, "cup": 48, "lamp": 7}


class Inventory(InventoryServicer):
    """Answers from memory."""

    @override
    async def GetStock(self, request: pb.GetStockRequest, context: Context) -> pb.Stock:
        return pb.Stock(pieces={sku: SHELVES[sku] for sku in request.skus if sku in SHELVES})


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    provider = set_up_tracing()
    server = grpc.aio.server()
    add_InventoryServicer_to_server(Inventory(), server)
    await serve(server, arguments.port)
    provider.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
