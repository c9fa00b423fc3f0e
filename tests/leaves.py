"""Leaves as an authority of the mesh would sign them, and as none should."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
BOTH = (SERVER, CLIENT)
# The URIs of `spiffe` below are of this trust domain unless they say otherwise.
TRUST_DOMAIN = "mesh.local"


def spiffe(service: str, trust_domain: str = TRUST_DOMAIN, datacenter: str = "dc1", namespace: str = "default") -> str:
    """As Consul writes it."""
    return f"spiffe://{trust_domain}/ns/{namespace}/dc/{datacenter}/svc/{service}"


@dataclass(frozen=True)
class Issuer:
    """Who signs."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def called(cls, name: str) -> Issuer:
        """A root of nobody's."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, subject, key, timedelta(minutes=-1), timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        return cls(key, builder.sign(key, hashes.SHA256()))

    @classmethod
    def of(cls, state_directory: Path) -> Issuer:
        """The local CA of a mesh under test."""
        key = load_pem_private_key((state_directory / "ca" / "key.pem").read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return cls(key, x509.load_pem_x509_certificate((state_directory / "ca" / "cert.pem").read_bytes()))

    def pem(self) -> bytes:
        """The root."""
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(
        self,
        *uris: str,
        begins: timedelta = timedelta(minutes=-1),
        ends: timedelta = timedelta(hours=1),
        usages: Sequence[x509.ObjectIdentifier] = BOTH,
        self_signed: bool = False,
    ) -> Pair:
        """A leaf with these URIs, of which no more is right than is said."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "me")]) if self_signed else self.certificate.subject
        builder = _builder(issuer if self_signed else subject, issuer, key, begins, ends)
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        san = x509.SubjectAlternativeName(names or [x509.DNSName("orders.mesh")])
        builder = builder.add_extension(san, critical=True)
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        return Pair(key, builder.sign(key if self_signed else self.key, hashes.SHA256()))


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def certificate_pem(self) -> bytes:
        """The leaf alone."""
        return self.certificate.public_bytes(Encoding.PEM)

    def key_pem(self) -> bytes:
        """PKCS#8."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def shown(self, directory: Path, *, by_server: bool) -> ssl.SSLContext:
        """What shows it, and takes any certificate at the other end."""
        file = directory / "shown.pem"
        file.write_bytes(self.certificate_pem() + self.key_pem())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if by_server else ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(file)
        return context


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, begins: timedelta, ends: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
    )
