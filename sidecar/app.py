"""The composition root: build → ready → run → drain, for a sidecar and for a gateway.

The only file that knows every part.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import aiohttp

from sidecar import dataplane, rundir
from sidecar.admin.metrics import Family
from sidecar.admin.server import AdminServer
from sidecar.admin.status import Status
from sidecar.child import Child
from sidecar.control import Control
from sidecar.dataplane import DataPlane
from sidecar.errors import ConfigError, Problem, SeamError, SourceError
from sidecar.identity.authority import Authority, Leaf
from sidecar.identity.process import LocalIssuer
from sidecar.identity.rotation import Rotation
from sidecar.identity.spiffe import ServiceId
from sidecar.snapshot import GatewayRole, Role, SidecarRole
from sidecar.snapshot.cluster import APP
from sidecar.sources.files import FileSource
from sidecar.telemetry.export import Exporter
from sidecar.telemetry.otlp import OtlpSettings, read_environment
from sidecar.telemetry.pump import AccessLogPump, MetricPump, SpanPump, write_stdout
from sidecar.wire import control_pb2 as control
from sidecar.world import World

# Seconds. Listeners are bound in milliseconds; a machine that needs longer is in trouble, and says so.
BOUND_WITHIN = 10.0
# Events taken at once, and how many seconds one call waits for the first: so long the process may wait at its end for
# the thread that makes the call.
EVENTS, EVENTS_WITHIN = 256, 0.25
# Seconds for the last spans, metrics and log lines to leave.
FLUSH_WITHIN = 3.0
# Seconds between tries to watch a source that failed.
WATCH_AGAIN_AFTER = 2.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """All that the command line says. `grace` is in seconds; `command` is the application to start, maybe none."""

    role: Role
    config: Path
    admin_port: int
    state_directory: Path
    run_directory: Path
    grace: float
    command: tuple[str, ...]
    environ: Mapping[str, str]

    @property
    def name(self) -> str:
        """The service that we are in the mesh; a gateway is one, too."""
        return self.role.name if isinstance(self.role, GatewayRole) else self.role.service

    @property
    def kind(self) -> str:
        """The role's name in files and answers."""
        return "gateway" if isinstance(self.role, GatewayRole) else "sidecar"


async def run(settings: Settings) -> int:
    """Run until a signal or the application's end; returns the exit code.

    Raises ConfigError or SourceError when the first configuration cannot be used, another SidecarError when anything
    else stops the start.
    """
    app = build(settings)
    try:
        await app.become_ready()
        return await app.serve()
    finally:
        await app.drain()


# --- build ------------------------------------------------------------------------------------------------------------


def build(settings: Settings) -> "App":
    """Configuration, then identity, then the data plane, then all that stands around it; nothing is bound yet."""
    source = FileSource(settings.config)
    world = first_world(source, settings.role)
    otlp = read_environment(settings.environ, settings.name)
    for warning in otlp.warnings:
        log.warning("%s", warning)

    authority = LocalIssuer(settings.state_directory, world.mesh.trust_domain)
    identity = ServiceId(world.mesh.trust_domain, settings.name)
    leaf = authority.issue(identity)

    status = Status(settings.kind, settings.name)
    plane = dataplane.start(options(settings, otlp))
    session = aiohttp.ClientSession()
    spans = SpanPump(plane, Exporter(session, otlp.traces), otlp.batching) if otlp.traces else None
    metrics = MetricPump(plane, Exporter(session, otlp.metrics), otlp.metric_interval) if otlp.metrics else None
    pumps = [pump for pump in (AccessLogPump(plane, write_stdout), spans, metrics) if pump is not None]
    return App(
        settings=settings,
        source=source,
        first_world=world,
        authority=authority,
        identity=identity,
        leaf=leaf,
        status=status,
        plane=plane,
        control=Control(plane, status, settings.role, settings.config, world.mesh.trust_domain, leaf, otlp),
        admin=AdminServer(plane, status, families(status, spans)),
        session=session,
        pumps=pumps,
    )


