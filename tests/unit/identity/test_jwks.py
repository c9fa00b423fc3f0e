"""JSON Web Key Sets: what can be used of them, and what is left out or refused."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from sidecar.errors import IdentityError
from sidecar.identity.jwks import LARGEST, parse

Json = dict[str, Any]


def url64(data: bytes | int) -> str:
    if isinstance(data, int):
        data = data.to_bytes((data.bit_length() + 7) // 8)
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key().public_numbers()
EC = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
EC_384 = ec.generate_private_key(ec.SECP384R1()).public_key().public_numbers()
ED = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw()

GOOD_RSA = {"kty": "RSA", "kid": "r", "n": url64(RSA.n), "e": url64(RSA.e), "use": "sig", "alg": "RS256"}
GOOD_EC = {"kty": "EC", "crv": "P-256", "x": url64(EC.x.to_bytes(32)), "y": url64(EC.y.to_bytes(32))}
GOOD_384 = {"kty": "EC", "crv": "P-384", "x": url64(EC_384.x.to_bytes(48)), "y": url64(EC_384.y.to_bytes(48))}
GOOD_ED = {"kty": "OKP", "crv": "Ed25519", "x": url64(ED), "key_ops": ["verify"]}
GOOD_SECRET = {"kty": "oct", "k": url64(bytes(32))}


def of(*keys: object) -> bytes:
    return json.dumps({"keys": keys}).encode()


def test_keys_of_each_kind_are_read() -> None:
    keys, left_out = parse(of(GOOD_RSA, GOOD_EC, GOOD_384, GOOD_ED, GOOD_SECRET), is_public=False)

    assert [key.WhichOneof("kind") for key in keys] == ["rsa", "p256", "p384", "ed25519", "secret"]
    assert (keys[0].id, keys[0].algorithm, keys[1].id) == ("r", "RS256", "")
    assert (int.from_bytes(keys[0].rsa.modulus), int.from_bytes(keys[0].rsa.exponent)) == (RSA.n, 65537)
    assert keys[1].p256 == b"\x04" + EC.x.to_bytes(32) + EC.y.to_bytes(32)
    assert left_out == []


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ({**GOOD_RSA, "use": "enc"}, "it is not for signatures"),
        ({**GOOD_RSA, "key_ops": ["encrypt"]}, "it is not for signatures"),
        ({**GOOD_RSA, "n": url64(RSA.n >> 1024)}, "bits; expected 2048 to 8192"),
        ({**GOOD_RSA, "n": url64(RSA.n + 1)}, "bits; expected 2048 to 8192"),
        ({**GOOD_RSA, "e": url64(1)}, "its exponent is none of RSA's"),
        ({**GOOD_RSA, "e": "!"}, "`e` is not in the base64 of URLs"),
        ({**GOOD_RSA, "n": GOOD_RSA["n"] + "=="}, "`n` is not in the base64 of URLs"),
        ({**GOOD_RSA, "kid": 7}, "`kid` is no text"),
        ({**GOOD_EC, "y": GOOD_EC["x"]}, "it is no point of its curve"),
        ({**GOOD_EC, "crv": "P-384"}, "`x` has 32 bytes; expected 48"),
        ({**GOOD_EC, "crv": "secp256k1"}, "is not verified with"),
        ({**GOOD_ED, "x": url64(bytes(31))}, "`x` has 31 bytes; expected 32"),
        ({**GOOD_SECRET, "k": url64(bytes(31))}, "a secret has 32 bytes at least"),
        ({"kty": "RSA"}, "`n` is missing"),
        ({"kty": "future"}, "is not verified with"),
        ("text", "it is no object"),
    ],
)
def test_a_key_that_cannot_be_used_is_left_out_and_named(key: object, why: str) -> None:
    keys, (left_out,) = parse(of(key, GOOD_ED), is_public=False)

    assert [one.WhichOneof("kind") for one in keys] == ["ed25519"]
    assert why in left_out


def test_what_everybody_can_read_is_no_secret() -> None:
    keys, (left_out,) = parse(of(GOOD_SECRET, GOOD_ED), is_public=True)

    assert len(keys) == 1
    assert "which everybody can read" in left_out


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is no JSON"),
        (b"\xff", "it is no JSON"),
        (b"<html>", "it is no JSON"),
        (b"[]", "it is no JSON Web Key Set"),
        (b'{"keys": {}}', "it is no JSON Web Key Set"),
        (b'{"keys": [], "keys": []}', "a member stands there twice"),
        (b'{"keys": []}', "it has no key that can be used"),
        (of({"kty": "RSA"}), "it has no key that can be used; key number 1: `n` is missing"),
        (of(*[GOOD_ED] * 65), "it has 65 keys; expected 64 at most"),
        (b" " * (LARGEST + 1), "it is larger than 512 KiB"),
        (b"[" * 100_000, "it is no JSON"),
    ],
)
def test_what_is_no_set_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(IdentityError, match=why):
        parse(data, is_public=True)
