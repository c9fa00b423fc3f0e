"""Connect's conformance suite: what a server does reached directly, it does through a gateway and a sidecar."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.real.programs import cached

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

TOOLS = "connect-conformance-1.0.7"


def run(config: str, *server: str) -> tuple[int, set[str]]:
    """How many cases there are, and which fail."""
    suite = [cached(TOOLS, "connectconformance"), "--mode", "server", "--conf", str(Path(__file__).with_name(config))]
    # One at a time: each brings two proxies with it.
    command = [*suite, "--max-servers", "1", "--", *server]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    told = done.stdout + done.stderr
    total = re.search(r"^Total cases: (\d+)$", told, re.MULTILINE)
    assert total is not None, told
    return int(total[1]), set(re.findall(r"^FAILED: (.+):$", told, re.MULTILINE))


@pytest.mark.parametrize(("server", "cases"), [("grpcserver", 374), ("referenceserver", 1900)])
def test_what_passes_directly_passes_through_the_mesh(server: str, cases: int, row: Callable[[str, str], None]) -> None:
    config = f"conformance_{server.removesuffix('server')}.yaml"
    total, direct = run(config, cached(TOOLS, server))
    through, failed = run(config, sys.executable, "-m", "tests.real.conformance", cached(TOOLS, server))
    row(f"Connect conformance, {server}", f"{through - len(failed)} of {through}; directly {total - len(direct)}")
    assert (total, through) == (cases, cases)
    assert failed - direct == set()
