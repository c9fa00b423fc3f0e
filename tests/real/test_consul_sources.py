"""What a real Consul says, and what our sources make of it."""

import asyncio
import statistics
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sidecar.config.document import DocumentSet
from sidecar.consul.client import CONNECTIONS, Answer, ConsulClient, Query
from sidecar.consul.settings import read
from sidecar.errors import ConsulError
from sidecar.identity.consul_connect import ConsulConnect
from sidecar.registration import adopted
from sidecar.snapshot import SidecarRole, compile, endpoints
from sidecar.sources.catalog import BLOCKING, Catalog
from sidecar.sources.discovery_chain import DiscoveryChains
from sidecar.sources.kv import KvSource
from sidecar.sources.kv_status import StatusKey
from sidecar.world import ChainsUpdate, EndpointsUpdate, Instance, Target, Update, World
from tests.real.consul_agent import Agent

pytestmark = pytest.mark.real

T = TypeVar("T")
# Seconds; an answer that has not come by then will not come. An agent spreads new leaves over half a minute when a root
# is new (Consul's caChangeJitterWindow).
PATIENCE, ROTATION = 40, 45


@asynccontextmanager
async def client_of(agent: Agent, **environ: str) -> AsyncGenerator[ConsulClient, None]:
    client = ConsulClient(read({"CONSUL_HTTP_ADDR": agent.address, **environ}))
    try:
        yield client
    finally:
        await client.close()


async def until(values: AsyncIterator[T], wanted: Callable[[T], bool], within: float = PATIENCE) -> T:
    """The first of `values` that is wanted."""
    async with asyncio.timeout(within):
        async for value in values:
            if wanted(value):
                return value
    raise AssertionError("the source ended")


def register(
    agent: Agent, number: int, *, service: str = "orders", version: str = "1", status: str = "passing"
) -> None:
    """An instance with its proxy, as a sidecar registers itself."""
    name = f"{service}-{number}"
    check = {"CheckID": f"health:{name}", "TTL": "1h", "Status": status}
    told = {"Address": f"10.0.0.{number}", "Meta": {"version": version}}
    agent.put("/v1/agent/service/register", {"ID": name, "Name": service, "Port": 8080, "Check": check, **told})
    proxy = {"DestinationServiceName": service, "DestinationServiceID": name, "LocalServicePort": 8080}
    body = {"Kind": "connect-proxy", "Name": f"{service}-sidecar-proxy", "ID": f"{name}-sidecar-proxy", "Port": 21000}
    checks = [{"CheckID": f"alias:{name}", "AliasService": name}]
    agent.put("/v1/agent/service/register", {**body, **told, "Proxy": proxy, "Checks": checks})


def healthy(update: object) -> list[str]:
    assert isinstance(update, EndpointsUpdate)
    return [instance.address for instance in update.instances or () if instance.healthy]


# --- documents


async def test_a_document_is_seen_when_it_is_put_and_a_bad_one_is_refused_alone(agent: Agent) -> None:
    agent.document("services/orders", protocol="grpc")
    async with client_of(agent) as client, aclosing(KvSource(client).watch()) as updates:
        first = World().apply(await anext(updates))
        assert (first.services["orders"].protocol, first.refusals) == ("grpc", {})

        agent.put("/v1/kv/sidecar/services/web", "protcol: http")
        refused = await until(updates, lambda documents: bool(documents.refusals))
        ((problem,),) = refused.refusals.values()
        assert str(problem).startswith(f"sidecar/services/web:1:1 (index {problem.index}): ")
        assert problem.index == agent.get("/v1/kv/sidecar/services/web")[0]["ModifyIndex"]

        agent.document("services/web", protocol="http2")
        fixed = await until(updates, lambda documents: not documents.refusals)
        assert first.apply(fixed).services["web"].protocol == "http2"


