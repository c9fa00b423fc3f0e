"""Changes of a gateway's route and of the service's route that it leads to, in the order in which they are made."""

from sidecar.snapshot import GatewayRole, compile
from sidecar.wire import snapshot_pb2 as wire
from tests.unit.documents import SHOP, world_of


def test_what_the_gateway_changes_comes_last() -> None:
    service = {
        **SHOP,
        "services/inventory.yaml": (
            "routes: [{name: all, request_query: {set: {from: mesh}}, request_cookies: {remove: [secret]}}]\n"
        ),
    }
    edge = (
        "listeners: [{port: 8080}]\n"
        "routes:\n"
        "  - {name: all, to: {service: inventory}, request_query: {remove: [debug], set: {from: '%CLIENT%'}}, "
        "request_cookies: {add: {a: b}}}\n"
    )
    (table,) = compile(world_of({**service, "gateways/edge.yaml": edge}), GatewayRole("edge"), 1).route_tables
    route = table.routes[0]

    assert list(route.query_changes) == [
        wire.HeaderChange(name="from", set="mesh"),
        wire.HeaderChange(name="debug", remove=True),
        wire.HeaderChange(name="from", set="%CLIENT%"),
    ]
    assert list(route.cookie_changes) == [
        wire.HeaderChange(name="secret", remove=True),
        wire.HeaderChange(name="a", add="b"),
    ]
