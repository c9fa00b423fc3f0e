"""Documents from Consul's KV: parsed when they change, refused alone, held when Consul's answer is doubtful."""

import base64
from contextlib import aclosing

import pytest

from sidecar.config.document import Document, DocumentSet, Key
from sidecar.config.load import load
from sidecar.sources import kv
from sidecar.sources.kv import KvSource
from sidecar.world import World
from tests.unit.consul.scripted import Clock, Reply, Scripted, connected, scripted

MESH, SERVICES = "/v1/kv/sidecar/mesh", "/v1/kv/sidecar/services/"
NOTHING = Reply(b"", index=1, status=404)
FILTERED = {"X-Consul-Results-Filtered-By-ACLs": "true"}


def entry(name: str, text: str, index: int) -> dict[str, object]:
    return {"Key": name, "Value": base64.b64encode(text.encode()).decode(), "ModifyIndex": index}


def services(index: int, headers: dict[str, str] | None = None, **texts: tuple[str, int]) -> Reply:
    entries = [entry(f"sidecar/services/{name}", text, at) for name, (text, at) in texts.items()]
    return Reply(entries, index=index, headers=headers or {})


async def seen(script: Scripted, count: int, clock: Clock | None = None) -> list[DocumentSet]:
    """The first updates of a sidecar's source."""
    found = []
    async with connected(script, clock) as client, aclosing(KvSource(client).watch()) as updates:
        async for documents in updates:
            found.append(documents)
            if len(found) == count:
                break
    return found


def protocols(documents: DocumentSet) -> dict[str, str]:
    return {name: service.protocol for name, service in World().apply(documents).services.items()}


async def test_documents_are_told_once_every_prefix_has_answered() -> None:
    mesh = Reply([entry("sidecar/mesh", "timeout: 3s", 4)], index=4)
    replies = {MESH: [mesh], SERVICES: [services(7, orders=("protocol: grpc", 7), web=('{"protocol": "http2"}', 6))]}
    async with scripted(replies) as script:
        (documents,) = await seen(script, 1)

    assert protocols(documents) == {"orders": "grpc", "web": "http2"}
    orders = documents.documents[Key("service", "orders")]
    assert (orders.place, orders.index) == ("sidecar/services/orders", 7)
    assert documents.discovered
    assert script.asked(SERVICES)[0].query == {"recurse": "", "stale": ""}
    assert "recurse" not in script.asked(MESH)[0].query


async def test_a_key_whose_index_did_not_move_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []

    def recorded(place: str, data: bytes, key: Key | None = None) -> Document:
        parsed.append(place)
        return load(place, data, key)

    monkeypatch.setattr(kv, "load", recorded)
    before = services(7, orders=("protocol: grpc", 7), web=("protocol: http", 6))
    after = services(9, orders=("protocol: grpc", 7), web=("protocol: http2", 9))
    async with scripted({MESH: [NOTHING], SERVICES: [before, after]}) as script:
        first, second = await seen(script, 2)

    assert (protocols(first)["web"], protocols(second)["web"]) == ("http", "http2")
    assert parsed == ["sidecar/services/orders", "sidecar/services/web", "sidecar/services/web"]


async def test_a_bad_value_is_refused_alone_with_its_key_line_and_index() -> None:
    reply = services(9, orders=("timeout: 5\n", 9), web=("protocol: http", 6))
    async with scripted({MESH: [NOTHING], SERVICES: [reply]}) as script:
        (documents,) = await seen(script, 1)

    assert list(protocols(documents)) == ["web"]
    (problem,) = documents.refusals["sidecar/services/orders"]
    assert str(problem).startswith("sidecar/services/orders:1:10 (index 9): ")
    assert documents.refused == {Key("service", "orders")}


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("sidecar/services/orders.yaml", "did you mean `sidecar/services/orders`?"),
        ("sidecar/services/Orders", "not a name of a service"),
        ("sidecar/services/a/b", "not a place of a document"),
        ("sidecar/services/app", "names the application"),
    ],
)
async def test_a_key_that_is_no_document_says_so(key: str, message: str) -> None:
    reply = Reply([entry(key, "", 3)], index=3)
    async with scripted({MESH: [NOTHING], SERVICES: [reply]}) as script:
        (documents,) = await seen(script, 1)

    ((problem,),) = documents.refusals.values()
    assert message in str(problem)


