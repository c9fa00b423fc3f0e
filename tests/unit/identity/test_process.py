"""Keys are handled in a process of their own: same answers, same refusals, and no library stays with us."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_private_key

from sidecar.errors import IdentityError
from sidecar.identity import process
from sidecar.identity.files import load_pair, load_roots
from sidecar.identity.process import LocalIssuer, load
from sidecar.identity.spiffe import ServiceId

ORDERS = ServiceId("mesh.local", "orders")


def test_a_leaf_comes_back_whole(tmp_path: Path) -> None:
    issuer = LocalIssuer(tmp_path, "mesh.local")
    leaf, next_leaf = issuer.issue(ORDERS), issuer.issue(ORDERS)

    certificate = x509.load_der_x509_certificate(leaf.certificate_chain[0])
    certificate.verify_directly_issued_by(x509.load_der_x509_certificate(leaf.roots[0]))
    assert load_der_private_key(leaf.private_key, password=None).public_key() == certificate.public_key()
    assert leaf.not_after - leaf.not_before == timedelta(hours=24, minutes=1)
    assert leaf.roots == next_leaf.roots
    assert "private_key" not in repr(leaf)


def test_a_refusal_comes_back_in_its_words(tmp_path: Path) -> None:
    LocalIssuer(tmp_path, "old.mesh").issue(ServiceId("old.mesh", "orders"))

    with pytest.raises(IdentityError, match=r"was made for the trust domain 'old.mesh'"):
        LocalIssuer(tmp_path, "mesh.local").issue(ORDERS)


def test_certificate_files_come_back_by_name(tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("shop.example.com")
    certificate, key = tmp_path / "edge.pem", tmp_path / "edge.key"
    certificate.write_bytes(issued.cert_chain_pems[0].bytes())
    key.write_bytes(issued.private_key_pem.bytes())

    pairs, roots = load({"edge/0": (certificate, key)}, {"edge-clients/0": certificate})
    assert pairs == {"edge/0": load_pair(certificate, key)}
    assert roots == {"edge-clients/0": load_roots(certificate)}
    with pytest.raises(IdentityError, match=r"missing.pem cannot be read"):
        load({"edge/0": (certificate, key), "edge/1": (tmp_path / "missing.pem", key)}, {})
    with pytest.raises(IdentityError, match=r"edge.key holds no PEM certificate"):
        load({}, {"edge-clients/0": key})


def test_a_process_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "ANSWER_WITHIN", 0.001)

    with pytest.raises(IdentityError, match=r"not ready within 0.001 s"):
        LocalIssuer(tmp_path, "mesh.local").issue(ORDERS)


def test_a_process_that_fails_is_told_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "sys", _Broken())

    with pytest.raises(IdentityError, match=r"failed \(1\): .*No module named"):
        LocalIssuer(tmp_path, "mesh.local").issue(ORDERS)


class _Broken:
    """An interpreter that finds nothing of ours."""

    executable = sys.executable
    path = ("/nonexistent",)


def test_the_library_does_not_stay_with_us(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from sidecar.identity.process import LocalIssuer
from sidecar.identity.spiffe import ServiceId
LocalIssuer(Path(sys.argv[1]), "mesh.local").issue(ServiceId("mesh.local", "orders"))
print([name for name in sys.modules if name.startswith("cryptography")])
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
