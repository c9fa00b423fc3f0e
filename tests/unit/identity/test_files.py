"""A gateway's certificate files: a good pair is read, a bad one is refused by name."""

from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
)

from sidecar.errors import IdentityError
from sidecar.identity.files import load_pair


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    issued = trustme.CA().issue_cert("shop.example.com")
    certificate, key = tmp_path / "edge.pem", tmp_path / "edge.key"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return certificate, key


def test_a_pair_is_read_as_der(pair: tuple[Path, Path]) -> None:
    loaded = load_pair(*pair)

    leaf = x509.load_der_x509_certificate(loaded.certificate_chain[0])
    assert load_der_private_key(loaded.private_key, password=None).public_key() == leaf.public_key()
    assert "private_key" not in repr(loaded)


def test_a_missing_file_is_named(pair: tuple[Path, Path]) -> None:
    pair[1].unlink()

    with pytest.raises(IdentityError, match=r"edge.key cannot be read: No such file or directory"):
        load_pair(*pair)


def test_a_file_without_a_certificate_is_named(pair: tuple[Path, Path]) -> None:
    pair[0].write_text("hello")

    with pytest.raises(IdentityError, match=r"edge.pem holds no PEM certificate"):
        load_pair(*pair)


def test_a_damaged_key_is_named_and_not_quoted(pair: tuple[Path, Path]) -> None:
    pair[1].write_text("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n")

    with pytest.raises(IdentityError, match=r"edge.key holds no PEM private key of a known kind") as refusal:
        load_pair(*pair)
    assert "c2VjcmV0" not in str(refusal.value)


def test_an_encrypted_key_is_named(pair: tuple[Path, Path]) -> None:
    key = load_pem_private_key(pair[1].read_bytes(), password=None)
    pair[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))

    with pytest.raises(IdentityError, match=r"edge.key is encrypted"):
        load_pair(*pair)


def test_a_key_of_another_certificate_is_named(pair: tuple[Path, Path]) -> None:
    pair[1].write_bytes(trustme.CA().issue_cert("other.example.com").private_key_pem.bytes())

    with pytest.raises(IdentityError, match=r"edge.key is not the key of the first certificate in .*edge.pem"):
        load_pair(*pair)