async def test_documents_outlive_a_restart_of_the_agent(agent: Agent) -> None:
    agent.document("services/orders", protocol="grpc")
    async with client_of(agent) as client, aclosing(KvSource(client).watch()) as updates:
        await anext(updates)
        waiting = asyncio.ensure_future(anext(updates))
        await asyncio.to_thread(agent.stop)
        await asyncio.to_thread(agent.start)
        assert not waiting.done()

        agent.document("services/orders", protocol="http2")
        async with asyncio.timeout(PATIENCE * 2):
            assert World().apply(await waiting).services["orders"].protocol == "http2"


async def test_a_gone_configuration_is_held_and_given_up_when_the_leader_says_so(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.sources.kv.HOLD", 0.2)
    agent.document("services/orders", protocol="grpc")
    async with client_of(agent) as client:
        source = KvSource(client)
        async with aclosing(source.watch()) as updates:
            await anext(updates)
            waiting: asyncio.Future[DocumentSet] = asyncio.ensure_future(anext(updates))
            agent.delete("/v1/kv/sidecar/?recurse")
            async with asyncio.timeout(PATIENCE):
                while not source.held:
                    await asyncio.sleep(0)
                assert (await waiting).documents == {}


# --- names


async def test_names_with_special_characters_are_asked_for_as_they_are(agent: Agent) -> None:
    async with client_of(agent) as client:
        for name in ("a:b", "a b", "50%", "a?b#c", "a+b", "ä", 'q"q', "A_b"):
            register(agent, 1, service=name)
            agent.put("/v1/config", {"Kind": "service-defaults", "Name": name, "Protocol": "http"})
            agent.put("/v1/config", {"Kind": "service-resolver", "Name": name, "ConnectTimeout": "3s"})
            catalog = Catalog(client, names=False)
            catalog.want(Target(name))
            async with aclosing(catalog.watch()) as updates:
                # The agent's own list is in the catalog a moment later.
                await until(updates, lambda update: healthy(update) == ["10.0.0.1:21000"])
            async with aclosing(ConsulConnect(client, name).watch()) as leaves:
                await until(leaves, lambda _: True)
            assert (await DiscoveryChains(client).read()).chains[name].connect_timeout == timedelta(seconds=3)
            assert (await adopted.find(client, f"{name}-1")).service == name
            await StatusKey(client, name, f"sidecar-{name}-1", lambda: b"{}").write()
            found = (await client.get(f"/v1/kv/sidecar-status/{name}/", {"keys": ""})).value
            assert found == [f"sidecar-status/{name}/sidecar-{name}-1"]


# --- status


class Counting(ConsulClient):
    """Counts what it asks for."""

    reads = 0

    async def _call(self, method: str, path: str, query: Query | None, **options: Any) -> Answer:
        self.reads += method == "GET"
        return await super()._call(method, path, query, **options)


async def test_what_200_sidecars_say_of_themselves_wakes_nobody(agent: Agent) -> None:
    agent.document("services/orders", protocol="http")
    watching = Counting(read({"CONSUL_HTTP_ADDR": agent.address}))
    async with client_of(agent) as writing, aclosing(KvSource(watching).watch()) as updates:
        await anext(updates)
        following = asyncio.ensure_future(anext(updates))
        while watching.reads < 4:
            # One answer of each of the two prefixes, and the question that waits for the next one.
            await asyncio.sleep(0.01)
        for number in range(200):
            await StatusKey(writing, "orders", f"sidecar-orders-{number}", lambda: b"{}").write()
        assert len((await writing.get("/v1/kv/sidecar-status/", {"keys": ""})).value) == 200
        assert watching.reads == 4

        # Negative control: what they watch does wake them.
        agent.document("services/orders", protocol="http2")
        async with asyncio.timeout(PATIENCE):
            await following
        assert watching.reads > 4
    await watching.close()


# --- instances


async def test_health_weights_and_maintenance_are_followed(agent: Agent) -> None:
    register(agent, 1)
    register(agent, 2, version="2")
    async with client_of(agent) as client:
        source = Catalog(client, names=False)
        source.want(Target("orders"))
        async with aclosing(source.watch()) as updates:
            both = await until(updates, lambda update: len(healthy(update)) == 2)
            assert isinstance(both, EndpointsUpdate)

            agent.put("/v1/agent/check/update/health:orders-1", {"Status": "critical"})
            await until(updates, lambda update: healthy(update) == ["10.0.0.2:21000"])
            agent.put("/v1/agent/check/update/health:orders-1", {"Status": "warning"})
            await until(updates, lambda update: len(healthy(update)) == 2)
            agent.put("/v1/agent/service/maintenance/orders-2-sidecar-proxy?enable=true")
            await until(updates, lambda update: healthy(update) == ["10.0.0.1:21000"])
            agent.put("/v1/agent/service/deregister/orders-2-sidecar-proxy")
            left = await until(
                updates, lambda update: isinstance(update, EndpointsUpdate) and len(update.instances or ()) == 1
            )
            assert healthy(left) == ["10.0.0.1:21000"]


async def test_a_subset_of_a_document_takes_of_the_catalog_who_fits(agent: Agent) -> None:
    register(agent, 1)
    register(agent, 2, version="2")
    agent.document("services/orders", subsets={"v2": {"where": 'meta.version == "2"'}})
    async with client_of(agent) as client:
        world = World().apply(await KvSource(client).read())
        source = Catalog(client, names=False)
        source.want(Target("orders", "v2"))
        async with aclosing(source.watch()) as updates:
            update = await until(updates, lambda update: len(healthy(update)) == 2)

    found = endpoints(world.apply(update), SidecarRole("web"), "orders/v2", 1)
    assert found is not None
    assert [endpoint.address for endpoint in found.endpoints] == ["10.0.0.2:21000"]


async def test_more_services_than_connections_stay_fresh(agent: Agent) -> None:
    names = [f"svc{number}" for number in range(BLOCKING + 8)]
    for name in names:
        register(agent, 1, service=name)
    async with client_of(agent) as client:
        source = Catalog(client, names=False)
        for name in names:
            source.want(Target(name))
        known: dict[str, tuple[Instance, ...] | None] = {}
        async with aclosing(source.watch()) as updates:

            def learned(update: object) -> bool:
                assert isinstance(update, EndpointsUpdate)
                known[update.target.service] = update.instances
                return set(names) == {name for name, instances in known.items() if instances}

            await until(updates, learned)
            register(agent, 2, service=names[-1])
            await until(updates, lambda update: learned(update) and len(known[names[-1]] or ()) == 2)


@pytest.mark.timeout(180)
async def test_500_services_are_fresh_on_16_connections_those_in_use_first(
    agent: Agent, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"svc{number}" for number in range(500)]
    for name in names:
        body = {"ID": name, "Name": name, "Port": 8080, "Address": "10.0.0.1", "Connect": {"Native": True}}
        agent.put("/v1/agent/service/register", body)
    took: dict[str, list[float]] = {"used": [], "others": []}
    async with client_of(agent) as client:
        source = Catalog(client, names=True)
        for name in names:
            source.want(Target(name))
        ports: dict[str, str] = {}
        async with aclosing(source.watch()) as updates:

            async def learn(name: str, port: int) -> None:
                """Follow what is told until this service has this port."""
                async for update in updates:
                    if isinstance(update, EndpointsUpdate) and update.instances:
                        ports[update.target.service] = update.instances[0].address
                    if ports.get(name, "").endswith(f":{port}"):
                        return

            async with asyncio.timeout(60):
                for name in names:
                    if name not in ports:
                        await learn(name, 8080)
            in_use = names[100:110]
            source.favour(frozenset(map(Target, in_use)))
            assert source.watched == {"blocking": BLOCKING, "turns": len(names) - BLOCKING, "polling": 0}
            for number, name in enumerate([*in_use, *names[::70]]):
                body = {"ID": name, "Name": name, "Port": 9000, "Address": "10.0.0.1", "Connect": {"Native": True}}
                began = asyncio.get_running_loop().time()
                await asyncio.to_thread(agent.put, "/v1/agent/service/register", body)
                async with asyncio.timeout(PATIENCE):
                    await learn(name, 9000)
                spent = asyncio.get_running_loop().time() - began
                took["used" if number < len(in_use) else "others"].append(spent)
                assert client.open_connections <= CONNECTIONS
                assert len(connections_to(agent)) <= CONNECTIONS
    with capsys.disabled():
        for which, seconds in took.items():
            p50, last = statistics.median(seconds) * 1000, max(seconds) * 1000
            print(f"\nregistered → known, 500 services, {which}: p50 {p50:.0f} ms, max {last:.0f} ms")


def connections_to(agent: Agent) -> list[str]:
    """Our own open connections to its API, by proc(5)'s table of sockets: state 01 is established."""
    port = f"{int(agent.address.rpartition(':')[2]):04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    own = {str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}
    return [row[1] for row in rows if row[2].endswith(f":{port}") and row[3] == "01" and f"socket:[{row[9]}]" in own]


# --- certificates


@pytest.mark.timeout(120)  # ROTATION, and a server's start and end
async def test_the_leaf_and_the_roots_are_those_of_consuls_ca_and_follow_a_rotation(agent: Agent) -> None:
    async with client_of(agent) as client:
        authority = ConsulConnect(client, "orders")
        async with aclosing(authority.watch()) as leaves:
            leaf = await until(leaves, lambda _: True)
            assert authority.site is not None
            assert authority.site.datacenter == "dc1"
            assert authority.site.trust_domain.endswith(".consul")
            assert leaf.not_before < leaf.not_after
            assert len(leaf.roots) == 1

            agent.put(
                "/v1/connect/ca/configuration",
                {"Provider": "consul", "Config": {"PrivateKeyType": "ec", "PrivateKeyBits": 384}},
            )
            rotated = await until(leaves, lambda new: new.certificate_chain[0] != leaf.certificate_chain[0], ROTATION)
            # The old root is trusted until every leaf is new.
            assert set(leaf.roots) < set(rotated.roots)


# --- config entries


@pytest.mark.parametrize(
    "entry",
    [
        {"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "http"}},
        {"Kind": "service-resolver", "Name": "orders", "ConnectTimeout": "3s"},
    ],
)
async def test_an_entry_of_any_kind_is_seen_soon_though_another_is_watched(agent: Agent, entry: dict[str, Any]) -> None:
    agent.put("/v1/config", {"Kind": "service-defaults", "Name": "orders", "Protocol": "http"})
    async with client_of(agent) as client, aclosing(DiscoveryChains(client).watch()) as updates:
        first = await anext(updates)
        changed = asyncio.ensure_future(anext(updates))
        # It waits now; Consul ends a wait of the default length after a minute.
        await asyncio.sleep(1)
        agent.put("/v1/config", entry)
        assert await asyncio.wait_for(changed, 20) != first


async def test_a_mesh_works_from_config_entries_alone(agent: Agent) -> None:
    register(agent, 1)
    register(agent, 2, version="2")
    defaults = {"Kind": "service-defaults", "Name": "orders", "Protocol": "grpc", "Expose": {"Checks": True}}
    subsets = {"v1": {"Filter": "Service.Meta.version == 1"}, "v2": {"Filter": "Service.Meta.version == 2"}}
    resolver = {"Kind": "service-resolver", "Name": "orders", "DefaultSubset": "v1", "Subsets": subsets}
    splits = [{"Weight": 90, "ServiceSubset": "v1"}, {"Weight": 10, "ServiceSubset": "v2"}]
    beta = {"HTTP": {"Header": [{"Name": "x-beta", "Exact": "1"}], "PathPrefix": "/api/"}}
    routes = [{"Match": beta, "Destination": {"ServiceSubset": "v2", "RequestTimeout": "3s", "NumRetries": 1}}]
    async with client_of(agent) as client, aclosing(DiscoveryChains(client).watch()) as updates:
        assert (await anext(updates)).chains == {}
        agent.put("/v1/config", defaults)
        agent.put("/v1/config", resolver)
        agent.put("/v1/config", {"Kind": "service-splitter", "Name": "orders", "Splits": splits})
        agent.put("/v1/config", {"Kind": "service-router", "Name": "orders", "Routes": routes})
        update: ChainsUpdate = await until(
            updates, lambda update: "orders" in update.chains and len(update.chains["orders"].routes) == 2
        )

    world = World(discovered=True).apply(update)
    chain = world.chain("orders")
    assert chain.protocol == "grpc"
    assert chain.not_carried_out == ("service-defaults orders: Expose",)
    snapshot = compile(world, SidecarRole("web"), 1)
    (table,) = [table for table in snapshot.route_tables if table.name == "outbound"]
    first, second = (route for route in table.routes if "orders" in route.match.hosts)
    assert (list(first.match.path_regexes), first.timeout_ms, first.retry.attempts) == (["/api/.*"], 3000, 2)
    assert {item.cluster: item.weight for item in first.destinations} == {"orders/v2": 1}
    assert {item.cluster: item.weight for item in second.destinations} == {"orders/v1": 9000, "orders/v2": 1000}

    async with client_of(agent) as client:
        source = Catalog(client, names=False)
        source.want(Target("orders"))
        async with aclosing(source.watch()) as instances:
            world = world.apply(await until(instances, lambda update: len(healthy(update)) == 2))
    found = endpoints(world, SidecarRole("web"), "orders/v2", 1)
    assert found is not None
    assert [endpoint.address for endpoint in found.endpoints] == ["10.0.0.2:21000"]


# --- rights


async def test_a_service_without_the_right_to_its_name_gets_no_leaf(strict_agent: Agent) -> None:
    async with client_of(strict_agent) as client:
        with pytest.raises(ConsulError, match=r'service "orders" \{ policy = "write" \}'):
            await client.get("/v1/agent/connect/ca/leaf/orders")


async def test_a_token_that_is_revoked_takes_nothing_away(strict_agent: Agent) -> None:
    read_all = " ".join(f'{kind}_prefix "" {{ policy = "read" }}' for kind in ("key", "service", "node"))
    strict_agent.put("/v1/acl/policy", {"Name": "reader", "Rules": read_all})
    token = strict_agent.put("/v1/acl/token", {"Policies": [{"Name": "reader"}]})
    strict_agent.document("services/orders", protocol="grpc")
    register(strict_agent, 1)
    world = World()

    async def follow(updates: AsyncIterator[Update]) -> None:
        nonlocal world
        async for update in updates:
            world = world.apply(update)

    async with client_of(strict_agent, CONSUL_HTTP_TOKEN=token["SecretID"]) as client:
        catalog = Catalog(client, names=False)
        catalog.want(Target("orders"))
        following = [asyncio.create_task(follow(source)) for source in (KvSource(client).watch(), catalog.watch())]
        async with asyncio.timeout(PATIENCE):
            while not (world.services and world.endpoints):
                await asyncio.sleep(0.01)
            strict_agent.delete(f"/v1/acl/token/{token['AccessorID']}")
            # What wakes the watches.
            strict_agent.document("services/orders", protocol="http2")
            strict_agent.put("/v1/agent/service/deregister/orders-1-sidecar-proxy")
            while not {"/v1/kv/sidecar/services/", "/v1/health/connect/orders"} <= client.failing.keys():
                await asyncio.sleep(0.01)
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)

    assert list(world.services) == ["orders"]
    assert [instance.address for instance in world.endpoints[Target("orders")]] == ["10.0.0.1:21000"]
