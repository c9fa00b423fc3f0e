"""A world and a role become what the data plane runs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.snapshot import GatewayRole, KeyFiles, Role, SidecarRole, compile, endpoints, key_files
from sidecar.wire import snapshot_pb2 as wire
from sidecar.world import World
from tests.unit.documents import EDGE, INVENTORY, MESH, ORDERS, SHOP, document_set, world_of

ORDERS_ROLE = SidecarRole("orders", app_address="127.0.0.1:9000")
EDGE_ROLE = GatewayRole("edge")


def snapshot_of(texts: dict[str, str], role: Role) -> wire.Snapshot:
    return compile(world_of(texts), role, 1)


def table(snapshot: wire.Snapshot, name: str) -> list[wire.Route]:
    (found,) = [table for table in snapshot.route_tables if table.name == name]
    return list(found.routes)


def cluster(snapshot: wire.Snapshot, name: str) -> wire.Cluster:
    (found,) = [cluster for cluster in snapshot.clusters if cluster.name == name]
    return found


def destinations(route: wire.Route) -> dict[str, int]:
    return {destination.cluster: destination.weight for destination in route.destinations}


# --- a sidecar


def test_a_sidecar_listens_for_the_mesh_for_its_app_and_on_each_upstream_port() -> None:
    snapshot = snapshot_of(SHOP, ORDERS_ROLE)

    assert [(listener.name, listener.address, listener.direction) for listener in snapshot.listeners] == [
        ("inbound", "0.0.0.0:21000", wire.DIRECTION_INBOUND),
        ("outbound", "127.0.0.1:15001", wire.DIRECTION_OUTBOUND),
        ("upstream-inventory", "127.0.0.1:9191", wire.DIRECTION_OUTBOUND),
    ]
    inbound, outbound, upstream = snapshot.listeners
    assert inbound.tls.require_client_certificate
    assert (list(inbound.tls.identities), inbound.tls.trust_bundle) == (["mesh"], "mesh")
    assert not outbound.HasField("tls")
    assert upstream.origin.place == "services/orders.yaml:6:13"
    assert [listener.mode for listener in snapshot.listeners] == [
        wire.LISTENER_MODE_HTTP,
        wire.LISTENER_MODE_PROXY,
        wire.LISTENER_MODE_HTTP,
    ]


def test_what_comes_in_goes_to_the_app_in_the_clear_once_and_without_a_limit_of_ours() -> None:
    snapshot = snapshot_of(SHOP, ORDERS_ROLE)

    (route,) = table(snapshot, "inbound")
    app = cluster(snapshot, "app")
    assert destinations(route) == {"app": 1}
    assert (route.timeout_ms, route.retry.attempts) == (0, 1)
    assert app.protocol == wire.UPSTREAM_PROTOCOL_GRPC
    assert not app.HasField("tls")


def test_a_service_is_found_by_its_names_its_routes_first_and_then_all_its_endpoints() -> None:
    routes = [route for route in table(snapshot_of(SHOP, ORDERS_ROLE), "outbound") if "orders" in route.match.hosts]

    # The canary takes everything, so nothing is left for the whole service.
    assert [(route.name, destinations(route), route.timeout_ms) for route in routes] == [
        ("orders/beta-testers", {"orders/v2": 1}, 3000),
        ("orders/canary", {"orders/v1": 95, "orders/v2": 5}, 5000),
    ]
    assert list(routes[0].match.hosts) == ["orders", "orders.mesh", "orders.service.consul"]
    assert [(header.name, header.exact) for header in routes[0].match.headers] == [("x-beta", "1")]
    assert [route.origin.place for route in routes] == ["services/orders.yaml:11:5", "services/orders.yaml:14:5"]


def test_a_subset_is_found_by_its_own_name() -> None:
    routes = {tuple(route.match.hosts): route for route in table(snapshot_of(SHOP, ORDERS_ROLE), "outbound")}

    assert destinations(routes["v1.orders.mesh",]) == {"orders/v1": 1}
    assert destinations(routes["inventory", "inventory.mesh", "inventory.service.consul"]) == {"inventory": 1}


def test_an_upstream_port_leads_to_its_service_whatever_the_host() -> None:
    (route,) = table(snapshot_of(SHOP, ORDERS_ROLE), "upstream-inventory")

    assert destinations(route) == {"inventory": 1}
    assert list(route.match.hosts) == []


def test_a_mesh_cluster_shows_our_leaf_and_accepts_only_the_identity_of_its_service() -> None:
    subset = cluster(snapshot_of(SHOP, ORDERS_ROLE), "orders/v1")

    assert (subset.service, subset.subset) == ("orders", "v1")
    assert (subset.tls.identity, subset.tls.trust_bundle) == ("mesh", "mesh")
    assert list(subset.tls.spiffe_ids) == ["spiffe://shop.local/ns/default/dc/dc1/svc/orders"]
    assert subset.tls.server_name == "orders.default.dc1.internal.shop.local"
    assert subset.origin.place == "services/orders.yaml:8:7"


def test_a_service_without_sidecars_is_reached_in_the_clear_where_its_document_says_so() -> None:
    snapshot = snapshot_of({**SHOP, "services/inventory.yaml": f"{INVENTORY}\ntls: disabled\n"}, ORDERS_ROLE)

    assert not cluster(snapshot, "inventory").HasField("tls")
    assert cluster(snapshot, "orders/v1").HasField("tls")


def test_a_cluster_has_the_settings_of_its_service_and_else_of_the_mesh() -> None:
    mesh = MESH + "load_balancer: random\nconnect_timeout: 1s\ncircuit_breaker: {max_connections: 7}\n"
    snapshot = snapshot_of({**SHOP, "mesh.yaml": mesh}, ORDERS_ROLE)
    orders, inventory = cluster(snapshot, "orders/v1"), cluster(snapshot, "inventory")

    assert (orders.protocol, inventory.protocol) == (wire.UPSTREAM_PROTOCOL_GRPC, wire.UPSTREAM_PROTOCOL_HTTP1)
    assert orders.balance == wire.BALANCE_POLICY_LEAST_REQUEST
    assert inventory.balance == wire.BALANCE_POLICY_RANDOM
    assert (orders.limits.max_pending, orders.limits.max_connections) == (256, 1024)
    assert (inventory.limits.max_pending, inventory.limits.max_connections) == (1024, 7)
    assert (orders.connect_timeout_ms, inventory.connect_timeout_ms) == (1000, 1000)


def test_what_a_failure_is_says_the_service_or_the_mesh() -> None:
    mesh = MESH + "failures: {grpc: [internal]}\n"
    orders = ORDERS + "failures: {statuses: [404, 500-503], grpc: []}\n"
    snapshot = snapshot_of({**SHOP, "mesh.yaml": mesh, "services/orders.yaml": orders}, ORDERS_ROLE)

    def told(name: str) -> tuple[list[tuple[int, int]], list[int]]:
        failures = cluster(snapshot, name).failures
        return [(item.first, item.last) for item in failures.http], list(failures.grpc)

    assert told("orders/v1") == ([(404, 404), (500, 503)], [])
    assert told("inventory") == ([(500, 599)], [13])
    # The application beside us is judged as the data plane has it.
    assert not cluster(snapshot, "app").HasField("failures")


@pytest.mark.parametrize(
    ("mesh", "service", "milliseconds"),
    [
        ("{}", "protocol: http", 15_000),
        ("{}", "protocol: http2", 15_000),
        ("{}", "protocol: grpc", 0),
        ("timeout: 3s", "protocol: grpc", 3000),
        ("timeout: 3s", "timeout: 2s", 2000),
        ("timeout: 3s", "timeout: 0s", 0),
        ("timeout: 3s", "{timeout: 2s, routes: [{name: all, timeout: 1s}]}", 1000),
    ],
)
def test_a_timeout_is_that_of_the_route_the_service_the_mesh_or_the_protocol(
    mesh: str, service: str, milliseconds: int
) -> None:
    snapshot = snapshot_of({"mesh.yaml": mesh, "services/a.yaml": service}, SidecarRole("b"))

    assert [route.timeout_ms for route in table(snapshot, "outbound")] == [milliseconds]


def test_a_disabled_route_and_a_disabled_service_are_left_out() -> None:
    disabled = "enabled: false\n" + INVENTORY
    texts = {
        **SHOP,
        "services/inventory.yaml": disabled,
        "services/orders.yaml": ORDERS.replace("- name: canary", "- name: canary\n    enabled: false"),
    }
    snapshot = snapshot_of(texts, ORDERS_ROLE)

    names = [route.name for route in table(snapshot, "outbound")]
    assert names == ["v1.orders", "v2.orders", "orders/beta-testers", "orders"]
    assert table(snapshot, "upstream-inventory") == []
    assert "inventory" not in {cluster.name for cluster in snapshot.clusters}


def test_a_branch_without_weight_is_not_sent_anything() -> None:
    orders = ORDERS.replace("weight: 5,", "weight: 0,")
    routes = table(snapshot_of({**SHOP, "services/orders.yaml": orders}, ORDERS_ROLE), "outbound")

    assert [destinations(route) for route in routes if route.name == "orders/canary"] == [{"orders/v1": 95}]


def test_a_sidecar_without_documents_still_serves_its_app() -> None:
    snapshot = compile(World(), SidecarRole("orders"), 7)

    assert snapshot.version == 7
    assert [cluster.name for cluster in snapshot.clusters] == ["app"]
    assert snapshot.telemetry.tracing.ratio == 1
    assert dict(snapshot.telemetry.tracing.resource) == {"service.name": "orders"}


def test_tracing_and_the_access_log_are_those_of_the_mesh() -> None:
    telemetry = snapshot_of({"mesh.yaml": "tracing: {ratio: 5%}\naccess_log: {enabled: false}"}, ORDERS_ROLE).telemetry

    assert (telemetry.tracing.enabled, telemetry.tracing.ratio) == (True, 0.05)
    assert not telemetry.access_log.enabled


# --- a gateway


def test_a_gateway_listens_as_written_and_shows_its_certificates() -> None:
    listeners = """\
