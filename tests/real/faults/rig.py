"""A service for each fault and protocol, behind our sidecar or Envoy, and what callers see while the fault lasts."""

import json
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path

from benchmarks.prerequisites import envoy as envoy_binary
from benchmarks.process import free_port, listening
from tests.mesh import Mesh, Proxy, eventually
from tests.real.faults.backends import Backends, backends
from tests.real.faults.callers import Call, Callers, call_until, quantile
from tests.real.faults.faults import FAULTS, Fault, Reach
from tests.real.faults.policy import NO_POLICY, POLICY, Policy, envoy
from tests.real.faults.wire import Wire

# Seconds without a request after which an endpoint counts as ejected; an ejection lasts longer.
SILENCE = 0.5
# Seconds in which a fault must have shown itself to a caller whom nothing keeps from it.
SHOWS_WITHIN = 10.0


@dataclass(frozen=True)
class Cell:
    """A fault, what is spoken, and the ports of the endpoints; those of faulty ones stand first."""

    fault: Fault
    wire: Wire
    ports: tuple[int, ...]

    @property
    def host(self) -> str:
        """The service."""
        return f"{self.fault.name.replace(' ', '-').lower()}-{self.wire}"

    @property
    def bare(self) -> str:
        """The same endpoints as a service without a policy."""
        return f"{self.host}-bare"

    @property
    def faulty(self) -> tuple[int, ...]:
        return self.ports[: self.fault.faulty]


@dataclass(frozen=True)
class Phases:
    """Seconds that a measurement takes: all well, then the fault, then all well again."""

    before: float
    fault: float
    after: float


@dataclass(frozen=True)
class Figures:
    """What callers and endpoints saw while a fault lasted. Shares of one, times in seconds; None: cannot be told.

    `failed` is a number of `calls`.
    """

    calls: float
    failed: float
    success: float
    p50: float
    p99: float
    # Requests that came to an endpoint, for each call.
    amplification: float
    # From the beginning of the fault to the last request that the faulty endpoint got, before it got none for a while.
    eject: float | None
    # From the end of the fault to the next request there.
    back: float | None

    @classmethod
    def median(cls, rounds: Sequence["Figures"]) -> "Figures":
        """Each figure's own; one that most rounds cannot tell is not told."""

        def middle(name: str) -> float | None:
            known = [value for figures in rounds if (value := getattr(figures, name)) is not None]
            return statistics.median(known) if len(known) * 2 > len(rounds) else None

        return cls(**{field.name: middle(field.name) for field in fields(cls)})  # type: ignore[arg-type]


