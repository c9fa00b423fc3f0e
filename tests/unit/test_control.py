"""Every change reaches the data plane whole, or not at all and with a reason."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from sidecar.admin.status import Status
from sidecar.config.document import DocumentSet
from sidecar.control import Control
from sidecar.dataplane import DataPlane
from sidecar.errors import IdentityError, SeamError
from sidecar.identity.local_ca import LocalAuthority
from sidecar.identity.spiffe import ServiceId
from sidecar.snapshot import GatewayRole, Role, SidecarRole
from sidecar.snapshot.role import Upstream
from sidecar.sources.files import FileSource
from sidecar.telemetry.otlp import read_environment
from sidecar.wire import control_pb2 as control
from sidecar.wire.snapshot_pb2 import Snapshot
from sidecar.world import EndpointsUpdate, Instance, NamesUpdate, Target, World
from tests.double import SeamDouble, wanted

ORDERS = SidecarRole("orders", inbound="127.0.0.1:0", outbound="127.0.0.1:0")
EDGE = GatewayRole("edge")


class Side:
    """A control side over a directory of documents and a data plane that only listens."""

    def __init__(self, directory: Path, role: Role) -> None:
        self.directory = directory
        self.seam = SeamDouble()
        self.status = Status("sidecar", "orders")
        self.leaf = LocalAuthority(directory / "state", "mesh.local").issue(ServiceId("mesh.local", "orders"))
        environ = {"OTEL_SERVICE_NAME": "orders-eu"}
        # What a source is asked to watch now.
        self.watched: dict[Target, bool] = {}
        self.control = Control(
            DataPlane(self.seam),
            self.status,
            role,
            directory,
            read_environment(environ, "orders"),
            self.watched.__setitem__,
            self.watched.__delitem__,
        )
        self.source = FileSource(directory)

    def write(self, place: str, text: str) -> None:
        path = self.directory / place
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def world(self) -> World:
        return self.status.world.apply(self.source.read())

    def start(self) -> None:
        self.control.start(self.world(), self.leaf)

    def change(self) -> None:
        self.control.change(self.world())


@pytest.fixture
def orders(tmp_path: Path) -> Side:
    side = Side(tmp_path, ORDERS)
    side.write("services/inventory.yaml", "protocol: http\nendpoints: [{address: 127.0.0.1:21001}]\n")
    return side


@pytest.fixture
def edge(tmp_path: Path) -> Side:
    side = Side(tmp_path, EDGE)
    issued = trustme.CA().issue_cert("shop.example.com")
    (tmp_path / "edge.pem").write_bytes(issued.cert_chain_pems[0].bytes())
    (tmp_path / "edge.key").write_bytes(issued.private_key_pem.bytes())
    side.write("services/web.yaml", "protocol: http\n")
    side.write("gateways/edge.yaml", GATEWAY)
    return side


GATEWAY = """
listeners:
  - {port: 0, tls: {certificates: [{cert: edge.pem, key: edge.key}]}}
routes:
  - {name: all, to: {service: web}}
