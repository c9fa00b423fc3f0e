"""A change is compiled alone, and the snapshot is the one that a fresh start would have."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.model.load_balancer import LoadBalancer
from sidecar.defaults import Calls
from sidecar.snapshot import Compiler, GatewayRole, Role, SidecarRole, compile
from sidecar.snapshot.cluster import mesh_cluster
from sidecar.snapshot.parts import Memo, Part, Table
from sidecar.wire import snapshot_pb2 as wire
from sidecar.world import Chain, ChainBranch, ChainRoute, ChainsUpdate, NamesUpdate, Site, Target, Update, World
from tests.unit.documents import SHOP, document_set, world_of

ROLES = (SidecarRole("web"), GatewayRole("edge"))

# Each place with the texts that it has in turn; "" stands for no document.
TEXTS = {
    "mesh.yaml": ["", SHOP["mesh.yaml"], "timeout: 9s\nload_balancer: random\n"],
    "services/orders.yaml": [
        *("", SHOP["services/orders.yaml"], "protocol: http\nsubsets: {v1: {where: 'meta.version == \"1\"'}}\n"),
        *("enabled: false\n", "protocol: grpc\ntls: disabled\nroutes: [{name: all, timeout: 1s}]\n"),
    ],
    "services/inventory.yaml": ["", SHOP["services/inventory.yaml"], "timeout: 2s\nconnect_timeout: 100ms\n"],
    "services/web.yaml": ["", "upstreams: [{service: orders, port: 9191}]\n", "protocol: http2\n"],
    "gateways/edge.yaml": [
        "",
        SHOP["gateways/edge.yaml"],
        "# moved by a line\n" + SHOP["gateways/edge.yaml"],
        "listeners: [{port: 8080}]\n"
        "routes:\n"
        "  - {name: both, split: [{weight: 1, to: {service: orders}}, {weight: 2, to: {service: inventory}}]}\n"
        "  - {name: shop-api, to: {service: inventory}}\n",
    ],
}
CHAINS = [
    {},
    {"orders": Chain(protocol="grpc")},
    {
        "orders": Chain(
            routes=(ChainRoute("r", (ChainBranch(Target("inventory")), ChainBranch(Target("orders", "v9"), 3))),)
        )
    },
    {"inventory": Chain(connect_timeout=timedelta(seconds=3), load_balancer=LoadBalancer(policy="random"))},
    {"web": Chain(calls={"": Calls(max_pending=3), "orders": Calls(timedelta(seconds=3))})},
    {"orders": Chain(failover={Target("orders"): (Target("inventory", "", "dc2"),)})},
]

documents = st.fixed_dictionaries({place: st.sampled_from(texts) for place, texts in TEXTS.items()}).map(
    lambda texts: document_set({place: text for place, text in texts.items() if text})
)
updates: st.SearchStrategy[Update] = st.one_of(
    documents,
    st.builds(ChainsUpdate, st.sampled_from(CHAINS), st.sampled_from([None, "http2"])),
    st.builds(Site, st.sampled_from(["one.consul", "two.consul"]), st.sampled_from(["dc1", "dc9"])),
    st.builds(
        NamesUpdate, st.sampled_from(["", "dc2"]), st.frozensets(st.sampled_from(["orders", "stock", "bad/name"]))
    ),
)


@given(st.lists(updates, min_size=1, max_size=6), st.sampled_from(ROLES))
def test_after_any_changes_the_snapshot_is_that_of_a_fresh_start(changes: list[Update], role: Role) -> None:
    compiler, world = Compiler(), World()
    for change in changes:
        world = world.apply(change)
        assert compiler.compile(world, role, 1).whole() == compile(world, role, 1)


def test_only_what_changed_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def noting(world: World, name: str, caller: str) -> wire.Cluster:
        made.append(name)
        return mesh_cluster(world, name, caller)

    monkeypatch.setattr("sidecar.snapshot.mesh_cluster", noting)
    compiler, role, before = Compiler(), SidecarRole("web"), world_of(SHOP)
    compiler.compile(before, role, 1)
    assert made == ["inventory", "orders/v1", "orders/v2"]
    made.clear()

    compiler.compile(before, role, 2)
    assert made == []

    inventory = SHOP["services/inventory.yaml"] + "timeout: 9s\n"
    compiler.compile(before.apply(document_set({**SHOP, "services/inventory.yaml": inventory})), role, 3)
    assert made == ["inventory"]


@pytest.mark.parametrize("count", [0, 1, 3, 200])
def test_a_table_of_any_length_is_one_field_of_the_snapshot(count: int) -> None:
    parts = [Part.of([wire.Route(name=f"route-{number}" * 9)]) for number in range(count)]
    snapshot = wire.Snapshot.FromString(Table("outbound", parts).serialized() * 2)

    assert [table.name for table in snapshot.route_tables] == ["outbound", "outbound"]
    assert [route.name for route in snapshot.route_tables[1].routes] == [f"route-{n}" * 9 for n in range(count)]


def test_the_parts_of_a_snapshot_name_all_its_clusters() -> None:
    made = Compiler().compile(world_of(SHOP), SidecarRole("web"), 1)

    assert made.clusters == {cluster.name for cluster in made.whole().clusters}
    assert "orders/v1" in made.clusters
    assert "app" in made.clusters


def test_a_value_that_nobody_asked_for_is_forgotten() -> None:
    memo: Memo[int] = Memo()
    made = iter(range(10))
    assert memo.get("a", 1, next, made) == 0
    memo.forget_unused()
    assert memo.get("a", 1, next, made) == 0
    memo.forget_unused()
    memo.forget_unused()
    assert memo.get("a", 1, next, made) == 1
    memo.forget_unused()
    assert memo.get("a", 2, next, made) == 2
