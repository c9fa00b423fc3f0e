"""The composition root: build → ready → run → drain, for a sidecar and for a gateway.

The only file that knows every part.
"""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp

from sidecar import dataplane, descriptors, memory, rundir
from sidecar.admin.certificates import Certificates
from sidecar.admin.status import Status
from sidecar.child import Child
from sidecar.control import Control
from sidecar.dataplane import DataPlane
from sidecar.engine import Announcement, Beginning, Engine, SidecarFor
from sidecar.errors import SeamError
from sidecar.identity.choice import CONSUL, LOCAL, Choice
from sidecar.identity.fetch import fetcher
from sidecar.identity.key_sets import KeySets
from sidecar.identity.lifetime import Lifetime
from sidecar.snapshot import GatewayRole, Role, SidecarRole, is_open, summary, untold
from sidecar.snapshot.cluster import APP
from sidecar.telemetry.export import Exporter
from sidecar.telemetry.families import Family, request
from sidecar.telemetry.log_file import LogFile
from sidecar.telemetry.mesh import MeshTrace
from sidecar.telemetry.otlp import OtlpSettings, read_environment
from sidecar.telemetry.pump import AccessLogPump, MetricPump, SpanPump, write_stdout
from sidecar.wire import control_pb2 as control

if TYPE_CHECKING:
    from sidecar.admin.server import AdminServer
    from sidecar.explanation import Asked

# Seconds. Listeners are bound in milliseconds; a machine that needs longer is in trouble, and says so.
BOUND_WITHIN = 10.0
# Seconds that a gateway's start waits for the keys of issuers. Without them it serves all who show no tokens.
KEYS_WITHIN = 2.0
# Events taken at once, and how many seconds one call waits for the first: so long the process may wait at its end for
# the thread that makes the call.
EVENTS, EVENTS_WITHIN = 256, 0.25
# Seconds for the last spans, metrics and log lines to leave.
FLUSH_WITHIN = 3.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """All that the command line says. `grace` is in seconds; `command` is the application to start, maybe none.

    `config` is the directory of documents; without one the engine is Consul, where `announcement` is made.
    """

    role: Role | SidecarFor
    config: Path | None
    admin_port: int
    state_directory: Path
    run_directory: Path
    grace: float
    command: tuple[str, ...]
    environ: Mapping[str, str]
    # Seconds of serving on after a signal, before the grace begins.
    drain_delay: float = 0
    announcement: Announcement = field(default_factory=Announcement)
    # Who signs our certificate; None: Consul with Consul, else the local CA.
    identity: Choice | None = None
    # Where the access log goes; None: standard output.
    access_log: Path | None = None
    # Bytes that the process may have; None: what the control group says.
    memory_limit: int | None = None
    # Instead of what the environment says; "" for that.
    consul_address: str = ""
    consul_token_file: str = ""


async def run(settings: Settings) -> int:
    """Run until a signal or the application's end; returns the exit code.

    Raises ConfigError, SourceError or ConsulError when there is nothing to begin with, another SidecarError when
    anything else stops the start.
    """
    async with aiohttp.ClientSession() as session:
        engine = choose(settings, session)
        try:
            app = build(settings, engine, await engine.begin(), session)
            try:
                await app.become_ready()
                return await app.serve()
            finally:
                await app.drain()
        finally:
            await engine.close()


# --- build ------------------------------------------------------------------------------------------------------------


def choose(settings: Settings, session: aiohttp.ClientSession) -> Engine:
    """A directory of documents when one is named, else Consul: never one for the other."""
    role = settings.role
    # Each engine's libraries are here, so that nobody loads those of the other one.
    if settings.config is not None and not isinstance(role, SidecarFor):
        from sidecar.engine.directory import DirectoryEngine

        return DirectoryEngine(settings.config, settings.state_directory, role, settings.identity or LOCAL)
    from sidecar.consul.client import ConsulClient
    from sidecar.consul.settings import read
    from sidecar.engine.consul import ConsulEngine
    from sidecar.engine.presence import Adopting, Registered

    agent = read(settings.environ, address=settings.consul_address, token_file=settings.consul_token_file)
    client = ConsulClient(agent)
    presence = (
        Adopting(client, role)
        if isinstance(role, SidecarFor)
        else Registered(client, session, role, settings.announcement)
    )
    return ConsulEngine(client, presence, settings.state_directory, settings.identity or CONSUL)


