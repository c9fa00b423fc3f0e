"""What these suites share: Consul, a mesh on it, and the table that they end with."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mesh import Mesh
from tests.real.consul_agent import Agent, running

_ROWS = pytest.StashKey[list[tuple[str, str]]]()
_NOTES = pytest.StashKey[list[str]]()

DENY = 'acl { enabled = true default_policy = "deny" tokens { initial_management = "root" } }'


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """A server that is its own agent, empty."""
    with running(tmp_path) as agent:
        yield agent


@pytest.fixture
def strict_agent(tmp_path: Path) -> Iterator[Agent]:
    """One that denies what no policy allows."""
    with running(tmp_path, DENY, "root") as agent:
        yield agent


@pytest.fixture
def consul_mesh(agent: Agent, tmp_path: Path) -> Iterator[Mesh]:
    """A mesh whose proxies ask that agent."""
    with Mesh(tmp_path, agent.address) as mesh:
        yield mesh


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
