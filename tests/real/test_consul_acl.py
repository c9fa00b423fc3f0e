"""The least rights, on a real agent that denies what no policy allows: the documented policies are enough, and without
any one of their rules the function that needs it fails, naming that rule."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from sidecar.admin.status import Status
from sidecar.consul.client import ConsulClient
from sidecar.consul.settings import read
from sidecar.control import Control
from sidecar.dataplane import DataPlane
from sidecar.engine import Announcement, SidecarFor
from sidecar.engine.consul import ConsulEngine
from sidecar.engine.presence import Adopting, Registered
from sidecar.errors import ConsulError
from sidecar.snapshot import GatewayRole, Role, SidecarRole
from sidecar.sources import kv_status
from sidecar.telemetry.otlp import read_environment
from sidecar.world import Target, World
from tests.double import SeamDouble
from tests.mesh import LOOPBACK, ROOT, Mesh, Proxy, eventually, told
from tests.real.callers import Caller, application, call
from tests.real.consul_agent import Agent, running
from tests.real.programs import free_port

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

POLICIES = ROOT / "docs/consul-acl"
# All trials run at once, and each holds a connection for every watch: an agent takes 200 of one address by default.
DENY = (
    'acl { enabled = true default_policy = "deny" tokens { initial_management = "root" agent = "root" } } '
    "limits { http_max_conns_per_client = 1000 }"
)
# Seconds.
SOON = 30.0
RULE = re.compile(r'(\w+) "([^"]*)" \{\s*policy = "(\w+)"\s*\}')


def policy(name: str) -> str:
    """One of the documented policies, as it stands."""
    return (POLICIES / f"{name}.hcl").read_text()


def rules(name: str) -> list[str]:
    """Its rules, each on a line as messages show it."""
    return [f'{kind} "{subject}" {{ policy = "{access}" }}' for kind, subject, access in RULE.findall(policy(name))]


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """With the documents of a mesh, and an instance of `web` that we did not register."""
    with running(tmp_path_factory.mktemp("consul"), DENY, "root") as agent:
        agent.document("mesh", timeout="8s")
        agent.document("services/orders", protocol="http", timeout="7s")
        agent.document("gateways/edge", listeners=[LOOPBACK], routes=[{"name": "all", "to": {"service": "orders"}}])
        agent.document("consumers/ann", groups=["partners"])
        agent.put("/v1/config", {"Kind": "service-defaults", "Name": "billing", "Protocol": "grpc"})
        # Where ACLs deny by default, intentions do, too.
        everyone = {"Name": "*", "Action": "allow"}
        agent.put("/v1/config", {"Kind": "service-intentions", "Name": "*", "Sources": [everyone]})
        yield agent


def token(agent: Agent, rules: str) -> str:
    """A token with just these rules."""
    name = f"policy-{len(agent.get('/v1/acl/policies'))}"
    agent.put("/v1/acl/policy", {"Name": name, "Rules": rules})
    secret: str = agent.put("/v1/acl/token", {"Policies": [{"Name": name}]})["SecretID"]
    return secret


def adopt(agent: Agent, service: str, app: int, inbound: int) -> None:
    """Register an instance "web-1" of `web` and its proxy, as an agent's definition would."""
    name = f"{service}-1"
    agent.put("/v1/agent/service/register", {"ID": name, "Name": service, "Port": app})
    proxy = {
        "DestinationServiceName": service,
        "DestinationServiceID": name,
        "LocalServicePort": app,
        "Config": {"bind_address": "127.0.0.1"},
    }
    kind = {"ID": f"{name}-proxy", "Name": f"{service}-proxy", "Kind": "connect-proxy"}
    agent.put("/v1/agent/service/register", {**kind, "Port": inbound, "Proxy": proxy})


# --- what the policies are enough for


def tells(proxy: Proxy, detail: str, text: str) -> bool:
    """Whether `/ready` has this detail with this in it."""
    return text in str(told(proxy).get(detail, ""))


def runs(proxy: Proxy, text: str) -> bool:
    """Whether the configuration in force has this text."""
    return text in proxy.get("/api/v1/config")[1]


