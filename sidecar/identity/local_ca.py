"""The local CA: the authority of the directory source, for one host and its user.

All sidecars of the user share its key, `ca/key.pem` in the state directory (mode 0600), and each issues its own leaf,
whose key never leaves memory. The pair `ca/` appears in one rename under a lock, so sidecars that start together agree
on one CA, and a kill at any moment leaves either the whole pair or none.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sidecar.errors import IdentityError
from sidecar.identity.authority import Leaf
from sidecar.identity.spiffe import ServiceId

# Consul's default root lives as long.
CA_LIFETIME = timedelta(days=3650)
LEAF_LIFETIME = timedelta(hours=24)
# Certificates start a little in the past, for peers whose clock is behind; Consul backdates by the same.
BACKDATE = timedelta(minutes=1)

Clock = Callable[[], datetime]


class LocalAuthority:
    """Signs leaves with the CA in `state_directory`, made on the first use. Raises IdentityError."""

    def __init__(
        self,
        state_directory: Path,
        trust_domain: str,
        leaf_lifetime: timedelta = LEAF_LIFETIME,
        clock: Clock = lambda: datetime.now(UTC),
    ) -> None:
        self._trust_domain = trust_domain
        self._leaf_lifetime = leaf_lifetime
        self._clock = clock
        directory = state_directory / "ca"
        if not directory.is_dir():
            _create(state_directory, trust_domain, clock())
        self._key, self._certificate = _load(directory, trust_domain, clock())

    def issue(self, identity: ServiceId) -> Leaf:
        """A leaf for this service, for TLS client and server, with its SPIFFE id as the only name."""
        if identity.trust_domain != self._trust_domain:
            raise IdentityError(f"the local CA of {self._trust_domain} does not sign for {identity}")
        now = self._clock()
        not_before = now - BACKDATE
        # A leaf that outlives its CA would fail at every peer, later and without a word.
        not_after = min(now + self._leaf_lifetime, self._certificate.not_valid_after_utc)
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            x509.CertificateBuilder()
            # RFC 5280 4.1.2.6: with an empty subject the alternative name is critical.
            .subject_name(x509.Name([]))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before)
            .not_valid_after(not_after)
            .add_extension(_uri(str(identity)), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]),
                critical=False,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Leaf(
            certificate_chain=(certificate.public_bytes(Encoding.DER),),
            private_key=key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            roots=(self._certificate.public_bytes(Encoding.DER),),
        )


def _create(state_directory: Path, trust_domain: str, now: datetime) -> None:
    try:
        state_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _lock(state_directory / "ca.lock"):
            if (state_directory / "ca").is_dir():
                return
            # Under the lock nobody else is creating: these are left over from a kill.
            for leftover in state_directory.glob(".ca-*"):
                shutil.rmtree(leftover)
            partial = Path(tempfile.mkdtemp(prefix=".ca-", dir=state_directory))
            key, certificate = _generate(trust_domain, now)
            _write(
                partial / "key.pem", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600
            )
            _write(partial / "cert.pem", certificate.public_bytes(Encoding.PEM), mode=0o644)
            _sync(partial)
            partial.rename(state_directory / "ca")
            _sync(state_directory)
    except OSError as error:
        raise IdentityError(
            f"the local CA cannot be made in {state_directory}: {error.strerror or error}; "
            "choose a writable place with --state-dir or SIDECAR_STATE_DIR"
        ) from error


def _generate(trust_domain: str, now: datetime) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Sidecar local CA")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + CA_LIFETIME)
        .add_extension(_uri(f"spiffe://{trust_domain}"), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def _load(directory: Path, trust_domain: str, now: datetime) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key_path, certificate_path = directory / "key.pem", directory / "cert.pem"
    try:
        mode = key_path.stat().st_mode & 0o777
        key = load_pem_private_key(key_path.read_bytes(), password=None)
        certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
    except OSError as error:
        _refuse(directory, f"{error.filename} cannot be read: {error.strerror}")
    except (ValueError, TypeError) as error:
        _refuse(directory, f"its key or certificate is damaged: {error}")
    if mode & 0o077:
        raise IdentityError(f"{key_path} can be read by others (mode {mode:04o}): run `chmod 600 {key_path}`")
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        _refuse(directory, "key.pem is not the key of cert.pem")
    try:
        certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, InvalidSignature):
        _refuse(directory, "cert.pem is not signed by its own key")
    if now >= certificate.not_valid_after_utc:
        _refuse(directory, f"it ended at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
    made_for = _trust_domain(certificate)
    if made_for != trust_domain:
        raise IdentityError(
            f"the local CA in {directory} was made for the trust domain {made_for!r}, "
            f"but mesh.yaml says {trust_domain!r}: set trust_domain to {made_for!r}, "
            "or keep this mesh's CA elsewhere with --state-dir"
        )
    return key, certificate


def _refuse(directory: Path, why: str) -> NoReturn:
    raise IdentityError(
        f"the local CA in {directory} cannot be used: {why}; "
        "put it right, or remove that directory and restart all sidecars of this mesh to get a new CA"
    )


def _trust_domain(certificate: x509.Certificate) -> str | None:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return uris[0].removeprefix("spiffe://") if len(uris) == 1 else None


def _uri(uri: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock; the kernel lets it go when the process dies."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
