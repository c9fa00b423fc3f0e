"""Without Consul: what was told last, from disk."""

import os
import stat
import statistics
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.mesh import Mesh, eventually, told
from tests.real.callers import Caller, application, call
from tests.real.consul_agent import Agent
from tests.real.fault_proxy import FaultProxy

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

# Seconds.
SOON = 30.0
# Starts that are measured.
ROUNDS = 2


def kept(directory: Path) -> tuple[Path, Path]:
    """The files of the sidecar of `web`: what the mesh told, and its certificate."""
    state = directory / "state/last-good"
    return state / "sidecar-web-1.world", state / "sidecar-web-1.leaf"


def has_made(caller: Caller, calls: int) -> bool:
    """Whether so many calls were made."""
    return len(caller.seen) >= calls


def cpu_seconds(pid: int) -> float:
    """What a process has spent, by fields 14 and 15 of proc(5)'s stat; the machine's other work is not in it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_what_starts_without_consul_serves_what_was_good_last(
    agent: Agent, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ExitStack() as stack:
        consul = stack.enter_context(FaultProxy(agent.address))
        port = stack.enter_context(application("orders"))
        mesh = stack.enter_context(Mesh(tmp_path / "mesh", consul.address))
        mesh.sidecar("orders", port)
        web = mesh.sidecar("web", 1)
        eventually("a call", lambda: call(web.outbound, "orders") == (200, "orders"), SOON)
        world, leaf = kept(tmp_path / "mesh")
        eventually("its endpoints are kept", lambda: world.exists() and '"target":["orders"' in world.read_text(), SOON)
        for file in (world, leaf):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert "private_key" in leaf.read_text()
        assert "private_key" not in world.read_text()

        measured = {}
        agent.stop()
        for way, hang in (("not there", False), ("silent", True)):
            took, spent = [], []
            with ExitStack() as faults:
                if hang:
                    # It accepts, and says nothing.
                    faults.enter_context(consul.fault("/v1/.*", status=500, delay=60.0))
                for _ in range(ROUNDS):
                    web.kill()
                    started = time.monotonic()
                    web = mesh.sidecar("web", 1)
                    took.append(time.monotonic() - started)
                    spent.append(cpu_seconds(web.process.pid))
                    with Caller(web.outbound, "orders") as caller:
                        eventually("calls", partial(has_made, caller, 50), SOON)
                    # Over mutual TLS: there is no other way to an instance in the mesh.
                    assert caller.failures == []
                    said = told(web)
                    assert said["ready"] is True
                    assert said["stale_seconds"] > 0
                    assert "serving what it told until" in web.output()
            measured[way] = f"{statistics.median(took):.2f} s, of CPU {statistics.median(spent):.2f} s"

        agent.start()
        eventually("fresh", lambda: told(web)["stale_seconds"] == 0, SOON)
        assert call(web.outbound, "orders") == (200, "orders")
    with capsys.disabled():
        print(f"\nstart → ready without Consul: {measured}")


def test_a_damaged_file_is_refused_and_the_start_goes_on(agent: Agent, tmp_path: Path) -> None:
    with Mesh(tmp_path / "mesh", agent.address) as mesh:
        mesh.sidecar("web", 1).stop()
        world, leaf = kept(tmp_path / "mesh")
        content = bytearray(world.read_bytes())
        content[len(content) // 2] ^= 1
        world.write_bytes(content)
        leaf.chmod(0o644)
        damaged = f"{world} is damaged and not used: its checksum does not match; remove it"

        again = mesh.sidecar("web", 1)
        assert damaged in again.output()
        again.stop()
        # Replaced by good ones.
        assert '"documents"' in world.read_text()
        assert stat.S_IMODE(leaf.stat().st_mode) == 0o600

        world.write_bytes(content)
        agent.stop()
        with pytest.raises(AssertionError, match=r"exited with 1(?s:.*)cannot be reached") as refused:
            mesh.sidecar("web", 1)
        assert damaged in str(refused.value)
