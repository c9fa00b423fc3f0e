"""Certificates for gateways under test, of an authority that lives for one test."""

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Secured:
    """A gateway's listener that speaks TLS on a free port of loopback, and what its clients need."""

    listener: dict[str, object]
    # PEM: the authority that a client trusts.
    authority: Path


def secured(directory: Path, *names: str) -> Secured:
    """A listener whose certificate is for 127.0.0.1, localhost and `names`."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost", *names)
    authority.cert_pem.write_to_path(directory / "authority.pem")
    certificate, key = directory / "edge.pem", directory / "edge.key"
    certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    tls = {"certificates": [{"cert": str(certificate), "key": str(key)}]}
    return Secured({"address": "127.0.0.1", "port": 0, "tls": tls}, directory / "authority.pem")
