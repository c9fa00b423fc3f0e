"""Starts the shop: a `sidecar run` for each instance and a `sidecar gateway`, all at the same time; and stops it."""

import asyncio
import json
import os
import shlex
import shutil
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
from credentials import write_credentials
from layout import FOLDER, GATEWAY, GATEWAY_ADMIN_PORT, INSTANCES, SHOP_PORTS, Instance, Ports, write_config

# Seconds.
READY_WITHIN = 30.0
STOP_WITHIN = 10.0
POLL_EVERY = 0.05

# Told of every access-log line: the process that wrote it and the line's fields.
OnCall = Callable[[str, Mapping[str, Any]], None]


class ShopError(Exception):
    """A part of the shop did not come up or ended; the message says which, and what it said last."""


def find_program(name: str, page: str) -> str:
    """The program: on PATH, or where `tests/real/install.sh NAME` puts it. ShopError: it is nowhere; `page` has it."""
    if found := shutil.which(name):
        return found
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sidecar-mesh" / "tools"
    built = sorted(cache.glob(f"{name}-*/{name}"))
    if not built:
        raise ShopError(
            f"missing: {name}, on PATH or in {cache}; get it: `tests/real/install.sh {name}` builds it, or {page}"
        )
    return str(built[-1])


class Process:
    """One child in a session of its own; its output goes to a log file, access-log lines also to `on_call`."""

    def __init__(
        self, name: str, command: list[str], environment: Mapping[str, str], log: Path, on_call: OnCall
    ) -> None:
        self.name = name
        self.command = command
        self.environment = environment
        self.log = log
        self._on_call = on_call
        self._last_lines: deque[str] = deque(maxlen=15)
        self._child: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Future[list[None]] | None = None

    async def start(self) -> None:
        self.log.write_text("")
        self._child = await asyncio.create_subprocess_exec(
            *self.command,
            env=self.environment,
            # From a checkout: `python -m sidecar` finds the package here when it is not installed.
            cwd=FOLDER.parent.parent,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=1024 * 1024,
            # Ctrl-C reaches the runner alone, which then stops the others in good order; and what a killed sidecar
            # leaves behind is found by the session.
            start_new_session=True,
        )
        # Apart, so that a line of one never lands within a line of the other.
        streams = filter(None, (self._child.stdout, self._child.stderr))
        self._reading = asyncio.gather(*map(self._read, streams))

    async def wait(self) -> int:
        """Wait for its end; returns the exit code, negative for a signal."""
        # Process.wait() would also wait for the end of the output, which an orphaned application holds open; no event
        # tells of the exit alone.
        while self._child is None or self._child.returncode is None:  # noqa: ASYNC110
            await asyncio.sleep(POLL_EVERY)
        return self._child.returncode

    def check_alive(self) -> None:
        """Raise ShopError when it has ended."""
        if self._child is not None and self._child.returncode is not None:
            said = "\n".join(f"    {line}" for line in self._last_lines)
            raise ShopError(
                f"{self.name} ended with code {self._child.returncode}; the last it said ({self.log}):\n{said}\n"
                f"    its command: {shlex.join(self.command)}"
            )

    async def stop(self) -> None:
        """SIGTERM; after STOP_WITHIN, and to whatever then remains of its session, SIGKILL."""
        if self._child is None or self._reading is None:
            return
        with suppress(ProcessLookupError):
            self._child.terminate()
        with suppress(TimeoutError):
            await asyncio.wait_for(self.wait(), STOP_WITHIN)
        for pid in _session(self._child.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await self._child.wait()
        await self._reading

    async def _read(self, stream: asyncio.StreamReader) -> None:
        with self.log.open("a") as log:
            async for raw in stream:
                line = raw.decode(errors="replace").rstrip()
                print(line, file=log, flush=True)
                fields = _fields(line)
                if fields is None:
                    self._last_lines.append(line)
                else:
                    self._on_call(self.name, fields)


def check_free(ports: Ports, documented: Iterable[int]) -> None:
    """Raise ShopError when another program listens on one of them."""
    if taken := ports.taken(documented):
        listed = ", ".join(map(str, taken))
        raise ShopError(f"in use by another program: port {listed}; stop that program, or add --free-ports")


def environment_for(own_receiver: str | None) -> dict[str, str]:
    """The children's environment: our own, or with an endpoint for traces that nothing in ours may turn elsewhere.

    Which Consul they ask, the demo says.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CONSUL_")}
    if own_receiver:
        others = {name: value for name, value in inherited.items() if not name.startswith("OTEL_")}
        inherited = {**others, "OTEL_EXPORTER_OTLP_ENDPOINT": own_receiver}
    # Milliseconds; the default, 5 s, is long for someone who waits for a trace.
    return {"OTEL_BSP_SCHEDULE_DELAY": "200", **inherited}


class Shop:
    """All processes of the demo. `directory` takes the generated configuration, the local CA and the logs.

    With `consul`, the address of an agent, the documents and the CA are there.
    """

    def __init__(
        self, directory: Path, ports: Ports, environment: Mapping[str, str], on_call: OnCall, consul: str = ""
    ) -> None:
        self.directory = directory
        self._consul = consul
        self.ports = ports
        self._on_call = on_call
        self._environment = {
            **environment,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(FOLDER), environment.get("PYTHONPATH")])),
            "PYTHONUNBUFFERED": "1",
            "SIDECAR_RUN_DIR": str(directory / "run"),
            **({"CONSUL_HTTP_ADDR": consul} if consul else {}),
        }
        self.processes = [self._gateway(), *(self._sidecar(instance) for instance in INSTANCES)]

    async def start(self) -> None:
        """Start everything at once and return when all of it is ready. Raises ShopError."""
        check_free(self.ports, SHOP_PORTS)
        (self.directory / "logs").mkdir(parents=True, exist_ok=True)
        if not self._consul:
            write_config(self.directory / "config", self.ports)
            write_credentials(self.directory)
        for process in self.processes:
            await process.start()
        try:
            async with asyncio.timeout(READY_WITHIN), aiohttp.ClientSession() as session:
                await asyncio.gather(
                    self._admin_ready(session, GATEWAY_ADMIN_PORT, self.processes[0]),
                    *map(self._app_ready, INSTANCES, self.processes[1:]),
                    *(
                        self._admin_ready(session, instance.admin_port, process)
                        for instance, process in zip(INSTANCES, self.processes[1:], strict=True)
                    ),
                )
        except TimeoutError:
            raise ShopError(f"not ready within {READY_WITHIN:.0f} s; see {self.directory / 'logs'}") from None

    async def stop(self) -> None:
        """Stop everything; returns when no process is left."""
        await asyncio.gather(*(process.stop() for process in self.processes))

    def _gateway(self) -> Process:
        admin_port = str(self.ports[GATEWAY_ADMIN_PORT])
        return self._process(GATEWAY, GATEWAY, ["gateway", "--name", GATEWAY, "--admin-port", admin_port])

    def _sidecar(self, instance: Instance) -> Process:
        arguments = [
            *("run", "--service", instance.service, "--port", str(self.ports[instance.app_port])),
            *("--inbound-address", "127.0.0.1", "--inbound-port", str(self.ports[instance.inbound_port])),
            *("--outbound-port", str(self.ports[instance.outbound_port])),
            *("--admin-port", str(self.ports[instance.admin_port])),
        ]
        if self._consul and instance.version:
            arguments += ["--meta", f"version={instance.version}"]
        if instance.app:
            arguments += ["--", sys.executable, "-m", *self.ports.in_text(instance.app).split()]
        return self._process(instance.name, instance.service, arguments)

    def _process(self, name: str, service: str, arguments: list[str]) -> Process:
        verb, *rest = arguments
        common = [
            *(() if self._consul else ("--config", str(self.directory / "config"))),
            *("--state-dir", str(self.directory / "state"), "--grace", "3s"),
        ]
        return Process(
            name,
            [sys.executable, "-m", "sidecar", verb, *common, *rest],
            {**self._environment, "OTEL_SERVICE_NAME": service},
            self.directory / "logs" / f"{name}.log",
            self._on_call,
        )

    async def _admin_ready(self, session: aiohttp.ClientSession, documented_port: int, process: Process) -> None:
        url = f"http://127.0.0.1:{self.ports[documented_port]}/ready"
        while True:
            process.check_alive()
            with suppress(aiohttp.ClientError):
                async with session.get(url) as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(POLL_EVERY)

    async def _app_ready(self, instance: Instance, process: Process) -> None:
        while True:
            process.check_alive()
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.ports[instance.app_port])
                writer.close()
                return
            await asyncio.sleep(POLL_EVERY)


def _session(leader: int) -> Iterator[int]:
    """The processes of the session that `leader` leads, or led."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # proc(5): after the command, which ends at the last parenthesis, come state, parent, group, session.
            _, _, rest = (process / "stat").read_text().rpartition(")")
            if int(rest.split()[3]) == leader:
                yield int(process.name)


def _fields(line: str) -> dict[str, Any] | None:
    """An access-log line's fields; None when the line is something else."""
    if not line.startswith("{"):
        return None
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None
