"""The composition root, over a data plane that only listens: build, ready, run, drain."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from sidecar import app
from sidecar.dataplane import DataPlane
from sidecar.errors import ConfigError, SidecarError, SourceError
from sidecar.snapshot import GatewayRole, SidecarRole
from tests.double import SeamDouble, wanted
from tests.unit.telemetry.receiver import receiver, request


@dataclass
class Running:
    """An app in this process."""

    task: asyncio.Task[int]
    seam: SeamDouble
    settings: app.Settings

    def announced(self) -> dict[str, Any]:
        """What its run file says; empty while there is none."""
        files = list(self.settings.run_directory.glob("*.json"))
        return json.loads(files[0].read_text()) if files else {}

    async def stop(self) -> int:
        """SIGTERM, and the exit code."""
        os.kill(os.getpid(), signal.SIGTERM)
        return await asyncio.wait_for(self.task, 10)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config"


@pytest.fixture
def settings(config: Path, tmp_path: Path) -> app.Settings:
    (config / "services").mkdir(parents=True)
    (config / "services/inventory.yaml").write_text("protocol: http\nendpoints: [{address: 127.0.0.1:21001}]\n")
    return app.Settings(
        role=SidecarRole("orders", inbound="127.0.0.1:0", outbound="127.0.0.1:0"),
        config=config,
        admin_port=0,
        state_directory=tmp_path / "state",
        run_directory=tmp_path / "run",
        grace=2.5,
        command=(),
        environ={},
    )


@pytest.fixture
def seam(monkeypatch: pytest.MonkeyPatch) -> SeamDouble:
    double = SeamDouble()
    monkeypatch.setattr("sidecar.dataplane.start", lambda options: DataPlane(double))
    return double


async def eventually(probe: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not probe():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(settings: app.Settings, seam: SeamDouble) -> AsyncIterator[Running]:
    started = Running(asyncio.create_task(app.run(settings)), seam, settings)
    await eventually(lambda: bool(started.announced()) or started.task.done())
    yield started
    if not started.task.done():
        await started.stop()


async def test_it_is_ready_announced_and_then_drained(
    settings: app.Settings, seam: SeamDouble, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with running(settings, seam) as started, ClientSession() as session:
        announced = started.announced()
        async with session.get(f"http://{announced['admin']}/ready") as response:
            assert response.status == 200
            assert "every verified peer of the mesh may call" in (await response.json())["authorization"]
        assert announced["listeners"] == {"inbound": "127.0.0.1:40000", "outbound": "127.0.0.1:40000"}
        assert await started.stop() == 0

    assert seam.shut_down_with == 2.5
    assert started.announced() == {}
    ready = f"sidecar orders is ready: inbound 127.0.0.1:40000, outbound 127.0.0.1:40000, admin {announced['admin']}"
    assert ready in caplog.text
    assert "every verified peer of the mesh may call orders" in caplog.text
    assert "SIGTERM received, draining" in caplog.text


async def test_a_drain_may_begin_with_a_while_in_which_balancers_notice(
    settings: app.Settings, config: Path, seam: SeamDouble
) -> None:
    (config / "gateways").mkdir()
    (config / "gateways/edge.yaml").write_text("listeners: [{port: 0}]\n")
    async with running(replace(settings, role=GatewayRole("edge"), drain_delay=0.2), seam) as started:
        began = time.monotonic()
        assert await started.stop() == 0
        assert time.monotonic() - began >= 0.2
    assert seam.has_left.is_set()
    assert seam.shut_down_with == 2.5


async def test_without_a_delay_nobody_is_told_to_leave(settings: app.Settings, seam: SeamDouble) -> None:
    async with running(settings, seam) as started:
        assert await started.stop() == 0
    assert not seam.has_left.is_set()


async def test_the_local_application_is_known_from_the_start(settings: app.Settings, seam: SeamDouble) -> None:
    async with running(settings, seam):
        assert [update.cluster for update in seam.endpoints] == ["app"]


async def test_a_wanted_cluster_gets_its_endpoints(settings: app.Settings, seam: SeamDouble) -> None:
    async with running(settings, seam):
        seam.tell(wanted("inventory"))
        await eventually(lambda: len(seam.endpoints) == 2)

    assert seam.endpoints[1].endpoints[0].address == "127.0.0.1:21001"


async def test_a_changed_document_is_applied(settings: app.Settings, config: Path, seam: SeamDouble) -> None:
    async with running(settings, seam):
        (config / "services/web.yaml").write_text("protocol: http2\n")
        await eventually(lambda: len(seam.snapshots) == 2)

    assert seam.snapshots[1].version == 2


async def test_the_first_configuration_must_be_good(settings: app.Settings, config: Path, seam: SeamDouble) -> None:
    (config / "services/web.yaml").write_text("protocol: htttp\n")
    (config / "mesh.yaml").write_text("tracing: {ratio: much}\n")

    with pytest.raises(ConfigError) as refusal:
        await app.run(settings)

    assert {problem.place for problem in refusal.value.problems} == {"services/web.yaml:1:11", "mesh.yaml:1:18"}
    assert seam.calls == []


async def test_a_directory_that_is_not_there_is_told(settings: app.Settings, config: Path, seam: SeamDouble) -> None:
    with pytest.raises(SourceError, match="nowhere"):
        await app.run(replace(settings, config=config / "nowhere"))


async def test_a_gateway_without_a_document_is_told_the_ones_that_have_one(
    settings: app.Settings, config: Path, seam: SeamDouble
) -> None:
    (config / "gateways").mkdir()
    (config / "gateways/edge.yaml").write_text(
        "listeners: [{port: 0}]\nroutes: [{name: all, to: {service: inventory}}]\n"
    )

    with pytest.raises(ConfigError, match=r"no document for the gateway `egde`(?s:.*)that have one: edge"):
        await app.run(replace(settings, role=GatewayRole("egde")))


async def test_a_start_that_fails_half_way_is_undone(settings: app.Settings, seam: SeamDouble) -> None:
    with pytest.raises(SidecarError, match="'no-such-program' cannot be started"):
        await app.run(replace(settings, command=("no-such-program",)))

    assert seam.shut_down_with is not None
    assert list(settings.run_directory.iterdir()) == []


async def test_the_end_of_the_application_is_ours(settings: app.Settings, seam: SeamDouble) -> None:
    command = (sys.executable, "-c", "raise SystemExit(7)")
    async with running(replace(settings, command=command), seam) as started:
        assert await asyncio.wait_for(started.task, 10) == 7

    assert seam.shut_down_with == 2.5


async def test_a_signal_is_passed_on_and_the_drain_comes_after_the_application(
    settings: app.Settings, seam: SeamDouble, tmp_path: Path
) -> None:
    trapped = tmp_path / "trapped"
    script = f"trap 'touch {trapped}; exit 3' TERM; touch {tmp_path}/up; while :; do sleep 0.01; done"
    async with running(replace(settings, command=("sh", "-c", script)), seam) as started:
        await eventually((tmp_path / "up").exists)
        assert seam.shut_down_with is None
        assert await started.stop() == 3

    assert trapped.exists()
    assert seam.shut_down_with == 2.5


async def test_an_application_that_ignores_the_signal_is_killed_after_the_grace(
    settings: app.Settings, seam: SeamDouble, tmp_path: Path
) -> None:
    script = f"trap '' TERM; touch {tmp_path}/up; while :; do sleep 0.01; done"
    async with running(replace(settings, command=("sh", "-c", script), grace=0.05), seam) as started:
        await eventually((tmp_path / "up").exists)
        assert await started.stop() == 128 + signal.SIGKILL


async def test_the_last_spans_leave_before_the_end(settings: app.Settings, seam: SeamDouble) -> None:
    async with receiver() as (received, _):
        environ = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": received.url}
        async with running(replace(settings, environ=environ), seam) as started:
            assert seam.snapshots[0].telemetry.tracing.enabled
            seam.spans.append(request(3))
            assert await started.stop() == 0

        # Beside ours those of the process itself, from its start to its end.
        assert sorted(received.names()) == ["config applied", "drain", "mesh", "span 0", "span 1", "span 2"]


async def test_a_fault_of_ours_ends_the_process_with_a_drain(
    settings: app.Settings, seam: SeamDouble, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fault(max_events: int, timeout: float) -> bytes:
        raise RuntimeError("a fault")

    monkeypatch.setattr(seam, "poll_events", fault)
    async with running(settings, seam) as started:
        assert await asyncio.wait_for(started.task, 10) == 1

    assert "a part of the control side failed" in caplog.text
    assert seam.shut_down_with is not None


async def test_the_second_signal_ends_at_once() -> None:
    second: list[int] = []
    signals = app.Signals(second.append, lambda: second.append(0))

    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(signals.first, 5) == signal.SIGTERM
    assert second == []
    os.kill(os.getpid(), signal.SIGUSR1)
    await eventually(lambda: second == [0])
    second.clear()
    os.kill(os.getpid(), signal.SIGINT)
    await eventually(lambda: second == [signal.SIGINT])
