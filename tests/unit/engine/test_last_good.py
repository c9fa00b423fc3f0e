"""What is kept on disk is what served, key included, and nothing of it is believed when it is damaged."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType

import pytest

from sidecar.config import where
from sidecar.config.document import Document, DocumentSet, Key
from sidecar.config.load import load
from sidecar.config.model.header_modifier import HeaderModifier
from sidecar.config.model.load_balancer import HashPart, LoadBalancer
from sidecar.config.model.path import parse_path
from sidecar.config.model.retry import Retry
from sidecar.config.model.route import Match
from sidecar.config.model.value_match import ValueMatch
from sidecar.defaults import Calls, Local
from sidecar.engine import codec
from sidecar.engine.last_good import Store
from sidecar.identity.authority import Leaf
from sidecar.intentions import FieldTest, Intention, Intentions, Permission
from sidecar.world import (
    Chain,
    ChainBranch,
    ChainMatch,
    ChainRoute,
    ChainsUpdate,
    EndpointsUpdate,
    HeaderTest,
    Instance,
    NamesUpdate,
    Site,
    Target,
    World,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LEAF = Leaf((b"leaf", b"intermediate"), b"secret", NOW, NOW + timedelta(hours=72), (b"root", b"old root"))


def document(name: str, text: str) -> Document:
    key = Key("service", name)
    return replace(load(f"sidecar/services/{name}", text.encode(), key), index=7)


def world() -> World:
    """One of everything."""
    orders = document("orders", "protocol: grpc\nroutes: [{name: all, timeout: 2s}]\n")
    route = ChainRoute(
        name="beta",
        destinations=(
            ChainBranch(Target("orders", "v1"), 95, HeaderModifier(remove=("x-a",)), HeaderModifier(set={"x-b": "1"})),
            ChainBranch(Target("orders", "", "dc2"), 5),
        ),
        match=ChainMatch(
            Match.model_validate({"path": "/api/*", "methods": ("GET",), "query": {"page": {"regex": "[0-9]+"}}}),
            "/api/.*",
            (HeaderTest("x-user", ValueMatch(prefix="b"), True), HeaderTest("x-old", ValueMatch(present=False))),
        ),
        rewrite=parse_path("/*"),
        timeout=timedelta(seconds=1.5),
        retry=Retry(attempts=2, on=("5xx", 409)),
        response_headers=HeaderModifier(add={"x-c": "2"}),
    )
    subsets = {("orders", "v1"): where.parse('meta.version == "1"'), ("orders", "odd"): None}
    chains = {
        "orders": Chain(
            protocol="http2",
            routes=(route,),
            subsets=subsets,
            load_balancer=LoadBalancer(policy="ring_hash", hash=(HashPart(cookie="at", ttl=timedelta(minutes=1)),)),
            connect_timeout=timedelta(seconds=5),
            only_passing=frozenset({("orders", "v1")}),
            failover={Target("orders", "v1"): (Target("orders", "v1", "dc2"), Target("stock"))},
            local=Local(timedelta(seconds=1), timedelta(seconds=2), 7, 8192),
            calls={
                "": Calls(timedelta(seconds=3)),
                "stock": Calls(max_pending=9, ejection=timedelta(seconds=9), max_ejected=Decimal("0.4")),
            },
            not_carried_out=("PrioritizeByLocality",),
        ),
        "web": Chain(),
    }
    instance = Instance("vm/orders-1", "10.0.0.7:21000", 3, ("blue",), {"version": "1"}, False, True)
    tests = (FieldTest("x-user", "suffix", "b", invert=True, ignore_case=True),)
    permission = Permission(False, ("prefix", "/api"), ("GET",), tests, ("okta",))
    known = World()
    for update in (
        DocumentSet(MappingProxyType({orders.key: orders}), discovered=True),
        EndpointsUpdate(Target("orders"), (instance,)),
        EndpointsUpdate(Target("web", "", "dc2"), ()),
        NamesUpdate("", frozenset({"orders", "web"})),
        ChainsUpdate(chains, "http", Local(max_connections=3), ("mesh is not supported yet",)),
        Intentions((Intention("web", "orders", 9, permissions=(permission,), providers=("id",)),), True, ("a peer",)),
        Site("mesh.consul", "dc1"),
    ):
        known = known.apply(update)
    return known


def test_a_world_comes_back_as_it_was() -> None:
    before = world()
    after = codec.decode_world(json.loads(json.dumps(codec.encode_world(before))))

    # Conditions are compared by their text; that they judge again is what counts.
    assert after == before
    v1 = after.subset("orders", "v1")
    assert v1 is not None
    assert v1.matches({"version": "1"})
    assert after.documents[Key("service", "orders")].origin("routes", 0) == "sidecar/services/orders:2:10"


def test_a_document_that_is_not_good_any_more_is_refused_alone() -> None:
    value = codec.encode_world(world())
    value["documents"].append(
        {"kind": "service", "name": "old", "place": "sidecar/services/old", "index": 3, "text": "gone: yes"}
    )

    after = codec.decode_world(value)
    assert Key("service", "orders") in after.documents
    assert "sidecar/services/old" in after.refusals


async def test_what_is_kept_is_found_again(tmp_path: Path) -> None:
    store = Store(tmp_path, "sidecar-web-1", clock=lambda: NOW)
    assert store.load() is None
    store.keep({"service": "web"}, world())
    store.keep_leaf(LEAF)
    await store.flush()

    last_good = Store(tmp_path, "sidecar-web-1").load()
    assert last_good is not None
    assert last_good.world == world()
    assert last_good.leaf == LEAF
    assert last_good.presence == {"service": "web"}
    assert last_good.true_at == NOW


async def test_the_key_is_in_a_file_of_its_own_that_only_the_owner_reads(tmp_path: Path) -> None:
    store = Store(tmp_path, "sidecar-web-1")
    store.keep({}, world())
    store.keep_leaf(LEAF)
    await store.flush()

    files = {file.suffix: file for file in (tmp_path / "last-good").iterdir()}
    assert files.keys() == {".world", ".leaf"}
    assert {file.stat().st_mode & 0o777 for file in files.values()} == {0o600}
    assert "private_key" not in files[".world"].read_text()


async def test_what_another_version_wrote_is_told_and_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path, "sidecar-web-1")
    store.keep({}, world())
    store.keep_leaf(LEAF)
    await store.flush()
    leaf = tmp_path / "last-good/sidecar-web-1.leaf"
    leaf.write_bytes(leaf.read_bytes().replace(b"private_key", b"private_kee"))

    assert store.load() is None
    assert "sidecar-web-1.leaf is damaged and not used" in caplog.text


async def test_a_disk_that_fails_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "last-good").write_text("in the way")
    store = Store(tmp_path, "sidecar-web-1")
    for _ in range(3):
        store.keep({}, World())
        await store.flush()

    assert caplog.text.count("the last good world is not kept") == 1


async def test_many_changes_are_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.engine.last_good.WRITE_AFTER", 0.02)
    store = Store(tmp_path, "sidecar-web-1")
    task = asyncio.create_task(store.run(lambda: True))
    for number in range(50):
        store.keep({"number": number}, World())
    store.keep_leaf(LEAF)
    async with asyncio.timeout(5):
        while (last_good := store.load()) is None:
            await asyncio.sleep(0.005)
    task.cancel()

    assert last_good.presence == {"number": 49}
