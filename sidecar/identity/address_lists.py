"""Lists of addresses in files, as people and feeds of blocked networks write them."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from socket import AF_INET, AF_INET6, inet_pton

from sidecar.errors import IdentityError

# Bytes of a file: half a million networks.
LARGEST = 8 << 20


def read(path: Path) -> bytes:
    """Its networks, one a line: an address is a network of one; what follows `#` or `;` is a remark.

    Raises IdentityError naming file and line.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise IdentityError(f"{path}: the list of addresses cannot be read: {error.strerror}") from error
    if len(data) > LARGEST:
        raise IdentityError(f"{path}: the list of addresses is too large; at most {LARGEST >> 20} MiB")
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise IdentityError(f"{path}: the list of addresses is not text: {error}") from error
    return "\n".join(_networks(path, lines)).encode()


def _quickly(said: str) -> str | None:
    """The network where it is written plainly; None: it has to be looked at, which takes ten times as long."""
    address, _, length = said.partition("/")
    family, bits = (AF_INET6, 128) if ":" in address else (AF_INET, 32)
    if not length:
        length = str(bits)
    if not (length.isascii() and length.isdigit() and int(length) <= bits):
        return None
    try:
        number = int.from_bytes(inet_pton(family, address))
    except OSError:
        return None
    return f"{address}/{length}" if number & ((1 << (bits - int(length))) - 1) == 0 else None


def _networks(path: Path, lines: list[str]) -> list[str]:
    found = []
    for number, line in enumerate(lines, 1):
        if said := line.partition("#")[0].partition(";")[0].strip():
            try:
                found.append(_quickly(said) or str(ip_network(said)))
            except ValueError as error:
                expected = "expected one like 10.0.0.0/8 or 10.1.2.3 on each line"
                raise IdentityError(
                    f"{path}:{number}: this is not a network: `{said}` ({error}); {expected}"
                ) from error
    return found
