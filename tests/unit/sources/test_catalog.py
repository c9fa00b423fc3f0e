"""Instances from Consul's catalog: what callers may pick, and what is done with an answer that cannot be true."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import pytest

from sidecar.sources import catalog
from sidecar.sources.catalog import Catalog
from sidecar.world import EndpointsUpdate, Instance, NamesUpdate, Target, Update, World
from tests.unit.consul.scripted import Clock, Reply, Scripted, connected, scripted

ORDERS = "/v1/health/connect/orders"
ORDERS_TARGET = Target("orders")
FILTERED = {"X-Consul-Results-Filtered-By-ACLs": "true"}


def entry(
    name: str, *, address: str = "10.0.0.1", checks: tuple[str, ...] = ("passing",), **service: object
) -> dict[str, object]:
    told = {"ID": name, "Address": address, "Port": 21000, "Tags": [], "Meta": {}, **service}
    return {
        "Node": {"Node": "host", "Address": "10.9.9.9"},
        "Service": told,
        "Checks": [{"Status": status} for status in checks],
    }


async def nobody(address: str) -> bool:
    """No instance accepts connections."""
    return False


async def seen(
    script: Scripted, count: int, clock: Clock | None = None, accepts: Callable[[str], Awaitable[bool]] = nobody
) -> list[tuple[Instance, ...]]:
    """The first updates about `orders`."""
    found = []
    async with connected(script, clock) as client:
        source = Catalog(client, names=False, accepts=accepts)
        source.want(Target("orders"))
        async with aclosing(source.watch()) as updates:
            async for update in updates:
                assert isinstance(update, EndpointsUpdate)
                assert update.instances is not None
                found.append(update.instances)
                if len(found) == count:
                    break
    return found


async def test_an_instance_has_its_address_weight_tags_and_meta() -> None:
    weighted = entry("a", Weights={"Passing": 7, "Warning": 2}, Tags=["canary"], Meta={"version": "2"})
    warning = entry("b", address="", checks=("passing", "warning"), Weights={"Passing": 7, "Warning": 2})
    six = entry("c", address="fd00::1")
    async with scripted({ORDERS: [Reply([weighted, warning, six], index=5)]}) as script:
        ((first, second, third),) = await seen(script, 1)

    assert first == Instance("host/a", "10.0.0.1:21000", 7, ("canary",), {"version": "2"}, healthy=True)
    assert (second.address, second.weight, second.healthy) == ("10.9.9.9:21000", 2, True)
    assert third.address == "[fd00::1]:21000"
    assert script.asked(ORDERS)[0].query == {"stale": ""}


@pytest.mark.parametrize("weights", [{"Passing": 1}, {"Passing": 0}])
async def test_critical_maintenance_and_a_weight_of_0_are_not_picked(weights: dict[str, int]) -> None:
    checks = ("passing",) if not weights["Passing"] else ("passing", "critical")
    async with scripted({ORDERS: [Reply([entry("a", checks=checks, Weights=weights)], index=5)]}) as script:
        ((instance,),) = await seen(script, 1)

    assert not instance.healthy


@pytest.mark.parametrize(
    "bad",
    [
        "x",
        {},
        {"Node": {"Node": "host", "Address": "x"}, "Service": None},
        entry("bad", address="not.an.ip"),
        entry("bad", Port=0),
        entry("bad", Meta=["x"]),
        entry("bad", Weights={"Passing": "many"}),
        {**entry("bad"), "Checks": ["x"]},
    ],
)
async def test_one_malformed_instance_is_left_out_and_the_rest_is_used(
    bad: object, caplog: pytest.LogCaptureFixture
) -> None:
    async with scripted({ORDERS: [Reply([entry("good"), bad], index=5)]}) as script:
        ((instance,),) = await seen(script, 1)

    assert instance.id == "host/good"
    assert "orders: 1 of Consul's entries left out" in caplog.text


@pytest.mark.parametrize("odd", [Reply([], index=9), Reply({"x": 1}, index=9), Reply([{}], index=9)])
async def test_an_answer_that_empties_a_pool_is_held_until_the_leader_says_so_too(odd: Reply) -> None:
    clock = Clock()
    replies = {ORDERS: [Reply([entry("a")], index=5), odd], f"{ORDERS}?consistent": [Reply([], index=9)]}
    async with scripted(replies) as script:
        first, doubted, second = await seen(script, 3, clock)

    assert ([instance.id for instance in first], doubted, second) == (["host/a"], first, ())
    assert catalog.HOLD in clock.slept


async def test_a_pool_of_which_one_accepts_connections_is_not_given_up() -> None:
    asked: list[str] = []

    async def twice(address: str) -> bool:
        asked.append(address)
        return len(asked) <= 2

    gone = Reply([], index=9)
    replies = {ORDERS: [Reply([entry("a")], index=5), gone], f"{ORDERS}?consistent": [gone] * 3}
    clock = Clock()
    async with scripted(replies) as script:
        _, _, second = await seen(script, 3, clock, twice)

    # Given up when nobody is there any more.
    assert (second, asked) == ((), ["10.0.0.1:21000"] * 3)
    assert clock.slept.count(catalog.HOLD) == 3


async def test_a_listener_is_told_from_none() -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server:
        assert await catalog.accepts(f"{host}:{port}")
    assert not await catalog.accepts(f"{host}:{port}")


NAMELESS: dict[str, object] = {"Service": None}


@pytest.mark.parametrize(
    ("malformed", "kept"), [("b", ["host/a", "host/b"]), ("c", ["host/a"]), ("", ["host/a", "host/b"])]
)
async def test_an_instance_that_a_malformed_entry_may_stand_for_is_kept(malformed: str, kept: list[str]) -> None:
    odd = entry(malformed, Port="x") if malformed else NAMELESS
    changed = entry("a", Weights={"Passing": 5})
    replies = {ORDERS: [Reply([entry("a"), entry("b")], index=5), Reply([changed, odd], index=9)]}
    async with scripted(replies) as script:
        _, second = await seen(script, 2)

    assert [instance.id for instance in second] == kept


async def test_instances_that_fell_ill_all_at_once_are_held_too(caplog: pytest.LogCaptureFixture) -> None:
    clock, ill = Clock(), {**entry("a"), "Checks": [{"Status": "critical"}]}
    replies = {
        ORDERS: [Reply([entry("a")], index=5), Reply([ill], index=9)],
        f"{ORDERS}?consistent": [Reply([ill], index=9)],
    }
    async with scripted(replies) as script:
        (first,), (doubted,), (second,) = await seen(script, 3, clock)

    assert (first.healthy, doubted, second.healthy) == (True, first, False)
    assert catalog.HOLD in clock.slept
    assert "1 instance of orders held: Consul says that none is healthy" in caplog.text


async def test_what_a_token_may_no_longer_read_stays_in_use(caplog: pytest.LogCaptureFixture) -> None:
    revoked = Reply([], index=9, headers=FILTERED)
    back = Reply([entry("a"), entry("b")], index=11)
    async with scripted({ORDERS: [Reply([entry("a")], index=5), revoked, back]}) as script:
        _, second = await seen(script, 2)

    assert [instance.id for instance in second] == ["host/a", "host/b"]
    assert "1 instance of orders held: the token may no longer read them" in caplog.text


async def test_a_service_that_has_never_had_an_instance_is_empty_at_once() -> None:
    async with scripted({ORDERS: [Reply([], index=5)]}) as script:
        assert await seen(script, 1) == [()]


async def test_another_datacenter_and_a_service_outside_the_mesh_are_asked_for_as_such() -> None:
    remote, outside = Target("orders", datacenter="dc2"), Target("legacy")
    replies = {
        f"{ORDERS}?dc": [Reply([entry("a")], index=5)],
        "/v1/health/service/legacy": [Reply([entry("b")], index=5)],
    }
    async with scripted(replies) as script, connected(script) as client:
        source = Catalog(client, names=False)
        source.want(remote)
        source.want(outside, mesh=False)
        told = {}
        async with aclosing(source.watch()) as updates:
            async for update in updates:
                assert isinstance(update, EndpointsUpdate)
                told[update.target] = update.instances
                if len(told) == 2:
                    break

    assert told.keys() == {remote, outside}
    assert script.asked(ORDERS)[0].query["dc"] == "dc2"


async def test_a_service_that_is_wanted_no_more_is_forgotten() -> None:
    async with scripted({ORDERS: [Reply([entry("a")], index=5)]}) as script, connected(script) as client:
        source = Catalog(client, names=False)
        source.want(Target("orders", "v1"))
        async with aclosing(source.watch()) as updates:
            assert isinstance(await anext(updates), EndpointsUpdate)
            source.unwant(Target("orders"))
            assert await anext(updates) == EndpointsUpdate(Target("orders"), None)


async def test_the_names_of_every_datacenter_are_told_without_proxies() -> None:
    replies = {
        "/v1/catalog/datacenters": [Reply(["dc1", "dc2"])],
        "/v1/catalog/services": [Reply({"consul": [], "orders": ["x"], "orders-sidecar-proxy": []}, index=5)],
        "/v1/catalog/services?dc": [Reply({"far": []}, index=5)],
    }
    async with (
        scripted(replies) as script,
        connected(script) as client,
        aclosing(Catalog(client, "dc1").watch()) as told,
    ):
        found = [await anext(told), await anext(told)]

    assert sorted(map(str, found)) == sorted(
        map(str, [NamesUpdate("", frozenset({"orders"})), NamesUpdate("dc2", frozenset({"far"}))])
    )


async def test_a_name_is_not_missed_while_its_instances_are_in_use() -> None:
    names = "/v1/catalog/services"
    lists: list[object] = [{"consul": [], "orders": [], "web": []}, {}, ["x"], {"consul": [], "web": []}]
    replies = {
        names: [Reply(value, index=5 + number) for number, value in enumerate(lists)],
        ORDERS: [Reply([entry("a")], index=5)],
    }
    world = World()

    async def follow(updates: AsyncIterator[Update]) -> None:
        nonlocal world
        async for update in updates:
            world = world.apply(update)

    async with scripted(replies) as script, connected(script) as client:
        source = Catalog(client)
        source.want(Target("orders"))
        following = asyncio.create_task(follow(source.watch()))
        async with asyncio.timeout(5):
            while len(script.asked(names)) <= len(lists):
                await asyncio.sleep(0.002)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    assert world.names[""] == {"orders", "web"}


async def test_a_service_that_is_wanted_again_serves_what_was_known_when_consul_does_not_answer() -> None:
    clock = Clock()
    async with scripted({ORDERS: [Reply([entry("a")], index=5)]}) as script, connected(script, clock) as client:
        source = Catalog(client, names=False)
        source.want(ORDERS_TARGET)
        async with aclosing(source.watch()) as updates:
            first = await anext(updates)
            source.unwant(ORDERS_TARGET)
            assert await anext(updates) == EndpointsUpdate(ORDERS_TARGET, None)
            assert sum(source.watched.values()) == 0

            source.want(ORDERS_TARGET)
            assert await anext(updates) == first
    assert catalog.FALL_BACK_AFTER in clock.slept


class Prompt(Clock):
    """A clock on which Consul answers before anything falls back."""

    async def sleep(self, seconds: float) -> None:
        if seconds == catalog.FALL_BACK_AFTER:
            await asyncio.Event().wait()
        await super().sleep(seconds)


async def test_a_service_that_is_wanted_again_and_has_not_changed_is_told() -> None:
    answer = Reply([entry("a")], index=5)
    async with scripted({ORDERS: [answer]}) as script, connected(script, Prompt()) as client:
        source = Catalog(client, names=False)
        source.want(ORDERS_TARGET)
        async with aclosing(source.watch()) as updates:
            first = await anext(updates)
            while len(script.asked(ORDERS)) < 2:
                await asyncio.sleep(0.002)
            source.unwant(ORDERS_TARGET)
            assert await anext(updates) == EndpointsUpdate(ORDERS_TARGET, None)

            script.replies[ORDERS].append(answer)
            source.want(ORDERS_TARGET)
            async with asyncio.timeout(5):
                assert await anext(updates) == first
