"""Fixtures and gates of every Python test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.mesh import Mesh
from tests.skips import EXPECTED_SKIPS, SkipGate, read_expected

# A busy machine breaks no property.
settings.register_profile("short", deadline=None)
settings.load_profile("short")
# `make fuzz`: minutes instead of seconds for each property.
settings.register_profile("long", max_examples=5000, deadline=None)


def pytest_configure(config: pytest.Config) -> None:
    """Hold every run to the expected skips."""
    config.pluginmanager.register(SkipGate(read_expected(EXPECTED_SKIPS)), "skip-gate")


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    """An empty configuration directory; the proxies started on it are stopped at the end, and must exit cleanly."""
    with Mesh(tmp_path) as mesh:
        yield mesh