@dataclass(frozen=True)
class Rig:
    """The endpoints of all cells."""

    backends: Backends
    cells: Mapping[str, Mapping[Wire, Cell]]

    @property
    def services(self) -> dict[str, tuple[Policy, Wire, Sequence[int]]]:
        """By name, with a policy and without."""
        every = [cell for cells in self.cells.values() for cell in cells.values()]
        return {
            name: (policy, cell.wire, cell.ports)
            for cell in every
            for name, policy in ((cell.host, POLICY), (cell.bare, NO_POLICY))
        }

    @contextmanager
    def fault(self, cell: Cell) -> Iterator[None]:
        """The cell's fault lasts as long as the block."""
        for port in cell.faulty:
            self.backends.ask(fault=port, lasts=True)
        try:
            yield
        finally:
            for port in cell.faulty:
                self.backends.ask(fault=port, lasts=False)

    def seen_without_policy(self, cell: Cell, address: str) -> list[Call]:
        """Calls without a policy until one of them has met the fault, for as long as that may take."""
        with self.fault(cell):
            if cell.fault.is_crowd:
                return self._crowd(cell, address)
            return call_until(lambda call: met(cell.fault, call), cell.wire, address, cell.bare, SHOWS_WITHIN)

    def _crowd(self, cell: Cell, address: str) -> list[Call]:
        """A fault that only shows when many call at once."""
        begun = time.monotonic()
        with Callers(cell.wire, address, cell.bare, cell.fault.callers, cell.fault.every) as callers:
            time.sleep(0.5)
        return callers.between(begun, time.monotonic())

    def measure(self, cell: Cell, address: str, phases: Phases) -> Figures:
        """What the cell's callers see at a proxy."""
        with Callers(cell.wire, address, cell.host, cell.fault.callers, cell.fault.every) as callers:
            time.sleep(phases.before)
            with self.fault(cell):
                begun = time.monotonic()
                time.sleep(phases.fault)
                # On a machine that stands still for a moment nobody may have called by then.
                while not callers.between(begun, ended := time.monotonic()) and ended - begun < SHOWS_WITHIN:
                    time.sleep(phases.fault)
            over = time.monotonic()
            time.sleep(phases.after)
        arrivals = self._arrivals(cell.ports)
        calls = callers.between(begun, ended)
        assert calls, f"nobody called {cell.host} within {ended - begun:.1f} s"
        came = sum(begun <= arrival < ended for arrived in arrivals for arrival in arrived)
        # One that cannot be reached gets no requests either way.
        at_faulty = arrivals[0] if len(cell.faulty) == 1 < len(cell.ports) and cell.fault.reach is Reach.YES else []
        failed = sum(bool(call.why) for call in calls)
        return Figures(
            calls=len(calls),
            failed=failed,
            success=1 - failed / len(calls),
            p50=quantile(calls, 0.5),
            p99=quantile(calls, 0.99),
            amplification=came / len(calls),
            eject=_last_before_silence(at_faulty, begun, ended),
            back=next((arrival - over for arrival in at_faulty if arrival >= over), None),
        )

    def _arrivals(self, ports: Sequence[int]) -> list[list[float]]:
        return [self.backends.ask(arrivals=port) for port in ports]


def met(fault: Fault, call: Call) -> bool:
    """True when the call shows the fault."""
    return call.seconds >= fault.takes if fault.takes else bool(call.why)


def _last_before_silence(arrivals: Sequence[float], begun: float, ended: float) -> float | None:
    """Seconds to the first arrival after which none comes for a while; None when that never happens."""
    during = [arrival for arrival in arrivals if begun <= arrival < ended]
    for arrival, following in pairwise([*during, ended]):
        if following - arrival >= SILENCE:
            return arrival - begun
    return None


@contextmanager
def rig() -> Iterator[Rig]:
    """The endpoints of all cells, until the block ends."""
    with backends() as running:
        cells = {
            fault.name: {wire: Cell(fault, wire, tuple(running.ask(open=[fault.name, wire]))) for wire in Wire}
            for fault in FAULTS.values()
        }
        yield Rig(running, cells)


@contextmanager
def ours(rig: Rig, folder: Path) -> Iterator[Proxy]:
    """A sidecar that knows all services."""
    with Mesh(folder) as mesh:
        for name, (policy, wire, ports) in rig.services.items():
            mesh.document(f"services/{name}", **policy.document(wire, ports))
        yield mesh.sidecar("caller", 1)


@contextmanager
def theirs(rig: Rig, folder: Path) -> Iterator[str]:
    """An Envoy that does; its address."""
    folder.mkdir(parents=True)
    port, config, log = free_port(), folder / "envoy.json", folder / "envoy.log"
    config.write_text(json.dumps(envoy(port, rig.services)))
    command = [str(envoy_binary()), "--config-path", str(config), "--concurrency", "1", "--disable-hot-restart"]
    with log.open("wb") as output, subprocess.Popen([*command, "--log-level", "error"], stderr=output) as process:
        try:
            eventually(f"Envoy, see {log}", lambda: listening(port), 20)
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()


def measured_together(rig: Rig, fault: str, address: str, phases: Phases) -> dict[Wire, Figures]:
    """All protocols of a fault: at once, for each waits most of its time; one after the other where many call."""
    cells = rig.cells[fault]
    with ThreadPoolExecutor(1 if FAULTS[fault].is_crowd else len(cells)) as pool:
        figures = pool.map(lambda cell: rig.measure(cell, address, phases), cells.values())
        return dict(zip(cells, figures, strict=True))
