"""The table that these suites end with."""

from collections.abc import Callable

import pytest

_ROWS = pytest.StashKey[list[tuple[str, str]]]()
_NOTES = pytest.StashKey[list[str]]()


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Adds a suite and its mark to the table."""
    rows = request.config.stash.setdefault(_ROWS, [])
    return lambda suite, mark: rows.append((suite, mark))


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Adds words that stand below the table, also when the test passes."""
    return request.config.stash.setdefault(_NOTES, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print it after the dots."""
    rows = config.stash.get(_ROWS, [])
    width = max((len(suite) for suite, _ in rows), default=0)
    for suite, mark in rows:
        terminalreporter.write_line(f"{suite:{width}}  {mark}")
    for note in config.stash.get(_NOTES, []):
        terminalreporter.write_line(note)
