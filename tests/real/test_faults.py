"""Every fault of an endpoint, in every protocol: what callers see, how often endpoints are asked, and beside Envoy.

The short form is ours alone, once, and asserts only what a busy machine does not change. The long form measures ours
and Envoy in turn, under one policy, and writes the table that stands in `faults/results.md`.
"""

import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.conftest import failures
from tests.mesh import Proxy
from tests.real.faults import report
from tests.real.faults.faults import FAULTS
from tests.real.faults.policy import NO_POLICY, POLICY, envoy
from tests.real.faults.rig import Cell, Figures, Phases, Rig, measured_together, met, ours, rig, theirs
from tests.real.faults.wire import Wire

pytestmark = [pytest.mark.real]

SHORT = Phases(before=0.1, fault=0.6, after=0.0)
LONG = Phases(before=0.3, fault=2.5, after=2.0)
ROUNDS = 5

# Calls that fail in spite of the policy, at the most. Of what can be tried again those that were in flight when the
# fault began, and those for which the same happened thrice; of what has begun to answer as many as it takes to eject
# the endpoint, those in flight then, and the same again for each time that it is tried.
FEW, EJECTING, ANY = 4, 2 * (POLICY.consecutive_errors + 4), sys.maxsize
MOST_FAILED = {
    "refuse": FEW,
    "reset before headers": FEW,
    "reset after headers": EJECTING,
    "hang": FEW,
    "slow headers": 0,
    "slow body": 0,
    "cut body": EJECTING,
    "wrong framing": FEW,
    "GOAWAY in flight": FEW,
    "flapping": EJECTING,
    "1 of 3 slow": 0,
    "1 of 3 erring in trailers": EJECTING,
    "name gone": ANY,
    "all down": ANY,
    "overload": ANY,
}
# Retries for each call, at the most: the budget of retries, and what was on its way at the beginning; and how many any
# number of calls may have (`FLOOR` of dataplane/src/budget.rs): on a machine that stands still few calls are made.
RETRIED, FLOOR = 0.5, 30

# A machine that stands still for a moment fails calls for their time. What a policy does not keep from callers at all
# is seen in each turn.
TURNS = 3

# What a call also ends for when the machine stands still for longer than a try may take.
LATE = {"timeout", "per-try-timeout"}

RESULTS = Path(__file__).with_name("faults") / "results.md"
ENVOY = Path(__file__).with_name("faults") / "envoy.json"


@pytest.fixture(scope="module")
def endpoints() -> Iterator[Rig]:
    """The endpoints, with fair turns: a caller's thread must not wait the interpreter's usual 5 ms for the others."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.001)
    with rig() as running:
        yield running
    sys.setswitchinterval(interval)


@pytest.fixture(scope="module")
def sidecar(endpoints: Rig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with ours(endpoints, tmp_path_factory.mktemp("faults") / "ours") as proxy:
        yield proxy


def reasons(proxy: Proxy, host: str) -> set[str]:
    """Why calls to this host failed in the proxy's own words; "" when the application itself said so."""
    return {failure["reason"] for failure in failures(proxy, host)}


def test_the_table_has_an_expectation_for_each_fault() -> None:
    assert MOST_FAILED.keys() == FAULTS.keys()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_policy_keeps_callers_from_a_fault(
    fault: str, endpoints: Rig, sidecar: Proxy, row: Callable[[str, str], None]
) -> None:
    def shows_itself(cell: Cell) -> None:
        calls = endpoints.seen_without_policy(cell, sidecar.outbound)
        assert any(met(cell.fault, call) for call in calls), f"{cell.bare}: {len(calls)} calls, {calls[-3:]}"
        told = reasons(sidecar, cell.bare)
        assert told <= {*cell.fault.reasons, *LATE, ""}, cell.bare
        # A call that ends without its status is passed on as it is.
        if cell.fault.reasons and not (fault == "cut body" and cell.wire.is_grpc):
            assert told, f"{cell.bare}: no reason was recorded"

    with ThreadPoolExecutor(len(Wire)) as pool:
        list(pool.map(shows_itself, endpoints.cells[fault].values()))

    def measured() -> tuple[dict[Wire, Figures], list[str]]:
        seen = measured_together(endpoints, fault, sidecar.outbound, SHORT)
        return seen, [told for wire in seen if (told := too_many(endpoints.cells[fault][wire], seen[wire]))]

    seen, wrong = measured()
    for _ in range(1, TURNS):
        if wrong:
            seen, wrong = measured()
    row(f"fault: {fault}", "  ".join(f"{wire} {figures.success:.1%}" for wire, figures in seen.items()))
    assert not wrong, "\n".join(wrong)
    for cell in endpoints.cells[fault].values():
        # Nothing else went wrong on the way.
        assert reasons(sidecar, cell.host) <= {*cell.fault.reasons, *LATE, ""}, cell.host


