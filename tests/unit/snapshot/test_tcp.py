"""Services whose bytes nobody reads, and paths that probes reach: what the data plane gets of them."""

from dataclasses import replace

from sidecar.intentions import Intention, Intentions, Permission
from sidecar.snapshot import SidecarRole, compile, endpoints, watched
from sidecar.snapshot.role import Exposed, Upstream
from sidecar.wire import snapshot_pb2 as wire
from sidecar.world import (
    Chain,
    ChainBranch,
    ChainRoute,
    ChainsUpdate,
    EndpointsUpdate,
    Instance,
    NamesUpdate,
    Target,
    World,
)
from tests.unit.documents import world_of

DB = """
protocol: tcp
idle_timeout: 5m
retry: {attempts: 2}
endpoints: [{address: 10.0.0.7:21000, meta: {role: primary}}]
subsets: {primary: {where: 'meta.role == "primary"'}}
"""
WEB = """
protocol: http
upstreams: [{service: db, port: 5432}]
"""
EDGE = """
listeners: [{port: 8080}]
routes: [{name: all, split: [{weight: 1, to: {service: db}}, {weight: 1, to: {service: web}}]}]
"""
TEXTS = {"services/db.yaml": DB, "services/web.yaml": WEB}


def listener(snapshot: wire.Snapshot, name: str) -> wire.Listener:
    (found,) = [listener for listener in snapshot.listeners if listener.name == name]
    return found


def tables(snapshot: wire.Snapshot, name: str) -> wire.RouteTable:
    (found,) = [table for table in snapshot.route_tables if table.name == name]
    return found


def cluster(snapshot: wire.Snapshot, name: str) -> wire.Cluster:
    (found,) = [cluster for cluster in snapshot.clusters if cluster.name == name]
    return found


def test_callers_have_a_port_and_names_for_connect() -> None:
    snapshot = compile(world_of(TEXTS), SidecarRole("web"), 1)

    assert listener(snapshot, "upstream-db").mode == wire.LISTENER_MODE_TCP
    (route,) = tables(snapshot, "upstream-db").tcp_routes
    assert (route.name, list(route.match.hosts), route.idle_timeout_ms, route.retry.attempts) == ("db", [], 300_000, 2)
    assert tables(snapshot, "upstream-db").routes == []

    outbound = tables(snapshot, "outbound")
    assert [(route.name, list(route.match.hosts)) for route in outbound.tcp_routes] == [
        ("primary.db", ["primary.db.mesh"]),
        ("db", ["db", "db.mesh", "db.service.consul"]),
    ]
    assert not any("db" in route.match.hosts for route in outbound.routes)
    assert cluster(snapshot, "db").protocol == wire.UPSTREAM_PROTOCOL_TCP
    assert cluster(snapshot, "db").tls.server_name == "db.default.dc1.internal.mesh.local"


def test_the_sidecar_of_such_a_service_takes_bytes() -> None:
    snapshot = compile(world_of(TEXTS), SidecarRole("db"), 1)

    inbound = listener(snapshot, "inbound")
    assert inbound.mode == wire.LISTENER_MODE_TCP
    assert inbound.tls.require_client_certificate
    (route,) = tables(snapshot, "inbound").tcp_routes
    assert (route.retry.attempts, route.idle_timeout_ms) == (1, 300_000)
    assert cluster(snapshot, "app").protocol == wire.UPSTREAM_PROTOCOL_TCP


def test_a_disabled_one_is_led_to_by_nobody() -> None:
    texts = {**TEXTS, "services/db.yaml": f"{DB}\nenabled: false\n"}
    snapshot = compile(world_of(texts), SidecarRole("web"), 1)
    assert [list(table.tcp_routes) for table in snapshot.route_tables] == [[], [], []]


def test_consul_may_say_so_and_lead_elsewhere() -> None:
    resolver = ChainRoute("all", (ChainBranch(Target("db-new")),))
    chains = {"db": Chain(protocol="tcp", routes=(resolver,)), "db-new": Chain(protocol="tcp")}
    world = World(discovered=True).apply(ChainsUpdate(chains))
    role = SidecarRole("web", upstreams=(Upstream("db", "127.0.0.1:5432"),))
    (route,) = tables(compile(world, role, 1), "upstream-db").tcp_routes
    assert [destination.cluster for destination in route.destinations] == ["db-new"]


