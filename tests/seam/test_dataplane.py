"""The seam with the real data plane: what it takes, what it refuses and how it says so.

Bytes cross; each test builds its messages the way the control side does.
"""

import http.client
import http.server
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from sidecar._dataplane import DataPlane, SnapshotRejected
from sidecar.identity.local_ca import LocalAuthority
from sidecar.identity.spiffe import ServiceId
from sidecar.wire import control_pb2 as control
from tests.mesh import eventually
from tests.seam.plane import apply, ask, endpoints, poll, snapshot, stats


def secrets(directory: Path) -> control.Secrets:
    leaf = LocalAuthority(directory, "mesh.local").issue(ServiceId("mesh.local", "orders"))
    identity = control.Identity(name="mesh", certificate_chain=leaf.certificate_chain, private_key=leaf.private_key)
    bundle = control.TrustBundle(name="mesh", roots=leaf.roots, trust_domains=["mesh.local"])
    return control.Secrets(version=1, identities=[identity], trust_bundles=[bundle])


# --- snapshots --------------------------------------------------------------------------------------------------------


def test_a_snapshot_is_applied_and_its_listener_bound(plane: DataPlane) -> None:
    assert apply(plane, snapshot(version=7)) == 7

    (bound,) = ask(plane, listeners=control.ListenersQuery()).listeners.listeners
    assert bound.name == "outbound"
    assert bound.address.startswith("127.0.0.1:")
    assert not bound.address.endswith(":0")
    assert stats(plane).snapshot_version == 7


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff", b"\x0a\xff\x01", b"GET / HTTP/1.1\r\n\r\n"])
def test_bytes_that_are_no_snapshot_are_refused(plane: DataPlane, garbage: bytes) -> None:
    with pytest.raises(SnapshotRejected):
        plane.apply(garbage)
    assert stats(plane).snapshot_version == 0


def test_a_listener_without_its_route_table_is_refused_by_name(plane: DataPlane) -> None:
    message = snapshot()
    message.listeners[0].route_table = "nowhere"

    with pytest.raises(SnapshotRejected, match=r"outbound.*nowhere"):
        apply(plane, message)


def test_a_route_to_an_unknown_cluster_is_refused_by_name(plane: DataPlane) -> None:
    message = snapshot()
    message.route_tables[0].routes[0].destinations[0].cluster = "nowhere"

    with pytest.raises(SnapshotRejected, match=r"all.*nowhere"):
        apply(plane, message)


def test_an_unknown_identity_is_refused_by_name(plane: DataPlane) -> None:
    message = snapshot()
    message.listeners[0].tls.identities.append("edge/0")

    with pytest.raises(SnapshotRejected, match=r"outbound.*edge/0"):
        apply(plane, message)


def test_an_unknown_trust_bundle_is_refused_by_name(plane: DataPlane) -> None:
    message = snapshot()
    message.clusters[0].tls.trust_bundle = "elsewhere"
    message.clusters[0].tls.spiffe_ids.append("spiffe://mesh.local/ns/default/dc/dc1/svc/orders")
    message.clusters[0].tls.server_name = "orders.default.dc1.internal.mesh.local"

    with pytest.raises(SnapshotRejected, match=r"orders.*elsewhere"):
        apply(plane, message)


@pytest.mark.parametrize("address", ["", "127.0.0.1", "localhost:80", "127.0.0.1:99999"])
def test_a_listener_address_that_is_none_is_refused_by_name(plane: DataPlane, address: str) -> None:
    message = snapshot()
    message.listeners[0].address = address

    with pytest.raises(SnapshotRejected, match=r"outbound"):
        apply(plane, message)


def test_a_refused_snapshot_changes_nothing(plane: DataPlane) -> None:
    apply(plane, snapshot(version=1))
    before = ask(plane, listeners=control.ListenersQuery())
    bad = snapshot(version=2)
    bad.listeners.add(name="second", address="127.0.0.1:0", route_table="nowhere")

    with pytest.raises(SnapshotRejected):
        apply(plane, bad)

    assert stats(plane).snapshot_version == 1
    assert ask(plane, listeners=control.ListenersQuery()) == before


def test_a_listener_keeps_its_port_from_snapshot_to_snapshot(plane: DataPlane) -> None:
    apply(plane, snapshot(version=1))
    before = ask(plane, listeners=control.ListenersQuery())
    apply(plane, snapshot(version=2))

    assert ask(plane, listeners=control.ListenersQuery()) == before


