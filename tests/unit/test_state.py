"""What is saved comes back whole, or is refused by name."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sidecar.errors import StateError
from sidecar.state import StateFile

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def file(tmp_path: Path) -> StateFile:
    return StateFile(tmp_path / "last-good" / "sidecar-orders.world")


def test_what_was_saved_comes_back_with_its_time(file: StateFile) -> None:
    file.save({"trust_domain": "mesh.local"}, NOON)

    saved = file.load()
    assert saved is not None
    assert saved.value == {"trust_domain": "mesh.local"}
    assert saved.true_at == NOON


def test_it_can_be_confirmed_without_writing_it_again(file: StateFile) -> None:
    file.save({"trust_domain": "mesh.local"}, NOON)
    file.confirm(NOON + timedelta(hours=1))

    saved = file.load()
    assert saved is not None
    assert saved.true_at == NOON + timedelta(hours=1)


def test_nothing_saved_is_no_error(file: StateFile) -> None:
    assert file.load() is None


def test_only_the_owner_reads_it(file: StateFile) -> None:
    file.save({}, NOON)

    assert file.path.stat().st_mode & 0o777 == 0o600
    assert file.path.parent.stat().st_mode & 0o777 == 0o700
    file.path.chmod(0o640)
    with pytest.raises(StateError, match=r"can be read by others \(mode 0640\): run `chmod 600 "):
        file.load()


def test_a_save_replaces_and_leaves_nothing_else(file: StateFile) -> None:
    file.save({"version": 1}, NOON)
    file.save({"version": 2}, NOON)

    saved = file.load()
    assert saved is not None
    assert saved.value == {"version": 2}
    assert [path.name for path in file.path.parent.iterdir()] == ["sidecar-orders.world"]


@pytest.mark.parametrize("damage", [b"", b"{}\n{}", b"\x00" * 4096, b'{"format": 1}\n{}'])
def test_a_damaged_file_is_not_used(file: StateFile, damage: bytes) -> None:
    file.save({}, NOON)
    file.path.write_bytes(damage)

    with pytest.raises(StateError, match=r"sidecar-orders.world is damaged and not used"):
        file.load()


def test_a_cut_file_is_not_used(file: StateFile) -> None:
    file.save({"endpoints": list(range(1000))}, NOON)
    file.path.write_bytes(file.path.read_bytes()[:-10])

    with pytest.raises(StateError, match="its checksum does not match"):
        file.load()


def test_another_format_is_told(file: StateFile) -> None:
    file.save({}, NOON)
    file.path.write_bytes(file.path.read_bytes().replace(b'"format": 1', b'"format": 9'))

    with pytest.raises(StateError, match="has format 9, expected 1"):
        file.load()


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "last-good").write_text("a file")

    with pytest.raises(StateError, match=r"cannot be written: .*--state-dir"):
        StateFile(tmp_path / "last-good" / "x").save({}, NOON)
