"""The second thing that a newcomer does: the shop on real Consul, where a key that is put moves the calls."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mesh import ROOT, eventually

DEMO = ROOT / "examples" / "shop" / "demo_consul.py"

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]


def demo(*arguments: str, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(DEMO), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environ},
    )


def test_each_key_moves_the_calls_and_none_fails() -> None:
    said, _ = (running := demo("--check")).communicate()
    assert running.returncode == 0, said
    assert said.count("$ consul kv put sidecar/services/orders") == 3
    assert "v1   0%" in said
    for action, word in (("deny", "refused"), ("allow", "answered")):
        assert f"$ consul intention create -replace -{action} web orders\n  the first call was {word} " in plain(said)
    assert "FAILED" not in said


def plain(said: str) -> str:
    """Without the lines that are drawn meanwhile, and without bold."""
    lines = (re.sub(r"\x1b\[[0-9;]*m", "", line) for line in said.splitlines())
    return "\n".join(line for line in lines if "  v1 " not in line)


def test_it_stops_on_ctrl_c_and_leaves_nothing_behind(tmp_path: Path) -> None:
    running = demo("--free-ports", "--directory", str(tmp_path))
    log = tmp_path / "logs" / "edge.log"
    eventually("the gateway is ready", lambda: log.exists() and "is ready" in log.read_text(), within=60)

    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=60)

    assert running.returncode == 0, said
    mark = str(tmp_path).encode()
    assert [line for line in command_lines() if mark in line] == []


def command_lines() -> list[bytes]:
    """Of all processes."""
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            lines.append((process / "cmdline").read_bytes())
        except OSError:
            # It has just ended.
            continue
    return lines


def test_without_consul_it_says_how_to_get_it(tmp_path: Path) -> None:
    running = demo("--free-ports", "--directory", str(tmp_path), PATH="/nowhere", XDG_CACHE_HOME=str(tmp_path))
    said, _ = running.communicate(timeout=60)
    assert running.returncode == 1
    assert "missing: consul" in said
    assert "tests/real/install.sh consul" in said