def test_what_does_not_parse_as_options_is_refused() -> None:
    with pytest.raises(ValueError, match=r"."):
        DataPlane(b"\xff\xff\xff\xff", {})


# --- endpoints --------------------------------------------------------------------------------------------------------


def test_an_older_endpoint_list_is_ignored(plane: DataPlane) -> None:
    apply(plane, snapshot())

    assert plane.apply_endpoints(endpoints(5, "127.0.0.1:1001")) == 5
    assert plane.apply_endpoints(endpoints(4, "127.0.0.1:1002")) == 5

    (cluster,) = ask(plane, clusters=control.ClustersQuery()).clusters.clusters
    assert cluster.version == 5
    assert [endpoint.address for endpoint in cluster.endpoints] == ["127.0.0.1:1001"]


@pytest.mark.parametrize("address", ["", "orders:80", "127.0.0.1"])
def test_an_endpoint_that_is_no_address_is_refused_with_its_cluster(plane: DataPlane, address: str) -> None:
    apply(plane, snapshot())

    with pytest.raises(SnapshotRejected, match=r"orders"):
        plane.apply_endpoints(endpoints(1, address))


def test_bytes_that_are_no_endpoints_are_refused(plane: DataPlane) -> None:
    with pytest.raises(SnapshotRejected):
        plane.apply_endpoints(b"\xff\xff\xff")


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_secrets_are_taken_and_counted(plane: DataPlane, tmp_path: Path) -> None:
    message = secrets(tmp_path)
    message.version = 9

    assert plane.apply_secrets(message.SerializeToString()) == 9
    assert stats(plane).secrets_version == 9


def test_a_key_that_is_none_is_refused_by_name_and_not_quoted(plane: DataPlane, tmp_path: Path) -> None:
    message = secrets(tmp_path)
    message.identities[0].private_key = b"s3cret"

    with pytest.raises(SnapshotRejected, match=r"mesh") as refusal:
        plane.apply_secrets(message.SerializeToString())
    assert "s3cret" not in str(refusal.value)


def test_a_key_of_another_certificate_is_refused_by_name(plane: DataPlane, tmp_path: Path) -> None:
    message = secrets(tmp_path / "a")
    message.identities[0].private_key = secrets(tmp_path / "b").identities[0].private_key

    with pytest.raises(SnapshotRejected, match=r"mesh"):
        plane.apply_secrets(message.SerializeToString())


# --- events -----------------------------------------------------------------------------------------------------------


def test_a_poll_without_events_ends_in_time(plane: DataPlane) -> None:
    started = time.monotonic()
    events = control.Events.FromString(plane.poll_events(10, 0.2))
    took = timedelta(seconds=time.monotonic() - started)

    assert list(events.events) == []
    assert timedelta(seconds=0.15) < took < timedelta(seconds=5)


def test_a_poll_does_not_wait_when_it_must_not(plane: DataPlane) -> None:
    assert control.Events.FromString(plane.poll_events(10, 0)).dropped == 0


def test_a_bound_listener_is_told(plane: DataPlane) -> None:
    apply(plane, snapshot())

    event = poll(plane, lambda event: event.WhichOneof("kind") == "listener_bound")

    assert event.listener_bound.name == "outbound"
    assert event.unix_nanos > 0


