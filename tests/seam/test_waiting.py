"""Requests for a cluster whose endpoints are not known yet."""

import threading

import pytest

from sidecar._dataplane import DataPlane
from sidecar.wire import control_pb2 as control
from sidecar.wire import snapshot_pb2 as wire
from tests.seam.plane import apply, ask, endpoints, get, poll, snapshot, stats


def wanted(plane: DataPlane) -> str:
    """The cluster whose endpoints are asked for next."""
    return poll(plane, lambda event: event.WhichOneof("kind") == "cluster_wanted").cluster_wanted.cluster


def waiting(plane: DataPlane) -> tuple[threading.Thread, list[tuple[int, bytes]]]:
    """A request that waits for the endpoints of `orders`, and where its answer will stand."""
    address = ask(plane, listeners=control.ListenersQuery()).listeners.listeners[0].address
    answers: list[tuple[int, bytes]] = []
    caller = threading.Thread(target=lambda: answers.append(get(address)))
    caller.start()
    assert wanted(plane) == "orders"
    return caller, answers


def test_a_request_waits_until_its_cluster_is_known(plane: DataPlane, backend: str) -> None:
    apply(plane, snapshot())
    caller, answers = waiting(plane)
    plane.apply_endpoints(endpoints(1, backend))
    caller.join()

    assert answers == [(200, b"hello")]
    (cluster,) = ask(plane, clusters=control.ClustersQuery()).clusters.clusters
    assert cluster.endpoints[0].requests_total == 1
    assert stats(plane).exchanges_total == 1

    # It was used once, and is told once.
    assert list(ask(plane, used=control.UsedQuery()).used.clusters) == ["orders"]
    assert list(ask(plane, used=control.UsedQuery()).used.clusters) == []

    # What nobody follows is asked for again by the next request, which waits for it.
    forgotten = control.EndpointsUpdate(cluster="orders", version=2, forgotten=True)
    assert plane.apply_endpoints(forgotten.SerializeToString()) == 2
    assert ask(plane, clusters=control.ClustersQuery()).clusters.clusters[0].version == 0
    caller, answers = waiting(plane)
    assert answers == []
    plane.apply_endpoints(endpoints(3, backend))
    caller.join()
    assert answers == [(200, b"hello")]


@pytest.mark.parametrize("renamed", [False, True])
def test_a_request_that_waits_for_a_cluster_goes_where_the_next_snapshot_leads(
    plane: DataPlane, backend: str, renamed: bool
) -> None:
    apply(plane, snapshot())
    caller, answers = waiting(plane)

    changed = snapshot(2)
    changed.clusters[0].limits.max_requests = 7
    if renamed:
        changed.clusters[0].name = changed.route_tables[0].routes[0].destinations[0].cluster = "orders/v1"
    apply(plane, changed)
    if renamed:
        assert wanted(plane) == "orders/v1"
    update = control.EndpointsUpdate.FromString(endpoints(1, backend))
    update.cluster = changed.clusters[0].name
    plane.apply_endpoints(update.SerializeToString())
    caller.join()

    assert answers == [(200, b"hello")]


def test_a_request_that_waits_is_told_when_its_listener_is_gone(plane: DataPlane) -> None:
    apply(plane, snapshot())
    caller, answers = waiting(plane)

    apply(plane, wire.Snapshot(version=2))
    caller.join()

    assert answers[0][0] == 503
    assert b"The configuration changed while the request waited." in answers[0][1]
