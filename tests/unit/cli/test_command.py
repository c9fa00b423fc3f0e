"""The command as a person meets it: help, mistakes, and the exit code of each end."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sidecar.cli import main


@dataclass(frozen=True)
class Said:
    """How the command ended, and what it printed."""

    returncode: int | str | None
    stdout: str
    stderr: str


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Has arguments read that go no further: without a process of their own, which takes half a second."""
    for name in os.environ:
        if name.startswith(("SIDECAR_", "OTEL_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "120")

    def parse(*arguments: str) -> Said:
        monkeypatch.setattr("sys.argv", ["sidecar", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return Said(ended.value.code, *capsys.readouterr())

    return parse


def sidecar(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `sidecar` to its end."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SIDECAR_", "OTEL_"))}
    return subprocess.run(
        [sys.executable, "-m", "sidecar", *arguments],
        env={**inherited, "COLUMNS": "120", **environ},
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.mark.parametrize("verb", [("run",), ("gateway",), ("version",), ("config", "check")])
def test_help_starts_with_examples(parsed: Callable[..., Said], verb: tuple[str, ...]) -> None:
    done = parsed(*verb, "--help")

    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.index("Examples:") < done.stdout.index("Options:")
    assert f"sidecar {' '.join(verb)}" in done.stdout[done.stdout.index("Examples:") :]


def test_help_lists_every_verb(parsed: Callable[..., Said]) -> None:
    done = parsed("--help")

    for verb in ("run", "gateway", "config", "version"):
        assert f"\n  {verb} " in done.stdout


def test_without_a_directory_consul_is_meant_and_nothing_else_is_tried(tmp_path: Path) -> None:
    for verb in (("run", "--service", "orders", "--port", "8080"), ("gateway", "--name", "edge")):
        done = sidecar(*verb, CONSUL_HTTP_ADDR="ftp://consul", SIDECAR_STATE_DIR=str(tmp_path))
        assert done.returncode == 1
        assert done.stdout == ""
        assert "CONSUL_HTTP_ADDR is 'ftp://consul'" in done.stderr
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--meta", "version"), "'version' is not KEY=VALUE"),
        (("--advertise", "here"), "'here' is not an IP address"),
    ],
)
def test_what_consul_is_told_is_checked_first(
    parsed: Callable[..., Said], arguments: tuple[str, ...], said: str
) -> None:
    done = parsed("run", "--service", "orders", "--port", "8080", *arguments)

    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--port", "0"), "--port"),
        (("--port", "8080", "--inbound-port", "65536"), "--inbound-port"),
        (("--port", "8080", "--app-address", "localhost"), "'localhost' is not an IP address"),
        (("--port", "8080", "--memory-limit", "256"), "'256' is not a size: expected"),
        (("--port", "8080", "--grace", "30"), "'30' is not a duration: expected a number with its unit"),
        (("--port", "8080", "--meta", "version=1"), "only Consul has registrations, so not with --config"),
        (("--sidecar-for", "orders-1"), "the registration says what --service and --port say"),
        ((), "give --service NAME and --port PORT, or --sidecar-for ID"),
        (("--port", "8080", "--log-level", "loud"), "'loud' is none of debug, info, warning, error"),
    ],
)
def test_wrong_usage_ends_with_2(
    parsed: Callable[..., Said], tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = parsed("run", "--service", "orders", "--config", str(tmp_path), *arguments)

    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())


def test_bad_configuration_ends_with_78_and_every_problem(tmp_path: Path) -> None:
    (tmp_path / "services").mkdir()
    (tmp_path / "services/orders.yaml").write_text("protocol: htttp\ntimeout: 5\n")
    done = sidecar("run", "--service", "orders", "--port", "8080", SIDECAR_CONFIG=str(tmp_path))

    assert done.returncode == 78
    assert done.stdout == ""
    assert "services/orders.yaml:1:11" in done.stderr
    assert "services/orders.yaml:2:10" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_directory_that_is_not_there_ends_with_78(tmp_path: Path) -> None:
    done = sidecar("gateway", "--name", "edge", "--config", str(tmp_path / "nowhere"))

    assert done.returncode == 78
    assert "nowhere cannot be read: No such file or directory" in done.stderr


def test_an_unusable_ca_ends_with_1(tmp_path: Path) -> None:
    (tmp_path / "state/ca").mkdir(parents=True)
    done = sidecar(
        *("run", "--service", "orders", "--port", "8080", "--config", str(tmp_path)),
        *("--state-dir", str(tmp_path / "state")),
    )

    assert done.returncode == 1
    assert done.stderr.startswith("sidecar: the local CA in ")
    assert "key.pem cannot be read" in done.stderr


def test_version_is_data_on_standard_output() -> None:
    text, structured = sidecar("version"), sidecar("version", "-o", "json")

    assert text.stdout.startswith("sidecar ")
    facts = json.loads(structured.stdout)
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert set(facts) == {"version", "python", "platform", "dataplane"}