def first_world(source: FileSource, role: Role) -> World:
    """The world to start with: there is no last good one, so every document must be good. Raises ConfigError."""
    world = World().apply(source.read())
    problems = [problem for found in world.refusals.values() for problem in found]
    if isinstance(role, GatewayRole) and not problems and role.name not in world.gateways:
        known = ", ".join(sorted(world.gateways)) or "none"
        problems.append(
            Problem(
                f"gateways/{role.name}.yaml",
                f"there is no document for the gateway `{role.name}`",
                expected=f"this file in {source.directory}; gateways that have one: {known}",
                hint="write it, or choose another gateway with --name",
            )
        )
    if problems:
        raise ConfigError(problems)
    return world


def options(settings: Settings, otlp: OtlpSettings) -> control.Options:
    """How the data plane starts."""
    # An app holds one or two connections, so more workers would sit idle beside it; a gateway has many.
    workers = len(os.sched_getaffinity(0)) if isinstance(settings.role, GatewayRole) else 1
    return control.Options(workers=workers, service=settings.name, span_buffer=otlp.batching.max_queue_size)


def families(status: Status, spans: SpanPump | None) -> list[Family]:
    """The metrics of the control side."""
    found = [
        Family(
            "sidecar_config_refused_documents",
            "gauge",
            "Documents that are refused now; their last good version serves.",
            lambda: {"": len(status.world.refusals)},
        ),
        Family(
            "sidecar_config_version",
            "gauge",
            "Version of the snapshot that the data plane runs.",
            lambda: {"": status.version},
        ),
    ]
    if spans is not None:
        found.append(
            Family(
                "sidecar_exported_spans",
                "counter",
                "Spans taken from the data plane, by what became of them.",
                lambda: {'outcome="sent"': spans.sent, 'outcome="lost"': spans.lost},
            )
        )
    return found


class Pump(Protocol):
    """Moves one kind of record for ever; `flush` moves the rest, within so many seconds."""

    async def run(self) -> None: ...
    async def flush(self, within: float) -> None: ...


