"""`sidecar why`: asks the instances of the host and those that are named, and tells one story."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest

from sidecar.cli import main
from sidecar.rundir import RunDirectory

CANDIDATES = {"total": 3, "healthy": 1, "ejected": 2, "ill": 0, "priority": 0, "panic": False}
RECORD: dict[str, Any] = {
    "time": "2026-01-01T10:20:30.123+00:00",
    "unix_nanos": 1_000_000_000_000_000_000,
    "request_id": "r-1",
    "trace_id": "4bf9",
    "span_id": "",
    "parent_id": "",
    "direction": "outbound",
    "listener": "outbound",
    "tcp": False,
    "method": "GET",
    "authority": "orders",
    "path": "/tea",
    "peer": "",
    "status": 503,
    "grpc_status": "",
    "reason": "connect-failure",
    "detail": "The connection to the endpoint failed. refused Check that the instance listens.",
    "next": "Check that the instance listens.",
    "rule": "",
    "origin": "services/orders.yaml:1:1",
    "origin_index": None,
    "told": None,
    "route": "all",
    "cluster": "orders",
    "attempts": [{"address": "10.0.0.3:1", "span_id": "", "why": "connect-failure", "status": 0, "ms": 0.25}],
    "candidates": CANDIDATES,
    "ms": 1.5,
}


@contextmanager
def admin(name: str, answers: dict[str, Any]) -> Iterator[str]:
    """An admin server that gives these answers by path; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path if self.path in answers else urlsplit(self.path).path
            body = json.dumps(answers[path]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    answers = {"/ready": {"role": "sidecar", "name": name}, "/api/v1/listeners": {"listeners": []}, **answers}
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    monkeypatch.setenv("SIDECAR_RUN_DIR", str(tmp_path / "run"))
    return RunDirectory(tmp_path / "run")


def why(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    """The exit code."""
    monkeypatch.setattr("sys.argv", ["sidecar", "why", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


def test_a_story_is_told_from_all_who_know_of_it(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        admin("web", {"/api/v1/exchanges?id=r-1": {"exchanges": [RECORD]}}) as here,
        admin("stock", {"/api/v1/exchanges?id=r-1": {"exchanges": []}}) as elsewhere,
    ):
        run.write("sidecar", "web", here, {"outbound": "127.0.0.1:15001"})
        assert why(monkeypatch, "r-1", "--admin", elsewhere) == 0
        text = capsys.readouterr().out
        assert why(monkeypatch, "r-1", "--json") == 0
        (story,) = json.loads(capsys.readouterr().out)["stories"]

    assert text.startswith("GET orders/tea: 503 connect-failure after 1.5 ms\nrequest r-1, trace 4bf9\n")
    assert "sidecar web (outbound): connect-failure\n  The connection to the endpoint failed. refused\n" in text
    assert "written in: services/orders.yaml:1:1\n  next: Check that the instance listens.\n" in text
    assert "of 3 endpoints 1 could be picked, 2 were ejected" in text
    assert "try 1 at 10.0.0.3:1: connect-failure, 0.25 ms" in text
    assert story["verdict"]["reason"] == "connect-failure"
    assert (story["instance"]["name"], story["below"]) == ("web", [])


def test_what_nobody_knows_is_said_with_who_was_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with admin("stock", {"/api/v1/exchanges?id=r-9": {"exchanges": []}}) as elsewhere:
        assert why(monkeypatch, "r-9", "--admin", elsewhere) == 3
    assert "nothing is kept of r-9 by sidecar stock" in capsys.readouterr().err


def test_who_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert why(monkeypatch, "r-9", "--admin", "127.0.0.1:1") == 1
    assert "--admin 127.0.0.1:1: no admin server of a sidecar answers" in capsys.readouterr().err


def test_without_an_id_the_last_failures_are_listed(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with admin("web", {"/api/v1/failures": {"failures": [RECORD]}, "/api/v1/slowest": {"slowest": []}}) as here:
        run.write("sidecar", "web", here, {})
        assert why(monkeypatch) == 0
        failures = capsys.readouterr().out
        assert why(monkeypatch, "--slow") == 0
        slowest = capsys.readouterr().out
    line = "  10:20:30.123  r-1  GET orders/tea: 503 connect-failure after 1.5 ms"
    assert failures == f"sidecar web\n{line}\n"
    assert slowest == "sidecar web: none\n"
