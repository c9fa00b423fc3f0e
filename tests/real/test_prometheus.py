"""A real Prometheus scrapes a sidecar and a gateway, stores exemplars, and answers what the dashboard asks."""

import json
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.mesh import ROOT, Mesh, eventually
from tests.peers import http1
from tests.peers.collector import collector
from tests.peers.http1 import Http1
from tests.peers.message import Answer, Request, sized
from tests.real.programs import debian, free_port, serving

DASHBOARD = ROOT / "examples/grafana/dashboard.json"


class Prometheus:
    """A running server."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1/"

    def ask(self, path: str, **query: str) -> Any:
        """The data of an answer. AssertionError when it is an error."""
        with urllib.request.urlopen(f"{self._url}{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:  # noqa: S310 - always http
            said = json.load(answer)
        assert said["status"] == "success", said
        return said["data"]

    def result(self, expression: str) -> list[Any]:
        """The series that it gives now."""
        found: list[Any] = self.ask("query", query=expression)["result"]
        return found


@contextmanager
def prometheus(directory: Path, *targets: str) -> Iterator[Prometheus]:
    """Scrape these four times a second until the block ends."""
    written = json.dumps(
        {
            "global": {"scrape_interval": "250ms"},
            "scrape_configs": [{"job_name": "sidecar", "static_configs": [{"targets": list(targets)}]}],
        }
    )
    (directory / "prometheus.yml").write_text(written)
    port = free_port()
    command = [
        debian("prometheus"),
        f"--config.file={directory}/prometheus.yml",
        f"--storage.tsdb.path={directory}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=exemplar-storage",
    ]
    with serving(command, port, directory / "prometheus.log"):
        # It listens before it answers.
        eventually("a ready Prometheus", lambda: _is_ready(port), within=30)
        yield Prometheus(port)


def _is_ready(port: int) -> bool:
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", "/-/ready")
        return connection.getresponse().status == 200


def test_prometheus_scrapes_what_the_dashboard_shows(mesh: Mesh, tmp_path: Path) -> None:
    with http1.server(lambda request: Answer(200, sized(b"ok"), b"ok")) as app, collector() as collected:
        mesh.document("services/orders")
        orders = mesh.sidecar("orders", app.port, environ=collected.environ())
        mesh.document("services/orders", endpoints=[{"address": orders.inbound}])
        route = {"name": "all", "to": {"service": "orders"}}
        mesh.document("gateways/edge", listeners=[{"address": "127.0.0.1", "port": 0}], routes=[route])
        edge = mesh.gateway("edge", environ=collected.environ())
        with prometheus(tmp_path, orders.admin, edge.admin) as server, Http1.connect(edge.edge) as client:
            for _ in range(20):
                assert client.ask(Request(host="shop.example.com")).status == 200
            both = eventually("both are up", lambda: _pair(server.result("up == 1")), within=30)
            assert {one["metric"]["instance"] for one in both} == {orders.admin, edge.admin}
            count = 'sum(http_server_request_duration_seconds_count{sidecar_direction="edge"})'
            eventually("20 requests", lambda: server.result(f"{count} == 20"), within=30)

            # Each panel's question is one that Prometheus understands, and names what it has.
            for text in _expressions():
                server.ask("query", query=text)
            for name in _names():
                assert server.result(f"count({name})"), name

            client.ask(Request(host="shop.example.com"))
            series = 'http_server_request_duration_seconds_bucket{sidecar_direction="edge"}'

            def exemplars() -> Any:
                # A trace becomes an example when its spans are taken, so a request comes now and then.
                client.ask(Request(host="shop.example.com"))
                return server.ask("query_exemplars", query=series, start="0", end="9999999999")

            (found, *_) = eventually("an exemplar", exemplars, within=30)
            trace = found["exemplars"][0]["labels"]["trace_id"]
            assert eventually("its trace", lambda: collected.trace(trace), within=15)


def _pair(found: list[Any]) -> list[Any] | None:
    return found if len(found) == 2 else None


def _expressions() -> list[str]:
    """Those of the dashboard, with its variables filled in."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    told = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    assert len(told) > 20
    return [text.replace("$__rate_interval", "1m").replace("$instance", ".*") for text in told]


def _names() -> set[str]:
    """What the dashboard names, but for what Consul tells."""
    named = {name for text in _expressions() for name in re.findall(r"\b(?:http|sidecar)_[a-z_]+(?=\{)", text)}
    return named - {"sidecar_consul_stale_seconds"}
