"""The command line of a demo that stands on a real server, and its run from the first word to the last."""

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from layout import FOLDER, Ports, free_ports
from processes import ShopError
from screen import say, until_stopped

ROOT = FOLDER.parent.parent


class Demo(Protocol):
    """What there is to run."""

    async def tell(self) -> None:
        """The whole story. Raises ShopError."""

    async def stop(self) -> None:
        """End all that was started."""


# By the folder for documents and logs, the ports, and whether nobody looks on.
Make = Callable[[Path, Ports, bool], Demo]


def main(server: str, description: str | None, check: str, make: Make) -> int:
    """Run `demo-<server>` by the command line; returns the exit code. `check` is the help of --check."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--free-ports", action="store_true", help="take any free ports instead of the documented ones")
    parser.add_argument("--check", action="store_true", help=check)
    directory = ROOT / ".build" / f"shop-{server}"
    parser.add_argument("--directory", type=Path, default=directory, help="for documents and logs")
    arguments = parser.parse_args()
    if not arguments.check:
        ports = free_ports() if arguments.free_ports else Ports()
        return asyncio.run(_run(f"demo-{server}", make, arguments.directory.resolve(), ports, hurried=False))
    with tempfile.TemporaryDirectory(prefix=f"shop-{server}-") as temporary:
        return asyncio.run(_run(f"demo-{server}", make, Path(temporary), free_ports(), hurried=True))


async def _run(program: str, make: Make, directory: Path, ports: Ports, *, hurried: bool) -> int:
    # What an earlier run kept is of another Consul.
    shutil.rmtree(directory / "state", ignore_errors=True)
    try:
        demo = make(directory, ports, hurried)
    except ShopError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    try:
        return await until_stopped(program, demo.tell())
    finally:
        say("\nStopping ...")
        await demo.stop()
