"""h2spec, the conformance suite for HTTP/2 and HPACK, against a gateway, in the clear and by TLS."""

import subprocess
from collections.abc import Callable
from pathlib import Path

# The report is our own child's; nothing from outside is parsed.
from xml.etree import ElementTree

import pytest

from tests.mesh import LOOPBACK, Mesh
from tests.real.echo import echo_server
from tests.real.programs import cached
from tests.tls import secured

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

# What the suite holds at this version, strict cases included.
CASES = 147


@pytest.mark.parametrize("tls", [False, True], ids=["cleartext", "tls"])
def test_the_gateway_conforms(mesh: Mesh, tmp_path: Path, tls: bool, row: Callable[[str, str], None]) -> None:
    report = tmp_path / "h2spec.xml"
    listener = secured(tmp_path).listener if tls else LOOPBACK
    with echo_server() as app:
        host, port = mesh.exposed("web", app, listener, protocol="http").edge.rsplit(":", 1)
        arguments = ["--strict", "--host", host, "--port", port, "--timeout", "2", "--junit-report", str(report)]
        # The suite knows no way to name an authority.
        arguments += ["--tls", "--insecure"] if tls else []
        subprocess.run([cached("h2spec-2.6.0", "h2spec"), *arguments], stdout=subprocess.DEVNULL, check=False)
        # Callers end before their servers.
        mesh.close()
    cases = list(ElementTree.parse(report).iter("testcase"))  # noqa: S314 - see the import
    unmet = [f"{case.get('package')}: {case.get('classname')}" for case in cases if _unmet(case)]
    row(f"h2spec strict, {'TLS' if tls else 'cleartext'}", f"{len(cases) - len(unmet)} of {len(cases)}")
    assert (len(cases), unmet) == (CASES, [])


def _unmet(case: ElementTree.Element) -> bool:
    return any(case.find(outcome) is not None for outcome in ("failure", "error", "skipped"))
