"""The committed lock satisfies what `pyproject.toml` asks for, by hash and from no named registry."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements/dev.lock").read_text()
PINS = {
    canonicalize_name(name): Version(version)
    for name, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", LOCK, re.MULTILINE)
}


def asked() -> list[str]:
    """Every direct requirement: of the package and of all groups."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = [requirement for group in project["dependency-groups"].values() for requirement in group]
    return [*project["project"]["dependencies"], *groups]


@pytest.mark.parametrize("requirement", asked())
def test_every_requirement_is_locked_at_a_version_it_allows(requirement: str) -> None:
    parsed = Requirement(requirement)
    pinned = PINS.get(canonicalize_name(parsed.name))
    assert pinned is not None, f"{parsed.name} is not in requirements/dev.lock: run `make lock`"
    # Some distributions only ever publish pre-releases.
    assert parsed.specifier.contains(pinned, prereleases=True), f"{pinned} is locked: run `make lock`"


def test_every_pin_has_a_hash_and_no_registry_is_named() -> None:
    blocks = re.split(r"^(?=[\w.-]+==)", LOCK, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(PINS)
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in LOCK