def too_many(cell: Cell, figures: Figures) -> str:
    """What callers or endpoints had to bear in spite of the policy; "" when it did its work."""
    if figures.failed > MOST_FAILED[cell.fault.name]:
        return f"{cell.host}: too many calls failed: {figures}"
    if (figures.amplification - 1) * figures.calls > RETRIED * figures.calls + FLOOR:
        return f"{cell.host}: too many retries: {figures}"
    return ""


FINE = Figures(calls=100, failed=10, success=0.9, p50=0.001, p99=0.010, amplification=1.0, eject=None, back=None)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({}, ""),
        ({"failed": FEW + 1}, "calls failed"),
        ({"amplification": 1.8}, ""),
        ({"amplification": 1.9}, "retries"),
        ({"amplification": 1.9, "calls": 50}, ""),
    ],
)
def test_what_a_policy_did_not_keep_from_callers_is_told(changed: dict[str, float], complaint: str) -> None:
    cell = Cell(FAULTS["hang"], Wire.UNARY, (1, 2, 3))
    told = too_many(cell, replace(FINE, **{"failed": 0, **changed}))
    assert complaint in told
    assert bool(complaint) == bool(told)


@pytest.mark.parametrize(
    ("fault", "changed", "complaint"),
    [
        ("hang", {}, ""),
        ("hang", {"success": 0.896}, ""),
        ("hang", {"success": 0.894}, "succeeds"),
        ("hang", {"p99": 0.020}, ""),
        ("hang", {"p99": 0.021}, "p99"),
        (report.TRAILERS, {}, "not better"),
        (report.TRAILERS, {"success": 0.91}, ""),
    ],
)
def test_what_is_worse_than_envoy_is_told(fault: str, changed: dict[str, float], complaint: str) -> None:
    told = report.complaint(fault, Wire.UNARY, replace(FINE, **changed), FINE)
    assert complaint in told
    assert bool(complaint) == bool(told)


def test_the_committed_configuration_of_envoy_is_that_of_the_table() -> None:
    services = {
        f"{kind}-{wire}": (policy, wire, [41001, 41002, 41003])
        for wire in Wire
        for kind, policy in (("policy", POLICY), ("bare", NO_POLICY))
    }
    generated = json.dumps(envoy(15001, services), indent=2) + "\n"
    assert ENVOY.read_text() == generated, f"write this into {ENVOY}:\n{generated}"


@pytest.mark.long
# Seconds: rounds of both proxies, each fault about six, and their start.
@pytest.mark.timeout(ROUNDS * 2 * (len(FAULTS) * 12 + 60))
def test_callers_are_served_as_well_as_behind_envoy(
    endpoints: Rig, tmp_path: Path, note: Callable[[str], None]
) -> None:
    rounds: list[report.Round] = []
    for number in range(ROUNDS):
        # A new process each time: what one round has taught a proxy is not known in the next.
        with ours(endpoints, tmp_path / f"ours-{number}") as proxy:
            mine = {fault: measured_together(endpoints, fault, proxy.outbound, LONG) for fault in FAULTS}
        with theirs(endpoints, tmp_path / f"envoy-{number}") as address:
            yours = {fault: measured_together(endpoints, fault, address, LONG) for fault in FAULTS}
        rounds.append(report.Round(mine, yours))
    cells = report.judged(rounds)
    RESULTS.write_text(report.markdown(cells, ROUNDS))
    note(f"the table is in {RESULTS}")
    worse = [cell for cell in cells if cell.complaint]
    assert not worse, "\n".join(f"{cell.fault}, {cell.wire}: {cell.complaint}" for cell in worse)
