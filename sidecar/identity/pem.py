"""PEM texts as the DER that the data plane takes, by the standard library alone.

The library that people's files are read with costs a running sidecar megabytes; Consul's own writing needs four forms.
"""

from __future__ import annotations

import base64
import binascii
import re

from sidecar.errors import IdentityError

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----\s+(.*?)-----END \1-----", re.DOTALL)

_INTEGER_0 = bytes.fromhex("020100")
# AlgorithmIdentifier's parts (RFC 5480 2.1.1, RFC 3279 2.3.1).
_EC_PUBLIC_KEY = bytes.fromhex("06072a8648ce3d0201")
_RSA = bytes.fromhex("300d06092a864886f70d0101010500")
_SEQUENCE, _OCTETS, _PARAMETERS = 0x30, 0x04, 0xA0


def certificates(text: str) -> tuple[bytes, ...]:
    """Every certificate of a PEM text, in order. Raises IdentityError when there is none."""
    found = tuple(data for label, data in _blocks(text) if label == "CERTIFICATE")
    if not found:
        raise IdentityError("expected certificates in PEM form, found none")
    return found


def private_key(text: str) -> bytes:
    """The key of a PEM text as PKCS#8 (RFC 5208). Raises IdentityError, which never quotes the text."""
    for label, data in _blocks(text):
        if label == "PRIVATE KEY":
            return data
        if label == "RSA PRIVATE KEY":
            return _wrapped(_SEQUENCE, _INTEGER_0 + _RSA + _wrapped(_OCTETS, data))
        if label == "EC PRIVATE KEY":
            algorithm = _wrapped(_SEQUENCE, _EC_PUBLIC_KEY + _curve(data))
            return _wrapped(_SEQUENCE, _INTEGER_0 + algorithm + _wrapped(_OCTETS, data))
    raise IdentityError("expected a private key in PEM form (PKCS#8, EC or RSA), found none")


def elements(data: bytes) -> tuple[bytes, ...]:
    """DER values that stand one after the other. Raises IdentityError when the last one is cut off."""
    found = []
    while data:
        try:
            _, _, rest = _element(data)
        except IndexError:
            raise IdentityError("certificates in DER form are cut off") from None
        found.append(data[: len(data) - len(rest)])
        data = rest
    return tuple(found)


def _blocks(text: str) -> list[tuple[str, bytes]]:
    try:
        return [(label, base64.b64decode("".join(body.split()), validate=True)) for label, body in _BLOCK.findall(text)]
    except binascii.Error:
        raise IdentityError("what stands in PEM form is not base64") from None


def _curve(key: bytes) -> bytes:
    """The named curve of an ECPrivateKey (RFC 5915): the object identifier in its [0]."""
    try:
        tag, inner, _ = _element(key)
        _, _, rest = _element(inner)
        _, _, rest = _element(rest)
        mark, curve, _ = _element(rest)
    except IndexError:
        tag, mark, curve = 0, 0, b""
    if tag != _SEQUENCE or mark != _PARAMETERS:
        raise IdentityError("this EC key does not name its curve")
    return curve


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """Tag and content of the first DER element, and what follows it."""
    length, start = data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
    if start + length > len(data):
        raise IndexError
    return data[0], data[start : start + length], data[start + length :]


def _wrapped(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    width = (size.bit_length() + 7) // 8
    return bytes((tag, 0x80 | width)) + size.to_bytes(width, "big") + content
