"""A gateway's `cors` becomes routes that answer preflights, and a policy on those that lead somewhere."""

import re

from sidecar.snapshot import GatewayRole, compile
from sidecar.wire import snapshot_pb2 as wire
from tests.unit.documents import SHOP, world_of

CORS = "cors: {allow_origins: ['https://a.test'], allow_headers: [x-own, content-type], max_age: 90s}"


def routes_of(route: str) -> list[wire.Route]:
    edge = f"listeners: [{{port: 8080}}]\nroutes:\n  - {route}\n"
    (table,) = compile(world_of({**SHOP, "gateways/edge.yaml": edge}), GatewayRole("edge"), 1).route_tables
    return list(table.routes)


def test_preflights_come_before_all_that_the_route_stands_for() -> None:
    match = "{host: shop.test, path: /api/*, methods: [POST, X+Y], headers: {x-a: b}, query: {q: '1'}, "
    match += "cookies: {c: d}, source: [10.0.0.0/8]}"
    first, *others = routes_of(f"{{name: api, match: {match}, to: {{service: orders}}, {CORS}}}")

    assert (first.name, first.preflight, list(first.destinations)) == ("api", True, [])
    assert (list(first.match.hosts), first.match.path.prefix) == (["shop.test"], "/api")
    assert list(first.match.methods) == ["OPTIONS"]
    assert [(value.name, value.exact) for value in first.match.query] == [("q", "1")]
    assert (list(first.match.cookies), list(first.match.sources)) == ([], ["10.0.0.0/8"])
    origin, asked = first.match.headers
    assert (origin.name, origin.present) == ("origin", True)
    assert asked.name == "access-control-request-method"
    assert re.fullmatch(asked.regex, "X+Y")
    assert not re.fullmatch(asked.regex, "XXY")

    assert len(others) > 1
    assert all(other.cors == first.cors and not other.preflight for other in others)


def test_a_route_for_all_methods_takes_all_preflights() -> None:
    first, _ = routes_of(f"{{name: all, to: {{service: inventory}}, {CORS}}}")

    assert not first.match.HasField("path")
    assert first.match.headers[1].present


def test_what_grpc_web_needs_is_there_once() -> None:
    cors = routes_of(f"{{name: all, to: {{service: inventory}}, {CORS}}}")[0].cors

    assert list(cors.allow_headers) == ["x-own", "content-type", "grpc-timeout", "x-grpc-web", "x-user-agent"]
    assert list(cors.expose_headers) == ["grpc-message", "grpc-status", "grpc-status-details-bin"]
    assert list(cors.allow_methods) == ["GET", "HEAD", "POST"]
    assert cors.max_age == 90


def test_without_a_policy_or_a_service_there_are_no_preflights() -> None:
    assert not any(route.preflight or route.HasField("cors") for route in routes_of("{name: a, to: {service: orders}}"))
    off = {**SHOP, "services/inventory.yaml": "enabled: false\n"}
    edge = f"routes: [{{name: a, to: {{service: inventory}}, {CORS}}}]\n"
    (table,) = compile(world_of({**off, "gateways/edge.yaml": edge}), GatewayRole("edge"), 1).route_tables
    assert list(table.routes) == []
