"""The example shop as a person meets it: it starts, shows a call and its trace, and leaves nothing behind."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.mesh import ROOT, eventually

pytestmark = pytest.mark.real

DEMO = ROOT / "examples" / "shop" / "demo.py"
# Seconds: eleven processes start.
READY_WITHIN = 30.0


class Demo:
    """The demo in a process of its own, with a terminal to type on."""

    def __init__(self, directory: Path, *arguments: str, collector: str = "") -> None:
        self.directory = directory
        self._output = directory / "output"
        self.keyboard, terminal = pty.openpty()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(DEMO), "--directory", str(directory), *arguments],
                stdin=terminal,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**environment, "OTEL_EXPORTER_OTLP_ENDPOINT": collector},
            )
        os.close(terminal)

    def output(self) -> str:
        return self._output.read_text()

    def shows(self, text: str, times: int = 1) -> None:
        """Wait until the demo has printed `text` so many times."""

        def printed() -> bool:
            assert self.process.poll() is None, f"the demo ended:\n{self.output()}"
            return self.output().count(text) >= times

        try:
            eventually(f"{text!r} in the demo's output", printed, READY_WITHIN)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output()}") from None

    def left_behind(self) -> list[bytes]:
        """Command lines of the processes that the demo started and that still run."""
        mark = f"SIDECAR_RUN_DIR={self.directory}".encode()
        return [
            _read(process / "cmdline") for process in Path("/proc").glob("[0-9]*") if mark in _read(process / "environ")
        ]


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        # The process has just ended, or belongs to someone else.
        return b""


@contextmanager
def demo(directory: Path, *arguments: str, collector: str = "") -> Iterator[Demo]:
    running = Demo(directory, *arguments, collector=collector)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.terminate()
            running.process.wait(20)
        os.close(running.keyboard)


@contextmanager
def collector() -> Iterator[tuple[str, list[str]]]:
    """An OTLP/HTTP endpoint and the paths that were posted to it."""
    posted: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            posted.append(self.path)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", posted
        server.shutdown()


def test_the_demo_draws_calls_and_traces_and_stops_on_ctrl_c(tmp_path: Path) -> None:
    with demo(tmp_path, "--free-ports") as shop:
        shop.shows("The shop is ready")
        shop.shows("inventory app: server /shop.v1.Inventory/GetStock")
        os.write(shop.keyboard, b"\n")
        shop.shows("inventory app: server /shop.v1.Inventory/GetStock", times=2)
        assert shop.output().count("POST /shop.v1.Shop/GetOrder → web  200 OK") == 2

        shop.process.send_signal(signal.SIGINT)

        assert shop.process.wait(20) == 0
        assert shop.left_behind() == []


def test_with_a_collector_traces_go_there_and_calls_go_on_without_an_instance(tmp_path: Path) -> None:
    with collector() as (endpoint, posted), demo(tmp_path, "--free-ports", collector=endpoint) as shop:
        shop.shows(f"traces go to {endpoint}")
        eventually("spans at the collector", lambda: "/v1/traces" in posted, within=10)
        one_of_two = next((tmp_path / "run").glob("*-orders-*.json"))

        os.kill(json.loads(one_of_two.read_text())["pid"], signal.SIGKILL)
        shop.shows("ended with code -9")
        for calls in (2, 3):
            os.write(shop.keyboard, b"\n")
            shop.shows("POST /shop.v1.Shop/GetOrder → web  200 OK", times=calls)

        shop.process.send_signal(signal.SIGINT)
        assert shop.process.wait(20) == 0
        assert "trace " not in shop.output()
        assert shop.left_behind() == []


def test_a_port_in_use_is_named_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as occupant:
        occupant.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            occupant.bind(("127.0.0.1", 8080))
            occupant.listen()
        except OSError:
            pass  # Another program occupies it: just as well.
        with demo(tmp_path) as shop:
            assert shop.process.wait(20) == 1
            assert "in use by another program: port 8080" in shop.output()
            assert not (tmp_path / "logs").exists()
