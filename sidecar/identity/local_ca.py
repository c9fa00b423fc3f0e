"""The local CA: the authority of the directory source, for one host and its user.

    STATE_DIR/ca -> .ca-x8k2…     the CA in force; its directory never changes, it is followed by another one
        key.pem                   mode 0600: all sidecars of the user sign with it, each its own leaf
        cert.pem                  the root
        cross.pem                 the same, signed by the root before it; only after a rotation
        about.json                how long leaves live, and the earlier roots with the end of the trust in them

Everything is read and written under a lock, and the link is replaced in one step: sidecars that start together agree on
one CA, and a kill at any moment leaves one that is whole. The key of a leaf never leaves memory.

A rotation reaches sidecars in any order. Who has the new root already trusts leaves of the earlier one until none can
be left; who has not yet finds its way from a new leaf to the earlier root by `cross.pem`, which each leaf comes with.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
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
# What a leaf may live: a process that issues one takes a quarter of a second, and a day is long for a development mesh.
SHORTEST_LEAF, LONGEST_LEAF = timedelta(seconds=5), timedelta(days=30)

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Ca:
    """A whole CA. `earlier` are the roots before it with the end of the trust in each; `cross` is by the first."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    leaf_lifetime: timedelta = LEAF_LIFETIME
    cross: x509.Certificate | None = None
    earlier: tuple[tuple[x509.Certificate, datetime], ...] = ()

    def trusted(self, now: datetime) -> list[x509.Certificate]:
        """Every root by which a peer may be verified."""
        return [self.certificate, *(root for root, until in self.earlier if now < until)]


class LocalAuthority:
    """Signs leaves with the CA in `state_directory`, made on the first use. Raises IdentityError."""

    def __init__(self, state_directory: Path, trust_domain: str, clock: Clock = lambda: datetime.now(UTC)) -> None:
        self._trust_domain = trust_domain
        self._clock = clock
        with _locked(state_directory):
            if not (state_directory / "ca").is_dir():
                _save(state_directory, _first(trust_domain, LEAF_LIFETIME, clock()))
            self._ca = _load(state_directory / "ca", trust_domain, clock())

    def issue(self, identity: ServiceId) -> Leaf:
        """A leaf for this service, for TLS client and server, with its SPIFFE id as the only name."""
        if identity.trust_domain != self._trust_domain:
            raise IdentityError(f"the local CA of {self._trust_domain} does not sign for {identity}")
        now = self._clock()
        not_before = now - BACKDATE
        # A leaf that outlives its CA would fail at every peer, later and without a word.
        not_after = min(now + self._ca.leaf_lifetime, self._ca.certificate.not_valid_after_utc)
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            x509.CertificateBuilder()
            # RFC 5280 4.1.2.6: with an empty subject the alternative name is critical.
            .subject_name(x509.Name([]))
            .issuer_name(self._ca.certificate.subject)
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
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._ca.key.public_key()), critical=False
            )
            .sign(self._ca.key, hashes.SHA256())
        )
        return Leaf(
            certificate_chain=tuple(_der(link) for link in (certificate, self._ca.cross) if link is not None),
            private_key=key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            roots=tuple(_der(root) for root in self._ca.trusted(now)),
        )


def create(
    state_directory: Path, trust_domain: str, leaf_lifetime: timedelta, clock: Clock = lambda: datetime.now(UTC)
) -> Ca:
    """A new CA where there is none yet. Raises IdentityError."""
    with _locked(state_directory):
        if (state_directory / "ca").exists():
            raise IdentityError(
                f"there is a local CA in {state_directory / 'ca'} already: "
                "`sidecar ca rotate` replaces its key, `sidecar ca show` tells about it"
            )
        made = _first(trust_domain, _checked(leaf_lifetime), clock())
        _save(state_directory, made)
    return made


def show(state_directory: Path, clock: Clock = lambda: datetime.now(UTC)) -> Ca:
    """The CA that is there. Raises IdentityError when there is none, or it cannot be used."""
    with _locked(state_directory):
        return _existing(state_directory, clock())


def rotate(
    state_directory: Path,
    leaf_lifetime: timedelta | None = None,
    *,
    distrust: bool = False,
    clock: Clock = lambda: datetime.now(UTC),
) -> Ca:
    """A new key and root; the earlier root stays trusted until its last leaf has ended.

    `distrust`: it does not, for a key that was stolen. Raises IdentityError.
    """
    now = clock()
    with _locked(state_directory):
        before = _existing(state_directory, now)
        key, certificate = _generate(_trust_domain(before.certificate) or "", now)
        earlier = [(root, until) for root, until in before.earlier if now < until]
        # A minute for clocks, and for leaves that are being issued now.
        earlier.insert(0, (before.certificate, now + before.leaf_lifetime + BACKDATE))
        made = Ca(
            key,
            certificate,
            before.leaf_lifetime if leaf_lifetime is None else _checked(leaf_lifetime),
            None if distrust else _cross(before, certificate, now),
            () if distrust else tuple(earlier),
        )
        _save(state_directory, made)
    return made


