"""What a scraper gets: every form can be read, the dashboard's names are there, and no caller can make it grow."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.e2e.conftest import Running, last_failure
from tests.mesh import ROOT, Mesh, Proxy, eventually
from tests.peers import http1
from tests.peers.collector import collector
from tests.peers.http1 import Http1
from tests.peers.message import Answer, Request, sized

DASHBOARD = ROOT / "examples/grafana/dashboard.json"
# Only with Consul.
ELSEWHERE = {"sidecar_consul_stale_seconds"}


def scraped(proxy: Proxy) -> str:
    status, text = proxy.get("/metrics")
    assert status == 200
    return text


def series(text: str) -> int:
    return sum(1 for line in text.splitlines() if not line.startswith("#"))


@pytest.fixture(scope="module")
def busy(running: Running) -> Iterator[str]:
    """A service behind a sidecar that has had requests by each way; its name."""
    with (
        http1.server(lambda request: Answer(200, sized(b"ok"), b"ok")) as app,
        running.with_sidecar("busy", app.port),
    ):
        for proxy in (running.web.outbound, running.edge.edge):
            with Http1.connect(proxy) as client:
                assert client.ask(Request(host="busy")).status == 200
        yield "busy"


def test_each_form_can_be_read(running: Running, busy: str) -> None:
    text = scraped(running.web)
    by_name = {family.name: family for family in parse_text(text)}
    (count,) = (
        sample
        for sample in by_name["sidecar_endpoint_attempt_duration_seconds"].samples
        if sample.name.endswith("_count") and sample.labels["service"] == busy
    )
    assert count.value >= 1
    assert count.labels["http_response_status_code"] == "200"
    requests = by_name["sidecar_cluster_requests"].samples
    assert any(sample.labels["cluster"] == busy and sample.value >= 1 for sample in requests)
    handshakes = {family.name: family for family in parse_text(scraped(sidecar_of(running, busy)))}
    (completed,) = (
        sample.value
        for sample in handshakes["sidecar_tls_handshakes"].samples
        if sample.labels == {"listener": "inbound", "outcome": "completed"}
    )
    assert completed >= 1

    connection = HTTPConnection(running.web.admin, timeout=5)
    with closing(connection):
        connection.request(
            "GET", "/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0,*/*;q=0.5"}
        )
        answer = connection.getresponse()
        families = list(parse_openmetrics(answer.read().decode()))  # type: ignore[no-untyped-call]
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert {family.name for family in families} >= by_name.keys() - {"sidecar_attempts"}


def sidecar_of(running: Running, service: str) -> Proxy:
    return next(proxy for proxy in running.mesh.proxies if proxy.name == service)


def test_the_dashboard_names_what_there_is(running: Running, busy: str) -> None:
    expressions = re.findall(r'"expr": "(.*)"', DASHBOARD.read_text())
    named = {name for text in expressions for name in re.findall(r"\b(?:http|sidecar)_[a-z_]+(?=\{)", text)}
    assert len(named) > 20
    found = "".join(scraped(proxy) for proxy in (running.web, running.edge, sidecar_of(running, busy)))
    told = {re.split(r"[{ ]", line)[0] for line in found.splitlines() if not line.startswith("#")}
    assert named - told == ELSEWHERE


def test_paths_and_names_that_callers_choose_make_no_series(running: Running, busy: str) -> None:
    with Http1.connect(running.web.outbound) as client:
        assert client.ask(Request(host="nowhere-0")).status == 404
        assert client.ask(Request(method="BREW", host=busy)).status == 200
        before = series(scraped(running.web))
        for number in range(200):
            client.ask(Request(method="BREW", host=busy, path=f"/path/{number}"))
            assert client.ask(Request(host=f"nowhere-{number}", path=f"/{number}")).status == 404
    assert series(scraped(running.web)) == before


def test_what_is_hostile_is_bounded_and_escaped_and_costs_nothing_else(running: Running, busy: str) -> None:
    with Http1.connect(running.web.outbound) as client:
        client.send(
            b"GET /caf\xc3\xa9-%ff HTTP/1.1\r\nhost: h\xff\xfe.hostile\r\nx-long: " + b"x" * 50_000 + b"\r\n\r\n"
        )
        status = client.answer().status
        assert status in (400, 404)
    failures = json.loads(running.web.get("/api/v1/failures?limit=5")[1])["failures"]
    assert len(json.dumps(failures)) < 20_000
    with Http1.connect(running.web.outbound) as client:
        assert client.ask(Request(host=busy)).status == 200
    long = "a" * 7000
    with Http1.connect(running.web.outbound) as client:
        assert client.ask(Request(host="hostile", path=f"/{long}")).status == 404
    kept = last_failure(running.web, "hostile")
    assert kept["reason"] == "no-route"
    assert len(kept["path"]) <= 2048
    lines = eventually(
        "its line", lambda: [line for line in Path(running.web.log).read_text().splitlines() if '"hostile"' in line]
    )
    assert json.loads(lines[-1])["reason"] == "no-route"


def test_a_collector_gets_the_metrics_of_both_sides(tmp_path: Path) -> None:
    with collector() as collected, Mesh(tmp_path) as mesh:
        told = collected.environ() | {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_METRIC_EXPORT_INTERVAL": "100"}
        mesh.sidecar("web", 1, environ=told)

        def is_told() -> bool:
            metrics = collected.metrics.get("web", {})
            version = metrics.get("sidecar.snapshot.version")
            return version is not None and version == metrics.get("sidecar.config.version")

        eventually("metrics of the data plane and of the control side", is_told)
        assert collected.metrics["web"]["sidecar.config.refused_documents"] == [0]

        mesh.document("services/orders", protokol="http")
        eventually("the refused document", lambda: collected.metrics["web"]["sidecar.config.refused_documents"] == [1])
