"""Ten sidecars on one agent: its connections are enough for all, and what one writes wakes no other."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.mesh import Mesh, Proxy, eventually
from tests.real.callers import Caller, application, call
from tests.real.consul_agent import Agent, running
from tests.real.fault_proxy import FaultProxy

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.timeout(600)]

SIDECARS, CONNECTIONS = 10, 16
# The agent takes no more than ten sidecars may open; its default is 200.
LIMIT = f"limits {{ http_max_conns_per_client = {SIDECARS * CONNECTIONS} }}"
# Seconds: for a change, and for all status keys, which are written ten seconds apart with as much chance before.
SOON, WRITTEN = 60.0, 60.0
NAMES = [f"service-{number}" for number in range(SIDECARS)]
# Seconds. A watch that has waited so long may end because nothing happened.
WAITED = 50.0
DOCUMENTS = "/v1/kv/sidecar/(mesh|services/)"
STATUS = "/v1/kv/sidecar-status/.*"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    with running(tmp_path, LIMIT) as agent:
        yield agent


def test_ten_sidecars_live_together_on_one_agent(
    agent: Agent, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ExitStack() as stack:
        consul = stack.enter_context(FaultProxy(agent.address))
        mesh = stack.enter_context(Mesh(tmp_path / "mesh", consul.address))
        ports = [stack.enter_context(application(name)) for name in NAMES]
        with ThreadPoolExecutor(SIDECARS) as pool:
            sidecars = list(pool.map(mesh.sidecar, NAMES, ports))
        # Each calls all others, so it watches more services than it has connections for.
        for sidecar in sidecars:
            for name in NAMES:
                eventually(f"{sidecar.name} reaches {name}", partial(reaches, sidecar, name), SOON)

        with ExitStack() as calls:
            callers = [
                calls.enter_context(Caller(sidecar.outbound, name))
                for sidecar, name in zip(sidecars, reversed(NAMES), strict=True)
            ]
            began = time.monotonic()
            agent.document("services/service-0", protocol="http", timeout="5s")
            for sidecar in sidecars:
                eventually("the change is seen", partial(runs, sidecar, '"timeout": "5s"'), SOON)
            settled = time.monotonic()
            eventually("every status key is written", partial(all_written, agent, index(agent)), WRITTEN)
            written = time.monotonic()
        for caller in callers:
            assert caller.failures == []

        writes = [one for one in consul.asked(STATUS, began) if one.method == "PUT"]
        assert len(writes) == SIDECARS
        # The change wakes every sidecar; ten writes behind it wake nobody.
        watches = [one for one in consul.asked(DOCUMENTS) if one.is_watch]
        assert len([one for one in watches if began < one.ended < settled]) >= SIDECARS
        woken = [one for one in watches if settled < one.ended < written and one.ended - one.began < WAITED]
        assert woken == []
        refused = [one for one in consul.exchanges if one.status == 429]
        assert refused == []
        assert consul.most_connections <= SIDECARS * CONNECTIONS
        with capsys.disabled():
            print(f"\n{SIDECARS} sidecars, each calling {SIDECARS} services: {consul.most_connections} connections")


def reaches(sidecar: Proxy, name: str) -> bool:
    return call(sidecar.outbound, name) == (200, name)


def runs(sidecar: Proxy, text: str) -> bool:
    """Whether the configuration in force has this text."""
    return text in sidecar.get("/api/v1/config")[1]


def index(agent: Agent) -> int:
    """Of the document that was written last."""
    found: int = agent.get("/v1/kv/sidecar/services/service-0")[0]["ModifyIndex"]
    return found


def all_written(agent: Agent, index: int) -> bool:
    """Whether every sidecar says that this index is in force."""
    keys = agent.get("/v1/kv/sidecar-status/?keys") or []
    values = [agent.get(f"/v1/kv/{key}?raw") for key in keys if re.match("sidecar-status/service-", key)]
    return len(values) == SIDECARS and all(value["index"] >= index for value in values)
