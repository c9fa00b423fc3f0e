"""One client: calls that explain their failures, and watches by the rules of blocking queries."""

import asyncio
import logging
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path

import pytest

from sidecar.consul.client import CALLS, CONNECTIONS, Answer, ConsulClient
from sidecar.consul.settings import Settings, read
from sidecar.errors import ConsulError
from tests.unit.consul.scripted import Clock, Reply, connected, scripted

PATH = "/v1/kv/sidecar/mesh"


async def take(client: ConsulClient, count: int, *, every_index: bool = False) -> list[Answer]:
    """The first answers of a watch."""
    found = []
    async with aclosing(client.watch(PATH, every_index=every_index)) as answers:
        async for answer in answers:
            found.append(answer)
            if len(found) == count:
                break
    return found


# --- calls


async def test_a_call_carries_the_token_and_the_place_of_enterprise() -> None:
    async with scripted({PATH: [Reply([{"Key": "x"}], index=7)]}) as script:
        told = {"CONSUL_HTTP_TOKEN": "t", "CONSUL_NAMESPACE": "team", "CONSUL_PARTITION": "west"}
        settings = read({"CONSUL_HTTP_ADDR": script.address, **told})
        async with connected(script, settings=settings) as client:
            answer = await client.get(PATH, {"recurse": ""})

    (request,) = script.requests
    assert request.headers["x-consul-token"] == "t"
    assert request.query == {"recurse": "", "ns": "team", "partition": "west"}
    assert (answer.index, answer.value) == (7, [{"Key": "x"}])


@pytest.mark.parametrize(("is_local", "taken"), [(True, "identity"), (False, "gzip, deflate")])
async def test_only_a_remote_agent_may_compress(monkeypatch: pytest.MonkeyPatch, is_local: bool, taken: str) -> None:
    monkeypatch.setattr(Settings, "is_local", is_local)
    async with scripted({PATH: [Reply([])]}) as script, connected(script) as client:
        await client.get(PATH)

    assert script.requests[0].headers["accept-encoding"].startswith(taken)


async def test_nothing_there_is_no_error() -> None:
    async with scripted({PATH: [Reply(b"", index=3, status=404)]}) as script, connected(script) as client:
        assert (await client.get(PATH)).value is None


async def test_an_answer_tells_how_far_to_trust_it() -> None:
    headers = {"X-Consul-LastContact": "1500", "X-Consul-Results-Filtered-By-ACLs": "true"}
    async with scripted({PATH: [Reply([], index=3, headers=headers)]}) as script, connected(script) as client:
        answer = await client.get(PATH)

        assert (answer.last_contact, answer.filtered) == (1.5, True)
        assert client.contact.stale_seconds(client.clock()) == 1.5


def lacking(right: str, name: str) -> Reply:
    """As Consul 1.22 says it."""
    said = f"Permission denied: token with AccessorID 'add0' lacks permission '{right}' on \"{name}\""
    return Reply(said.encode(), status=403)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(b"Permission denied", status=403), 'policy has key "sidecar/mesh" { policy = "read" }'),
        (lacking("service:write", "orders"), 'policy has service "orders" { policy = "write" }'),
        (lacking("service:read", "orders"), 'service_prefix "" { policy = "read" } and node_prefix "" {'),
        (lacking("key:write", "sidecar/services/a"), 'policy has key_prefix "sidecar/" { policy = "write" }'),
        (lacking("key:write", "sidecar-status/a/b"), 'has key_prefix "sidecar-status/a/" { policy = "write" }'),
        (lacking("agent:read", "vm"), 'policy has agent "vm" { policy = "read" }'),
        (Reply(b"ACL not found", status=403), "unknown or was revoked"),
        (Reply(b"", status=429), "http_max_conns_per_client"),
        (Reply(b"rpc error: No cluster leader", status=500), "with 500: rpc error: No cluster leader"),
        (Reply(b"<html>"), "something that is not its API"),
        (Reply([1, 2, 3], cut=True), "broke off its answer"),
    ],
)
async def test_a_refusal_names_the_address_the_path_and_the_next_step(reply: Reply, message: str) -> None:
    async with scripted({PATH: [reply]}) as script, connected(script) as client:
        with pytest.raises(ConsulError) as refused:
            await client.get(PATH)

    assert message in str(refused.value)
    assert f"Consul at {script.address}" in str(refused.value)
    assert PATH in str(refused.value)


async def test_an_agent_that_is_not_there_is_named_with_the_variable() -> None:
    client = ConsulClient(Settings(address="127.0.0.1:1", port=1))
    with pytest.raises(ConsulError, match=r"Consul at 127.0.0.1:1 cannot be reached .* CONSUL_HTTP_ADDR"):
        await client.get(PATH)
    await client.close()


async def test_an_agent_that_does_not_answer_is_not_waited_for() -> None:
    async with scripted({}) as script, connected(script) as client:
        with pytest.raises(ConsulError, match=r"did not answer GET .* within 0.05 s"):
            await client.get(PATH, within=0.05)


async def test_a_unix_socket_serves_as_well(tmp_path: Path) -> None:
    async with scripted({PATH: [Reply(["here"])]}) as script:
        socket = tmp_path / "consul.sock"
        server = await asyncio.start_unix_server(lambda reader, writer: script.serve(reader, writer), str(socket))
        async with connected(script, settings=read({"CONSUL_HTTP_ADDR": f"unix://{socket}"})) as client:
            assert (await client.get(PATH)).value == ["here"]
        server.close()