def test_the_documented_policies_are_enough(agent: Agent, tmp_path: Path) -> None:
    with ExitStack() as stack:
        orders_port, web_port = (stack.enter_context(application(name)) for name in ("orders", "web"))
        adopt(agent, "web", web_port, free_port())
        mesh = stack.enter_context(Mesh(tmp_path, agent.address))

        def rights(name: str) -> dict[str, str]:
            return {"CONSUL_HTTP_TOKEN": token(agent, policy(name))}

        orders = mesh.sidecar("orders", orders_port, environ=rights("sidecar"))
        adopted = ("run", "--sidecar-for", "web-1", "--outbound-port", "0")
        web = mesh.start("web", *adopted, environ=rights("sidecar-for"))
        edge = mesh.gateway("edge", environ=rights("gateway"))

        eventually("a call of the gateway", lambda: call(edge.edge, "any") == (200, "orders"), SOON)
        eventually("a call between sidecars", lambda: call(web.outbound, "orders") == (200, "orders"), SOON)
        eventually("and the other way", lambda: call(orders.outbound, "web") == (200, "web"), SOON)
        for proxy in (orders, web, edge):
            said = told(proxy)
            assert said["stale_seconds"] == 0
            assert "missing_rights" not in said
            configuration = proxy.get("/api/v1/config")[1]
            assert '"timeout": "8s"' in configuration
            assert '"timeout": "7s"' in configuration
        assert told(orders)["registration"] == told(edge)["registration"] == "registered"
        assert told(web)["registration"] == "made by others: web-1-proxy"
        for service in ("orders", "web", "edge"):
            keys = partial(agent.get, f"/v1/kv/sidecar-status/{service}/?keys")
            eventually("the status key", keys, SOON)
        for proxy in (orders, web, edge):
            assert proxy.stop() == 0
            assert "lacks" not in proxy.output()
            assert "denied" not in proxy.output()
    eventually("deregistered", lambda: "orders" not in agent.get("/v1/catalog/services"), SOON)