def _existing(state_directory: Path, now: datetime) -> Ca:
    if not (state_directory / "ca").is_dir():
        raise IdentityError(
            f"there is no local CA in {state_directory}: `sidecar ca create` makes one, as the first sidecar does; "
            "another place is chosen with --state-dir"
        )
    return _load(state_directory / "ca", None, now)


def _checked(leaf_lifetime: timedelta) -> timedelta:
    if not SHORTEST_LEAF <= leaf_lifetime <= LONGEST_LEAF:
        raise IdentityError(
            f"a leaf cannot live for {leaf_lifetime.total_seconds():g} s: "
            f"expected {SHORTEST_LEAF.seconds} s to {LONGEST_LEAF.days} days"
        )
    return leaf_lifetime


def _first(trust_domain: str, leaf_lifetime: timedelta, now: datetime) -> Ca:
    return Ca(*_generate(trust_domain, now), leaf_lifetime)


def _save(state_directory: Path, ca: Ca) -> None:
    """Put this CA in force in one step. Raises OSError."""
    # Under the lock nobody else is writing: what is not in force is left over from a kill.
    link = state_directory / "ca"
    in_force = link.readlink().name if link.is_symlink() else ""
    for leftover in state_directory.glob(".ca-*"):
        if leftover.is_symlink():
            leftover.unlink()
        elif leftover.name != in_force:
            shutil.rmtree(leftover)
    made = Path(tempfile.mkdtemp(prefix=".ca-", dir=state_directory))
    key = ca.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write(made / "key.pem", key, mode=0o600)
    _write(made / "cert.pem", ca.certificate.public_bytes(Encoding.PEM), mode=0o644)
    if ca.cross is not None:
        _write(made / "cross.pem", ca.cross.public_bytes(Encoding.PEM), mode=0o644)
    about = {
        "leaf_lifetime_seconds": ca.leaf_lifetime.total_seconds(),
        "earlier_roots": [
            {"certificate": root.public_bytes(Encoding.PEM).decode(), "trusted_until": until.isoformat()}
            for root, until in ca.earlier
        ],
    }
    _write(made / "about.json", json.dumps(about, indent=2).encode(), mode=0o644)
    _sync(made)
    aside = state_directory / f"{made.name}-link"
    aside.symlink_to(made.name)
    aside.replace(link)
    _sync(state_directory)
    if in_force:
        shutil.rmtree(state_directory / in_force)


def _cross(before: Ca, root: x509.Certificate, now: datetime) -> x509.Certificate:
    """The new root, signed by the one before it: for peers that do not know the new one yet."""
    return (
        x509.CertificateBuilder()
        .subject_name(root.subject)
        .issuer_name(before.certificate.subject)
        .public_key(root.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(before.certificate.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(_key_identifier(root.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(before.key.public_key()), critical=False)
        .sign(before.key, hashes.SHA256())
    )


def _generate(trust_domain: str, now: datetime) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    # Each root has a name of its own: where two have the same, a verifier may take the one for the other.
    number = x509.random_serial_number()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Sidecar local CA {number:x}"[:40])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(number)
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + CA_LIFETIME)
        .add_extension(_uri(f"spiffe://{trust_domain}"), critical=False)
        # One more below it: the root that follows it.
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(_key_identifier(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def _key_identifier(key: CertificatePublicKeyTypes) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key)


def _load(directory: Path, trust_domain: str | None, now: datetime) -> Ca:
    """The CA of this directory, checked; of any trust domain when that is None."""
    key_path, cross_path = directory / "key.pem", directory / "cross.pem"
    try:
        mode = key_path.stat().st_mode & 0o777
        key = load_pem_private_key(key_path.read_bytes(), password=None)
        certificate = x509.load_pem_x509_certificate((directory / "cert.pem").read_bytes())
        cross = x509.load_pem_x509_certificate(cross_path.read_bytes()) if cross_path.exists() else None
        about = json.loads((directory / "about.json").read_bytes())
        leaf_lifetime = timedelta(seconds=about["leaf_lifetime_seconds"])
        earlier = tuple(
            (
                x509.load_pem_x509_certificate(root["certificate"].encode()),
                datetime.fromisoformat(root["trusted_until"]),
            )
            for root in about["earlier_roots"]
        )
    except OSError as error:
        _refuse(directory, f"{error.filename} cannot be read: {error.strerror}")
    except (ValueError, TypeError, KeyError) as error:
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
    if trust_domain not in (None, made_for):
        raise IdentityError(
            f"the local CA in {directory} was made for the trust domain {made_for!r}, "
            f"but mesh.yaml says {trust_domain!r}: set trust_domain to {made_for!r}, "
            "or keep this mesh's CA elsewhere with --state-dir"
        )
    return Ca(key, certificate, leaf_lifetime, cross, earlier)


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
def _locked(state_directory: Path) -> Iterator[None]:
    """Hold the CA's lock; the kernel lets it go when the process dies. Raises IdentityError for every OSError."""
    try:
        state_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(state_directory / "ca.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
    except OSError as error:
        raise IdentityError(
            f"the local CA cannot be kept in {state_directory}: {error.strerror or error}; "
            "choose a writable place with --state-dir or SIDECAR_STATE_DIR"
        ) from error


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


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
