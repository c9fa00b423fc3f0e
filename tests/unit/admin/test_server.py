"""The admin server answers what runs here, on loopback, to loopback, and changes nothing."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from sidecar.admin.certificates import Certificates
from sidecar.admin.server import AdminServer
from sidecar.admin.status import Status
from sidecar.dataplane import DataPlane
from sidecar.errors import SidecarError
from sidecar.explanation import Asked
from sidecar.identity.authority import Leaf
from sidecar.identity.local_ca import LocalAuthority
from sidecar.identity.process import LocalIssuer
from sidecar.identity.rotation import IssuedAuthority
from sidecar.identity.spiffe import ServiceId
from sidecar.sources.files import FileSource
from sidecar.telemetry.families import Family
from sidecar.wire import control_pb2 as control
from sidecar.world import World
from tests.double import SeamDouble


class Admin:
    """A running admin server and how to ask it."""

    def __init__(self, address: str, status: Status, seam: SeamDouble, session: ClientSession) -> None:
        self.address, self.status, self.seam, self._session = address, status, seam, session

    async def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str, dict[str, str]]:
        """Status, body and headers."""
        async with self._session.request(method, f"http://{self.address}{path}", headers=headers) as response:
            return response.status, await response.text(), dict(response.headers)

    async def json(self, path: str) -> Any:
        """The body as JSON."""
        return json.loads((await self.ask(path))[1])


NOW = datetime(2026, 1, 1, tzinfo=UTC)
ORDERS = ServiceId("mesh.local", "orders")


def certificates(leaf: Leaf | None = None) -> Certificates:
    """Of a sidecar that shows this leaf, else one that is no certificate."""
    shown = leaf or Leaf((b"no certificate",), b"key", NOW, NOW, (b"root",))
    authority = IssuedAuthority("the local CA", LocalIssuer(Path("unused"), "mesh.local"), ORDERS)
    return Certificates(authority, lambda: shown, lambda: 2, lambda: {"edge/0": shown.certificate_chain}, lambda: NOW)


def explained(asked: Asked) -> dict[str, Any]:
    """What would become of a request, to the server under test."""
    if asked.method != "GET":
        raise SidecarError(f"{asked.method}: no such method")
    return {"method": asked.method, "url": asked.url, "headers": asked.headers, "from": asked.source}


@asynccontextmanager
async def admin(shown: Certificates | None = None) -> AsyncIterator[Admin]:
    seam, status = SeamDouble(), Status("sidecar", "orders")
    families = [Family("sidecar.exported.spans", "counter", "Spans.", lambda: {(("outcome", "lost"),): 12345678})]
    server = AdminServer(DataPlane(seam), status, families, shown or certificates(), explained)
    address = await server.start(0)
    async with ClientSession() as session:
        yield Admin(address, status, seam, session)
    await server.close()


async def test_ready_says_what_it_waits_for_and_then_that_it_is_ready() -> None:
    async with admin() as server:
        status, body, _ = await server.ask("/ready")
        assert status == 503
        assert json.loads(body)["waiting_for"] == "the data plane"

        server.status.state = "ready"
        status, body, _ = await server.ask("/ready")
        assert status == 200
        assert json.loads(body) == {
            "ready": True,
            "state": "ready",
            "role": "sidecar",
            "name": "orders",
            "config_version": 0,
        }

        server.status.state = "draining"
        assert (await server.ask("/ready"))[0] == 503
        assert (await server.ask("/live"))[0] == 200


async def test_a_refusal_is_told_but_does_not_make_us_unready(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text("traicing: {}\n")
    async with admin() as server:
        server.status.state = "ready"
        server.status.world = World().apply(FileSource(tmp_path).read())
        server.status.refused = "listener edge-80: in use"
        status, body, _ = await server.ask("/ready")
        config = await server.json("/api/v1/config")

    assert status == 200
    assert json.loads(body)["refused"] == "listener edge-80: in use"
    (refusal,) = config["refusals"]
    assert refusal["place"] == "mesh.yaml:1:1"
    assert "tracing" in refusal["hint"]
    assert config["refused"] == "listener edge-80: in use"


async def test_the_config_in_force_is_shown_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "services").mkdir()
    (tmp_path / "services/orders.yaml").write_text("protocol: grpc\ntimeout: 5s\n")
    async with admin() as server:
        server.status.world = World().apply(FileSource(tmp_path).read())
        server.status.version = 4
        config = await server.json("/api/v1/config")

    assert config["version"] == 4
    assert config["documents"] == [
        {
            "kind": "service",
            "name": "orders",
            "place": "services/orders.yaml",
            "fields": {"protocol": "grpc", "timeout": "5s"},
        }
    ]


async def test_clusters_listeners_and_failures_come_from_the_data_plane() -> None:
    async with admin() as server:
        endpoint = control.EndpointState(id="a", address="127.0.0.1:21001", healthy=True, requests_total=2**60)
        cluster = control.ClusterState(name="orders", version=2, endpoints=[endpoint])
        server.seam.reply = control.Reply(clusters=control.Clusters(clusters=[cluster]))
        clusters = await server.json("/api/v1/clusters")
        bound = control.ListenerBound(name="inbound", address="127.0.0.1:21000")
        server.seam.reply = control.Reply(listeners=control.Listeners(listeners=[bound]))
        listeners = await server.json("/api/v1/listeners")
        failure = control.Exchange(
            unix_nanos=1_700_000_000_123_000_000,
            reason="no-route",
            duration_us=1500,
            attempts=[control.Attempt(endpoint="a", why="connect refused", duration_us=250)],
        )
        server.seam.reply = control.Reply(exchanges=control.Exchanges(exchanges=[failure]))
        failures = await server.json("/api/v1/failures?limit=1")
        slowest = await server.json("/api/v1/slowest")
        of_one = await server.json("/api/v1/exchanges?id=4bf9")

    assert clusters["clusters"][0]["endpoints"][0]["requests_total"] == 2**60
    assert listeners == {"listeners": [{"name": "inbound", "address": "127.0.0.1:21000"}]}
    (told,) = failures["failures"]
    assert told["time"] == "2023-11-14T22:13:20.123+00:00"
    assert (told["reason"], told["ms"]) == ("no-route", 1.5)
    (attempt,) = told["attempts"]
    assert (attempt["endpoint"], attempt["why"], attempt["ms"]) == ("a", "connect refused", 0.25)
    assert slowest == {"slowest": [told]}
    assert of_one == {"exchanges": [told]}


async def test_metrics_of_both_halves_are_one_exposition_in_either_form() -> None:
    async with admin() as server:
        _, text, headers = await server.ask("/metrics")
        _, openmetrics, openmetrics_headers = await server.ask("/metrics", Accept="application/openmetrics-text")

    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert openmetrics_headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    from_openmetrics = list(parse_openmetrics(openmetrics))  # type: ignore[no-untyped-call]
    for families in (list(parse_text(text)), from_openmetrics):
        samples = {sample.name: sample.value for family in families for sample in family.samples}
        assert samples == {"up": 1, "sidecar_exported_spans_total": 12345678}


async def test_a_page_that_rebinds_its_name_to_us_reads_nothing() -> None:
    async with admin() as server:
        for host in ("evil.example.com", "evil.example.com:19000", "10.0.0.1", "127.0.0.1.evil.com", "[::1"):
            status, body, _ = await server.ask("/api/v1/config", Host=host)
            assert status == 403, host
            assert "documents" not in body


@pytest.mark.parametrize("host", ["localhost", "localhost:19000", "127.0.0.1:19000", "[::1]:19000"])
async def test_loopback_names_are_let_in(host: str) -> None:
    async with admin() as server:
        assert (await server.ask("/live", Host=host))[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_only_reads_are_served(method: str) -> None:
    async with admin() as server:
        status, body, headers = await server.ask("/api/v1/config", method)

    assert status == 405
    assert headers["Allow"] == "GET,HEAD"
    assert headers["Content-Type"].startswith("application/problem+json")
    assert json.loads(body)["status"] == 405


async def test_head_has_no_body() -> None:
    async with admin() as server:
        assert (await server.ask("/live", "HEAD"))[:2] == (200, "")


async def test_what_is_not_there_is_told() -> None:
    async with admin() as server:
        status, body, _ = await server.ask("/api/v1/nothing")

    assert status == 404
    assert "/api/v1/nothing" in json.loads(body)["detail"]


async def test_a_request_is_explained_as_it_was_asked() -> None:
    async with admin() as server:
        told = await server.json("/api/v1/explain?url=http://orders/a%3Fb&header=X-User:+ann&header=x-b:1&from=web")
        status, body, _ = await server.ask("/api/v1/explain?url=http://orders/&method=BREW")
        nameless, _, _ = await server.ask("/api/v1/explain?url=http://orders/&header=no-colon")

    headers = [["x-user", "ann"], ["x-b", "1"]]
    assert told == {"method": "GET", "url": "http://orders/a?b", "headers": headers, "from": "web"}
    assert (status, json.loads(body)["detail"]) == (400, "BREW: no such method")
    assert nameless == 400


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "many"])
async def test_a_limit_out_of_bounds_is_refused(limit: str) -> None:
    async with admin() as server:
        status, body, _ = await server.ask(f"/api/v1/failures?limit={limit}")

    assert status == 400
    assert "is not a number from 1 to 1000" in json.loads(body)["detail"]


async def test_certificates_are_shown_with_their_time_and_without_their_key(tmp_path: Path) -> None:
    leaf = LocalAuthority(tmp_path, "mesh.local", clock=lambda: NOW).issue(ORDERS)
    async with admin(certificates(leaf)) as server:
        status, body, _ = await server.ask("/api/v1/certs")

    told = json.loads(body)
    own = told["identity"]
    assert status == 200
    assert (own["uri"], own["seconds_left"], own["rotations"]) == (str(ORDERS), 24 * 3600, 2)
    assert [one["for"] for one in own["chain"]] == [["client", "server"]]
    assert own["chain"][0]["issuer"] == told["roots"][0]["subject"]
    assert told["listeners"]["edge/0"]["ends"] == own["ends"]
    key = leaf.private_key
    assert not any(form in body for form in (b64encode(key).decode(), key.hex(), "PRIVATE", "private"))


async def test_a_certificate_that_cannot_be_read_is_told() -> None:
    async with admin() as server:
        status, body, _ = await server.ask("/api/v1/certs")

    assert status == 503
    assert "cannot be read" in json.loads(body)["detail"]


async def test_a_port_in_use_is_told_with_the_way_out() -> None:
    async with admin() as server:
        second = AdminServer(DataPlane(SeamDouble()), Status("sidecar", "web"), [], certificates(), explained)
        port = int(server.address.rpartition(":")[2])
        with pytest.raises(SidecarError, match=rf"cannot listen on 127.0.0.1:{port}: .*--admin-port N"):
            await second.start(port)
