"""A world that Consul told: clusters without endpoints in a document, names, datacenters, config entries."""

from dataclasses import replace
from datetime import timedelta

from sidecar.config.model.path import PathPattern
from sidecar.config.model.route import Match
from sidecar.config.where import parse
from sidecar.snapshot import SidecarRole, compile, endpoints, watched
from sidecar.wire import snapshot_pb2 as wire
from sidecar.world import (
    Chain,
    ChainRoute,
    ChainsUpdate,
    EndpointsUpdate,
    Instance,
    NamesUpdate,
    Site,
    Target,
    World,
)
from tests.unit.documents import document_set

ROLE = SidecarRole("web")
ORDERS = Target("orders")
ONE = Instance("host/1", "10.0.0.1:21000", meta={"version": "1"}, tags=("blue",))
TWO = Instance("host/2", "10.0.0.2:21000", weight=3, meta={"version": "2"}, healthy=False)
SUBSETS = """\
subsets:
  v2: {where: 'meta.version == "2"'}
  blue: {where: '"blue" in tags'}
"""


def world_with(text: str = "protocol: http") -> World:
    documents = replace(document_set({"services/orders.yaml": text}), discovered=True)
    return World().apply(documents).apply(Site("abc.consul", "east"))


def addresses(world: World, cluster: str) -> list[str] | None:
    update = endpoints(world, ROLE, cluster, 1)
    return None if update is None else [endpoint.address for endpoint in update.endpoints]


def outbound(world: World) -> dict[str, wire.Route]:
    (table,) = [table for table in compile(world, ROLE, 1).route_tables if table.name == "outbound"]
    return {host: route for route in reversed(table.routes) for host in route.match.hosts}


def test_endpoints_are_waited_for_until_consul_has_told_them() -> None:
    world = world_with(SUBSETS)
    assert (watched(world, "orders/v2"), addresses(world, "orders/v2")) == (ORDERS, None)

    world = world.apply(EndpointsUpdate(ORDERS, (ONE, TWO)))
    assert addresses(world, "orders") == ["10.0.0.1:21000", "10.0.0.2:21000"]
    assert addresses(world, "orders/v2") == ["10.0.0.2:21000"]
    assert addresses(world, "orders/blue") == ["10.0.0.1:21000"]
    update = endpoints(world, ROLE, "orders/v2", 1)
    assert update is not None
    (endpoint,) = update.endpoints
    assert (endpoint.id, endpoint.weight, endpoint.healthy) == ("host/2", 3, False)


def test_endpoints_of_a_document_go_before_those_of_consul() -> None:
    world = world_with("endpoints: [{address: 10.9.9.9:21000}]").apply(EndpointsUpdate(ORDERS, (ONE,)))

    assert (watched(world, "orders"), addresses(world, "orders")) == (None, ["10.9.9.9:21000"])


def test_the_app_and_a_mesh_without_consul_are_not_watched() -> None:
    assert watched(world_with(), "app") is None
    assert watched(World(), "orders") is None
    assert addresses(World(), "orders") == []


def test_every_name_of_the_catalog_has_a_route() -> None:
    world = world_with().apply(NamesUpdate("", frozenset({"legacy"}))).apply(NamesUpdate("west", frozenset({"orders"})))
    routes = outbound(world)

    hosts = ("legacy", "legacy.mesh", "legacy.service.consul", "legacy.service.east.consul")
    assert {routes[host].destinations[0].cluster for host in hosts} == {"legacy"}
    assert routes["orders.service.west.consul"].destinations[0].cluster == "orders@west"


def test_a_cluster_is_verified_by_consuls_trust_domain_and_the_targets_datacenter() -> None:
    world = world_with().apply(NamesUpdate("west", frozenset({"orders"})))
    clusters = {cluster.name: cluster.tls for cluster in compile(world, ROLE, 1).clusters}

    assert list(clusters["orders"].spiffe_ids) == ["spiffe://abc.consul/ns/default/dc/east/svc/orders"]
    assert list(clusters["orders@west"].spiffe_ids) == ["spiffe://abc.consul/ns/default/dc/west/svc/orders"]
    assert clusters["orders@west"].server_name == "orders.default.west.internal.abc.consul"


def test_a_chain_makes_routes_unless_the_document_writes_its_own() -> None:
    route = ChainRoute(
        "router-1",
        ((Target("orders", "v2"), 1), (Target("stock"), 3)),
        Match(path=PathPattern("/api", star=True)),
        PathPattern("/v2", star=True),
        timedelta(seconds=2),
        5,
    )
    chain = Chain("grpc", (route,), {("orders", "v2"): parse("meta.version == 2"), ("orders", "odd"): None})
    entries = ChainsUpdate({"orders": chain})
    world = world_with("timeout: 9s").apply(entries).apply(EndpointsUpdate(ORDERS, (ONE, TWO)))

    found = outbound(world)["orders.mesh"]
    assert (found.name, found.match.path.prefix, found.rewrite.prefix) == ("orders/router-1", "/api", "/v2")
    assert (found.timeout_ms, found.retry.attempts) == (2000, 5)
    assert {item.cluster: item.weight for item in found.destinations} == {"orders/v2": 1, "stock": 3}
    assert addresses(world, "orders/v2") == ["10.0.0.2:21000"]
    assert addresses(world, "orders/odd") == []
    (cluster,) = [cluster for cluster in compile(world, ROLE, 1).clusters if cluster.name == "orders/v2"]
    assert cluster.protocol == wire.UPSTREAM_PROTOCOL_HTTP2

    written = world_with("routes: [{name: mine}]").apply(entries)
    assert outbound(written)["orders.mesh"].name == "orders/mine"
