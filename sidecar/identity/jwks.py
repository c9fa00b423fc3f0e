"""JSON Web Key Sets (RFC 7517) as the data plane has keys: checked, and what it has no use for left out."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping
from typing import Any, NamedTuple

from sidecar.errors import IdentityError
from sidecar.wire import control_pb2 as control

# Bytes. The largest of public issuers has 20 KiB.
LARGEST = 512 * 1024
MOST_KEYS = 64

# Of NIST FIPS 186-5 and SP 800-186: the order of the field, and b of y² = x³ - 3x + b.
_P256 = (
    2**256 - 2**224 + 2**192 + 2**96 - 1,
    0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
)
_P384 = (
    2**384 - 2**128 - 2**96 + 2**32 - 1,
    0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
)
# What the data plane verifies with (RFC 7518 section 3.3 asks for 2048 at least).
_RSA_BITS = range(2048, 8193)
# Exponents above are slow to verify with, and nobody has them.
_LARGEST_EXPONENT = 2**32
_LEAST_SECRET = 32


class Keys(NamedTuple):
    """The keys that can be used, and what of the set cannot, for people."""

    keys: list[control.VerificationKey]
    left_out: list[str]


class _Unusable(Exception):
    """What is wrong with one key."""


def parse(data: bytes, *, is_public: bool) -> Keys:
    """Read a set. A key that cannot be used is left out (RFC 7517 section 5).

    `is_public`: anybody can read it, so secrets in it are none. Raises IdentityError: it is no set, or of no use.
    """
    if len(data) > LARGEST:
        raise IdentityError(f"it is larger than {LARGEST // 1024} KiB")
    try:
        value = json.loads(data, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise IdentityError(f"it is no JSON: {error}") from None
    listed = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(listed, list):
        raise IdentityError("it is no JSON Web Key Set: expected an object with a list of `keys`")
    if len(listed) > MOST_KEYS:
        raise IdentityError(f"it has {len(listed)} keys; expected {MOST_KEYS} at most")
    found = Keys([], [])
    for number, key in enumerate(listed, 1):
        try:
            found.keys.append(_key(key, is_public=is_public))
        except _Unusable as problem:
            name = repr(key["kid"]) if isinstance(key, dict) and "kid" in key else f"number {number}"
            found.left_out.append(f"key {name}: {problem}")
    if not found.keys:
        raise IdentityError("; ".join(["it has no key that can be used", *found.left_out[:3]]))
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member stands there twice")
    return members


def _key(key: object, *, is_public: bool) -> control.VerificationKey:
    if not isinstance(key, dict):
        raise _Unusable("it is no object")
    if key.get("use", "sig") != "sig" or "verify" not in key.get("key_ops", ["verify"]):
        raise _Unusable("it is not for signatures")
    made = control.VerificationKey(id=_text(key, "kid"), algorithm=_text(key, "alg"))
    match key.get("kty"), key.get("crv"):
        case "RSA", _:
            made.rsa.CopyFrom(_rsa(key))
        case "EC", "P-256":
            made.p256 = _point(key, 32, *_P256)
        case "EC", "P-384":
            made.p384 = _point(key, 48, *_P384)
        case "OKP", "Ed25519":
            made.ed25519 = _sized(key, "x", 32)
        case "oct", _ if is_public:
            raise _Unusable("it is a secret, which everybody can read")
        case "oct", _:
            made.secret = _bytes(key, "k")
            if len(made.secret) < _LEAST_SECRET:
                raise _Unusable(f"a secret has {_LEAST_SECRET} bytes at least (RFC 7518 section 3.2)")
        case kind, curve:
            raise _Unusable(f"its kind ({kind!r}, {curve!r}) is not verified with")
    return made


def _rsa(key: Mapping[str, Any]) -> control.RsaKey:
    modulus, exponent = (int.from_bytes(_bytes(key, name)) for name in ("n", "e"))
    if modulus.bit_length() not in _RSA_BITS or modulus % 2 == 0:
        raise _Unusable(f"its modulus has {modulus.bit_length()} bits; expected 2048 to 8192")
    if not 3 <= exponent < _LARGEST_EXPONENT or exponent % 2 == 0:
        raise _Unusable("its exponent is none of RSA's")
    return control.RsaKey(modulus=_big_endian(modulus), exponent=_big_endian(exponent))


def _big_endian(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8)


def _point(key: Mapping[str, Any], size: int, field: int, b: int) -> bytes:
    x, y = (_sized(key, name, size) for name in ("x", "y"))
    at = int.from_bytes(x)
    if max(at, int.from_bytes(y)) >= field or (int.from_bytes(y) ** 2 - at**3 + 3 * at - b) % field:
        raise _Unusable("it is no point of its curve")
    # Uncompressed (SEC 1 section 2.3.3).
    return b"\x04" + x + y


def _sized(key: Mapping[str, Any], name: str, size: int) -> bytes:
    value = _bytes(key, name)
    if len(value) != size:
        raise _Unusable(f"`{name}` has {len(value)} bytes; expected {size}")
    return value


def _bytes(key: Mapping[str, Any], name: str) -> bytes:
    text = key.get(name)
    if not isinstance(text, str) or not text:
        raise _Unusable(f"`{name}` is missing")
    if any(character in text for character in "+/="):
        raise _Unusable(f"`{name}` is not in the base64 of URLs")
    try:
        return b64decode(text + "=" * (-len(text) % 4), altchars="-_", validate=True)
    except ValueError:
        raise _Unusable(f"`{name}` is not in the base64 of URLs") from None


def _text(key: Mapping[str, Any], name: str) -> str:
    value = key.get(name, "")
    if not isinstance(value, str):
        raise _Unusable(f"`{name}` is no text")
    return value
