"""TLS towards clients: what a listener shows, and what it asks for."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from sidecar.config.model.base import Model, refusal


def _check_version(value: object) -> object:
    if isinstance(value, float):
        raise refusal(f"`{value}` is a number", expected='"1.2" or "1.3"', hint=f'did you mean `"{value}"`?')
    return value


TlsVersion = Annotated[Literal["1.2", "1.3"], BeforeValidator(_check_version)]


class Certificate(Model):
    """A certificate chain and its key, as PEM files; relative paths start at the configuration directory.

    They are read again when they change.
    """

    cert: str = Field(min_length=1, description="File with the certificate chain, leaf first.")
    key: str = Field(min_length=1, description="File with its private key.")


class ClientCertificates(Model):
    """Who may show which certificate; its name is in the log, and makes nobody a part of the mesh."""

    ca: str = Field(min_length=1, description="File with the roots (PEM), one of which must have signed.")
    # Left out, nobody is let in by mistake.
    mode: Literal["required", "optional"] = Field(
        default="required",
        description="optional: without a certificate a client is let in, with a wrong one it is not.",
    )


def _check_certificates(certificates: tuple[Certificate, ...]) -> tuple[Certificate, ...]:
    if not certificates:
        raise refusal("TLS needs a certificate", expected="at least one {cert, key}")
    return certificates


class ListenerTls(Model):
    """TLS towards clients."""

    not_yet: ClassVar[frozenset[str]] = frozenset({"ciphers", "alpn", "acme"})

    certificates: Annotated[tuple[Certificate, ...], AfterValidator(_check_certificates)] = Field(
        description="Chosen by SNI: one for the very name, else one for *.example.com; the first is for all others."
    )
    # As Envoy, Go and nginx; older versions are broken (RFC 8996).
    min_version: TlsVersion = Field(default="1.2", description="The oldest version spoken.")
    client_certificates: ClientCertificates | None = Field(
        default=None, description="Left out: clients are not asked for one."
    )


# How a service is reached: by mutual TLS alone; by it and in the clear, on one port; in the clear alone.
Mode = Literal["mutual", "permissive", "disabled"]


class MeshTls(Model):
    """Mutual TLS between sidecars."""

    not_yet: ClassVar[frozenset[str]] = frozenset({"ciphers"})

    mode: Mode = Field(
        default="mutual",
        description="For services whose document does not say `tls`. permissive: sidecars take callers without TLS, "
        "too, whom no rule judges, and count them; disabled: nobody uses TLS.",
    )

    # As Consul's mesh entry has it (tls.incoming.tls_min_version).
    min_version: TlsVersion = Field(default="1.2", description="The oldest version that sidecars take from callers.")
