"""Certificates and roots that a person keeps in PEM files: a gateway's, as its document names them."""

from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from sidecar.errors import IdentityError
from sidecar.identity.authority import KeyPair


def load_pair(certificate_path: Path, key_path: Path) -> KeyPair:
    """Read a chain and its key. Raises IdentityError naming the file at fault."""
    try:
        chain = x509.load_pem_x509_certificates(_read(certificate_path))
    except ValueError as error:
        raise IdentityError(
            f"{certificate_path} holds no PEM certificate: expected the leaf, then its intermediates ({error})"
        ) from error
    try:
        key = load_pem_private_key(_read(key_path), password=None)
    except TypeError as error:
        raise IdentityError(
            f"{key_path} is encrypted: store the key without a passphrase, readable by us alone"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        # The library's text may quote what it read; a key must not reach a log.
        raise IdentityError(f"{key_path} holds no PEM private key of a known kind") from error
    if key.public_key() != chain[0].public_key():
        raise IdentityError(
            f"{key_path} is not the key of the first certificate in {certificate_path}: "
            "the leaf comes first, and both files belong together"
        )
    return KeyPair(
        certificate_chain=tuple(certificate.public_bytes(Encoding.DER) for certificate in chain),
        private_key=key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
    )


def load_roots(path: Path) -> tuple[bytes, ...]:
    """Read the certificates of authorities, as DER. Raises IdentityError naming the file."""
    try:
        roots = x509.load_pem_x509_certificates(_read(path))
    except ValueError as error:
        raise IdentityError(
            f"{path} holds no PEM certificate: expected those of the authorities that sign for clients ({error})"
        ) from error
    return tuple(root.public_bytes(Encoding.DER) for root in roots)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise IdentityError(f"{path} cannot be read: {error.strerror}") from error
