"""The limit of memory that a control group sets, in both versions."""

from pathlib import Path

import pytest

from sidecar import memory

MEBIBYTE = 1 << 20


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """A host with both versions: a service within a slice, and a container."""
    for name, limit in {
        "memory.max": "max",
        "web.slice/memory.max": str(512 * MEBIBYTE),
        "web.slice/web.service/memory.max": "max",
        "web.slice/small.service/memory.max": str(128 * MEBIBYTE),
        "memory/memory.limit_in_bytes": "9223372036854771712",
        "memory/web/memory.limit_in_bytes": str(256 * MEBIBYTE),
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{limit}\n")
    return tmp_path


@pytest.mark.parametrize(
    ("groups", "mebibytes"),
    [
        ("0::/web.slice/small.service\n", 128),
        ("0::/web.slice/web.service\n", 512),
        ("0::/\n", 0),
        ("4:memory:/web\n0::/\n", 256),
        ("5:cpu,cpuacct:/web\n4:memory:/\n", 0),
        ("3:cpu,memory:/web/inner\n", 256),
        ("0::/../elsewhere\n", 0),
        ("", 0),
    ],
)
def test_the_least_of_all_groups_around_it_holds(mounted: Path, groups: str, mebibytes: int) -> None:
    assert memory.limit(groups, mounted) == mebibytes * MEBIBYTE


def test_a_container_sees_its_own_limit_at_the_mount(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory/memory.limit_in_bytes").write_text("268435456\n")
    assert memory.limit("4:memory:/docker/0123abcd\n", tmp_path) == 256 * MEBIBYTE


def test_what_cannot_be_read_is_no_limit(tmp_path: Path) -> None:
    assert memory.limit("0::/a:b\n4:memory:/a\n", tmp_path) == 0
    assert memory.limit() >= 0
