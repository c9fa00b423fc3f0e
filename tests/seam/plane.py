"""A data plane alone: what it is told and asked, as the control side does."""

import http.client
import time
from collections.abc import Callable

from sidecar._dataplane import DataPlane
from sidecar.wire import control_pb2 as control
from sidecar.wire import snapshot_pb2 as wire


def snapshot(version: int = 1) -> wire.Snapshot:
    """One cleartext listener on a free port, which leads everything to the cluster `orders`."""
    route = wire.Route(name="all", destinations=[wire.Destination(cluster="orders", weight=1)])
    return wire.Snapshot(
        version=version,
        listeners=[
            wire.Listener(
                name="outbound",
                address="127.0.0.1:0",
                direction=wire.DIRECTION_OUTBOUND,
                route_table="outbound",
                origin=wire.Origin(place="services/orders.yaml"),
            )
        ],
        route_tables=[wire.RouteTable(name="outbound", routes=[route])],
        clusters=[
            wire.Cluster(
                name="orders",
                service="orders",
                protocol=wire.UPSTREAM_PROTOCOL_HTTP1,
                balance=wire.BALANCE_POLICY_ROUND_ROBIN,
            )
        ],
    )


def apply(plane: DataPlane, message: wire.Snapshot) -> int:
    return plane.apply(message.SerializeToString())


def endpoints(version: int, *addresses: str) -> bytes:
    update = control.EndpointsUpdate(cluster="orders", version=version)
    for address in addresses:
        update.endpoints.add(id=address, address=address, weight=1, healthy=True)
    return update.SerializeToString()


def ask(plane: DataPlane, **question: object) -> control.Reply:
    query = control.Query(**question)  # type: ignore[arg-type]
    return control.Reply.FromString(plane.query(query.SerializeToString()))


def stats(plane: DataPlane) -> control.Stats:
    return ask(plane, stats=control.StatsQuery()).stats


def poll(plane: DataPlane, wanted: Callable[[control.Event], bool], within: float = 10) -> control.Event:
    """The first event of this kind; others are dropped."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        for event in control.Events.FromString(plane.poll_events(100, 0.1)).events:
            if wanted(event):
                return event
    raise AssertionError(f"no such event within {within} s")


def get(address: str) -> tuple[int, bytes]:
    """One request for `orders`: status and content of its answer."""
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request("GET", "/", headers={"Host": "orders"})
    answer = connection.getresponse()
    said = answer.status, answer.read()
    connection.close()
    return said
