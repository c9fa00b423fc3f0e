"""A run skips exactly what `expected_skips.txt` lists, or fails: a test that silently stops running proves nothing."""

from pathlib import Path

import pytest

EXPECTED_SKIPS = Path(__file__).with_name("expected_skips.txt")


def read_expected(path: Path) -> frozenset[str]:
    """The node ids of `path`: one a line; two spaces and a `#` start a comment."""
    lines = (line.split("  #")[0].strip() for line in path.read_text().splitlines())
    return frozenset(line for line in lines if line and not line.startswith("#"))


class SkipGate:
    """A pytest plugin that turns a run red when its skips differ from the expected ones."""

    def __init__(self, expected: frozenset[str]) -> None:
        self._expected = expected
        self._selected: set[str] = set()
        self._skipped: dict[str, str] = {}
        self.complaints: list[str] = []

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module that skips itself whole."""
        if report.skipped:
            self._selected.add(report.nodeid)
            self._skipped[report.nodeid] = str(report.longrepr)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """What this run was asked to do: an expected skip outside it is no concern of ours."""
        self._selected.update(item.nodeid for item in session.items)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One skipped test; an expected failure is no skip."""
        if report.skipped and not hasattr(report, "wasxfail"):
            self._skipped[report.nodeid] = str(report.longrepr)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Compare, and fail a run that was green."""
        if session.config.option.collectonly:
            return
        for node in sorted(self._skipped.keys() - self._expected):
            self.complaints.append(f"{node} skipped, and {EXPECTED_SKIPS.name} does not list it: {self._skipped[node]}")
        for node in sorted((self._expected & self._selected) - self._skipped.keys()):
            self.complaints.append(f"{node} is listed in {EXPECTED_SKIPS.name} but did not skip: delete the line")
        for node in sorted(self._expected - self._selected):
            if not (session.config.rootpath / node.split("::")[0]).exists():
                self.complaints.append(f"{node} is listed in {EXPECTED_SKIPS.name} but its file is gone")
        if self.complaints and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what was wrong."""
        for complaint in self.complaints:
            terminalreporter.line(f"SKIP GATE: {complaint}", red=True)