listeners:
  - {port: 8080}
  - {port: 8443, tls: {certificates: [{cert: a.pem, key: a.key}, {cert: b.pem, key: b.key}]}}
  - port: 8443
    address: "127.0.0.1"
    tls:
      certificates: [{cert: b.pem, key: b.key}]
      min_version: "1.3"
      client_certificates: {ca: clients.pem, mode: optional}
"""
    world = world_of({"gateways/edge.yaml": listeners})
    snapshot = compile(world, EDGE_ROLE, 1)

    assert [(listener.name, listener.address, list(listener.tls.identities)) for listener in snapshot.listeners] == [
        ("edge-8080", "0.0.0.0:8080", []),
        ("edge-8443", "0.0.0.0:8443", ["edge/0", "edge/1"]),
        ("edge-8443-2", "127.0.0.1:8443", ["edge/1"]),
    ]
    assert not snapshot.listeners[0].HasField("tls")
    _, public, known = (listener.tls for listener in snapshot.listeners)
    assert (public.min_version, public.trust_bundle) == (wire.TLS_VERSION_1_2, "")
    assert (known.min_version, known.trust_bundle) == (wire.TLS_VERSION_1_3, "edge-clients/0")
    assert (known.require_client_certificate, known.any_client_name) == (False, True)
    files = key_files(world, EDGE_ROLE)
    assert {name: certificate.cert for name, certificate in files.pairs.items()} == {
        "edge/0": "a.pem",
        "edge/1": "b.pem",
    }
    assert files.roots == {"edge-clients/0": "clients.pem"}
    assert key_files(world, ORDERS_ROLE) == KeyFiles()


def test_a_gateways_route_to_a_service_holds_the_services_routes_below_its_match() -> None:
    routes = table(snapshot_of(SHOP, EDGE_ROLE), "edge")

    assert [(route.name, destinations(route)) for route in routes] == [
        ("shop-api/beta-testers", {"orders/v2": 1}),
        ("shop-api/canary", {"orders/v1": 95, "orders/v2": 5}),
    ]
    for route in routes:
        assert list(route.match.hosts) == ["shop.example.com"]
        assert (route.match.path.prefix, route.rewrite.prefix) == ("/api", "/")


def test_the_rule_of_a_route_that_leads_to_all_of_a_service_is_the_gateways() -> None:
    (route,) = table(snapshot_of({**SHOP, "services/orders.yaml": "protocol: grpc\n"}, EDGE_ROLE), "edge")

    assert (route.name, destinations(route)) == ("shop-api", {"orders": 1})
    assert route.origin.place == "gateways/edge.yaml:4:5"


def test_a_gateways_timeout_and_retry_replace_the_services() -> None:
    edge = EDGE + "    timeout: 9s\n    retry: {attempts: 1}\n"
    routes = table(snapshot_of({**SHOP, "gateways/edge.yaml": edge}, EDGE_ROLE), "edge")

    assert {(route.timeout_ms, route.retry.attempts) for route in routes} == {(9000, 1)}


def test_a_gateways_route_to_a_subset_or_a_split_goes_straight_there() -> None:
    edge = """\