@pytest.mark.parametrize("timeout", [-1.0, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(plane: DataPlane, timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        plane.poll_events(1, timeout)


# --- questions --------------------------------------------------------------------------------------------------------


def test_every_kind_of_question_has_its_answer(plane: DataPlane) -> None:
    apply(plane, snapshot())

    assert ask(plane, stats=control.StatsQuery()).WhichOneof("kind") == "stats"
    assert ask(plane, listeners=control.ListenersQuery()).WhichOneof("kind") == "listeners"
    assert ask(plane, clusters=control.ClustersQuery()).WhichOneof("kind") == "clusters"
    assert ask(plane, failures=control.FailuresQuery(limit=5)).WhichOneof("kind") == "exchanges"


@pytest.mark.parametrize("question", [b"", b"\xff\xff\xff"])
def test_no_question_is_refused(plane: DataPlane, question: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        plane.query(question)


def test_a_failure_is_explained(plane: DataPlane) -> None:
    message = snapshot()
    message.route_tables[0].routes[0].match.hosts.append("orders")
    apply(plane, message)
    address = ask(plane, listeners=control.ListenersQuery()).listeners.listeners[0].address
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request("GET", "/cart", headers={"Host": "nobody.mesh"})
    answer = connection.getresponse()
    answer.read()
    connection.close()

    # It stands there a moment after its answer does.
    told = eventually("a failure", lambda: ask(plane, failures=control.FailuresQuery()).exchanges.exchanges)
    (failure,) = told
    assert failure.status == answer.status == 404
    assert failure.reason == "no-route"
    assert (failure.method, failure.authority, failure.path) == ("GET", "nobody.mesh", "/cart")
    # By its request id it is found again.
    named = control.ExchangeQuery(id=answer.headers["x-request-id"])
    assert list(ask(plane, exchange=named).exchanges.exchanges) == [failure]
    assert not ask(plane, exchange=control.ExchangeQuery(id="another")).exchanges.exchanges


def test_metrics_come_in_every_form(plane: DataPlane) -> None:
    apply(plane, snapshot())

    assert list(parse_text(plane.metrics("text").decode()))
    openmetrics = plane.metrics("openmetrics")
    assert list(parse_openmetrics(openmetrics.decode()))  # type: ignore[no-untyped-call]
    assert openmetrics.endswith(b"# EOF\n")
    ExportMetricsServiceRequest.FromString(plane.metrics("otlp"))


def test_an_unknown_form_of_metrics_is_refused(plane: DataPlane) -> None:
    with pytest.raises(ValueError, match="xml"):
        plane.metrics("xml")


def test_without_requests_there_is_nothing_to_drain(plane: DataPlane) -> None:
    assert plane.drain_spans(10) == b""
    assert plane.drain_access_log(10) == b""


# --- the end ----------------------------------------------------------------------------------------------------------


def test_a_second_shutdown_returns_at_once() -> None:
    plane = DataPlane(b"", {})
    apply(plane, snapshot())

    assert plane.shutdown(5)
    started = time.monotonic()
    plane.shutdown(60)
    assert time.monotonic() - started < 5


def test_after_shutdown_nothing_can_be_applied_but_what_was_recorded_can_be_read() -> None:
    plane = DataPlane(b"", {})
    apply(plane, snapshot())
    plane.shutdown(0)

    with pytest.raises(RuntimeError, match="shut down"):
        apply(plane, snapshot(version=2))
    assert plane.drain_spans(10) == b""
    assert plane.drain_access_log(10) == b""
    assert plane.metrics("text")


def test_shutdown_wakes_a_waiting_poll_or_lets_it_end(plane: DataPlane) -> None:
    waiting = threading.Thread(target=plane.poll_events, args=(1, 0.5))
    waiting.start()
    plane.shutdown(0)
    waiting.join(5)

    assert not waiting.is_alive()


def test_calls_from_many_threads_do_not_disturb_each_other(plane: DataPlane) -> None:
    apply(plane, snapshot())
    versions: list[int] = []

    def update(version: int) -> None:
        plane.apply_endpoints(endpoints(version, f"127.0.0.1:{1000 + version}"))
        versions.append(ask(plane, clusters=control.ClustersQuery()).clusters.clusters[0].version)

    threads = [threading.Thread(target=update, args=(version,)) for version in range(1, 21)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(versions) == 20
    (cluster,) = ask(plane, clusters=control.ClustersQuery()).clusters.clusters
    assert cluster.version == 20
    assert cluster.endpoints[0].address == "127.0.0.1:1020"


FORK = """
import os, sys
from sidecar._dataplane import DataPlane
plane = DataPlane(b"", {})
calls = [
    lambda: plane.apply(b""), lambda: plane.apply_endpoints(b""), lambda: plane.apply_secrets(b""),
    lambda: plane.poll_events(1, 0), lambda: plane.drain_spans(1), lambda: plane.drain_access_log(1),
    lambda: plane.metrics("text"), lambda: plane.query(b""), lambda: plane.shutdown(0),
]
child = os.fork()
if child == 0:
    refused = 0
    for call in calls:
        try:
            call()
        except RuntimeError as error:
            refused += "fork" in str(error)
    os._exit(refused)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), len(calls), plane.shutdown(0))
"""


def test_a_forked_child_is_refused_and_its_parent_goes_on() -> None:
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=30, check=True)

    refused, calls, clean = done.stdout.split()
    assert refused == calls
    assert clean == "True"
