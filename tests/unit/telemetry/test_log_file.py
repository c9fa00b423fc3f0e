"""The access log's file: appended to, begun anew when it was moved away, and never in the way of serving."""

import logging
from pathlib import Path

import pytest

from sidecar.errors import SidecarError
from sidecar.telemetry.log_file import LogFile


def test_lines_are_appended_and_go_on_in_a_new_file_after_a_move(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_text("before\n")
    file = LogFile(path)
    file.write(b"1\n2\n")
    path.rename(tmp_path / "access.log.1")
    file.write(b"3\n")
    file.reopen()
    file.write(b"4\n")
    file.close()
    assert (tmp_path / "access.log.1").read_text() == "before\n1\n2\n3\n"
    assert path.read_text() == "4\n"
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_file_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SidecarError, match="--access-log"):
        LogFile(tmp_path / "missing" / "access.log")


def test_lines_that_cannot_be_written_are_counted_and_it_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "logs").mkdir()
    file = LogFile(tmp_path / "logs" / "access.log")
    (tmp_path / "logs" / "access.log").unlink()
    (tmp_path / "logs").rmdir()
    with caplog.at_level(logging.WARNING):
        for lines in (b"1\n2\n", b"3\n"):
            file.reopen()
            file.write(lines)
    assert file.lost == 3
    assert len(caplog.records) == 1
    # The old file is still there to be written.
    file.write(b"4\n")
    file.close()
    assert file.lost == 3