def build(settings: Settings, engine: Engine, begun: Beginning, session: aiohttp.ClientSession) -> "App":
    """The data plane and all that stands around it; nothing is bound yet."""
    role = begun.role
    kind, name = ("gateway", role.name) if isinstance(role, GatewayRole) else ("sidecar", role.service)
    otlp = read_environment(settings.environ, name)
    for warning in otlp.warnings:
        log.warning("%s", warning)

    status = Status(kind, name)
    plane = dataplane.start(options(role, name, otlp, descriptors.raise_limit(), memory_limit(settings)))
    spans = SpanPump(plane, Exporter(session, otlp.traces), otlp.batching) if otlp.traces else None
    status.details = lambda: {**details(role, engine, status), **export_state(plane, spans), **key_set_details(sets)}
    mesh = MeshTrace(kind, name, spans.offer if spans else None)
    log_file = LogFile(settings.access_log) if settings.access_log is not None else None
    access_log = AccessLogPump(plane, log_file.write if log_file else write_stdout)
    sets = KeySets(engine.directory, fetcher(session)) if isinstance(role, GatewayRole) else None
    controlled = Control(plane, status, role, engine.directory, otlp, engine.want, engine.unwant, mesh, sets)
    authority = begun.authority
    lifetime = Lifetime(lambda: controlled.leaf, authority)
    certificates = Certificates(
        authority, lambda: controlled.leaf, lambda: controlled.rotations, lambda: controlled.chains
    )
    found = [*families(status, spans, log_file), *identity_families(controlled, lifetime), *engine.families()]
    metrics = metric_pump(plane, Exporter(session, otlp.metrics), otlp, mesh, found) if otlp.metrics else None
    return App(
        settings=settings,
        engine=engine,
        begun=begun,
        status=status,
        plane=plane,
        control=controlled,
        mesh=mesh,
        sets=sets,
        lifetime=lifetime,
        families=found,
        certificates=certificates,
        pumps=[pump for pump in (access_log, spans, metrics) if pump is not None],
        log_file=log_file,
    )


def details(role: Role, engine: Engine, status: Status) -> Mapping[str, object]:
    """What `/ready` says beside the state."""
    told = dict(engine.details())
    if isinstance(role, SidecarRole):
        told["authorization"] = summary(status.world, role.service)
    elif named := untold(status.world, role.name):
        told["not_carried_out"] = named
    elif role.name not in status.world.gateways:
        told["document"] = f"there is none for the gateway {role.name} yet, so it listens nowhere"
    if status.lacks:
        told["lacks"] = dict(status.lacks)
    return told


def export_state(plane: DataPlane, spans: SpanPump | None) -> Mapping[str, object]:
    """Where spans go, and how many did not get there: `dropped` for want of room, `lost` on the way."""
    if spans is None:
        return {}
    state = {"to": spans.place, "sent": spans.sent, "lost": spans.lost, "dropped": plane.stats().spans_dropped}
    return {"spans": {**state, "problem": spans.problem} if spans.problem else state}


def key_set_details(sets: KeySets | None) -> Mapping[str, object]:
    """What `/ready` says of keys that cannot be had."""
    problems = sets.problems() if sets is not None else {}
    return {"key_sets": dict(problems)} if problems else {}


def memory_limit(settings: Settings) -> int:
    """Bytes; 0: there is none."""
    return memory.limit() if settings.memory_limit is None else settings.memory_limit