@dataclass
class App:
    """One sidecar or gateway, fully built."""

    settings: Settings
    source: FileSource
    first_world: World
    authority: Authority
    identity: ServiceId
    leaf: Leaf
    status: Status
    plane: DataPlane
    control: Control
    admin: AdminServer
    session: aiohttp.ClientSession
    pumps: Sequence[Pump]
    child: Child | None = None
    run_file: Path | None = None
    background: list[asyncio.Task[None]] = field(default_factory=list)

    # --- ready ----------------------------------------------------------------------------------------------------

    async def become_ready(self) -> None:
        """Bind, apply, announce; then the application may start."""
        settings = self.settings
        self.signals = Signals(self.end_at_once)
        admin = await self.admin.start(settings.admin_port)
        self.control.start(self.first_world)
        if isinstance(settings.role, SidecarRole):
            # Every inbound request needs it, and it is known.
            self.control.want(APP)
        bound = await self.listeners_bound()
        self.status.state = "ready"
        directory = rundir.RunDirectory(settings.run_directory)
        self.run_file = directory.write(settings.kind, settings.name, admin, bound)
        ports = ", ".join(f"{name} {address}" for name, address in {**bound, "admin": admin}.items())
        log.info("%s %s is ready: %s", settings.kind, settings.name, ports)
        if settings.command:
            self.child = await Child.start(settings.command)

    async def listeners_bound(self) -> dict[str, str]:
        """Wait until every listener of the snapshot is bound; returns their addresses by name."""
        self.status.waiting_for = "its listeners"
        deadline = asyncio.get_running_loop().time() + BOUND_WITHIN
        while True:
            bound = {listener.name: listener.address for listener in self.plane.listeners().listeners}
            missing = sorted(self.control.listeners - bound.keys())
            if not missing:
                return bound
            if asyncio.get_running_loop().time() > deadline:
                raise SeamError(f"listeners not bound within {BOUND_WITHIN:g} s: {', '.join(missing)}")
            await asyncio.sleep(0.01)

    # --- run ------------------------------------------------------------------------------------------------------

    async def serve(self) -> int:
        """Follow the source, the data plane and the clock until something ends us; returns the exit code."""
        fault: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

        def watch_for_fault(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) and not fault.done():
                fault.set_result(error)

        work = [self.watch(), self.follow_events(), self.rotate(), *(pump.run() for pump in self.pumps)]
        for part in work:
            task = asyncio.create_task(part)
            task.add_done_callback(watch_for_fault)
            self.background.append(task)

        ended = asyncio.create_task(self.child.wait()) if self.child else None
        ends: set[asyncio.Future[int] | asyncio.Future[BaseException]] = {self.signals.first, fault}
        await asyncio.wait(ends | {ended} if ended else ends, return_when=asyncio.FIRST_COMPLETED)

        if fault.done():
            log.error("a part of the control side failed, ending", exc_info=fault.result())
        code = await self.end_child(self.child, ended) if self.child and ended else 0
        return 1 if fault.done() else code

    async def watch(self) -> None:
        """Source → world → data plane, for every change. A source that fails is tried again; the last good serves."""
        while True:
            try:
                async for documents in self.source.watch():
                    self.control.change(self.status.world.apply(documents))
            except SourceError as error:
                self.status.refused = str(error)
                log.error("the configuration cannot be read, the last good one keeps serving: %s", error)
            await asyncio.sleep(WATCH_AGAIN_AFTER)

    async def follow_events(self) -> None:
        """Act on the data plane's events as they come."""
        while True:
            self.control.take(await self.plane.poll_events(EVENTS, EVENTS_WITHIN))

    async def rotate(self) -> None:
        """Keep the leaf fresh."""

        async def issue() -> Leaf:
            return await asyncio.to_thread(self.authority.issue, self.identity)

        await Rotation().run(self.leaf, issue, self.control.install)

    async def end_child(self, child: Child, ended: "asyncio.Task[int]") -> int:
        """Pass the signal on, wait for the application as long as requests get at most; returns its exit code."""
        if not ended.done():
            child.send(self.signals.first.result() if self.signals.first.done() else signal.SIGTERM)
            await asyncio.wait({ended}, timeout=self.settings.grace)
        if not ended.done():
            log.warning("the application did not end within %g s, it is killed", self.settings.grace)
            child.kill()
        return await ended

    # --- drain ----------------------------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Let exchanges end, send what was recorded, leave no trace behind. Also undoes a start that failed."""
        self.status.state = "draining"
        if not await self.plane.shutdown(self.settings.grace):
            log.warning("requests were cut off after %g s of grace", self.settings.grace)
        for task in self.background:
            task.cancel()
        await asyncio.gather(*self.background, return_exceptions=True)
        await asyncio.gather(*(pump.flush(FLUSH_WITHIN) for pump in self.pumps))
        await self.admin.close()
        await self.session.close()
        self.remove_run_file()

    def end_at_once(self, number: int) -> None:
        """A second signal: nothing is waited for."""
        if self.child:
            self.child.kill()
        self.remove_run_file()
        # Not sys.exit: it would wait for the threads that drain.
        os._exit(128 + number)

    def remove_run_file(self) -> None:
        """Others must not find us any more."""
        if self.run_file:
            self.run_file.unlink(missing_ok=True)


class Signals:
    """SIGINT and SIGTERM: the first one resolves `first` with its number, `second` is called for every later one."""

    def __init__(self, second: Callable[[int], None]) -> None:
        loop = asyncio.get_running_loop()
        self.first: asyncio.Future[int] = loop.create_future()
        self._second = second
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._arrived, number)

    def _arrived(self, number: int) -> None:
        if self.first.done():
            self._second(number)
        else:
            log.info("%s received, draining", signal.Signals(number).name)
            self.first.set_result(number)
