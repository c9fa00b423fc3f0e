"""A world that Consul told: clusters without endpoints in a document, names, datacenters, config entries."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from sidecar.config.model.path import PathPattern
from sidecar.config.model.retry import Retry
from sidecar.config.model.route import Match
from sidecar.config.model.value_match import ValueMatch
from sidecar.config.where import parse
from sidecar.defaults import Calls, Local
from sidecar.snapshot import GatewayRole, SidecarRole, compile, endpoints, untold, watched
from sidecar.snapshot.role import Upstream
from sidecar.wire import snapshot_pb2 as wire
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
    QueryUpdate,
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


def priorities(world: World, cluster: str) -> list[tuple[int, str]] | None:
    update = endpoints(world, ROLE, cluster, 1)
    return None if update is None else [(endpoint.priority, endpoint.address) for endpoint in update.endpoints]


def outbound(world: World) -> dict[str, wire.Route]:
    (table,) = [table for table in compile(world, ROLE, 1).route_tables if table.name == "outbound"]
    return {host: route for route in reversed(table.routes) for host in route.match.hosts}


def test_endpoints_are_waited_for_until_consul_has_told_them() -> None:
    world = world_with(SUBSETS)
    assert (watched(world, "orders/v2"), addresses(world, "orders/v2")) == ((ORDERS,), None)

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

    assert (watched(world, "orders"), addresses(world, "orders")) == ((), ["10.9.9.9:21000"])


def test_the_app_and_a_mesh_without_consul_are_not_watched() -> None:
    assert watched(world_with(), "app") == ()
    assert watched(World(), "orders") == ()
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
        (ChainBranch(Target("orders", "v2")), ChainBranch(Target("stock"), 3)),
        ChainMatch(Match(path=PathPattern("/api", star=True))),
        PathPattern("/v2", star=True),
        timedelta(seconds=2),
        Retry(attempts=5),
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
    assert cluster.protocol == wire.UPSTREAM_PROTOCOL_GRPC

    written = world_with("routes: [{name: mine}]").apply(entries)
    assert outbound(written)["orders.mesh"].name == "orders/mine"


def test_a_match_of_config_entries_may_be_an_expression() -> None:
    tests = (HeaderTest("x-a", ValueMatch(prefix="b"), invert=True), HeaderTest("x-c", ValueMatch(present=False)))
    match = ChainMatch(path_regex="/v[0-9]+", headers=tests)
    route = ChainRoute("router-1", (ChainBranch(ORDERS),), match)
    world = world_with().apply(ChainsUpdate({"orders": Chain("http", (route,))}))

    found = outbound(world)["orders"]
    assert list(found.match.path_regexes) == ["/v[0-9]+"]
    prefix, absent = found.match.headers
    assert (prefix.name, prefix.prefix, prefix.invert) == ("x-a", "b", True)
    assert (absent.name, absent.present, absent.WhichOneof("kind")) == ("x-c", False, "present")


def test_the_subsets_of_a_resolver_have_names_on_the_outbound_port() -> None:
    world = world_with().apply(ChainsUpdate({"orders": Chain(subsets={("orders", "V2"): parse("meta.version == 2")})}))

    assert outbound(world)["v2.orders.mesh"].destinations[0].cluster == "orders/V2"


WARNS = replace(ONE, warning=True)
THREE = Instance("host/3", "10.0.0.3:21000")


def test_only_passing_leaves_out_who_warns() -> None:
    document = world_with("subsets: {v1: {where: 'meta.version == 1', only_passing: true}}")
    resolver = Chain(subsets={("orders", "v1"): parse("meta.version == 1")}, only_passing=frozenset({("orders", "v1")}))
    for world in (document, world_with().apply(ChainsUpdate({"orders": resolver}))):
        update = endpoints(world.apply(EndpointsUpdate(ORDERS, (WARNS,))), ROLE, "orders/v1", 1)
        assert update is not None
        assert [endpoint.healthy for endpoint in update.endpoints] == [False]


FAR, STOCK = Target("orders", datacenter="west"), Target("stock")
FAILOVER = ChainsUpdate({"orders": Chain("http", failover={ORDERS: (FAR, STOCK)})})


def test_those_who_take_over_come_after_and_are_held_to_their_own_identity() -> None:
    world = world_with("protocol: http").apply(FAILOVER)
    assert watched(world, "orders") == (ORDERS, FAR, STOCK)
    world = world.apply(EndpointsUpdate(ORDERS, (ONE, TWO)))
    assert addresses(world, "orders") == [ONE.address, TWO.address]

    ill = world.apply(EndpointsUpdate(ORDERS, (TWO,))).apply(EndpointsUpdate(FAR, ()))
    # Nobody else either, as far as it is known.
    assert addresses(ill, "orders") == [TWO.address]
    update = endpoints(ill.apply(EndpointsUpdate(STOCK, (ONE,))), ROLE, "orders", 1)
    assert update is not None
    own, endpoint = update.endpoints
    assert (own.address, own.priority, endpoint.priority) == (TWO.address, 0, 1)
    assert (endpoint.address, list(endpoint.spiffe_ids)) == (
        ONE.address,
        ["spiffe://abc.consul/ns/default/dc/east/svc/stock"],
    )
    (cluster,) = [cluster for cluster in compile(world, ROLE, 1).clusters if cluster.name == "orders"]
    assert [uri.split("/dc/")[1] for uri in cluster.tls.spiffe_ids] == [
        "east/svc/orders",
        "west/svc/orders",
        "east/svc/stock",
    ]


def test_instances_that_are_doubted_serve_only_where_nobody_takes_over() -> None:
    world = world_with("protocol: http").apply(FAILOVER).apply(EndpointsUpdate(ORDERS, (ONE,), doubted=True))
    assert addresses(world, "orders") == [ONE.address]

    world = world.apply(EndpointsUpdate(FAR, (TWO, THREE)))
    assert priorities(world, "orders") == [(0, TWO.address), (0, THREE.address), (1, ONE.address)]
    sure = world.apply(EndpointsUpdate(ORDERS, (ONE,)))
    assert priorities(sure, "orders") == [(0, ONE.address), (1, TWO.address), (1, THREE.address)]


def test_a_document_says_who_takes_over_before_a_resolver_does() -> None:
    failover = "failover: [{subset: v1}, {service: stock}, {datacenter: west}]"
    subsets = "subsets: {v1: {where: 'meta.version == 1'}}"
    world = world_with(f"protocol: http\n{subsets}\n{failover}").apply(FAILOVER)
    assert world.failover(ORDERS) == (Target("orders", "v1"), STOCK, FAR)
    assert world.failover(Target("orders", "v1")) == (STOCK, FAR)
    none = world_with("protocol: http\nfailover: []").apply(FAILOVER)
    assert none.failover(ORDERS) == ()


def test_a_service_without_instances_waits_until_it_is_known_who_takes_over() -> None:
    world = world_with("protocol: http").apply(FAILOVER).apply(EndpointsUpdate(ORDERS, ()))
    assert addresses(world, "orders") is None

    assert addresses(world.apply(EndpointsUpdate(FAR, (ONE,))), "orders") == [ONE.address]


def test_service_defaults_bound_the_own_sidecar_and_the_calls_that_it_makes() -> None:
    calls = {"": Calls(max_pending=7), "orders": Calls(timedelta(seconds=3), max_requests=9)}
    web = Chain(local=Local(timedelta(seconds=1), timedelta(seconds=2), 5, 8192), calls=calls)
    snapshot = compile(world_with().apply(ChainsUpdate({"web": web})), ROLE, 1)

    (inbound,) = [listener for listener in snapshot.listeners if listener.name == "inbound"]
    assert (inbound.limits.max_connections, inbound.limits.max_header_bytes) == (5, 8192)
    (table,) = [table for table in snapshot.route_tables if table.name == "inbound"]
    assert table.routes[0].timeout_ms == 2000
    clusters = {cluster.name: cluster for cluster in snapshot.clusters}
    assert clusters["app"].connect_timeout_ms == 1000
    assert (clusters["orders"].connect_timeout_ms, clusters["orders"].limits.max_requests) == (3000, 9)
    assert clusters["web"].limits.max_pending == 7


def test_a_document_goes_before_what_config_entries_say_of_calls() -> None:
    web = Chain(calls={"": Calls(timedelta(seconds=3), max_requests=9, consecutive_errors=3)})
    text = "connect_timeout: 4s\ncircuit_breaker: {max_requests: 2}\noutlier_detection: {ejection: 9s}"
    snapshot = compile(world_with(text).apply(ChainsUpdate({"web": web})), ROLE, 1)

    (orders,) = [cluster for cluster in snapshot.clusters if cluster.name == "orders"]
    assert (orders.connect_timeout_ms, orders.limits.max_requests) == (4000, 2)
    assert (orders.outlier.consecutive_errors, orders.outlier.ejection_ms) == (5, 9000)


def test_passive_health_checks_of_calls_are_outlier_detection() -> None:
    said = Calls(consecutive_errors=3, ejection=timedelta(seconds=15), max_ejected=Decimal("0.4"))
    snapshot = compile(world_with().apply(ChainsUpdate({"web": Chain(calls={"orders": said})})), ROLE, 1)

    outlier = {cluster.name: cluster.outlier for cluster in snapshot.clusters}
    told = outlier["orders"]
    assert (told.consecutive_errors, told.ejection_ms, told.max_ejected) == (3, 15_000, 400)
    # What they say nothing of is as it is without them.
    assert (told.success_rate, told.max_ejection_ms) == (500, 300_000)
    assert outlier["web"].consecutive_errors == 5


def test_an_upstream_may_be_in_another_datacenter_or_be_a_prepared_query() -> None:
    role = SidecarRole(
        "web",
        upstreams=(
            Upstream("orders", "127.0.0.1:9001", "west"),
            Upstream("orders", "127.0.0.1:9002", "east"),
            Upstream("near", "127.0.0.1:9003", query=True),
        ),
    )
    world = world_with("protocol: grpc").apply(QueryUpdate("near", "orders"))
    snapshot = compile(world, role, 1)

    led = {table.name: table.routes[0].destinations[0].cluster for table in snapshot.route_tables}
    assert led["upstream-orders@west"] == "orders@west"
    # Our own datacenter is not named.
    assert led["upstream-orders"] == "orders"
    assert led["upstream-query:near"] == "query:near"
    clusters = {cluster.name: cluster for cluster in snapshot.clusters}
    # A query has the settings of the service that it finds.
    assert clusters["query:near"].protocol == clusters["orders"].protocol != wire.UPSTREAM_PROTOCOL_HTTP1
    assert clusters["query:near"].service == "orders"

    near = Target("near", query=True)
    assert watched(world, "query:near") == (near,)
    found = replace(ONE, serves="orders@west")
    update = endpoints(world.apply(EndpointsUpdate(near, (found,))), role, "query:near", 1)
    assert update is not None
    assert list(update.endpoints[0].spiffe_ids) == ["spiffe://abc.consul/ns/default/dc/west/svc/orders"]


def test_what_a_registration_says_goes_before_what_config_entries_say() -> None:
    seconds = [timedelta(seconds=number) for number in range(6)]
    calls = {"": Calls(seconds[1], max_requests=9), "orders": Calls(seconds[2], max_connections=8)}
    web = Chain(protocol="http", local=Local(seconds[1], seconds[2], 5), calls=calls)
    world = World(discovered=True).apply(ChainsUpdate({"web": web, "orders": Chain(), "stock": Chain()}))
    told = SidecarRole(
        "web",
        protocol="grpc",
        local=Local(request_timeout=seconds[4]),
        calls={"orders": Calls(max_pending=7), "stock": Calls(seconds[5])},
    )

    before, after = (
        {cluster.name: cluster for cluster in compile(world, role, 1).clusters} for role in (SidecarRole("web"), told)
    )
    (inbound,) = [table for table in compile(world, told, 1).route_tables if table.name == "inbound"]

    assert (before["app"].protocol, after["app"].protocol) == (
        wire.UPSTREAM_PROTOCOL_HTTP1,
        wire.UPSTREAM_PROTOCOL_GRPC,
    )
    assert after["app"].connect_timeout_ms == 1000
    assert inbound.routes[0].timeout_ms == 4000
    assert (after["orders"].connect_timeout_ms, after["orders"].limits.max_connections) == (2000, 8)
    assert (before["orders"].limits.max_pending, after["orders"].limits.max_pending) == (1024, 7)
    assert (before["stock"].connect_timeout_ms, after["stock"].connect_timeout_ms) == (1000, 5000)
    assert after["stock"].limits.max_requests == 9


def test_a_rewrite_above_an_expression_of_the_service_is_named() -> None:
    routes = (
        ChainRoute("route-0", (ChainBranch(ORDERS),), ChainMatch(path_regex="/v[0-9]+")),
        ChainRoute("default", (ChainBranch(ORDERS),)),
    )
    gateway = """listeners: [{port: 8080}]
routes:
  - {name: api, match: {path: /api/*}, rewrite: {path: /*}, to: {service: orders}}
  - {name: v, match: {path: /v/*}, to: {service: orders}}
  - {name: all, to: {service: orders}}
"""
    documents = replace(document_set({"gateways/edge.yaml": gateway}), discovered=True)
    world = World().apply(documents).apply(ChainsUpdate({"orders": Chain(protocol="http", routes=routes)}))

    (named,) = untold(world, "edge")
    assert named == (
        "gateways/edge.yaml:3:5: route api: its rewrite leaves out orders/route-0 of Consul's discovery chain, which "
        "matches the path '/v[0-9]+': what paths become is told beforehand of patterns alone, without expressions"
    )
    (table,) = compile(world, GatewayRole("edge"), 1).route_tables
    names = [route.name for route in table.routes]
    assert names == ["api/default", "v/route-0", "v/default", "all/route-0", "all/default"]
    both = table.routes[1].match
    assert (both.path.prefix, list(both.path_regexes)) == ("/v", ["/v[0-9]+"])
