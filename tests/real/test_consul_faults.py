"""Faults of Consul and of the way to it, under load: no call fails that a healthy endpoint could have served.

Parts of one mesh have a fault proxy of their own before one real agent, so several faults are tried at a time.
"""

import json
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from tests.mesh import LOOPBACK, Mesh, Proxy, eventually, told
from tests.real.callers import Caller, application, call
from tests.real.consul_agent import Agent, running
from tests.real.fault_proxy import FaultProxy

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

# Seconds: for what comes at once, and for what comes when a watch has backed off.
SOON, AGAIN = 10.0, 30.0
# Seconds of a fault; of one that would be believed if it were believed at all, for sources doubt ten seconds; and of
# one in which everybody would miss an instance that cannot tell its health.
SHORT, LONG, MINUTE = 2.0, 13.0, 60.0
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
    with running(tmp_path_factory.mktemp("consul")) as agent:
        yield agent


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


@contextmanager
def load(parts: Parts) -> Iterator[None]:
    """Both callers call all the time; none of their calls fails."""
    with ExitStack() as stack:
        callers = [stack.enter_context(Caller(side.address, "orders")) for side in parts.callers]
        yield
    for caller in callers:
        assert caller.failures == []
        # Hundreds; a machine that stood still made eighteen.
        assert len(caller.seen) > 5


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


def is_silent(side: Side, text: str) -> bool:
    """The opposite."""
    return not says(side, text)


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
        pytest.param("429", "half garbage", "emptied", MINUTE, marks=pytest.mark.long),
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
                    held = str(told(side.caller)["held"])
                    assert "2 instances of orders held: Consul says that there are none" in held
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


# --- one service


@contextmanager
def outside(agent: Agent, service: str, *names: str) -> Iterator[list[dict[str, Any]]]:
    """A service outside the mesh with one instance for each of these names; gives their registrations."""
    with ExitStack() as stack:
        found = []
        for name in names:
            port = stack.enter_context(application(name))
            found.append({"ID": f"{service}-{name}", "Name": service, "Address": "127.0.0.1", "Port": port})
            agent.put("/v1/agent/service/register", found[-1])
        agent.document(f"services/{service}", protocol="http", tls="disabled")
        yield found
        for instance in found:
            agent.put(f"/v1/agent/service/deregister/{instance['ID']}")


def test_odd_answers_about_one_service_cost_no_call(parts: Parts) -> None:
    agent, web = parts.agent, parts.web
    with ExitStack() as stack:
        services = ("malformed", "empty", "garbled", "flapping")
        instances = {name: stack.enter_context(outside(agent, name, "one", "two")) for name in services}
        for name in services:
            eventually("both answer", partial(reaches, web, {"one", "two"}, name), AGAIN)
        # Consul takes a name for an address; there is no way to connect to it.
        odd = {"ID": "odd", "Name": "malformed", "Address": "no.such.host", "Port": 1}
        agent.put("/v1/agent/service/register", odd)
        stack.callback(agent.put, "/v1/agent/service/deregister/odd")
        with ExitStack() as calls:
            callers = [calls.enter_context(Caller(web.address, name)) for name in services]
            stack.enter_context(web.faults.fault("/v1/health/service/empty", body=lambda _: []))
            stack.enter_context(web.faults.fault("/v1/health/service/garbled", body=half_garbage))
            began = time.monotonic()
            flap(agent, instances["flapping"][1])
            rounds = len(web.faults.asked("/v1/health/service/flapping", began))
            # A change is seen at most ten times a second, however fast they come: 40 came. A watch may begin with two
            # rounds at once, and one that starts or stops taking turns begins again.
            assert rounds <= 10 * (time.monotonic() - began) + 6
        for caller in callers:
            assert caller.failures == []
            eventually(f"nobody of {caller.host} is lost", partial(reaches, web, {"one", "two"}, caller.host), AGAIN)
        output = web.caller.output()
        assert "malformed: 1 of Consul's entries left out: odd: 'no.such.host' does not appear to be" in output
        assert "garbled: 1 of Consul's entries left out" in output
        assert "2 instances of empty held: Consul says that there are none" in str(told(web.caller)["held"])


def flap(agent: Agent, instance: dict[str, Any]) -> None:
    """Take an instance out and put it back ten times a second, for two seconds; it serves all the time."""
    for _ in range(20):
        agent.put(f"/v1/agent/service/deregister/{instance['ID']}")
        time.sleep(0.05)
        agent.put("/v1/agent/service/register", instance)
        time.sleep(0.05)


# --- keys