def options(role: Role, name: str, otlp: OtlpSettings, open_files: int, memory_limit: int) -> control.Options:
    """How the data plane starts, which may have so many files and connections open, and so many bytes; 0: any."""
    # An app holds one or two connections, so more workers would sit idle beside it; a gateway has many.
    workers = len(os.sched_getaffinity(0)) if isinstance(role, GatewayRole) else 1
    spans = otlp.batching.max_queue_size
    return control.Options(
        workers=workers, service=name, span_buffer=spans, max_descriptors=open_files, memory_limit=memory_limit
    )


def metric_pump(
    plane: DataPlane, exporter: Exporter, otlp: OtlpSettings, mesh: MeshTrace, found: Sequence[Family]
) -> MetricPump:
    """Sends the metrics of both sides, which tell the same of this process."""
    return MetricPump(
        plane, exporter, otlp.metric_interval, lambda: request(found, mesh.resource, mesh.began, mesh.now())
    )


def families(status: Status, spans: SpanPump | None, log_file: LogFile | None) -> list[Family]:
    """The metrics of the control side."""
    found = [
        Family(
            "sidecar.config.refused_documents",
            "gauge",
            "Documents that are refused now; their last good version serves.",
            lambda: {(): len(status.world.refusals)},
        ),
        Family(
            "sidecar.config.version",
            "gauge",
            "Version of the snapshot that the data plane runs.",
            lambda: {(): status.version},
        ),
    ]
    if log_file is not None:
        found.append(
            Family(
                "sidecar.access_log.lost_lines",
                "counter",
                "Lines that could not be written to the access log's file.",
                lambda: {(): log_file.lost},
            )
        )
    if spans is not None:
        found.append(
            Family(
                "sidecar.exported.spans",
                "counter",
                "Spans taken from the data plane, by what became of them.",
                lambda: {(("outcome", "sent"),): spans.sent, (("outcome", "lost"),): spans.lost},
            )
        )
    return found


def identity_families(controlled: Control, lifetime: Lifetime) -> list[Family]:
    """The metrics of our own certificate."""
    return [
        Family(
            "sidecar.certificate.seconds_left",
            "gauge",
            "Until our certificate in the mesh ends; negative when it has.",
            lambda: {(): round(lifetime.left().total_seconds(), 1)},
        ),
        Family(
            "sidecar.certificate.rotations",
            "counter",
            "How often our certificate, or the roots of the mesh, were replaced by others.",
            lambda: {(): controlled.rotations},
        ),
    ]


class Pump(Protocol):
    """Moves one kind of record for ever; `flush` moves the rest, within so many seconds."""

    async def run(self) -> None: ...
    async def flush(self, within: float) -> None: ...


