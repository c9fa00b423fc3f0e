"""The shop in the mesh on this machine: starts all of it, makes a first call, shows calls and traces until Ctrl-C."""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc.aio
from credentials import ROOTS, TOKEN
from layout import FOLDER, GATEWAY, GATEWAY_ADMIN_PORT, GATEWAY_PORT, GATEWAY_TLS_PORT, INSTANCES, Ports, free_ports
from processes import Process, Shop, environment_for
from receiver import Receiver
from screen import bold, say, until_stopped
from shop.v1 import orders_pb2
from shop.v1.shop_pb2_grpc import ShopStub
from trace_tree import draw

ROOT = FOLDER.parent.parent
# A trace is drawn when nothing of it has come for so many seconds; every part sends its spans after 0.2 s.
TRACE_AT_REST = 0.6


def introduce(shop: Shop, collector: str | None, seconds: float) -> None:
    """Say what runs where and what to try."""
    ports = shop.ports
    edge, admin = f"127.0.0.1:{ports[GATEWAY_PORT]}", f"http://127.0.0.1:{ports[GATEWAY_ADMIN_PORT]}"
    row = "  {:<11} {:<18} {:<16} {:<18} {}".format
    secure = f"localhost:{ports[GATEWAY_TLS_PORT]}"
    rows = [row("", "application", "mesh in (mTLS)", "mesh out", "admin"), row(GATEWAY, "", edge, "", admin)]
    for instance in INSTANCES:
        app, inbound, outbound, its_admin = (ports[port] for port in instance.ports)
        rows.append(
            row(
                instance.name,
                f"127.0.0.1:{app}",
                f"127.0.0.1:{inbound}",
                f"127.0.0.1:{outbound}",
                f"http://127.0.0.1:{its_admin}",
            )
        )
    protos = os.path.relpath(FOLDER / "protos")
    directory = os.path.relpath(shop.directory)
    # Set-up put the command beside the Python that runs this.
    sidecar = os.path.relpath(Path(sys.executable).with_name("sidecar"))
    one_of_two = f"shop.orders --port {ports[INSTANCES[3].app_port]}"
    traces = f"traces go to {collector}" if collector else "the latest trace is drawn"
    say(
        "\n".join(
            [
                f"{bold('The shop is ready')} after {seconds:.1f} s. What runs where:",
                *rows,
                "",
                f"{bold('Try')}, in another terminal:",
                f"  curl http://{edge}/api/orders/1001",
                f"  curl -H 'x-beta: 1' http://{edge}/api/orders/1001     (always version 2 of orders)",
                f"  grpcurl -plaintext -import-path {protos} -proto shop/v1/shop.proto \\",
                f'    -d \'{{"order_id": "1001"}}\' {edge} shop.v1.Shop/GetOrder',
                f"  curl --cacert {directory}/{ROOTS} https://{secure}/api/orders/1001     (TLS at the gateway)",
                f"  curl --cacert {directory}/{ROOTS} https://{secure}/members/orders/1001     (401: who are you?)",
                f"  curl --cacert {directory}/{ROOTS} -H @{directory}/{TOKEN} \\",
                f"    'https://{secure}/members/orders/1001?n=[1-6]'     (five times in ten seconds)",
                f"  for n in {{1..20}}; do grpcurl -cacert {directory}/{ROOTS} -import-path {protos} \\",
                '    -proto shop/v1/orders.proto -d \'{"order_id": "1001"}\' \\',
                f"    {secure} shop.v1.Orders/GetOrder | grep version; done     (a canary: one in five is version 2)",
                f"  curl {admin}/api/v1/clusters     (also /api/v1/config, /metrics, /ready)",
                f"  export SIDECAR_RUN_DIR={directory}/run     (where the sidecars of the shop are found)",
                f"  {sidecar} why TRACE     (the id that is drawn above a trace)",
                f"  {sidecar} explain GET http://{edge}/api/orders/1001",
                f"  pkill -f '{one_of_two}'     (calls go on with the other instance)",
                f"  edit a file in {directory}/config: a change is live at once; logs are in {directory}/logs",
                "",
                f"Each call has its line below, and {traces}. Enter makes a call, Ctrl-C stops.",
                "",
            ]
        )
    )


