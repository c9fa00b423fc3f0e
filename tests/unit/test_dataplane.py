"""The seam's face: messages in, messages out, refusals as errors of ours, and waits that hold nobody up."""

import asyncio

import pytest

from sidecar.dataplane import DataPlane
from sidecar.errors import SeamError
from sidecar.wire import control_pb2 as control
from sidecar.wire.snapshot_pb2 import Cluster, Snapshot
from tests.double import SeamDouble, wanted


def test_messages_cross_whole() -> None:
    seam = SeamDouble()
    plane = DataPlane(seam)

    assert plane.apply(Snapshot(version=3), Snapshot(clusters=[Cluster(name="orders")]).SerializeToString()) == 3
    assert plane.apply_secrets(control.Secrets(version=4)) == 4
    assert plane.apply_endpoints(control.EndpointsUpdate(cluster="orders", version=5)) == 5

    assert seam.snapshots == [Snapshot(version=3, clusters=[Cluster(name="orders")])]
    assert seam.endpoints[0].cluster == "orders"


def test_a_refusal_keeps_its_words() -> None:
    seam = SeamDouble()

    def refuse(_: Snapshot) -> None:
        raise ValueError("route orders/all names the unknown cluster nowhere")

    seam.judge = refuse
    with pytest.raises(SeamError, match="route orders/all names the unknown cluster nowhere"):
        DataPlane(seam).apply(Snapshot())


async def test_a_waiting_poll_does_not_hold_up_the_shutdown() -> None:
    plane = DataPlane(SeamDouble())
    poll = asyncio.create_task(plane.poll_events(1, 30))
    await asyncio.sleep(0)

    assert await plane.shutdown(0.5)
    assert len((await poll).events) == 0


async def test_events_arrive_while_the_loop_runs() -> None:
    seam = SeamDouble()
    poll = asyncio.create_task(DataPlane(seam).poll_events(10, 30))
    await asyncio.sleep(0)

    seam.tell(wanted("orders"))

    assert (await poll).events[0].cluster_wanted.cluster == "orders"


def test_each_query_answers_with_its_own_part() -> None:
    seam = SeamDouble()
    plane = DataPlane(seam)

    seam.reply = control.Reply(stats=control.Stats(snapshot_version=7))
    assert plane.stats().snapshot_version == 7
    seam.reply = control.Reply(clusters=control.Clusters(clusters=[control.ClusterState(name="orders")]))
    assert plane.clusters().clusters[0].name == "orders"
    seam.reply = control.Reply(exchanges=control.Exchanges(exchanges=[control.Exchange(reason="no-route")]))
    assert plane.failures(10).exchanges[0].reason == "no-route"
