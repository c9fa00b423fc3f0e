"""A directory compared with Consul's KV, and the batches in which it goes there."""

import base64
import json
from pathlib import Path

import pytest

from sidecar.errors import ConfigError, ConsulError
from sidecar.sources import kv_sync
from sidecar.sources.kv_sync import MOST_BYTES, MOST_OPERATIONS, Change, Stored, batches, compare, local, push, stored
from tests.unit.consul.scripted import Reply, connected, scripted

ALL = "/v1/kv/sidecar/"


def change(number: int, size: int = 1) -> Change:
    return Change("update", f"sidecar/services/svc{number}", number, b"", b"x" * size)


def test_what_differs_is_changed_in_order_and_what_is_only_in_consul_goes_last() -> None:
    known = Stored(
        {"sidecar/services/a": (5, b"old"), "sidecar/services/gone": (6, b"x"), "sidecar/mesh": (2, b"m")}, {}
    )
    wanted = {"sidecar/gateways/edge": b"g", "sidecar/services/a": b"new", "sidecar/mesh": b"m"}

    assert compare(wanted, known) == [
        Change("update", "sidecar/services/a", 5, b"old", b"new"),
        Change("create", "sidecar/gateways/edge", 0, b"", b"g"),
        Change("delete", "sidecar/services/gone", 6, b"x"),
    ]


def test_an_operation_names_the_index_that_was_compared() -> None:
    value = base64.b64encode(b"new").decode()
    told = {"KV": {"Verb": "cas", "Key": "k", "Index": 5, "Value": value}}
    assert Change("update", "k", 5, b"old", b"new").operation() == told
    assert Change("delete", "k", 5, b"old").operation() == {"KV": {"Verb": "delete-cas", "Key": "k", "Index": 5}}


def test_a_batch_holds_no_more_operations_than_consul_takes() -> None:
    sizes = [len(batch) for batch, _ in batches(change(number) for number in range(300))]

    assert sizes == [MOST_OPERATIONS, MOST_OPERATIONS, 300 - 2 * MOST_OPERATIONS]


def test_a_batch_has_no_longer_body_than_consul_takes() -> None:
    found = list(batches(change(number, 30_000) for number in range(40)))

    assert len(found) > 1
    for batch, body in found:
        assert body is not None
        assert len(body) <= MOST_BYTES
        assert json.loads(body) == [item.operation() for item in batch]
    assert sum(len(batch) for batch, _ in found) == 40


def test_a_value_too_big_for_a_batch_goes_alone_and_in_its_turn() -> None:
    found = list(batches([change(1), change(2, MOST_BYTES), change(3)]))

    assert [(len(batch), body is None) for batch, body in found] == [(1, False), (1, True), (1, False)]


async def test_what_consul_has_is_read_and_what_is_no_document_is_named() -> None:
    entries = [
        {"Key": "sidecar/services/", "Value": None, "ModifyIndex": 1},
        {"Key": "sidecar/mesh", "Value": base64.b64encode(b"m").decode(), "ModifyIndex": 2},
        {"Key": "sidecar/plugins/auth", "Value": "", "ModifyIndex": 3},
    ]
    async with scripted({ALL: [Reply(entries)]}) as script, connected(script) as client:
        known = await stored(client)

    assert known == Stored(
        {"sidecar/mesh": (2, b"m")}, {"sidecar/plugins/auth": "documents under `plugins` are not supported yet"}
    )
    assert script.requests[0].query == {"recurse": "", "consistent": ""}


async def test_a_push_that_is_interrupted_has_written_what_it_told() -> None:
    replies = {"/v1/txn": [Reply({"Errors": None}), Reply(b"no leader", status=500)]}
    async with scripted(replies) as script, connected(script) as client:
        written = push(client, (change(number) for number in range(200)))
        assert await anext(written) == 128
        with pytest.raises(ConsulError, match="no leader"):
            await anext(written)


async def test_a_conflict_names_the_key_and_writes_nothing_over_it() -> None:
    errors = {"Errors": [{"OpIndex": 0, "What": 'failed to set key "k", index is stale'}]}
    replies = {"/v1/txn": [Reply(errors, status=409)], "/v1/kv/sidecar/services/svc2": [Reply(False)]}
    async with scripted(replies) as script, connected(script) as client:
        with pytest.raises(ConsulError, match=r"svc1 was changed by somebody else .* index is stale"):
            await anext(push(client, [change(1)]))
        with pytest.raises(ConsulError, match="svc2 was changed by somebody else"):
            await anext(push(client, [change(2, MOST_BYTES)]))

    assert script.requests[1].query == {"cas": "2"}


async def test_missing_rights_are_no_conflict() -> None:
    denied = {"Errors": [{"OpIndex": 0, "What": "Permission denied: token lacks permission 'key:write'"}]}
    async with scripted({"/v1/txn": [Reply(denied, status=409)]}) as script, connected(script) as client:
        with pytest.raises(ConsulError, match=r'key_prefix "sidecar/" \{ policy = "write" \}'):
            await anext(push(client, [change(1)]))


def test_a_directory_may_name_services_that_only_consul_knows(tmp_path: Path) -> None:
    (tmp_path / "gateways").mkdir()
    text = "listeners: [{port: 8080}]\nroutes: [{name: all, to: {service: legacy}}]\n"
    (tmp_path / "gateways/edge.yaml").write_text(text)

    assert local(tmp_path) == {"sidecar/gateways/edge": text.encode()}


def test_a_directory_with_a_bad_document_is_refused_whole(tmp_path: Path) -> None:
    (tmp_path / "services").mkdir()
    (tmp_path / "services/good.yaml").write_text("protocol: http\n")
    (tmp_path / "services/bad.yaml").write_text("protcol: http\n")

    with pytest.raises(ConfigError, match=r"services/bad\.yaml:1:1"):
        local(tmp_path)


def test_a_pulled_value_replaces_the_file_that_has_its_document(tmp_path: Path) -> None:
    (tmp_path / "services").mkdir()
    (tmp_path / "services/orders.json").write_text("{}")
    kv_sync.write(tmp_path, "sidecar/services/orders", b'{"protocol": "grpc"}')
    kv_sync.write(tmp_path, "sidecar/services/web", b"protocol: http\n")

    files = {file.name: file.read_bytes() for file in (tmp_path / "services").iterdir()}
    assert files == {"orders.json": b'{"protocol": "grpc"}', "web.yaml": b"protocol: http\n"}
