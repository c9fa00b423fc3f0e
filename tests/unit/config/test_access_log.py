"""`access_log` of the mesh document: every mistake is told with what was expected."""

from pathlib import Path

import pytest

from sidecar.config.model.access_log import FIELDS
from sidecar.snapshot import SidecarRole, compile
from sidecar.sources.files import FileSource
from sidecar.wire.telemetry_pb2 import AccessLog
from sidecar.world import World


def world(directory: Path, text: str) -> World:
    (directory / "mesh.yaml").write_text(f"access_log: {text}\n")
    return World().apply(FileSource(directory).read())


def compiled(directory: Path, text: str) -> AccessLog:
    known = world(directory, text)
    assert not known.refusals
    return compile(known, SidecarRole("orders"), 1).telemetry.access_log


def test_each_setting_is_carried_over(tmp_path: Path) -> None:
    log = compiled(tmp_path, "{sample: 10%, only: {min_status: 400, slower_than: 1s}, redact: [client, path]}")
    assert (log.enabled, log.pattern, log.sample) == (True, "", 100_000)
    assert (log.min_status, log.slower_than_ms, list(log.redact)) == (400, 1000, ["client", "path"])


def test_formats_have_names_and_may_be_written(tmp_path: Path) -> None:
    assert compiled(tmp_path, "{}").pattern == ""
    assert compiled(tmp_path, "{format: combined}").pattern.endswith('%BYTES_SENT% "%REFERER%" "%USER_AGENT%"')
    own = " ".join(f"%{name}%" for name in FIELDS)
    assert compiled(tmp_path, f"{{format: '100%% {own}'}}").pattern == f"100%% {own}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{format: comon}", "did you mean `common`?"),
        ("{format: '%STATUS'}", "not closed"),
        ("{format: '%STATSU%'}", "did you mean `STATUS`?"),
        ("{only: {}}", "`min_status` or `slower_than`"),
        ("{redact: [pth]}", "did you mean `path`?"),
        ('{format: "%STATUS%\\n"}', "one line"),
    ],
)
def test_a_mistake_is_told(tmp_path: Path, text: str, words: str) -> None:
    ((problem,),) = world(tmp_path, text).refusals.values()
    assert words in f"{problem.message} {problem.expected} {problem.hint}"