"""


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_secrets_come_before_the_snapshot_that_names_them(orders: Side) -> None:
    orders.start()

    assert orders.seam.calls == ["apply_secrets", "apply"]
    (secrets,) = orders.seam.secrets
    assert [identity.name for identity in secrets.identities] == ["mesh"]
    assert secrets.trust_bundles[0].trust_domains == ["mesh.local"]
    assert list(secrets.trust_bundles[0].roots) == list(orders.leaf.roots)
    assert orders.status.version == 1
    assert orders.control.listeners == {"inbound": "127.0.0.1:0", "outbound": "127.0.0.1:0"}


def test_the_environment_lies_over_the_documents_telemetry(orders: Side) -> None:
    orders.start()

    tracing = orders.seam.snapshots[0].telemetry.tracing
    assert tracing.resource["service.name"] == "orders-eu"
    assert not tracing.enabled


def test_endpoints_go_when_they_are_wanted_and_when_they_change_only(orders: Side) -> None:
    orders.start()
    assert orders.seam.endpoints == []

    orders.control.take(control.Events(events=[wanted("inventory")]))
    orders.write("mesh.yaml", "tracing: {ratio: 5%}\n")
    orders.change()
    assert [update.endpoints[0].address for update in orders.seam.endpoints] == ["127.0.0.1:21001"]

    orders.write("services/inventory.yaml", "protocol: http\nendpoints: [{address: 127.0.0.1:21002}]\n")
    orders.change()
    first, second = orders.seam.endpoints
    assert second.endpoints[0].address == "127.0.0.1:21002"
    assert second.version > first.version


def test_a_cluster_that_is_wanted_again_is_sent_again(orders: Side) -> None:
    orders.start()
    orders.control.want("inventory")
    orders.control.want("inventory")

    assert [update.cluster for update in orders.seam.endpoints] == ["inventory", "inventory"]


def test_a_lost_wish_is_made_good(orders: Side) -> None:
    orders.start()
    waiting = control.ClusterState(name="inventory")
    served = control.ClusterState(name="app", version=3)
    orders.seam.reply = control.Reply(clusters=control.Clusters(clusters=[waiting, served]))

    orders.control.take(control.Events(dropped=1))

    assert [update.cluster for update in orders.seam.endpoints] == ["inventory"]


def test_a_broken_document_is_told_and_its_last_good_version_serves(
    orders: Side, caplog: pytest.LogCaptureFixture
) -> None:
    orders.start()
    orders.write("services/inventory.yaml", "protocol: htttp\n")
    orders.change()

    assert orders.seam.calls.count("apply") == 1
    assert "services/inventory.yaml" in orders.status.world.refusals
    assert "document refused, its last good version keeps serving" in caplog.text
    assert "services/inventory.yaml:1:11" in caplog.text


def test_a_snapshot_that_the_data_plane_refuses_leaves_everything_as_it_was(orders: Side) -> None:
    orders.start()
    good = orders.status.world

    def refuse(_: Snapshot) -> None:
        raise ValueError("listener inbound: no")

    orders.seam.judge = refuse
    orders.write("services/inventory.yaml", "protocol: http2\n")
    orders.change()
    assert orders.status.refused == "listener inbound: no"
    assert orders.status.world is good
    assert orders.status.version == 1

    orders.seam.judge = lambda snapshot: None
    orders.change()
    assert orders.status.refused == ""
    assert orders.status.version == 2


# --- what a catalog knows ---------------------------------------------------------------------------------------------

ONE = Instance("vm/orders-1", "10.0.0.7:21000")
TWO = Instance("vm/orders-2", "10.0.0.8:21000")


@pytest.fixture
def discovering(tmp_path: Path) -> Side:
    """A sidecar of `web` in a mesh whose catalog has `orders`, and no document."""
    side = Side(tmp_path, SidecarRole("web", inbound="127.0.0.1:0", outbound="127.0.0.1:0"))
    known = World().apply(DocumentSet(discovered=True)).apply(NamesUpdate("", frozenset({"orders", "web"})))
    side.control.start(known, side.leaf)
    return side


def test_a_service_is_watched_from_when_it_is_wanted(discovering: Side) -> None:
    assert discovering.watched == {}

    discovering.control.want("orders")
    assert discovering.watched == {Target("orders"): True}
    # Nobody has said yet who is there: the requests wait.
    assert discovering.seam.endpoints == []

    discovering.control.update(EndpointsUpdate(Target("orders"), (ONE,)))
    assert [update.endpoints[0].address for update in discovering.seam.endpoints] == ["10.0.0.7:21000"]


def test_a_change_of_endpoints_is_one_message_and_no_snapshot(discovering: Side) -> None:
    discovering.control.want("orders")
    discovering.control.update(EndpointsUpdate(Target("orders"), (ONE,)))
    discovering.control.update(EndpointsUpdate(Target("orders"), (ONE, TWO)))
    discovering.control.update(EndpointsUpdate(Target("web"), (ONE,)))

    first, second = discovering.seam.endpoints
    assert len(second.endpoints) == 2
    assert second.version > first.version
    assert len(discovering.seam.snapshots) == 1


def test_a_service_that_no_route_leads_to_is_watched_no_more(discovering: Side) -> None:
    discovering.control.want("orders")
    discovering.control.update(NamesUpdate("", frozenset({"web"})))

    assert discovering.watched == {}


def used(*clusters: str) -> control.Reply:
    return control.Reply(used=control.Used(clusters=clusters))


def test_a_service_that_nobody_calls_any_more_is_let_go_and_asked_for_again(discovering: Side) -> None:
    seam, side = discovering.seam, discovering.control
    side.want("orders")
    side.want("web")
    side.update(EndpointsUpdate(Target("orders"), (ONE,)))

    seam.reply = used("orders", "web")
    assert side.in_use(10.0, 5.0) == {Target("orders"), Target("web")}
    seam.reply = used("web")
    assert side.in_use(14.0, 5.0) == {Target("orders"), Target("web")}
    assert side.in_use(309.0, 5.0) == {Target("web")}
    side.let_go_unused(309.0, 300.0)
    assert len(discovering.watched) == 2

    seam.reply = used()
    assert side.in_use(315.0, 5.0) == frozenset()
    side.let_go_unused(315.0, 300.0)
    assert discovering.watched == {Target("web"): True}
    assert (seam.endpoints[-1].cluster, seam.endpoints[-1].forgotten) == ("orders", True)
    # The source says that it watches no more; what was known is for a start without Consul.
    side.update(EndpointsUpdate(Target("orders"), None))
    assert discovering.status.world.idle == {Target("orders"): (ONE,)}

    side.want("orders")
    side.update(EndpointsUpdate(Target("orders"), (ONE,)))
    assert (seam.endpoints[-1].version, seam.endpoints[-1].forgotten) == (3, False)
    assert discovering.status.world.idle == {}


def test_a_service_in_the_clear_is_watched_without_its_sidecars(discovering: Side) -> None:
    discovering.control.want("orders")
    discovering.write("services/orders.yaml", "protocol: http\ntls: disabled\n")
    documents = replace(discovering.source.read(), discovered=True)
    discovering.control.update(documents)

    assert discovering.watched == {Target("orders"): False}


def test_a_role_that_changes_is_a_new_snapshot(discovering: Side) -> None:
    upstream = Upstream("orders", "127.0.0.1:0")
    role = SidecarRole("web", inbound="127.0.0.1:0", outbound="127.0.0.1:0", upstreams=(upstream,))
    discovering.control.become(role)

    assert discovering.control.listeners["upstream-orders"] == "127.0.0.1:0"
    assert discovering.status.version == 2


def test_a_role_that_cannot_be_had_leaves_the_one_before(discovering: Side, taken: int) -> None:
    discovering.control.become(SidecarRole("web", outbound=f"127.0.0.1:{taken}", inbound="127.0.0.1:0"))
    assert "listener outbound cannot listen" in discovering.status.refused

    discovering.control.update(NamesUpdate("", frozenset({"web"})))
    assert discovering.status.refused == ""
    assert discovering.control.listeners["outbound"] == "127.0.0.1:0"


def test_another_trust_domain_needs_a_restart(orders: Side) -> None:
    orders.start()
    orders.write("mesh.yaml", "trust_domain: other.local\n")
    orders.change()

    assert "trust_domain changed from mesh.local to other.local" in orders.status.refused
    assert orders.seam.calls.count("apply") == 1


def test_a_new_leaf_is_shown_with_a_higher_version(orders: Side) -> None:
    orders.start()
    leaf = LocalAuthority(orders.directory / "state", "mesh.local").issue(ServiceId("mesh.local", "orders"))

    orders.control.install(leaf)

    before, after = orders.seam.secrets
    assert after.identities[0].private_key == leaf.private_key
    assert after.version > before.version


def test_a_gateway_shows_the_certificates_of_its_document(edge: Side) -> None:
    edge.start()

    (secrets,) = edge.seam.secrets
    assert [identity.name for identity in secrets.identities] == ["mesh", "edge/0"]
    assert edge.seam.snapshots[0].listeners[0].tls.identities == ["edge/0"]


def test_an_unreadable_certificate_stops_the_start_by_name(edge: Side) -> None:
    (edge.directory / "edge.key").unlink()

    with pytest.raises(IdentityError, match=r"edge.key cannot be read"):
        edge.start()
    assert edge.seam.calls == []


def test_a_certificate_that_broke_later_keeps_the_last_good_one(edge: Side) -> None:
    edge.start()
    (edge.directory / "edge.key").write_text("broken")
    edge.write("services/web.yaml", "protocol: http2\n")
    edge.change()

    assert "edge.key holds no PEM private key" in edge.status.refused
    assert len(edge.seam.secrets) == 1


def test_secrets_go_back_when_the_snapshot_with_them_is_refused(edge: Side) -> None:
    edge.start()

    def refuse(_: Snapshot) -> None:
        raise ValueError("no")

    edge.seam.judge = refuse
    issued = trustme.CA().issue_cert("new.example.com")
    (edge.directory / "edge.pem").write_bytes(issued.cert_chain_pems[0].bytes())
    (edge.directory / "edge.key").write_bytes(issued.private_key_pem.bytes())
    edge.write("services/web.yaml", "protocol: http2\n")
    edge.change()

    first, tried, restored = edge.seam.secrets
    assert tried.identities[1] != first.identities[1]
    assert restored.identities[1] == first.identities[1]

    edge.seam.judge = lambda snapshot: None
    edge.change()
    assert edge.seam.secrets[-1].identities[1] == tried.identities[1]


def test_a_certificate_that_is_not_shown_any_more_is_forgotten(edge: Side) -> None:
    edge.start()
    edge.write("gateways/edge.yaml", GATEWAY.replace(", tls: {certificates: [{cert: edge.pem, key: edge.key}]}", ""))
    edge.change()

    assert [identity.name for identity in edge.seam.secrets[-1].identities] == ["mesh"]


def test_a_port_in_use_is_told_with_the_flag_that_moves_it(tmp_path: Path, taken: int) -> None:
    side = Side(tmp_path, SidecarRole("orders", inbound="127.0.0.1:0", outbound=f"127.0.0.1:{taken}"))

    with pytest.raises(SeamError, match=rf"listener outbound cannot listen on 127.0.0.1:{taken}: .* --outbound-port N"):
        side.start()
    assert side.seam.calls == []


def test_a_port_in_use_is_told_with_the_place_that_names_it(edge: Side, taken: int) -> None:
    edge.start()
    edge.write("gateways/edge.yaml", f"{GATEWAY.rstrip()}\n".replace("port: 0,", f"port: {taken}, address: 127.0.0.1,"))
    edge.change()

    assert f"listener edge-{taken} cannot listen" in edge.status.refused
    assert "choose another port in gateways/edge.yaml:3" in edge.status.refused


def test_our_own_listeners_are_not_in_our_way(tmp_path: Path, taken: int) -> None:
    role = SidecarRole("orders", inbound="127.0.0.1:0", outbound="127.0.0.1:0")
    side = Side(tmp_path, role)
    side.start()
    # As if the data plane had bound it.
    side.control.listeners = {"upstream-inventory": f"127.0.0.1:{taken}"}
    side.write("services/inventory.yaml", "protocol: http\n")
    upstreams: dict[str, Any] = {"service": "inventory", "port": taken}
    side.write("services/orders.yaml", f"protocol: http\nupstreams: [{upstreams}]\n")
    side.change()

    assert side.status.refused == ""
    assert side.status.version == 2


ANN = f"keys: [{{sha256: {'ab' * 32}}}]\n"


def known(side: Side) -> list[str]:
    """The consumers that the data plane was told last."""
    told = control.Credentials.FromString(side.seam.secrets[-1].credentials)
    return [consumer.name for consumer in told.consumers]


def test_a_gateways_consumers_are_told_beside_its_certificates_and_never_in_a_snapshot(edge: Side) -> None:
    edge.write("consumers/ann.yaml", ANN)
    edge.start()

    assert known(edge) == ["ann"]
    assert b"\xab" * 32 not in edge.seam.snapshots[-1].SerializeToString()
    edge.write("consumers/bob.yaml", "enabled: true\n")
    edge.change()
    assert known(edge) == ["ann", "bob"]


def test_a_refused_change_lets_nobody_in(edge: Side, taken: int) -> None:
    edge.write("consumers/ann.yaml", ANN)
    edge.start()
    edge.write("consumers/bob.yaml", "enabled: true\n")
    edge.write("gateways/edge.yaml", GATEWAY.replace("port: 0", f"port: {taken}, address: 127.0.0.1"))
    edge.change()

    assert edge.status.refused
    assert known(edge) == ["ann"]


def test_a_sidecar_knows_no_consumers(orders: Side) -> None:
    orders.write("consumers/ann.yaml", ANN)
    orders.start()

    assert orders.seam.secrets[-1].credentials == b""