def show_call(process: str, fields: Mapping[str, Any]) -> None:
    """Print a line for each call that the gateway carried."""
    if process != GATEWAY:
        return
    outcome = " ".join(str(fields[key]) for key in ("status", "grpc_status", "reason", "detail") if key in fields)
    what = f"{fields.get('method')} {fields.get('path')} → {fields.get('cluster', 'nowhere')}"
    say(f"{time.strftime('%H:%M:%S')}  {what}  {outcome}  {fields.get('duration_ms')} ms")


async def call(gateway_port: int) -> None:
    """Ask the shop for an order, as any grpcio client does."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway_port}") as channel:
        try:
            await ShopStub(channel).GetOrder(orders_pb2.GetOrderRequest(order_id="1001"), timeout=10)
        except grpc.aio.AioRpcError as error:
            say(f"the call failed: {error.code().name}: {error.details()}")


async def call_on_enter(gateway_port: int) -> None:
    """A first call, then one whenever Enter was typed; without a terminal none."""
    entered = asyncio.Event()
    loop = asyncio.get_running_loop()

    def read() -> None:
        if sys.stdin.readline():
            entered.set()
        else:
            loop.remove_reader(sys.stdin)

    if sys.stdin.isatty():
        loop.add_reader(sys.stdin, read)
    while True:
        await call(gateway_port)
        await entered.wait()
        entered.clear()


async def draw_latest_trace(receiver: Receiver) -> None:
    """Draw the newest trace whenever it has changed and come to rest."""
    drawn: tuple[str, int] | None = None
    while True:
        await receiver.changed.wait()
        receiver.changed.clear()
        await asyncio.sleep(TRACE_AT_REST)
        if receiver.changed.is_set():
            continue
        trace_id = next(reversed(receiver.traces))
        spans = receiver.spans(trace_id)
        if (trace_id, len(spans)) != drawn:
            drawn = trace_id, len(spans)
            say("\n".join(draw(spans)) + "\n")


async def tell_end(process: Process) -> None:
    """Say so when a part of the shop ends; the rest goes on."""
    code = await process.wait()
    say(f"{time.strftime('%H:%M:%S')}  {process.name} ended with code {code}; its last words are in {process.log}")


async def show(shop: Shop, receiver: Receiver, collector: str | None) -> None:
    """Start the shop, then show what happens in it, until cancelled. Raises ShopError."""
    began = time.monotonic()
    say("Starting the shop ...")
    await shop.start()
    introduce(shop, collector, time.monotonic() - began)
    await asyncio.gather(
        call_on_enter(shop.ports[GATEWAY_PORT]), draw_latest_trace(receiver), *map(tell_end, shop.processes)
    )


async def run(directory: Path, ports: Ports) -> int:
    """The whole demo; returns the exit code."""
    collector = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    receiver = Receiver()
    environment = environment_for(None if collector else await receiver.start())
    shop = Shop(directory, ports, environment, show_call)
    try:
        return await until_stopped("demo", show(shop, receiver, collector))
    finally:
        say("\nStopping ...")
        await shop.stop()
        await receiver.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--free-ports", action="store_true", help="take any free ports instead of the documented ones")
    parser.add_argument(
        "--directory",
        type=Path,
        default=ROOT / ".build" / "shop",
        help="for the CA, logs and configuration, which is written anew",
    )
    arguments = parser.parse_args()
    ports = free_ports() if arguments.free_ports else Ports()
    return asyncio.run(run(arguments.directory.resolve(), ports))


if __name__ == "__main__":
    sys.exit(main())
