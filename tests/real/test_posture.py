"""The TLS that a gateway speaks, judged by sslyze against Mozilla's configuration "intermediate"."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mesh import LOOPBACK, Mesh
from tests.real.programs import cached, debian
from tests.tls import secured

pytestmark = [pytest.mark.real, pytest.mark.long]

# Mozilla wants certificates of servers to last 90 days, and no more than 366.
DAYS = 90


def openssl(*arguments: str | Path) -> None:
    subprocess.run([debian("openssl"), *map(str, arguments)], check=True, capture_output=True)


def issued(folder: Path) -> dict[str, str]:
    """A pair for localhost as a public authority issues it, and its authority in `authority.pem`."""
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")
    authority, key = folder / "authority.pem", folder / "authority.key"
    request, leaf, leaf_key = folder / "leaf.csr", folder / "leaf.pem", folder / "leaf.key"
    extensions = folder / "extensions"
    extensions.write_text(
        "subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n"
        "authorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n"
    )
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    openssl("req", "-x509", *curve, "-subj", "/CN=authority", *usage, "-keyout", key, "-out", authority)
    openssl("req", *curve, "-subj", "/CN=localhost", "-keyout", leaf_key, "-out", request)
    signed = ("-CA", authority, "-CAkey", key, "-days", str(DAYS), "-extfile", extensions)
    openssl("x509", "-req", "-in", request, *signed, "-out", leaf)
    return {"cert": str(leaf), "key": str(leaf_key)}


def findings(address: str, authority: Path) -> list[str]:
    """What sslyze finds at a server; empty when it says that it complies."""
    port = address.rpartition(":")[2]
    options = ["--mozilla_config=intermediate", "--certinfo_ca_file", str(authority)]
    scan = subprocess.run(
        [sys.executable, "-m", "sslyze", f"localhost:{port}", *options],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": cached("sslyze-6.3.1", "")},
    )
    verdict = scan.stdout.rpartition("COMPLIANCE AGAINST TLS CONFIGURATION")[2]
    found = [line.strip() for line in verdict.splitlines() if line.strip().startswith("*")]
    assert ("OK - Compliant" in verdict, scan.returncode) == (not found, min(1, len(found))), scan.stdout + scan.stderr
    return found


@pytest.mark.timeout(300)
def test_the_gateway_complies_and_a_certificate_for_a_thousand_years_does_not(mesh: Mesh, tmp_path: Path) -> None:
    good, odd = tmp_path / "good", tmp_path / "odd"
    good.mkdir()
    odd.mkdir()
    bad = secured(odd)
    listeners = [{**LOOPBACK, "tls": {"certificates": [issued(good)]}}, bad.listener]
    routes = [{"name": "all", "to": {"service": "web"}}]
    mesh.document("services/web", tls="disabled", endpoints=[{"address": "127.0.0.1:1"}])
    mesh.document("gateways/edge", listeners=listeners, routes=routes)
    gateway = mesh.gateway("edge")
    assert findings(gateway.listeners["edge-0"], good / "authority.pem") == []
    assert any("lifespan" in found for found in findings(gateway.listeners["edge-0-2"], bad.authority))
