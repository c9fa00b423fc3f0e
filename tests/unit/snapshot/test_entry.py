"""A gateway's `sources`, `rate_limit`, `methods` and `content_types` become what the data plane asks of requests."""

from sidecar.snapshot import GatewayRole, compile
from sidecar.wire import snapshot_pb2 as wire
from tests.unit.documents import SHOP, world_of

EDGE = GatewayRole("edge")


def snapshot(gateway: str) -> wire.Snapshot:
    return compile(world_of({**SHOP, "gateways/edge.yaml": f"listeners: [{{port: 8080}}]\n{gateway}"}), EDGE, 1)


def routes(gateway: str) -> list[wire.Route]:
    (table,) = snapshot(gateway).route_tables
    return list(table.routes)


def route(said: str) -> str:
    return f"routes:\n  - {{name: all, to: {{service: inventory}}, {said}}}\n"


def test_no_list_and_an_empty_one_are_not_the_same() -> None:
    def sources(said: str) -> wire.Sources:
        (listener,) = snapshot(f"sources: {said}\n").listeners
        return listener.sources

    assert sources("{deny: [10.0.0.0/8]}") == wire.Sources(deny=["10.0.0.0/8"])
    assert sources("{allow: []}") == wire.Sources(only=True)
    assert sources("{allow: [10.0.0.0/8]}") == wire.Sources(only=True, allow=["10.0.0.0/8"])
    assert sources("{allow_files: [a.txt]}") == wire.Sources(only=True, allow_lists=["a.txt"])
    assert sources("{deny_files: [a.txt]}") == wire.Sources(deny_lists=["a.txt"])
    assert not snapshot("").listeners[0].HasField("sources")


def test_a_listener_names_its_balancers_and_where_they_ask() -> None:
    said = (
        "listeners: [{port: 8080, proxy_protocol: {trusted: [10.0.0.0/8, '::1']}, health_path: /healthz}, {port: 8081}]"
    )
    first, second = compile(world_of({**SHOP, "gateways/edge.yaml": said}), EDGE, 1).listeners

    assert first.proxy_protocol == wire.ProxyProtocol(trusted=["10.0.0.0/8", "::1/128"])
    assert first.health_path == "/healthz"
    assert (second.HasField("proxy_protocol"), second.health_path) == (False, "")


def test_a_routes_quota_is_asked_before_the_gateways() -> None:
    limit = "rate_limit: {requests: 5, per: 1m, burst: 2, by: [consumer, group, source, method, {claim: sub}]}"
    (made,) = routes(f"authenticate: [{{key: {{}}}}]\nrate_limit: {{requests: 9}}\n{route(limit)}")
    own, whole = made.quotas

    assert (own.name, own.scope, whole.name, whole.scope) == ("route", "all", "gateway", "")
    assert (own.rate.requests, own.rate.period_ms, own.rate.burst) == (5, 60_000, 2)
    kinds = [key.WhichOneof("kind") for key in own.rate.by]
    assert kinds == ["consumer", "group", "source", "method", "claim"]
    assert (whole.rate.requests, whole.rate.period_ms) == (9, 1000)


def test_a_preflight_is_held_to_its_address_alone() -> None:
    said = "sources: {deny: [10.0.0.0/8]}, rate_limit: {requests: 1}, methods: [GET], content_types: [a/b]"
    preflight, made = routes(route(f"{said}, cors: {{allow_origins: ['*']}}"))

    assert preflight.preflight
    assert preflight.sources == made.sources == wire.Sources(deny=["10.0.0.0/8"])
    assert not preflight.quotas
    assert not preflight.HasField("shape")
    assert made.shape == wire.Shape(methods=["GET"], content_types=["a/b"])


def test_all_routes_of_a_service_behind_one_count_together() -> None:
    service = {
        **SHOP,
        "services/inventory.yaml": "routes: [{name: a, match: {path: /a}}, {name: b, match: {path: /b}}]\n",
    }
    edge = f"listeners: [{{port: 8080}}]\n{route('rate_limit: {requests: 1}')}"
    (table,) = compile(world_of({**service, "gateways/edge.yaml": edge}), EDGE, 1).route_tables

    assert len(table.routes) == 3
    assert {(quota.name, quota.scope) for made in table.routes for quota in made.quotas} == {("route", "all")}