def test_a_service_whose_protocol_nobody_says_gets_bytes_by_a_port_and_requests_by_name() -> None:
    world = World(discovered=True).apply(NamesUpdate("", frozenset({"orders", "web"})))
    role = SidecarRole("web", upstreams=(Upstream("orders", "127.0.0.1:9191"),))
    snapshot = compile(world, role, 1)

    assert listener(snapshot, "upstream-orders").mode == wire.LISTENER_MODE_TCP
    (route,) = tables(snapshot, "upstream-orders").tcp_routes
    assert [destination.cluster for destination in route.destinations] == ["tcp:orders"]
    raw, read = cluster(snapshot, "tcp:orders"), cluster(snapshot, "orders")
    assert (raw.protocol, read.protocol) == (wire.UPSTREAM_PROTOCOL_TCP, wire.UPSTREAM_PROTOCOL_HTTP1)
    assert (raw.service, raw.tls) == (read.service, read.tls)
    assert any("orders" in route.match.hosts for route in tables(snapshot, "outbound").routes)

    # Both have the endpoints of one watch.
    told = world.apply(EndpointsUpdate(Target("orders"), (Instance("host/1", "10.0.0.1:21000"),)))
    assert watched(told, "tcp:orders") == watched(told, "orders") == (Target("orders"),)
    update = endpoints(told, role, "tcp:orders", 1)
    assert update is not None
    assert [endpoint.address for endpoint in update.endpoints] == ["10.0.0.1:21000"]


def test_its_own_sidecar_does_as_each_caller_asks() -> None:
    world = World(discovered=True)
    snapshot = compile(world, SidecarRole("orders"), 1)
    assert listener(snapshot, "inbound").mode == wire.LISTENER_MODE_BY_ALPN
    (route,), (tcp_route,) = tables(snapshot, "inbound").routes, tables(snapshot, "inbound").tcp_routes
    assert (route.destinations[0].cluster, tcp_route.destinations[0].cluster) == ("app", "app:tcp")
    assert cluster(snapshot, "app:tcp").protocol == wire.UPSTREAM_PROTOCOL_TCP
    update = endpoints(world, SidecarRole("orders"), "app:tcp", 1)
    assert update is not None
    assert [endpoint.address for endpoint in update.endpoints] == ["127.0.0.1:8080"]

    # A rule about requests needs all of them to be read.
    permission = Permission(allow=True, path=("exact", "/"))
    rule = Intention("web", "orders", 9, permissions=(permission,))
    strict = world.apply(Intentions(found=(rule,), default_allow=True))
    assert listener(compile(strict, SidecarRole("orders"), 1), "inbound").mode == wire.LISTENER_MODE_HTTP


def test_an_http_service_whose_chain_leads_to_one_of_tcp_is_refused_alone() -> None:
    astray = ChainRoute("all", (ChainBranch(Target("db")),))
    chains = {"orders": Chain(protocol="http", routes=(astray,)), "db": Chain(protocol="tcp")}
    world = World(discovered=True).apply(ChainsUpdate(chains)).apply(NamesUpdate("", frozenset({"stock"})))
    outbound = tables(compile(world, SidecarRole("web"), 1), "outbound")

    assert {route.name for route in outbound.routes} == {"stock"}
    assert {route.name for route in outbound.tcp_routes} == {"db"}
    assert world.not_carried_out == (
        "service 'orders': no request can be led to it, for its chain leads to 'db', which is of protocol tcp",
    )


PROBED = replace(
    SidecarRole("web", app_address="127.0.0.1:8080"),
    exposed=(
        Exposed("0.0.0.0:21500", "/health", 8080),
        Exposed("0.0.0.0:21500", "/ready", 8081),
        Exposed("0.0.0.0:21501", "/grpc.health.v1.Health/Check", 8082, "http2"),
    ),
)


def test_a_probe_reaches_its_path_and_nothing_else() -> None:
    snapshot = compile(world_of(TEXTS), PROBED, 1)

    exposed = listener(snapshot, "exposed-21500")
    assert (exposed.address, exposed.direction) == ("0.0.0.0:21500", wire.DIRECTION_INBOUND)
    assert not exposed.HasField("tls")
    assert [
        (route.match.path.exact, route.destinations[0].cluster) for route in tables(snapshot, "exposed-21500").routes
    ] == [("/health", "app:http:8080"), ("/ready", "app:http:8081")]
    assert cluster(snapshot, "app:http2:8082").protocol == wire.UPSTREAM_PROTOCOL_HTTP2
    assert not cluster(snapshot, "app:http2:8082").HasField("tls")


def test_the_endpoint_of_a_probe_is_the_application_by_its_port() -> None:
    update = endpoints(world_of(TEXTS), PROBED, "app:http:8081", 1)
    assert update is not None
    assert [endpoint.address for endpoint in update.endpoints] == ["127.0.0.1:8081"]
