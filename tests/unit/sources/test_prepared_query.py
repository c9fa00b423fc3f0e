"""Who a prepared query finds, told again and again."""

from contextlib import aclosing

import pytest

from sidecar.sources import prepared_query
from sidecar.sources.catalog import Catalog
from sidecar.world import EndpointsUpdate, QueryUpdate, Target
from tests.unit.consul.scripted import Clock, Reply, Scripted, connected, scripted

PATH = "/v1/query/near/execute"
NEAR = Target("near", query=True)


def entry(name: str, datacenter: str, service: str = "orders") -> dict[str, object]:
    proxy = {"DestinationServiceName": service}
    told = {"ID": name, "Service": f"{service}-proxy", "Address": "10.0.0.1", "Port": 21000, "Proxy": proxy}
    return {"Node": {"Node": "host", "Address": "10.0.0.9", "Datacenter": datacenter}, "Service": told, "Checks": []}


def answer(*entries: dict[str, object]) -> Reply:
    return Reply({"Service": "orders", "Nodes": entries, "Datacenter": "dc1"})


async def told(script: Scripted, count: int, clock: Clock) -> list[EndpointsUpdate | QueryUpdate]:
    found: list[EndpointsUpdate | QueryUpdate] = []
    async with connected(script, clock) as client:
        source = Catalog(client, "dc1", names=False)
        source.want(NEAR)
        async with aclosing(source.watch()) as updates:
            while len(found) < count:
                update = await anext(updates)
                assert isinstance(update, EndpointsUpdate | QueryUpdate)
                found.append(update)
    return found


async def test_instances_have_the_identity_of_where_they_were_found() -> None:
    async with scripted({PATH: [answer(entry("a", "dc1"), entry("b", "dc2"))]}) as script:
        query, endpoints = await told(script, 2, Clock())

    assert query == QueryUpdate("near", "orders")
    assert isinstance(endpoints, EndpointsUpdate)
    assert [instance.serves for instance in endpoints.instances or ()] == ["orders", "orders@dc2"]
    assert script.requests[0].query == {"connect": ""}


async def test_one_that_finds_nobody_is_believed_when_it_says_so_twice() -> None:
    clock = Clock()
    replies = [answer(entry("a", "dc1")), answer(), answer(entry("b", "dc1")), answer(), answer()]
    async with scripted({PATH: replies}) as script:
        found = await told(script, 4, clock)

    lists = [update.instances for update in found if isinstance(update, EndpointsUpdate)]
    assert [[instance.id for instance in instances or ()] for instances in lists] == [["host/a"], ["host/b"], []]
    assert clock.slept.count(prepared_query.EVERY) >= 4


@pytest.mark.parametrize(
    "odd", [Reply([]), Reply({"x": 1}), Reply(b"", status=500), Reply({"Service": "s", "Nodes": [1]})]
)
async def test_an_odd_answer_takes_nobody_away_and_is_told(odd: Reply, caplog: pytest.LogCaptureFixture) -> None:
    async with scripted({PATH: [answer(entry("a", "dc1")), odd, answer(entry("b", "dc1"))]}) as script:
        found = await told(script, 3, Clock())

    lists = [update.instances for update in found if isinstance(update, EndpointsUpdate)]
    assert [[instance.id for instance in instances or ()] for instances in lists] == [["host/a"], ["host/b"]]
    assert "prepared query near: " in caplog.text


async def test_a_query_that_is_not_there_is_named(caplog: pytest.LogCaptureFixture) -> None:
    async with scripted({PATH: [Reply(status=404)]}) as script:
        (endpoints,) = await told(script, 1, Clock())

    assert endpoints == EndpointsUpdate(NEAR, ())
    assert "prepared query near: Consul has no such query" in caplog.text
