"""What a company has before it has a gateway: a certificate for its public name, and an issuer of tokens.

Made anew at each start; the private key of the issuer is in no file.
"""

import json
import time
from base64 import urlsafe_b64encode
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

# As config/gateways/edge.yaml and config/consumers/ann.yaml name them.
ISSUER, AUDIENCE, KEY_NAME, SUBJECT = "https://id.shop.local", "shop", "first", "ann"
# Seconds.
TOKEN_LIVES = 24 * 3600
# Beside the configuration: what clients need.
ROOTS, TOKEN = "clients/edge-ca.crt", "clients/ann.header"


def write_credentials(directory: Path) -> None:
    """Put the certificate and the issuer's keys into `directory`/config, and what a client needs into its clients/."""
    config = directory / "config"
    authority = trustme.CA(organization_name="shop")
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    (config / "edge.crt").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    private = config / "edge.key"
    private.touch(mode=0o600)
    private.write_bytes(certificate.private_key_pem.bytes())
    key = Ed25519PrivateKey.generate()
    (config / "id.jwks").write_text(json.dumps({"keys": [_public(key)]}))
    (directory / ROOTS).parent.mkdir(exist_ok=True)
    (directory / ROOTS).write_bytes(authority.cert_pem.bytes())
    (directory / TOKEN).write_text(f"Authorization: Bearer {_token(key)}")


def _public(key: Ed25519PrivateKey) -> dict[str, str]:
    """As RFC 8037 writes it."""
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": KEY_NAME, "x": _url64(raw)}


def _token(key: Ed25519PrivateKey) -> str:
    """A JSON Web Token (RFC 7519)."""
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": SUBJECT, "exp": int(time.time()) + TOKEN_LIVES}
    signed = ".".join(_url64(json.dumps(part).encode()) for part in ({"alg": "EdDSA", "kid": KEY_NAME}, claims))
    return f"{signed}.{_url64(key.sign(signed.encode()))}"


def _url64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")
