"""`sidecar status`: what the instances of this host say, in a person's words."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from sidecar.cli import main
from sidecar.rundir import RunDirectory

WELL: dict[str, Any] = {"ready": True, "state": "ready", "config_version": 4, "role": "sidecar", "name": "orders"}
ACTIVE = {"requests_active": 4, "requests_pending": 0, "connections_active": 2, "retries_active": 0}
UNLIMITED: dict[str, int | None] = dict.fromkeys(("max_requests", "max_pending", "max_connections", "max_retries"))
LIMITS = {
    "max_requests": 5,
    "max_pending": 1024,
    "max_connections": 1024,
    "max_retries": 3,
    "per_endpoint": UNLIMITED,
}
ENDPOINT: dict[str, Any] = {"address": "10.0.0.7:21000", "ejected_ms": None, "check": None, **ACTIVE}
CLUSTER: dict[str, Any] = {"name": "stock", "open_ms": None, "endpoints": [ENDPOINT], "limits": LIMITS, **ACTIVE}
CONFIG: dict[str, Any] = {"documents": [{}, {}], "not_carried_out": []}


class Admin(HTTPServer):
    """Answers as an instance would."""

    answers: dict[str, dict[str, Any]]


class Handler(BaseHTTPRequestHandler):
    server: Admin

    def do_GET(self) -> None:
        body = json.dumps(self.server.answers[self.path]).encode()
        self.send_response(200 if self.server.answers["/ready"]["ready"] else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def admin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Admin]:
    """An instance in the run directory whose answers a test chooses."""
    monkeypatch.setenv("SIDECAR_RUN_DIR", str(tmp_path / "run"))
    with Admin(("127.0.0.1", 0), Handler) as server:
        server.answers = {"/ready": WELL, "/api/v1/config": CONFIG, "/api/v1/clusters": {"clusters": [CLUSTER]}}
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        RunDirectory(tmp_path / "run").write("sidecar", "orders", f"127.0.0.1:{server.server_port}", {})
        yield server
        server.shutdown()
        thread.join()


def status(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    """The exit code."""
    monkeypatch.setattr("sys.argv", ["sidecar", "status", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


def test_an_instance_that_is_well_gets_one_line(
    admin: Admin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(monkeypatch) == 0
    line = f"sidecar orders: ready, 2 documents, configuration 4, admin 127.0.0.1:{admin.server_port}\n"
    assert capsys.readouterr().out == line


def test_limits_that_are_reached_are_told(
    admin: Admin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {**UNLIMITED, "max_connections": 2, "max_retries": 1}
    busy = {**ENDPOINT, "retries_active": 1}
    full = {**CLUSTER, "requests_active": 5, "endpoints": [busy], "limits": {**LIMITS, "per_endpoint": own}}
    admin.answers["/api/v1/clusters"] = {"clusters": [full]}
    assert status(monkeypatch) == 3
    assert capsys.readouterr().out.splitlines()[1:] == [
        "  stock is at its max_requests (5)",
        "  10.0.0.7:21000 of stock is at its per_endpoint.max_connections (2)",
        "  10.0.0.7:21000 of stock is at its per_endpoint.max_retries (1)",
    ]


def test_everything_that_is_not_well_is_told_and_ends_with_3(
    admin: Admin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = {"place": "sidecar/services/web:1:1", "index": 12, "message": "unknown field `protcol`"}
    scarce = {"lacks": {"memory": "all requests are refused"}}
    stale = {"stale_seconds": 12.0, "consul_failure": "Consul at 127.0.0.1:8500 cannot be reached"}
    told = {"refusals": [refusal], "held": ["2 instances of web held"], "not_carried_out": ["Proxy.Expose"]}
    lost = {"to": "http://c:4318/v1/traces", "sent": 1, "lost": 2, "dropped": 3, "problem": "HTTP 503"}
    admin.answers["/ready"] = {**WELL, **stale, **told, **scarce, "spans": lost}
    admin.answers["/api/v1/config"] = {**CONFIG, "not_carried_out": ["service-defaults web: Mode"]}
    refuses = {**ENDPOINT, "address": "10.0.0.8:21000", "check": {"well": False, "error": "it answers 503"}}
    answers = {**ENDPOINT, "address": "10.0.0.9:21000", "check": {"well": True, "error": ""}}
    out = {**CLUSTER, "open_ms": 2500, "endpoints": [{**ENDPOINT, "ejected_ms": 30_000}, refuses, answers]}
    admin.answers["/api/v1/clusters"] = {"clusters": [out]}

    assert status(monkeypatch) == 3
    assert capsys.readouterr().out.splitlines()[1:] == [
        "  what Consul told is 12 s old: Consul at 127.0.0.1:8500 cannot be reached",
        "  it runs out of memory: all requests are refused",
        "  spans are not sent to http://c:4318/v1/traces: HTTP 503",
        "  stock gets no requests for 2.5 s: too many have failed",
        "  10.0.0.7:21000 of stock is ejected for 30 s: it fails",
        "  10.0.0.8:21000 of stock fails its health check: it answers 503",
        "  held: 2 instances of web held",
        "  refused: sidecar/services/web:1:1 (index 12): unknown field `protcol`",
        "  not carried out: Proxy.Expose",
        "  not carried out: service-defaults web: Mode",
    ]


def test_one_that_still_starts_says_what_it_waits_for(
    admin: Admin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    admin.answers["/ready"] = {**WELL, "ready": False, "state": "starting", "waiting_for": "its listeners"}

    assert status(monkeypatch) == 3
    assert "waiting for its listeners" in capsys.readouterr().out


def test_a_machine_reads_json(
    admin: Admin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(monkeypatch, "-o", "json") == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["name"], told["state"], told["documents"]) == ("orders", "ready", 2)


def test_a_host_without_instances_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIDECAR_RUN_DIR", str(tmp_path / "none"))
    assert status(monkeypatch) == 1
    assert str(tmp_path / "none") in capsys.readouterr().err