routes:
  - {name: first, match: {path: /v1/*}, to: {service: orders, subset: v1}}
  - name: second
    split: [{weight: 1, to: {service: orders, subset: v2}}, {weight: 3, to: {service: inventory}}]
"""
    snapshot = snapshot_of({**SHOP, "gateways/edge.yaml": edge}, EDGE_ROLE)

    assert [(route.name, destinations(route)) for route in table(snapshot, "edge")] == [
        ("first", {"orders/v1": 1}),
        ("second", {"orders/v2": 1, "inventory": 3}),
    ]
    assert [cluster.name for cluster in snapshot.clusters] == ["inventory", "orders/v1", "orders/v2"]


def test_a_gateway_leaves_out_what_is_disabled() -> None:
    edge = """\
routes:
  - {name: off, enabled: false, to: {service: orders}}
  - {name: gone, match: {path: /gone}, to: {service: inventory}}
  - {name: none, match: {path: /none}, split: [{weight: 1, to: {service: inventory}}]}
  - {name: half, split: [{weight: 1, to: {service: inventory}}, {weight: 1, to: {service: orders}}]}
"""
    texts = {
        **SHOP,
        "services/inventory.yaml": "enabled: false",
        "gateways/edge.yaml": edge,
        "services/orders.yaml": "{}",
    }
    snapshot = snapshot_of(texts, EDGE_ROLE)

    assert [(route.name, destinations(route)) for route in table(snapshot, "edge")] == [("half", {"orders": 1})]


def test_a_route_to_a_service_that_cannot_be_read_finds_no_endpoints_rather_than_another_route() -> None:
    world = World().apply(document_set({"gateways/edge.yaml": EDGE, "services/orders.yaml": "protcol: grpc"}))
    snapshot = compile(world, EDGE_ROLE, 1)

    assert [(route.name, destinations(route)) for route in table(snapshot, "edge")] == [("shop-api", {"orders": 1})]
    update = endpoints(world, EDGE_ROLE, "orders", 4)
    assert update is not None
    assert (update.version, list(update.endpoints)) == (4, [])


def test_a_gateway_without_a_document_does_nothing() -> None:
    snapshot = compile(World(), EDGE_ROLE, 1)

    assert (list(snapshot.listeners), list(snapshot.route_tables), list(snapshot.clusters)) == ([], [], [])


# --- endpoints


@pytest.mark.parametrize(
    ("cluster", "addresses"),
    [
        ("app", ["127.0.0.1:9000"]),
        ("orders", ["127.0.0.1:21001", "127.0.0.1:21002"]),
        ("orders/v2", ["127.0.0.1:21002"]),
        ("orders/v9", []),
        ("nowhere", []),
    ],
)
def test_the_endpoints_of_a_cluster_are_those_its_condition_takes(cluster: str, addresses: list[str]) -> None:
    update = endpoints(world_of(SHOP), ORDERS_ROLE, cluster, 3)

    assert update is not None
    assert (update.cluster, update.version) == (cluster, 3)
    assert [endpoint.address for endpoint in update.endpoints] == addresses
    assert all(endpoint.healthy for endpoint in update.endpoints)


def test_an_endpoint_keeps_its_weight_and_meta() -> None:
    update = endpoints(world_of(SHOP), ORDERS_ROLE, "orders/v2", 1)

    assert update is not None
    (endpoint,) = update.endpoints
    assert (endpoint.id, endpoint.weight, dict(endpoint.meta)) == ("127.0.0.1:21002", 3, {"version": "2"})


def test_a_gateway_has_no_app() -> None:
    assert endpoints(world_of(SHOP), EDGE_ROLE, "app", 1) is None


# --- properties


places = st.sets(st.sampled_from(sorted(SHOP)))
roles = st.sampled_from([ORDERS_ROLE, SidecarRole("inventory"), SidecarRole("nowhere"), EDGE_ROLE, GatewayRole("x")])


@given(places, roles)
def test_the_same_world_compiles_to_the_same_bytes_and_stays_as_it_was(places: set[str], role: Role) -> None:
    texts = {place: SHOP[place] for place in places}
    world, same_world = (World().apply(document_set(dict(order))) for order in (texts.items(), [*texts.items()][::-1]))

    first = compile(world, role, 1).SerializeToString(deterministic=True)

    assert compile(world, role, 1).SerializeToString(deterministic=True) == first
    assert compile(same_world, role, 1).SerializeToString(deterministic=True) == first
    assert world == same_world


@given(places, roles)
def test_every_name_in_a_snapshot_is_defined_in_it_once(places: set[str], role: Role) -> None:
    snapshot = compile(World().apply(document_set({place: SHOP[place] for place in places})), role, 1)
    tables, clusters = ([named.name for named in part] for part in (snapshot.route_tables, snapshot.clusters))
    used = {item.cluster for table in snapshot.route_tables for route in table.routes for item in route.destinations}

    assert {listener.route_table for listener in snapshot.listeners} <= set(tables)
    assert used <= set(clusters)
    assert len(set(tables)) == len(tables)
    assert len(set(clusters)) == len(clusters)
    for compiled in snapshot.route_tables:
        names = [route.name for route in compiled.routes]
        assert len(set(names)) == len(names)


# --- limits


def test_a_listener_has_the_limits_of_its_own_document_and_else_of_the_mesh() -> None:
    texts = {
        **SHOP,
        "mesh.yaml": MESH + "limits: {max_headers: 50, header_timeout: 5s}\n",
        "services/orders.yaml": ORDERS + "limits: {max_headers: 70}\n",
        "gateways/edge.yaml": EDGE.replace("{port: 8443,", "{port: 8443, limits: {max_header_bytes: 8KiB},"),
    }
    inbound, outbound, upstream = snapshot_of(texts, ORDERS_ROLE).listeners
    (edge,) = snapshot_of(texts, EDGE_ROLE).listeners

    assert [item.limits.max_headers for item in (inbound, outbound, upstream, edge)] == [70, 50, 50, 50]
    assert {item.limits.header_timeout_ms for item in (inbound, outbound, upstream, edge)} == {5000}
    assert [item.limits.max_header_bytes for item in (outbound, edge)] == [60 << 10, 8 << 10]
    assert outbound.limits.idle_timeout_ms == 3_600_000


def test_a_gateways_word_on_the_size_of_a_request_goes_before_that_of_the_service() -> None:
    orders = ORDERS.replace("    timeout: 5s\n", "    timeout: 5s\n    max_request_body: 1MiB\n")
    edge = EDGE.replace("    rewrite:", "    max_request_body: 2MiB\n    rewrite:")

    def sizes(texts: dict[str, str]) -> set[int]:
        return {route.max_request_body for route in table(snapshot_of(texts, EDGE_ROLE), "edge")}

    assert sizes(SHOP) == {0}
    assert sizes({**SHOP, "services/orders.yaml": orders}) == {0, 1 << 20}
    assert sizes({**SHOP, "services/orders.yaml": orders, "gateways/edge.yaml": edge}) == {2 << 20}
