"""What stands in a certificate, for people and for checks; runs in the process that handles keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from sidecar.errors import IdentityError

_USAGES = {ExtendedKeyUsageOID.SERVER_AUTH: "server", ExtendedKeyUsageOID.CLIENT_AUTH: "client"}


def describe(certificates: Sequence[bytes]) -> list[dict[str, Any]]:
    """Of each certificate (DER): names, times as ISO 8601 in UTC, what it may be used for. Raises IdentityError."""
    try:
        return [_one(x509.load_der_x509_certificate(certificate)) for certificate in certificates]
    except ValueError as error:
        raise IdentityError(f"a certificate cannot be read: {error}") from error


def _one(certificate: x509.Certificate) -> dict[str, Any]:
    return {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "serial": f"{certificate.serial_number:x}",
        "uris": _names(certificate, x509.UniformResourceIdentifier),
        "dns_names": _names(certificate, x509.DNSName),
        "not_before": certificate.not_valid_before_utc.isoformat(),
        "not_after": certificate.not_valid_after_utc.isoformat(),
        "for": _usages(certificate),
        "sha256": certificate.fingerprint(hashes.SHA256()).hex(),
    }


def _names(certificate: x509.Certificate, kind: type[x509.UniformResourceIdentifier] | type[x509.DNSName]) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return list(names.get_values_for_type(kind))


def _usages(certificate: x509.Certificate) -> list[str]:
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return []
    return [_USAGES.get(usage, usage.dotted_string) for usage in usages]