def sidecar(agent: Agent, secret: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    given = {"CONSUL_HTTP_ADDR": agent.address, "CONSUL_HTTP_TOKEN": secret}
    command = [sys.executable, "-m", "sidecar", *arguments]
    return subprocess.run(command, env={**environ, **given}, capture_output=True, text=True, timeout=60, check=False)


def test_the_policy_of_config_push_is_enough_and_without_it_nothing_is_written(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "services").mkdir()
    (tmp_path / "services/pushed.yaml").write_text("protocol: http\n")

    pushed = sidecar(agent, token(agent, policy("config-push")), "config", "push", str(tmp_path))
    assert pushed.returncode == 0, pushed.stderr
    assert agent.get("/v1/kv/sidecar/services/pushed")

    agent.delete("/v1/kv/sidecar/services/pushed")
    blind = sidecar(agent, token(agent, 'key "x" { policy = "read" }'), "config", "push", str(tmp_path))
    reader = sidecar(
        agent, token(agent, policy("config-push").replace("write", "read")), "config", "push", str(tmp_path)
    )
    assert (blind.returncode, reader.returncode) == (1, 1)
    assert 'its policy lacks key_prefix "sidecar/" { policy = "read" }' in blind.stderr
    assert rules("config-push")[0] in reader.stderr
    assert agent.get("/v1/kv/sidecar/services/pushed") is None


def test_a_start_without_the_right_to_its_name_says_which_one(agent: Agent, tmp_path: Path) -> None:
    with Mesh(tmp_path, agent.address) as mesh:
        # Of a service that no agent has a certificate of: what it has in its cache Consul gives to everybody.
        rest = policy("sidecar").replace('service "orders" {', 'service "other" {').replace("orders", "fresh")
        with pytest.raises(AssertionError, match=re.escape('service "fresh" { policy = "write" }')):
            mesh.sidecar("fresh", 1, environ={"CONSUL_HTTP_TOKEN": token(agent, rest)})


def test_a_revoked_token_costs_no_call_and_a_new_one_is_taken_up(agent: Agent, tmp_path: Path) -> None:
    with ExitStack() as stack:
        port = stack.enter_context(application("kept"))
        mesh = stack.enter_context(Mesh(tmp_path, agent.address))

        def with_token(service: str, app: int) -> Proxy:
            file = tmp_path / f"{service}.token"
            file.write_text(token(agent, policy("sidecar").replace("orders", service)))
            return mesh.sidecar(service, app, "--consul-token-file", str(file))

        kept, caller = with_token("kept", port), with_token("caller", 1)
        eventually("a call", lambda: call(caller.outbound, "kept") == (200, "kept"), SOON)
        before = {file.read_text(): file for file in tmp_path.glob("*.token")}
        with Caller(caller.outbound, "kept") as calls:
            for known in agent.get("/v1/acl/tokens"):
                if known["SecretID"] in before:
                    agent.delete(f"/v1/acl/token/{known['AccessorID']}")
            # What wakes the watches, so that they ask with the token that is none any more.
            agent.document("services/kept", protocol="http", timeout="5s")
            for proxy in (kept, caller):
                eventually("it is told", partial(tells, proxy, "consul_failure", "was revoked"), SOON)
            made = len(calls.seen)
            eventually("calls go on", lambda: len(calls.seen) > made + 200, SOON)
            for service in ("kept", "caller"):
                (tmp_path / f"{service}.token").write_text(token(agent, policy("sidecar").replace("orders", service)))
            for proxy in (kept, caller):
                eventually("in contact", partial(tells, proxy, "stale_seconds", "0.0"), SOON)
                eventually("the change is seen", partial(runs, proxy, '"timeout": "5s"'), SOON)
                eventually("registered", partial(tells, proxy, "registration", "registered"), SOON)
        assert calls.failures == []
        for secret in before:
            assert secret not in kept.output() + caller.output()


# --- what each rule is for


@dataclass
class Trial:
    """One engine in this process, over a data plane that serves nothing: what a sidecar knows and says with a token."""

    agent: Agent
    service: str
    engine: ConsulEngine
    # Why it could not begin.
    failure: str = ""
    control: Control | None = None

    @property
    def world(self) -> World:
        assert self.control is not None, self.failure
        return self.control.world

    def says(self) -> str:
        """All that a person is told."""
        return f"{self.failure} {json.dumps(self.engine.details(), default=str)}".replace('\\"', '"')


@dataclass(frozen=True)
class Kind:
    """What runs with a policy: the service that stands in it, the role of one of any name, and its listener."""

    service: str
    role: Callable[[str], Role | SidecarFor]
    listener: str = ""


KINDS = {
    "sidecar": Kind("orders", lambda name: SidecarRole(name, "127.0.0.1:1"), "inbound"),
    "sidecar-for": Kind("web", lambda name: SidecarFor(f"{name}-1", "127.0.0.1:0")),
    "gateway": Kind("edge", GatewayRole, "edge-0"),
}


@asynccontextmanager
async def trial(agent: Agent, kind: Kind, service: str, rules: str, directory: Path) -> AsyncIterator[Trial]:
    """`rules` are those of a policy for `service`, which nobody was before."""
    role, secret = kind.role(service), token(agent, rules)
    client = ConsulClient(read({"CONSUL_HTTP_ADDR": agent.address, "CONSUL_HTTP_TOKEN": secret}))
    async with aiohttp.ClientSession() as session:
        presence = (
            Adopting(client, role)
            if isinstance(role, SidecarFor)
            else Registered(client, session, role, Announcement())
        )
        engine = ConsulEngine(client, presence, directory, answer_within=8.0)
        found, tasks = Trial(agent, service, engine), []
        try:
            try:
                begun = await engine.begin()
            except ConsulError as error:
                found.failure = str(error)
            else:
                plane, status = DataPlane(SeamDouble()), Status("sidecar", "x")
                found.control = Control(
                    plane, status, begun.role, Path(), read_environment({}, "x"), engine.want, engine.unwant
                )
                found.control.start(begun.world, begun.leaf)
                await engine.announce({kind.listener: "127.0.0.1:40000"}, "127.0.0.1:40001")
                tasks = [asyncio.create_task(loop) for loop in engine.loops(found.control)]
                engine.want(Target("target"), True)
            yield found
            await engine.withdraw()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await engine.close()


async def soon(what: str, holds: Callable[[], bool]) -> None:
    deadline = asyncio.get_running_loop().time() + SOON
    while not holds():
        assert asyncio.get_running_loop().time() < deadline, f"{what}: not within {SOON:g} s"
        await asyncio.sleep(0.05)


def names(trial: Trial, rule: str) -> bool:
    return rule in trial.says()


def begins(trial: Trial) -> bool:
    return not trial.failure


def is_registered(trial: Trial) -> bool:
    return trial.engine.details()["registration"] == "registered"


def finds_instances(trial: Trial) -> bool:
    return bool(trial.world.endpoints.get(Target("target")))


def reads_services(trial: Trial) -> bool:
    return "orders" in trial.world.services


def reads_gateways(trial: Trial) -> bool:
    return "edge" in trial.world.gateways


def reads_consumers(trial: Trial) -> bool:
    return "ann" in trial.world.consumers


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The status key is written at once."""
    monkeypatch.setattr(kv_status, "EVERY", 0.05)


def tells_status(trial: Trial) -> bool:
    return bool(trial.agent.get(f"/v1/kv/sidecar-status/{trial.service}/?keys"))


READ_SERVICES = ('service_prefix "" { policy = "read" }', 'node_prefix "" { policy = "read" }')
MESH, SERVICES = 'key "sidecar/mesh" { policy = "read" }', 'key_prefix "sidecar/services/" { policy = "read" }'
GATEWAYS = 'key_prefix "sidecar/gateways/" { policy = "read" }'
CONSUMERS = 'key_prefix "sidecar/consumers/" { policy = "read" }'

# Every rule of every policy, and what does not work without it.
NEEDED: Mapping[str, Mapping[str, Callable[[Trial], bool]]] = {
    "sidecar": {
        'service "orders" { policy = "write" }': begins,
        'service "orders-sidecar-proxy" { policy = "write" }': is_registered,
        **dict.fromkeys(READ_SERVICES, finds_instances),
        MESH: begins,
        SERVICES: reads_services,
        'key_prefix "sidecar-status/orders/" { policy = "write" }': tells_status,
    },
    "sidecar-for": {
        READ_SERVICES[0]: begins,
        READ_SERVICES[1]: finds_instances,
        MESH: begins,
        SERVICES: reads_services,
        'key_prefix "sidecar-status/web/" { policy = "write" }': tells_status,
    },
    "gateway": {
        'service "edge" { policy = "write" }': begins,
        **dict.fromkeys(READ_SERVICES, finds_instances),
        MESH: begins,
        SERVICES: reads_services,
        GATEWAYS: reads_gateways,
        CONSUMERS: reads_consumers,
        'key_prefix "sidecar-status/edge/" { policy = "write" }': tells_status,
    },
}


# An agent gets the certificate of every proxy that is registered with it, by the registration's token, and gives it out
# of its cache without asking whose token a request has. Without that, as for `sidecar`, the right is needed.
NOT_ENFORCED = {"sidecar-for": ['service "web" { policy = "write" }']}


@pytest.fixture(scope="module")
def target(agent: Agent) -> None:
    """A service with one instance in the mesh."""
    adopt(agent, "target", 1, 21001)


def test_every_rule_is_tried() -> None:
    assert {name: sorted(rules(name)) for name in NEEDED} == {
        name: sorted([*needed, *NOT_ENFORCED.get(name, ())]) for name, needed in NEEDED.items()
    }


@pytest.mark.usefixtures("hurried", "target")
async def test_every_rule_is_needed_and_is_named_when_it_is_missing(agent: Agent, tmp_path: Path) -> None:
    async def tried(name: str, number: int, missing: str) -> None:
        """With all rules of a policy but this one."""
        kind, needed = KINDS[name], NEEDED[name]
        # A new service each time: what an agent has in its cache, a certificate too, Consul gives to everybody.
        service = f"{name}{number}"
        if name == "sidecar-for":
            adopt(agent, service, 1, 21001)
        policy = " ".join(rule for rule in rules(name) if rule != missing).replace(kind.service, service)
        async with trial(agent, kind, service, policy, tmp_path / service) as part:
            if missing:
                line = missing.replace(kind.service, service)
                await soon(f"{line} is named", partial(names, part, line))
                assert not needed[missing](part), f"{needed[missing].__name__} does not need {line}"
                return
            for works in needed.values():
                await soon(f"{works.__name__} with all rules", partial(works, part))
            assert "missing_rights" not in part.engine.details()

    async with asyncio.TaskGroup() as trials:
        for name, needed in NEEDED.items():
            for number, missing in enumerate(("", *needed)):
                trials.create_task(tried(name, number, missing))
