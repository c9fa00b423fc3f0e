"""What we register, that it is kept, and that nobody else's is touched."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from sidecar.consul.client import ConsulClient
from sidecar.registration.own import BY, INSTANCE, Instance, Registration
from sidecar.registration.probe import Health
from tests.unit.consul.scripted import Reply, Scripted, connected, scripted

ORDERS = Instance(
    service="orders",
    id="orders-8080",
    address="",
    port=8080,
    inbound="0.0.0.0:21000",
    app_address="127.0.0.1:8080",
    meta={"version": "2"},
    tags=("blue",),
)
SERVICE, PROXY = "/v1/agent/service/orders-8080", "/v1/agent/service/orders-8080-sidecar-proxy"
REGISTER, UPDATE = "/v1/agent/service/register", "/v1/agent/check/update/service:orders-8080"
NOBODY, FOREIGN = Reply(b"", status=404), Reply({"ID": "orders-8080", "Meta": {}})
UP, DOWN = Health(True, "up"), Health(False, "down")


class App:
    """An application with a health that a test sets."""

    def __init__(self, health: Health) -> None:
        self.health = health

    async def probe(self) -> Health:
        return self.health


@asynccontextmanager
async def kept(client: ConsulClient, app: App) -> AsyncIterator[Registration]:
    """A registration that is kept, on a clock that does not wait, while the block lasts."""
    registration = Registration(client, ORDERS, app.probe, sleep=lambda seconds: asyncio.sleep(0.001))
    task = asyncio.create_task(registration.keep())
    try:
        yield registration
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def asked(script: Scripted, path: str, count: int) -> list[dict[str, object]]:
    """The bodies of the first `count` requests for `path`, once they are there."""
    async with asyncio.timeout(5):
        while len(script.asked(path)) < count:
            await asyncio.sleep(0.002)
    return [json.loads(request.body) for request in script.asked(path)[:count]]


def test_the_service_and_its_proxy_say_all_that_callers_need() -> None:
    service, proxy = ORDERS.bodies("t0", UP)

    assert (service["Name"], service["ID"], service["Port"]) == ("orders", "orders-8080", 8080)
    assert service["Meta"] == {"version": "2", BY: "sidecar-mesh", INSTANCE: "t0"}
    assert service["Checks"][0]["Status"] == "passing"
    assert (proxy["Kind"], proxy["Name"], proxy["Port"]) == ("connect-proxy", "orders-sidecar-proxy", 21000)
    assert proxy["Meta"] == service["Meta"]
    assert proxy["Tags"] == ["blue"]
    assert proxy["Proxy"]["DestinationServiceID"] == "orders-8080"
    assert [check["AliasService"] for check in proxy["Checks"]] == ["orders-8080"]


def test_a_sidecar_that_cannot_speak_to_its_agent_is_not_called_dead() -> None:
    service, _ = ORDERS.bodies("t0", UP)
    said, seen = service["Checks"]

    assert said["TTL"] == "86400s"
    assert (seen["TCP"], seen["Interval"], seen["Status"]) == ("127.0.0.1:21000", "5s", "passing")
    # Nobody looks at a gateway's listeners: they move.
    (gateway,) = Instance(service="edge", id="edge-19000", address="10.0.0.7", port=8443).bodies("t0", UP)
    assert [check["TTL"] for check in gateway["Checks"]] == ["10s"]


def test_a_gateway_is_a_service_without_a_proxy() -> None:
    (service,) = Instance(service="edge", id="edge-19000", address="10.0.0.7", port=8443).bodies("t0", UP)

    assert (service["Name"], service["Address"], service["Port"]) == ("edge", "10.0.0.7", 8443)


async def test_an_application_that_is_down_is_registered_critical_and_told_when_it_is_up() -> None:
    replies = {SERVICE: [NOBODY], PROXY: [NOBODY], REGISTER: [Reply(b""), Reply(b"")], UPDATE: [Reply(b"")]}
    app = App(DOWN)
    async with scripted(replies) as script, connected(script) as client, kept(client, app) as registration:
        service, _ = await asked(script, REGISTER, 2)
        app.health = UP
        (update,) = await asked(script, UPDATE, 1)

        assert registration.missing == ""
    assert service["Checks"][0]["Status"] == "critical"  # type: ignore[index]
    assert update == {"Status": "passing", "Output": "up"}


async def test_an_agent_that_has_forgotten_is_told_anew(caplog: pytest.LogCaptureFixture) -> None:
    replies = {
        SERVICE: [NOBODY, NOBODY],
        PROXY: [NOBODY, NOBODY],
        REGISTER: [Reply(b"")] * 4,
        UPDATE: [Reply(b"Unknown check ID", status=404)],
    }
    async with scripted(replies) as script, connected(script) as client, kept(client, App(UP)):
        names = [body["Name"] for body in await asked(script, REGISTER, 4)]

    assert names == ["orders", "orders-sidecar-proxy"] * 2
    assert "the agent has forgotten it" in caplog.text


async def test_what_others_registered_is_not_replaced() -> None:
    async with scripted({SERVICE: [FOREIGN]}) as script, connected(script) as client, kept(client, App(UP)) as ours:
        async with asyncio.timeout(5):
            while ours.missing == "not registered yet":
                await asyncio.sleep(0.002)

        assert "was registered by somebody else" in ours.missing
        assert "--id" in ours.missing
        assert script.asked(REGISTER) == []
        assert await ours.withdraw() is False


@pytest.mark.parametrize("odd", [[], {"Meta": ["x"]}, "x", 7])
async def test_an_answer_of_another_form_is_tried_again(odd: object) -> None:
    replies = {SERVICE: [Reply(odd), NOBODY], PROXY: [NOBODY], REGISTER: [Reply(b""), Reply(b"")]}
    async with scripted(replies) as script, connected(script) as client, kept(client, App(UP)) as ours:
        await asked(script, REGISTER, 2)
        async with asyncio.timeout(5):
            while ours.missing:
                await asyncio.sleep(0.002)


async def test_only_what_this_process_registered_is_taken_back() -> None:
    replies = {SERVICE: [NOBODY], PROXY: [NOBODY], REGISTER: [Reply(b""), Reply(b"")]}
    async with scripted(replies) as script, connected(script) as client, kept(client, App(UP)) as ours:
        service, _ = await asked(script, REGISTER, 2)
        # Another process has taken the service over since.
        script.replies[PROXY] = [Reply({"Meta": service["Meta"]})]
        script.replies[SERVICE] = [Reply({"Meta": {INSTANCE: "another"}})]
        deregister = "/v1/agent/service/deregister/orders-8080-sidecar-proxy"
        script.replies[deregister] = [Reply(b"")]

        assert await ours.withdraw() is True
        assert len(script.asked(deregister)) == 1
        assert script.asked("/v1/agent/service/deregister/orders-8080") == []


async def test_another_sidecar_that_runs_with_our_id_is_left_alone_and_one_that_ended_is_replaced() -> None:
    listener = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    twin = Reply({"ID": "orders-8080-sidecar-proxy", "Address": "127.0.0.1", "Port": port, "Meta": {INSTANCE: "x"}})
    theirs = Reply({"ID": "orders-8080", "Meta": {INSTANCE: "x"}})
    replies = {SERVICE: [theirs] * 99, PROXY: [twin] * 99, REGISTER: [Reply(b"")] * 2}
    async with scripted(replies) as script, connected(script) as client, kept(client, App(UP)) as registration:
        async with listener, asyncio.timeout(5):
            while "another sidecar with the id 'orders-8080' runs at 127.0.0.1:" not in registration.missing:
                await asyncio.sleep(0.002)
        assert script.asked(REGISTER) == []

        service, proxy = await asked(script, REGISTER, 2)
    assert (service["ID"], proxy["ID"]) == ("orders-8080", "orders-8080-sidecar-proxy")


def test_a_grpc_application_is_asked_by_the_agent() -> None:
    one, whole = replace(ORDERS, grpc="shop.v1.Orders"), replace(ORDERS, grpc="")
    (service, _), (other, _) = one.bodies("x", UP), whole.bodies("x", UP)

    assert [check.get("GRPC") for check in service["Checks"]] == [None, None, "127.0.0.1:8080/shop.v1.Orders"]
    assert other["Checks"][-1]["GRPC"] == "127.0.0.1:8080"
