"""A Consul agent for the demo, alone on this machine; all that it knows is gone when it stops."""

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path

import aiohttp
from layout import CONSUL_PORT, CONSUL_PORTS, CONSUL_SERF_PORT, CONSUL_SERVER_PORT, FOLDER, Ports
from processes import POLL_EVERY, Process, ShopError, check_free, find_program

# Seconds.
LEADER_WITHIN = 30.0


class Agent:
    """`consul agent -dev`, on the documented ports or on those in use instead."""

    def __init__(self, directory: Path, ports: Ports) -> None:
        self.program = find_program("consul", "https://developer.hashicorp.com/consul/install")
        self.address = f"127.0.0.1:{ports[CONSUL_PORT]}"
        self._ports = ports
        flags = {
            "node": "shop",
            "bind": "127.0.0.1",
            "client": "127.0.0.1",
            "http-port": ports[CONSUL_PORT],
            "server-port": ports[CONSUL_SERVER_PORT],
            "serf-lan-port": ports[CONSUL_SERF_PORT],
            **dict.fromkeys(("serf-wan-port", "dns-port", "grpc-port", "grpc-tls-port"), -1),
            "log-level": "warn",
            "hcl": "disable_update_check = true",
        }
        command = [self.program, "agent", "-dev", *(f"-{name}={value}" for name, value in flags.items())]
        self._process = Process("consul", command, os.environ, directory / "logs" / "consul.log", lambda *_: None)

    async def start(self) -> None:
        """Return when it has elected itself and has a CA. Raises ShopError."""
        check_free(self._ports, CONSUL_PORTS)
        self._process.log.parent.mkdir(parents=True, exist_ok=True)
        await self._process.start()
        try:
            async with asyncio.timeout(LEADER_WITHIN), aiohttp.ClientSession(f"http://{self.address}") as session:
                while not await self._is_ready(session):  # noqa: ASYNC110 - nothing tells of it
                    await asyncio.sleep(POLL_EVERY)
        except TimeoutError:
            raise ShopError(f"Consul has no leader within {LEADER_WITHIN:.0f} s; see {self._process.log}") from None

    async def stop(self) -> None:
        """End it."""
        await self._process.stop()

    async def consul(self, *arguments: str) -> str:
        """What `consul ARGUMENTS` prints, as a person would call it. Raises ShopError when it fails."""
        return await output_of([self.program, *arguments], {"CONSUL_HTTP_ADDR": self.address})

    async def push(self, documents: Path) -> str:
        """Write the documents of the mesh, by the command of ours that does it; returns what that says."""
        root = str(FOLDER.parent.parent)
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        command = [sys.executable, "-m", "sidecar", "config", "push", str(documents)]
        return await output_of(command, {"CONSUL_HTTP_ADDR": self.address, "PYTHONPATH": path})

    async def _is_ready(self, session: aiohttp.ClientSession) -> bool:
        self._process.check_alive()
        with suppress(aiohttp.ClientError):
            async with session.get("/v1/agent/connect/ca/roots") as answer:
                return answer.status == 200 and bool((await answer.json())["Roots"])
        return False


async def output_of(command: list[str], environment: dict[str, str]) -> str:
    """Run a command to its end. ShopError with what it said when it fails."""
    child = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await child.communicate()
    if child.returncode != 0:
        raise ShopError(f"{' '.join(command)} ended with {child.returncode}:\n{said.decode(errors='replace')}")
    return said.decode().strip()
