"""Fixtures and gates of every Python test."""

import pytest

from tests.skips import EXPECTED_SKIPS, SkipGate, read_expected


def pytest_configure(config: pytest.Config) -> None:
    """Hold every run to the expected skips."""
    config.pluginmanager.register(SkipGate(read_expected(EXPECTED_SKIPS)), "skip-gate")
