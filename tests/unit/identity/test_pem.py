"""Keys as Consul writes them become the PKCS#8 that the data plane takes; the library is the oracle."""

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from cryptography.x509.oid import NameOID

from sidecar.errors import IdentityError
from sidecar.identity import pem

KEYS: list[ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey] = [
    ec.generate_private_key(ec.SECP256R1()),
    ec.generate_private_key(ec.SECP384R1()),
    ec.generate_private_key(ec.SECP521R1()),
    rsa.generate_private_key(65537, 2048),
]


@pytest.mark.parametrize("key", KEYS, ids=["p256", "p384", "p521", "rsa"])
@pytest.mark.parametrize("form", [PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8])
def test_a_key_of_any_form_is_the_same_key(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, form: PrivateFormat
) -> None:
    text = key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()

    read = load_der_private_key(pem.private_key(text), None)
    assert read.public_key() == key.public_key()


def test_a_chain_is_read_in_order() -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(KEYS[0].public_key())
    made = [
        builder.serial_number(number).not_valid_before(now).not_valid_after(now).sign(KEYS[0], hashes.SHA256())
        for number in (1, 2)
    ]
    text = "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in made)

    assert pem.certificates(text) == tuple(certificate.public_bytes(Encoding.DER) for certificate in made)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        "-----BEGIN PRIVATE KEY-----\nsecret!\n-----END PRIVATE KEY-----",
        "-----BEGIN EC PRIVATE KEY-----\nMAA=\n-----END EC PRIVATE KEY-----",
        "-----BEGIN EC PRIVATE KEY-----\nMIIB\n-----END EC PRIVATE KEY-----",
        "-----BEGIN EC PRIVATE KEY-----\n\n-----END EC PRIVATE KEY-----",
    ],
)
def test_what_is_no_key_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(IdentityError) as refused:
        pem.private_key(text)

    assert "secret" not in str(refused.value)


def test_no_certificate_is_refused() -> None:
    with pytest.raises(IdentityError, match="found none"):
        pem.certificates("x")


def test_values_that_stand_one_after_the_other_are_told_apart() -> None:
    first, second = b"\x30\x03\x02\x01\x07", b"\x30\x81\x80" + bytes(128)
    assert pem.elements(first + second) == (first, second)
    assert pem.elements(b"") == ()
    with pytest.raises(IdentityError, match="cut off"):
        pem.elements(first + second[:-1])
