"""The run directory: others find what runs, and only what runs."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from sidecar.errors import SidecarError
from sidecar.rundir import RunDirectory, default_directory


def test_an_instance_is_found_with_its_ports(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    file = directory.write("sidecar", "orders", "127.0.0.1:19000", {"inbound": "0.0.0.0:21000"})

    (instance,) = directory.instances()

    assert (instance.role, instance.name, instance.pid) == ("sidecar", "orders", os.getpid())
    assert instance.admin == "127.0.0.1:19000"
    assert instance.listeners == {"inbound": "0.0.0.0:21000"}
    assert file.name == f"sidecar-orders-{os.getpid()}.json"


def test_the_directory_is_private_and_holds_no_leftovers_of_writing(tmp_path: Path) -> None:
    path = tmp_path / "run"
    file = RunDirectory(path).write("gateway", "edge", "127.0.0.1:1", {})

    assert path.stat().st_mode & 0o777 == 0o700
    assert list(path.iterdir()) == [file]


def test_the_file_of_a_killed_instance_is_skipped_and_then_removed(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    mine = directory.write("sidecar", "orders", "127.0.0.1:1", {})
    ended = subprocess.Popen(["true"])
    ended.wait()
    stale = tmp_path / f"sidecar-web-{ended.pid}.json"
    stale.write_text(json.dumps({**json.loads(mine.read_text()), "pid": ended.pid, "name": "web"}))

    assert [instance.name for instance in directory.instances()] == ["orders"]
    directory.write("sidecar", "orders", "127.0.0.1:1", {})
    assert not stale.exists()


def test_a_pid_that_was_given_to_another_process_does_not_revive_a_file(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    file = directory.write("sidecar", "orders", "127.0.0.1:1", {})
    announced = json.loads(file.read_text())
    file.write_text(json.dumps({**announced, "started": announced["started"] - 1}))

    assert list(directory.instances()) == []


def test_a_file_of_another_form_is_left_alone(tmp_path: Path) -> None:
    newer = tmp_path / "sidecar-orders-1.json"
    newer.write_text('{"form": "of a later version"}')
    directory = RunDirectory(tmp_path)
    directory.write("sidecar", "web", "127.0.0.1:1", {})

    assert [instance.name for instance in directory.instances()] == ["web"]
    assert newer.exists()


def test_a_directory_that_cannot_be_made_is_told_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(SidecarError, match=r"file/run cannot be made: Not a directory; set SIDECAR_RUN_DIR"):
        RunDirectory(tmp_path / "file" / "run").write("sidecar", "orders", "127.0.0.1:1", {})


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"SIDECAR_RUN_DIR": "/r", "XDG_RUNTIME_DIR": "/x"}, "/r"),
        ({"XDG_RUNTIME_DIR": "/x"}, "/x/sidecar"),
        ({}, f"/tmp/sidecar-{os.getuid()}"),  # noqa: S108 - only named
    ],
)
def test_the_environment_chooses_the_directory(environ: dict[str, str], path: str) -> None:
    assert default_directory(environ) == Path(path)
