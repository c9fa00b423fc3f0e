"""Faults of Consul and of the way to it, under load: no call fails that a healthy endpoint could have served.

Parts of one mesh have a fault proxy of their own before one real agent, so several faults are tried at a time.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import Any

import pytest

from tests.mesh import LOOPBACK, Mesh, Proxy, eventually
from tests.real.callers import Caller, application, call
from tests.real.consul_agent import Agent
from tests.real.fault_proxy import FaultProxy

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

# Seconds: for what comes at once, and for what comes when a watch has backed off.
SOON, AGAIN = 10.0, 30.0
# Seconds of a fault; and of one that would be believed in the end if it were believed at all: a source doubts for 10 s,
# and an instance that cannot tell its health is missed by others after some more.
SHORT, LONG = 2.0, 22.0
ALL = "/v1/.*"


@dataclass(frozen=True)
class Side:
    """A caller behind a fault proxy of its own; `address` is where its application or client calls."""

    faults: FaultProxy
    caller: Proxy
    address: str


@dataclass(frozen=True)
class Parts:
    """The mesh of this module: two instances of `orders` behind one fault proxy, the sidecar of `web` and the gateway
    `edge` each behind another."""

    agent: Agent
    orders: FaultProxy
    web: Side
    edge: Side

    @property
    def callers(self) -> tuple[Side, Side]:
        return self.web, self.edge


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    agent = Agent(tmp_path_factory.mktemp("consul"))
    agent.start()
    yield agent
    agent.stop()


@pytest.fixture(scope="module")
def parts(agent: Agent, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    agent.document("gateways/edge", listeners=[LOOPBACK], routes=[{"name": "all", "to": {"service": "orders"}}])
    agent.document("services/orders", protocol="http", timeout="9s")
    with ExitStack() as stack:
        orders, web, edge = (stack.enter_context(FaultProxy(agent.address)) for _ in range(3))
        applications = [stack.enter_context(application(name)) for name in ("one", "two")]

        def mesh(faults: FaultProxy) -> Mesh:
            return stack.enter_context(Mesh(tmp_path_factory.mktemp("part"), faults.address))

        instances, webs, edges = mesh(orders), mesh(web), mesh(edge)
        starts = [partial(instances.sidecar, "orders", port) for port in applications]
        *_, sidecar, gateway = together([*starts, partial(webs.sidecar, "web", 1), partial(edges.gateway, "edge")])
        parts = Parts(agent, orders, Side(web, sidecar, sidecar.outbound), Side(edge, gateway, gateway.edge))
        for side in parts.callers:
            eventually("both instances answer", partial(reaches, side, {"one", "two"}), AGAIN)
        yield parts


def together(starts: Sequence[Callable[[], Proxy]]) -> list[Proxy]:
    """Start all at one time."""
    with ThreadPoolExecutor(len(starts)) as pool:
        return list(pool.map(lambda start: start(), starts))


def reaches(side: Side, wanted: set[str], host: str = "orders") -> bool:
    """Whether a few calls are answered by all of these, and nobody else."""
    return {call(side.address, host) for _ in range(8)} == {(200, name) for name in wanted}


def told(proxy: Proxy) -> dict[str, Any]:
    """What `/ready` says."""
    answer: dict[str, Any] = json.loads(proxy.get("/ready")[1])
    return answer


@contextmanager
def load(parts: Parts) -> Iterator[None]:
    """Both callers call all the time; none of their calls fails."""
    with ExitStack() as stack:
        callers = [stack.enter_context(Caller(side.address, "orders")) for side in parts.callers]
        yield
    for caller in callers:
        assert caller.failures == []
        assert len(caller.seen) > 20


def is_fresh(side: Side) -> bool:
    """In contact, registered, and nothing is held."""
    said = told(side.caller)
    return said["stale_seconds"] == 0 and "held" not in said and said["registration"] == "registered"


def still_follows(parts: Parts) -> None:
    """What changes in Consul is seen by both callers."""
    timeout = f"{time.monotonic_ns() % 1000 + 9000}ms"
    parts.agent.document("services/orders", protocol="http", timeout=timeout)
    for side in parts.callers:
        eventually("it is fresh", partial(is_fresh, side), AGAIN)
        eventually("the change is seen", partial(says, side, timeout), AGAIN)


def metric(side: Side, name: str) -> float:
    """The value of a metric without labels."""
    (line,) = (line for line in side.caller.get("/metrics")[1].splitlines() if line.startswith(f"{name} "))
    return float(line.rpartition(" ")[2])


def says(side: Side, text: str) -> bool:
    """Whether the configuration in force has this text."""
    return text in side.caller.get("/api/v1/config")[1]


def emptied(value: Any) -> Any:
    """A list without entries, an object without fields."""
    return type(value)() if isinstance(value, list | dict) else value


def half_garbage(value: Any) -> Any:
    """Every second entry is of another form; of an object every second field."""
    if isinstance(value, list):
        return [entry if number % 2 else {"Garbage": number} for number, entry in enumerate(value)]
    if isinstance(value, dict):
        return {name: part if number % 2 else ["garbage"] for number, (name, part) in enumerate(value.items())}
    return value


SHAPES: Iterator[Any] = cycle([None, 7, "x", [], {}, [None], [7], [[]], {"x": 1}, {"Meta": [], "Proxy": 7}])


FAULTS: dict[str, dict[str, Any]] = {
    "429": {"status": 429},
    "500": {"status": 500},
    "slow": {"delay": 1.5},
    "cut": {"share": 0.5},
    "dropped": {"share": 0.0},
    "not JSON": {"body": lambda _: b"\x00<html>"},
    "index backwards": {"index": lambda index: max(1, index // 2)},
    "index 0": {"index": lambda _: 0},
    "emptied": {"body": emptied},
    "half garbage": {"body": half_garbage},
    "other shapes": {"body": lambda _: next(SHAPES)},
}


@pytest.mark.parametrize(
    ("orders", "web", "edge", "seconds"),
    [
        ("429", "500", "slow", SHORT),
        ("cut", "dropped", "not JSON", SHORT),
        ("not JSON", "index backwards", "index 0", SHORT),
        ("emptied", "half garbage", "cut", SHORT),
        ("half garbage", "other shapes", "429", SHORT),
        ("500", "emptied", "half garbage", LONG),
    ],
)
def test_a_fault_on_the_way_to_consul_costs_no_call(
    parts: Parts, orders: str, web: str, edge: str, seconds: float
) -> None:
    faults = {parts.orders: orders, parts.web.faults: web, parts.edge.faults: edge}
    with load(parts):
        began = time.monotonic()
        with ExitStack() as stack:
            for proxy, name in faults.items():
                stack.enter_context(proxy.fault(ALL, **FAULTS[name]))
            time.sleep(seconds)
            for side, name in ((parts.web, web), (parts.edge, edge)):
                if name == "emptied":
                    assert "2 of orders held: Consul says that there are none" in str(told(side.caller)["held"])
                    assert metric(side, "sidecar_consul_held") >= 1
                if name in ("429", "500"):
                    assert f"with {name}" in told(side.caller)["consul_failure"]
                    assert metric(side, "sidecar_consul_stale_seconds") > 0
        for proxy in faults:
            asked = [one for one in proxy.asked(ALL, began) if one.faulty]
            assert len(asked) > 5
            # Nobody storms a Consul that fails: every call backs off, every watch goes round ten times a second.
            assert len(asked) < 200 * seconds
        still_follows(parts)
