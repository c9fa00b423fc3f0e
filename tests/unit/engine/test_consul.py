"""The beginning: with Consul, from disk, or not at all and with a reason."""

import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import ClientSession

from sidecar.consul.client import CONNECTIONS, ConsulClient
from sidecar.consul.settings import read
from sidecar.engine import Announcement
from sidecar.engine.consul import ConsulEngine
from sidecar.engine.last_good import Store
from sidecar.engine.presence import Registered
from sidecar.errors import ConsulError
from sidecar.identity.authority import Leaf
from sidecar.snapshot import SidecarRole
from sidecar.world import Site, World

WEB = SidecarRole("web", "127.0.0.1:8080")
HOUR = timedelta(hours=1)


def leaf(ends: datetime) -> Leaf:
    return Leaf((b"leaf",), b"secret", ends - 72 * HOUR, ends, (b"root",))


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[ConsulEngine]:
    """With an agent that is not there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        client = ConsulClient(read({"CONSUL_HTTP_ADDR": f"127.0.0.1:{taken.getsockname()[1]}"}))
        async with ClientSession() as session:
            engine = ConsulEngine(client, Registered(client, session, WEB, Announcement()), tmp_path, answer_within=0.1)
            yield engine
            await engine.close()


async def keep(directory: Path, ends: datetime, true_at: datetime) -> None:
    store = Store(directory, "sidecar-web-8080", clock=lambda: true_at)
    store.keep({}, World().apply(Site("mesh.consul", "dc1")))
    store.keep_leaf(leaf(ends))
    await store.flush()


async def test_without_consul_and_without_a_last_good_world_there_is_nothing_to_serve(engine: ConsulEngine) -> None:
    with pytest.raises(ConsulError, match=r"cannot be reached \(.*\); start an agent there"):
        await engine.begin()


async def test_without_consul_the_last_good_world_serves_and_says_how_old_it_is(
    engine: ConsulEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = datetime.now(UTC)
    await keep(tmp_path, ends=now + HOUR, true_at=now - HOUR)

    begun = await engine.begin()

    assert begun.world.site == Site("mesh.consul", "dc1")
    assert begun.leaf == leaf(now + HOUR)
    assert begun.role == WEB
    assert 3600 <= engine.stale_seconds() < 3660
    assert float(str(engine.details()["stale_seconds"])) >= 3600
    metrics = {family.name: family.read() for family in engine.families()}
    assert metrics["sidecar.consul.stale_seconds"][()] >= 3600
    assert metrics["sidecar.consul.held"][()] == 0
    assert metrics["sidecar.consul.watched_services"] == {(("by", how),): 0 for how in ("blocking", "turns", "polling")}
    assert metrics["sidecar.consul.connections"][()] <= CONNECTIONS
    assert "serving what it told until" in caplog.text


async def test_a_certificate_that_has_ended_serves_nobody(engine: ConsulEngine, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    await keep(tmp_path, ends=now - HOUR, true_at=now - HOUR)

    with pytest.raises(ConsulError, match=r"the certificate on disk ended at .*, so no peer would trust us"):
        await engine.begin()
