"""Health checks and mirrors, as the data plane is told of them."""

import pytest

from sidecar.snapshot import Compiler, SidecarRole, compile
from sidecar.wire import snapshot_pb2 as wire
from tests.unit.documents import world_of

ROLE = SidecarRole("web")
WEB = {"services/web.yaml": "protocol: http\n"}


def compiled(orders: str, others: dict[str, str] | None = None) -> wire.Snapshot:
    return compile(world_of({**WEB, "services/orders.yaml": orders, **(others or {})}), ROLE, 1)


def cluster(snapshot: wire.Snapshot, name: str) -> wire.Cluster:
    return next(cluster for cluster in snapshot.clusters if cluster.name == name)


def routes(snapshot: wire.Snapshot, host: str) -> list[wire.Route]:
    table = next(table for table in snapshot.route_tables if table.name == "outbound")
    return [route for route in table.routes if host in route.match.hosts]


@pytest.mark.parametrize(
    ("protocol", "check", "expected"),
    [
        ("http", "http: /ok, statuses: [200-204, 404]", "http"),
        ("grpc", "grpc: ''", "grpc"),
        ("tcp", "tcp: true", "connect"),
    ],
)
def test_a_check_is_told_of_its_cluster(protocol: str, check: str, expected: str) -> None:
    fields = f"{check}, interval: 5s, timeout: 1s, healthy_threshold: 4, unhealthy_threshold: 5"
    told = cluster(compiled(f"protocol: {protocol}\nhealth_check: {{{fields}}}\n"), "orders").health_check

    assert told.WhichOneof("question") == expected
    assert (told.interval_ms, told.timeout_ms, told.healthy_threshold, told.unhealthy_threshold) == (5000, 1000, 4, 5)
    if expected == "http":
        assert told.http.path == "/ok"
        assert [(both.first, both.last) for both in told.http.statuses] == [(200, 204), (404, 404)]


def test_without_one_nobody_is_asked() -> None:
    assert not cluster(compiled("protocol: http\n"), "orders").HasField("health_check")


def test_all_routes_of_a_service_have_its_mirror_and_lead_to_its_cluster_too() -> None:
    orders = "mirror: {to: {service: next}, share: 12.5%}\nroutes: [{name: a, match: {path: /a}}]\n"
    snapshot = compiled(orders, {"services/next.yaml": "protocol: http\n"})

    assert [route.mirror.cluster for route in routes(snapshot, "orders")] == ["next", "next"]
    assert {route.mirror.share for route in routes(snapshot, "orders")} == {125_000}
    assert cluster(snapshot, "next").protocol == wire.UPSTREAM_PROTOCOL_HTTP1
    assert not routes(snapshot, "next")[0].HasField("mirror")


def test_who_takes_no_requests_gets_no_copies() -> None:
    snapshot = compiled("mirror: {to: {service: next}}\n", {"services/next.yaml": "enabled: false\n"})

    assert not any(route.HasField("mirror") for route in routes(snapshot, "orders"))


def test_a_change_of_who_gets_copies_is_compiled() -> None:
    documents = {**WEB, "services/orders.yaml": "mirror: {to: {service: next}}\n"}
    compiler = Compiler()
    before = compiler.compile(world_of({**documents, "services/next.yaml": "enabled: false\n"}), ROLE, 1)
    after = compiler.compile(world_of({**documents, "services/next.yaml": "protocol: http\n"}), ROLE, 2)

    assert [route.HasField("mirror") for route in routes(before.whole(), "orders")] == [False]
    assert [route.mirror.cluster for route in routes(after.whole(), "orders")] == ["next"]