@dataclass
class App:
    """One sidecar or gateway, fully built."""

    settings: Settings
    engine: Engine
    begun: Beginning
    status: Status
    plane: DataPlane
    control: Control
    mesh: MeshTrace
    # A gateway's.
    sets: KeySets | None
    lifetime: Lifetime
    families: Sequence[Family]
    certificates: Certificates
    pumps: Sequence[Pump]
    log_file: LogFile | None = None
    admin: "AdminServer | None" = None
    child: Child | None = None
    run_file: Path | None = None
    background: list[asyncio.Task[None]] = field(default_factory=list)

    # --- ready ----------------------------------------------------------------------------------------------------

    async def become_ready(self) -> None:
        """Bind, apply, announce; then the application may start."""
        settings, status = self.settings, self.status
        self.signals = Signals(self.end_at_once, self.reopen_log)
        self.control.start(self.begun.world, self.begun.leaf)
        if self.sets is not None:
            status.waiting_for = "the keys of issuers"
            await self.sets.settled(KEYS_WITHIN)
            self.control.install_key_sets()
        if isinstance(self.begun.role, SidecarRole):
            # Every inbound request needs it, and it is known.
            self.control.want(APP)
        bound = await self.listeners_bound()
        admin = await self.start_admin()
        status.state = "ready"
        self.mesh.begin()
        directory = rundir.RunDirectory(settings.run_directory)
        self.run_file = directory.write(status.role, status.name, admin, bound)
        ports = ", ".join(f"{name} {address}" for name, address in {**bound, "admin": admin}.items())
        log.info("%s %s is ready: %s", status.role, status.name, ports)
        if isinstance(role := self.begun.role, SidecarRole):
            if is_open(status.world, role.service):
                log.warning("%s", summary(status.world, role.service))
        elif not bound:
            log.warning("no listener yet: expected the document of the gateway %s", status.name)
        await self.engine.announce(bound, admin)
        if settings.command:
            self.child = await Child.start(settings.command)
        if not gc.isenabled():
            # The command line put it off. What is there now stays, and is never looked through: of 60,000 objects 2,000
            # are garbage.
            gc.freeze()
            gc.enable()

    def reopen_log(self) -> None:
        """Somebody has moved the file of the access log away."""
        if self.log_file is not None:
            self.log_file.reopen()

    async def start_admin(self) -> str:
        """Serve people and their tools; returns the address."""
        # Here, so that requests are served before what answers people is loaded.
        from sidecar.admin.server import AdminServer

        self.admin = AdminServer(self.plane, self.status, self.families, self.certificates, self.explained)
        return await self.admin.start(self.settings.admin_port)

    def explained(self, asked: "Asked") -> dict[str, Any]:
        """What would become of a request. Raises SidecarError when it is none."""
        from sidecar.explanation import explain

        return explain(self.plane, self.control.world, self.control.role, asked)

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
        """Follow the engine and the data plane until something ends us; returns the exit code."""
        fault: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

        def watch_for_fault(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) and not fault.done():
                fault.set_result(error)

        work = [*self.engine.loops(self.control), self.follow_events(), *(pump.run() for pump in self.pumps)]
        work.append(self.lifetime.warn())
        if isinstance(self.begun.role, GatewayRole):
            work.append(self.control.follow_keys())
            work.append(self.control.follow_key_sets())
        for part in work:
            task = asyncio.create_task(part)
            task.add_done_callback(watch_for_fault)
            self.background.append(task)

        ended = asyncio.create_task(self.child.wait()) if self.child else None
        ends: set[asyncio.Future[int] | asyncio.Future[BaseException]] = {self.signals.first, fault}
        await asyncio.wait(ends | {ended} if ended else ends, return_when=asyncio.FIRST_COMPLETED)

        if fault.done():
            log.error("a part of the control side failed, ending", exc_info=fault.result())
        # Before the application hears of it, and before a listener closes: nobody new shall come to an end.
        await self.engine.withdraw()
        code = await self.end_child(self.child, ended) if self.child and ended else 0
        return 1 if fault.done() else code

    async def follow_events(self) -> None:
        """Act on the data plane's events as they come."""
        while True:
            self.control.take(await self.plane.poll_events(EVENTS, EVENTS_WITHIN))

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
        was_ready = self.status.state == "ready"
        self.status.state = "draining"
        if was_ready and self.settings.drain_delay:
            # Balancers in front find out by asking: until they have, what they send is served.
            self.plane.leave()
            await asyncio.sleep(self.settings.drain_delay)
        began = self.mesh.now()
        was_cut_off = not await self.plane.shutdown(self.settings.grace)
        if was_cut_off:
            log.warning("requests were cut off after %g s of grace", self.settings.grace)
        self.mesh.drained(began, was_cut_off=was_cut_off)
        if self.sets is not None:
            self.sets.want(())
        for task in self.background:
            task.cancel()
        await asyncio.gather(*self.background, return_exceptions=True)
        await asyncio.gather(*(pump.flush(FLUSH_WITHIN) for pump in self.pumps))
        if self.admin:
            await self.admin.close()
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
    """SIGINT and SIGTERM: the first one resolves `first` with its number, `second` is called for every later one.

    `reopen` is called for each SIGUSR1.
    """

    def __init__(self, second: Callable[[int], None], reopen: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        self.first: asyncio.Future[int] = loop.create_future()
        self._second = second
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._arrived, number)
        loop.add_signal_handler(signal.SIGUSR1, reopen)

    def _arrived(self, number: int) -> None:
        if self.first.done():
            self._second(number)
        else:
            log.info("%s received, draining", signal.Signals(number).name)
            self.first.set_result(number)