async def test_how_long_consul_has_been_silent_is_known() -> None:
    clock = Clock()
    replies = [Reply([]), Reply(b"", status=500), Reply(b"", status=500), Reply([])]
    async with scripted({PATH: replies}) as script, connected(script, clock) as client:
        await client.get(PATH)
        for moment in (1010.0, 1030.0):
            clock.now = moment
            with pytest.raises(ConsulError):
                await client.get(PATH)
        assert client.contact.stale_seconds(clock()) == 30.0

        await client.get(PATH)
        assert client.contact.stale_seconds(clock()) == 0.0


# --- watches


async def test_a_watch_tells_the_value_and_then_every_change_of_it() -> None:
    replies = [Reply(["a"], index=5), Reply(["a"], index=9), Reply(["b"], index=12)]
    async with scripted({PATH: replies}) as script, connected(script) as client:
        answers = await take(client, 2)

    assert [answer.value for answer in answers] == [["a"], ["b"]]
    assert [request.query.get("index") for request in script.requests] == [None, "5", "9"]
    assert script.requests[1].query["wait"] == "60s"


async def test_a_watch_may_tell_that_the_index_moved() -> None:
    replies = [Reply(["a"], index=5), Reply(["a"], index=5), Reply(["a"], index=9)]
    async with scripted({PATH: replies}) as script, connected(script) as client:
        assert [answer.index for answer in await take(client, 2, every_index=True)] == [5, 9]


async def test_an_index_that_goes_backwards_is_forgotten_and_one_of_0_is_not_used() -> None:
    replies = [Reply(["a"], index=50), Reply(["b"], index=2), Reply(["c"], index=0), Reply(["d"], index=4)]
    async with scripted({PATH: replies}) as script, connected(script) as client:
        await take(client, 4)

    assert [request.query.get("index") for request in script.requests] == [None, "50", None, "1"]


async def test_a_watch_outlives_every_kind_of_failure_and_backs_off(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    failures = [Reply(b"", status=500), Reply(b"", status=429), Reply(b"{", index=6), Reply([1, 2, 3], cut=True)]
    replies = [Reply(["a"], index=5), *failures, Reply(["b"], index=6)]
    with caplog.at_level(logging.INFO):
        async with scripted({PATH: replies}) as script, connected(script, clock) as client:
            answers = await take(client, 2)

    assert [answer.value for answer in answers] == [["a"], ["b"]]
    # Half of 0.25 s doubled: the chance is 0.
    assert [pause for pause in clock.slept if pause >= 0.125] == [0.125, 0.25, 0.5, 1.0]
    # After a failure an answer is wanted at once.
    assert [request.query.get("index") for request in script.requests[1:]] == ["5", *[None] * 4]
    assert "answers /v1/kv/sidecar/mesh again" in caplog.text


async def test_a_failure_that_repeats_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    replies = [Reply(b"", status=500)] * 5 + [Reply(["a"], index=1)]
    async with scripted({PATH: replies}) as script, connected(script) as client:
        await take(client, 1)

    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1


async def test_a_service_that_flaps_does_not_make_a_watch_spin() -> None:
    clock = Clock()
    replies = [Reply([number], index=number) for number in range(1, 22)]
    async with scripted({PATH: replies}) as script, connected(script, clock) as client:
        await take(client, 21)

    # Two at once, then ten a second.
    assert clock.now == pytest.approx(1000 + 19 / 10)


async def test_watches_leave_connections_for_calls() -> None:
    async with scripted({"/v1/agent/self": [Reply({})]}) as script, connected(script) as client:
        watches = [client.watch(f"/v1/{number}") for number in range(CONNECTIONS - CALLS)]
        tasks = [asyncio.ensure_future(anext(watch)) for watch in watches]
        while client.watches_free:
            await asyncio.sleep(0)

        assert (await client.get("/v1/agent/self")).value == {}
        with pytest.raises(RuntimeError, match="no connection is left"):
            await anext(client.watch("/v1/one-more"))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert client.watches_free == CONNECTIONS - CALLS


def test_the_client_loads_no_second_http_library() -> None:
    program = "import sidecar.consul.client, sys; print('requests' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


async def test_a_watch_that_fails_is_no_contact_whatever_other_calls_say() -> None:
    clock, other = Clock(), "/v1/status/leader"
    replies = {PATH: [Reply([], index=3), Reply(b"Permission denied", status=403)], other: [Reply("x")]}
    async with (
        scripted(replies) as script,
        connected(script, clock) as client,
        aclosing(client.watch(PATH)) as answers,
    ):
        await anext(answers)
        assert client.contact.failing_since is None
        waiting = asyncio.ensure_future(anext(answers))
        async with asyncio.timeout(5):
            while client.contact.failing_since is None:
                await asyncio.sleep(0.001)
        await client.get(other)

        assert client.contact.failing_since is not None
        assert "Permission denied" in client.contact.failure
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_what_the_token_may_not_see_is_named_with_the_rule_once(caplog: pytest.LogCaptureFixture) -> None:
    path = "/v1/kv/sidecar/services/"
    hidden = Reply([], index=5, headers={"X-Consul-Results-Filtered-By-ACLs": "true"})
    async with scripted({path: [hidden, hidden, Reply([], index=5)]}) as script, connected(script) as client:
        await client.get(path)
        await client.get(path)
        rule = 'key_prefix "sidecar/services/" { policy = "read" }'
        assert client.hidden == {path: rule}
        assert caplog.text.count(f"its policy lacks {rule}") == 1

        await client.get(path)
        assert client.hidden == {}