async def test_a_folder_of_consuls_page_and_an_entry_of_another_form_are_left_alone() -> None:
    odd = [
        entry("sidecar/services/", "", 1),
        {"Key": 7},
        "x",
        {"Key": "sidecar/services/bad", "ModifyIndex": 2, "Value": "%"},
    ]
    async with scripted({MESH: [NOTHING], SERVICES: [Reply(odd, index=2)]}) as script:
        (documents,) = await seen(script, 1)

    assert list(documents.refusals) == ["sidecar/services/bad"]


async def test_documents_that_vanish_all_at_once_are_held_until_the_leader_says_so_too() -> None:
    clock = Clock()
    gone = Reply(status=404, index=9)
    replies = {
        MESH: [NOTHING],
        SERVICES: [services(7, orders=("protocol: http", 7)), gone],
        f"{SERVICES}?consistent": [gone],
    }
    async with scripted(replies) as script:
        first, second = await seen(script, 2, clock)

    assert (list(protocols(first)), list(protocols(second))) == (["orders"], [])
    assert kv.HOLD in clock.slept


@pytest.mark.parametrize("odd", [{"Key": 7}, "x", {"Garbage": 1}])
async def test_a_malformed_list_takes_no_document_away(odd: object, caplog: pytest.LogCaptureFixture) -> None:
    both = services(7, orders=("protocol: http", 7), web=("protocol: http", 6))
    half = Reply([entry("sidecar/services/web", "protocol: http", 6), odd], index=9)
    back = services(11, orders=("protocol: grpc", 11), web=("protocol: http", 6))
    async with scripted({MESH: [NOTHING], SERVICES: [both, half, back]}) as script:
        _, second = await seen(script, 2)

    assert protocols(second) == {"orders": "grpc", "web": "http"}
    assert "2 documents below sidecar/services/ held: Consul's answer is malformed" in caplog.text


async def test_an_empty_list_is_no_answer_of_consul() -> None:
    """It answers 404 where there is nothing; so says the leader nothing either."""
    clock = Clock()
    emptied = Reply([], index=9)
    replies = {
        MESH: [NOTHING],
        SERVICES: [services(7, orders=("protocol: http", 7)), emptied, services(11, orders=("protocol: grpc", 11))],
        f"{SERVICES}?consistent": [emptied] * 9,
    }
    async with scripted(replies) as script:
        first, second = await seen(script, 2, clock)

    assert (protocols(first), protocols(second)) == ({"orders": "http"}, {"orders": "grpc"})


async def test_documents_that_a_token_may_no_longer_read_are_held(caplog: pytest.LogCaptureFixture) -> None:
    revoked = Reply(status=404, index=9, headers=FILTERED)
    back = services(11, orders=("protocol: grpc", 11))
    replies = {MESH: [NOTHING], SERVICES: [services(7, orders=("protocol: http", 7)), revoked, back]}
    async with scripted(replies) as script:
        first, second = await seen(script, 2)

    assert (protocols(first), protocols(second)) == ({"orders": "http"}, {"orders": "grpc"})
    assert "the token may no longer read them" in caplog.text


async def test_what_a_token_never_saw_is_not_missed_when_a_document_is_deleted() -> None:
    before = services(7, FILTERED, orders=("protocol: http", 7), web=("protocol: http", 6))
    after = services(9, FILTERED, web=("protocol: http", 6))
    async with scripted({MESH: [NOTHING], SERVICES: [before, after]}) as script:
        _, second = await seen(script, 2)

    assert list(protocols(second)) == ["web"]


async def test_a_gateway_reads_gateways_and_consumers_too() -> None:
    reply = Reply([entry("sidecar/gateways/edge", "listeners: [{port: 8080}]", 3)], index=3)
    ann = Reply([entry("sidecar/consumers/ann", "groups: [a]", 3)], index=3)
    below = {"/v1/kv/sidecar/gateways/": [reply], "/v1/kv/sidecar/consumers/": [ann]}
    replies = {MESH: [NOTHING], SERVICES: [NOTHING], **below}
    async with scripted(replies) as script, connected(script) as client:
        documents = await KvSource(client, gateway=True).read()

    world = World().apply(documents)
    assert (list(world.gateways), list(world.consumers)) == (["edge"], ["ann"])