def test_a_key_with_garbage_is_refused_alone_and_two_thousand_keys_cost_no_call(
    parts: Parts, capsys: pytest.CaptureFixture[str]
) -> None:
    agent, web = parts.agent, parts.web
    with load(parts):
        for garbage in ("\x00\x01garbage", "{{{", "protocol: [", "x" * 100_000):
            agent.put("/v1/kv/sidecar/services/orders", garbage)
        eventually("refused", lambda: "sidecar/services/orders" in str(told(web.caller).get("refusals")), AGAIN)

        began = time.monotonic()
        operations = [
            {"KV": {"Verb": "set", "Key": f"sidecar/services/many-{number:04}", "Value": b64encode(text).decode()}}
            for number in range(2000)
            for text in (b"protocol: http\n" if number else b"{",)
        ]
        for first in range(0, len(operations), 128):
            agent.put("/v1/txn", operations[first : first + 128])
        for side in parts.callers:
            eventually("the last one is seen", partial(says, side, '"many-1999"'), AGAIN)
        took = time.monotonic() - began
        assert "sidecar/services/many-0000" in str(told(web.caller)["refusals"])
        agent.delete("/v1/kv/sidecar/services/many-?recurse")
        for side in parts.callers:
            eventually("they are gone", partial(is_silent, side, '"many-1999"'), AGAIN)
        still_follows(parts)
    with capsys.disabled():
        print(f"\n2000 keys → in force at both callers: {took:.1f} s")


# --- the servers


def test_a_lost_leader_costs_no_call(tmp_path: Path) -> None:
    with ExitStack() as stack:
        servers = [Agent(tmp_path / "0", servers=3)]
        servers += [Agent(tmp_path / str(number), servers=3, join=servers[0].gossips_at) for number in (1, 2)]
        for server in servers:
            server.launch()
            stack.callback(server.stop)
        for server in servers:
            server.wait()
        leader = next(server for server in servers if server.is_leader)
        ours, other = (server for server in servers if server is not leader)
        ports = [stack.enter_context(application(name)) for name in ("one", "two")]
        mesh, beside = (
            stack.enter_context(Mesh(tmp_path / name, at.address)) for name, at in (("a", ours), ("b", other))
        )
        starts = [partial(mesh.sidecar, "orders", ports[0]), partial(beside.sidecar, "orders", ports[1])]
        *_, web = together([*starts, partial(mesh.sidecar, "web", 1)])
        side = Side(FaultProxy(""), web, web.outbound)
        eventually("both instances answer", partial(reaches, side, {"one", "two"}), AGAIN)

        with Caller(web.outbound, "orders") as caller:
            leader.kill()
            eventually("another leads", lambda: ours.is_leader or other.is_leader, AGAIN)
            ours.document("services/orders", protocol="http", timeout="6s")
            eventually("the change is seen", partial(says, side, '"timeout": "6s"'), AGAIN)
            eventually("fresh", partial(is_fresh, side), AGAIN)
        assert caller.failures == []
        # Hundreds; a machine that stood still made eighteen.
        assert len(caller.seen) > 5
        assert reaches(side, {"one", "two"})


# --- the clock


def test_a_clock_an_hour_off_costs_no_call_and_one_that_is_behind_is_named(agent: Agent, tmp_path: Path) -> None:
    clock = tmp_path / "clock"

    def set_clock(offset: str) -> None:
        partial_file = clock.with_suffix(".partial")
        partial_file.write_text(f"{offset}\n")
        partial_file.replace(clock)

    set_clock("+1h")
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    environ = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        # As when the clock of a host is set.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with application("late") as port, Mesh(tmp_path, agent.address) as mesh:
        starts = [partial(mesh.sidecar, "late", port), partial(mesh.sidecar, "ahead", 1, environ=environ)]
        late, ahead = together(starts)
        side = Side(FaultProxy(""), ahead, ahead.outbound)
        # An hour ahead nothing is missed: certificates live for days.
        eventually("a call", partial(reaches, side, {"late"}, "late"), AGAIN)
        assert "certificate" not in told(ahead)
        with Caller(ahead.outbound, "late") as caller:
            for offset in ("+0", "+1h"):
                set_clock(offset)
                calls = len(caller.seen) + 50
                eventually(f"calls at {offset}", partial(has_made, caller, calls), AGAIN)
        assert caller.failures == []
        # An hour behind certificates that are new have not begun. They are taken, and it is told.
        set_clock("-1h")
        assert "begins in 5" in told(ahead)["certificate"]
        assert "set the clock" in told(ahead)["certificate"]
        late.kill()
        again = mesh.sidecar("late", port)
        eventually("a call on a new connection", partial(reaches, side, {"late"}, "late"), AGAIN)
        # What is further behind makes no new connection.
        set_clock("-3h")
        again.kill()
        late = mesh.sidecar("late", port)
        eventually("on record", lambda: not reaches(side, {"late"}, "late") and "begins in" in refused(ahead), AGAIN)
        agent.document("services/late", protocol="http", timeout="5s")
        eventually("Consul is followed", partial(says, side, '"timeout": "5s"'), AGAIN)
        set_clock("+0")
        eventually("calls again", partial(reaches, side, {"late"}, "late"), AGAIN)
        assert late.process.poll() is None


def refused(proxy: Proxy) -> str:
    """The detail of the newest call that ended badly."""
    failures = json.loads(proxy.get("/api/v1/failures?limit=1")[1])["failures"]
    return str(failures[0]["detail"]) if failures else ""


def has_made(caller: Caller, calls: int) -> bool:
    """Whether so many calls were made."""
    return len(caller.seen) >= calls
